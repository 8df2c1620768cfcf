import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// Facts of kinds that a node does not know: they are kept, signed for, and given on as they came.
@Suite struct FactTests {
    private static func fact(_ number: Int, kind: UInt8 = 200, _ value: [UInt8] = [1, 2, 3]) -> EndpointFact {
        EndpointFact(kind, of: LogNetwork.record(number).endpoint, value)
    }

    /// A network whose members all speak the version with facts.
    private static func network(count: Int, seed: UInt64, relayThreshold: Int = 128) -> LogNetwork {
        var world = LogNetwork(count: count, seed: seed, relayThreshold: relayThreshold)
        world.subscribeAll()
        world.useFacts()
        world.run(for: .seconds(1))
        return world
    }

    @Test func nobodyIsToldBeforeAllSpeakTheVersion() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.forgetSent()
        world.tell(Self.fact(1))
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty && world.facts(0).isEmpty)
    }

    @Test func anEarlierReleaseDoesNotReadThem() throws {
        let node = LogNetwork.id(1)
        var old = Replication(node: node, life: 1, signing: TestSigning(node: node), versions: .silent)
        var world = Self.network(count: 2, seed: 1)
        world.forgetSent()
        world.put(1)
        world.tell(Self.fact(1))
        world.run(for: .milliseconds(5))
        let sent = try #require(
            world.sent.last { $0.from == 0 && $0.to == 1 && (try? ReplicationMessage(wire: $0.bytes))?.version == 3 })
        var effects: [Replication.Effect] = []
        #expect(throws: DecodeError.invalid("replication message of a later protocol")) {
            try old.receive(sent.bytes, from: LogNetwork.id(0), now: world.now, into: &effects)
        }
        #expect(effects.isEmpty)
    }

    /// By relays, through loss, and in snapshots of one part or of many.
    @Test(arguments: [(3, 1), (30, 40)], [0, 0.3])
    func theyReachEverybodyIntact(size: (nodes: Int, endpoints: Int), loss: Double) {
        let (nodes, endpoints) = size
        var world = Self.network(count: nodes, seed: 3, relayThreshold: 4)
        world.wires.loss = loss
        for number in 0..<endpoints {
            world.put(number)
            world.tell(Self.fact(number, [UInt8](repeating: UInt8(number), count: 1 + number * 12)))
            world.tell(Self.fact(number, kind: 7))
            world.claim(LogNetwork.claims(number))
        }
        world.settle()
        world.restart(2)
        world.useFacts()
        world.subscribe(2, to: Set(world.nodes.indices.map(LogNetwork.id)))
        world.reset(2, at: 0)
        for _ in 0..<20 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        func facts(_ index: Int) -> [EndpointFact] { world.facts(index) }
        #expect(facts(0).count == 2 * endpoints && world.nodes.indices.allSatisfy { facts($0) == facts(0) })
        #expect(world.rejected.isEmpty)
        world.expectEqual()
        // They are withdrawn one by one, and go with the endpoint, which comes back without them.
        world.tell(Self.fact(0, []))
        if endpoints > 1 {
            world.remove(1)
            world.put(1)
        }
        world.settle()
        #expect(facts(0).count == 2 * endpoints - (endpoints > 1 ? 3 : 1))
        #expect(world.nodes.indices.allSatisfy { facts($0) == facts(0) })
        world.detach(0)
        world.settle()
        #expect(world.nodes.indices.allSatisfy { facts($0).isEmpty })
        world.expectEqual()
    }

    @Test func theDigestHoldsThem() {
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        _ = contents.apply([.endpoint(LogNetwork.record(1))], signing: signing)
        let bare = contents.root(signing)
        // They make no difference to the tables of a node that does not know them.
        #expect(contents.apply([.fact(Self.fact(1))], signing: signing).isEmpty)
        let told = contents.root(signing)
        #expect(contents.apply([.fact(Self.fact(1, [9])), .fact(Self.fact(2))], signing: signing).isEmpty)
        #expect(Set([bare, told, contents.root(signing)]).count == 3 && contents.facts.sorted == [Self.fact(1, [9])])
        _ = contents.apply([.fact(Self.fact(1, []))], signing: signing)
        #expect(contents.root(signing) == bare)
    }

    @Test func aLogHasAsManyAsItMay() {
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        let endpoints = Limits.factsPerLog / 256 + 1
        _ = contents.apply((0..<endpoints).map { .endpoint(LogNetwork.record($0)) }, signing: signing)
        for number in 0..<endpoints {
            _ = contents.apply((0...255).map { .fact(Self.fact(number, kind: $0)) }, signing: signing)
        }
        #expect(contents.facts.values.count == Limits.factsPerLog)
    }

    @Test func factsInDisorderAreNoSnapshot() {
        #expect(EndpointFacts.areInOrder([]) && EndpointFacts.areInOrder([Self.fact(1, kind: 1), Self.fact(1), Self.fact(2)]))
        for wrong in [[Self.fact(2), Self.fact(1)], [Self.fact(1), Self.fact(1)], [Self.fact(1, [])]] {
            #expect(!EndpointFacts.areInOrder(wrong))
        }
        #expect(throws: DecodeError.tooLong(limit: Limits.factBytes)) {
            try EndpointFact(wire: LogNetwork.record(1).endpoint.wireBytes + [1, 0, 0, 2, 1] + [UInt8](repeating: 0, count: 513))
        }
    }
}
