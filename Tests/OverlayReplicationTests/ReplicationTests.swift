import OverlayModel
import Testing

@testable import OverlayReplication

@Suite struct ReplicationTests {
    private static func records(_ numbers: some Sequence<Int>, version: Int = 0) -> [EndpointID: EndpointRecord] {
        Dictionary(uniqueKeysWithValues: numbers.map { (LogNetwork.record($0).endpoint, LogNetwork.record($0, version: version)) })
    }

    /// C
    @Test(arguments: 1...15 as ClosedRange<UInt64>)
    func allConvergeWhateverTheNetworkDoes(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var world = LogNetwork(count: 4, seed: seed)
        world.subscribeAll()
        world.loss = Double(seed % 5) / 10
        world.duplication = 0.2
        world.longestDelay = 40_000
        var live: [[Int: Int]] = Array(repeating: [:], count: 4)
        for step in 0..<300 {
            let owner = Int.random(in: 0..<4, using: &generator)
            let number = owner * 100 + Int.random(in: 0..<20, using: &generator)
            if Int.random(in: 0..<3, using: &generator) == 0 {
                world.remove(number, by: owner)
                live[owner][number] = nil
            } else {
                world.put(number, version: step % 200, by: owner)
                live[owner][number] = step % 200
            }
            world.run(for: .microseconds(Int64.random(in: 0...10_000, using: &generator)))
        }
        world.run(for: .seconds(30))
        for owner in 0..<4 {
            let expected = Dictionary(
                uniqueKeysWithValues: live[owner].map { (LogNetwork.record($0).endpoint, LogNetwork.record($0, version: $1)) })
            #expect(world.nodes[owner].isAcknowledged(LogNetwork.network), "seed \(seed)")
            for index in 0..<4 where index != owner {
                #expect(world.live(of: owner, at: index) == expected, "seed \(seed), \(owner) at \(index)")
                #expect(world.nodes[index].count(of: LogNetwork.id(owner), on: LogNetwork.network) == expected.count)
            }
        }
        for index in 0..<4 {
            let all = world.nodes[index].endpoints(on: LogNetwork.network).map(\.record)
            #expect(
                world.told[index] == Dictionary(uniqueKeysWithValues: all.map { ($0.endpoint, $0) }), "effects and state differ")
        }
    }

    @Test func aChangeArrivesInOneHop() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.put(1)
        world.run(for: .microseconds(200))
        #expect((1...2).allSatisfy { world.live(of: 0, at: $0) == Self.records([1]) })
        world.remove(1)
        world.run(for: .microseconds(200))
        #expect((1...2).allSatisfy { world.live(of: 0, at: $0).isEmpty && world.told[$0].isEmpty })
    }

    @Test func aChangeThatChangesNothingIsNotSent() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.forgetSent()
        world.put(1)
        world.remove(2)
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty)
    }

    @Test(arguments: [0, 0.3])
    func nothingIsSentWhenAllIsAcknowledged(loss: Double) {
        var world = LogNetwork(count: 4, seed: 5)
        world.loss = loss
        world.subscribeAll()
        for number in 0..<50 { world.put(number, by: number % 4) }
        world.run(for: .seconds(20))
        #expect(world.nodes.allSatisfy { $0.isAcknowledged(LogNetwork.network) && $0.nextDeadline == nil })
        world.forgetSent()
        for _ in 0..<60 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        #expect(world.sent.isEmpty)
    }

    @Test func changesFitIntoADatagram() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.cut = [1]
        for number in 0..<900 { world.put(number) }
        world.cut = []
        world.run(for: .seconds(10))
        #expect(world.live(of: 0, at: 1).count == 900)
        // 42 bytes of seal (PacketFormat.overhead).
        for (_, _, bytes) in world.sent where bytes.first == 1 { #expect(bytes.count <= Limits.datagramBytes - 42) }
        #expect(world.snapshots == 2, "one to each at the start, and none after")
    }

    @Test func whoMissedMoreThanTheTailGetsASnapshot() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for number in 0..<10 { world.put(number) }
        world.run(for: .seconds(1))
        world.cut = [2]
        // More changes than are kept, and most of it is gone again.
        for number in 0..<(2 * Replication.tail) {
            world.put(100 + number % 7, version: number % 100)
            if number % 50 == 0 { world.run(for: .milliseconds(1)) }
        }
        for number in 0..<9 { world.remove(number) }
        world.run(for: .seconds(5))
        world.forgetSent()
        world.cut = []
        world.run(for: .seconds(2))
        #expect(world.snapshots >= 1)
        #expect(world.live(of: 0, at: 2) == world.live(of: 0, at: 1) && world.live(of: 0, at: 2).count == 8)
        #expect(world.nodes[0].isAcknowledged(LogNetwork.network))
    }

    // MARK: Restarts

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func anOwnerThatRestartsSaysAllAnew(seed: UInt64) {
        var world = LogNetwork(count: 3, seed: seed)
        world.loss = 0.2
        world.longestDelay = 20_000
        world.duplication = 0.2
        world.subscribeAll()
        for number in 0..<30 { world.put(number) }
        world.run(for: .milliseconds(Int64(seed) * 7))
        world.restart(0)
        // The engine's endpoints are known again before the subscribers are.
        for number in 5..<15 { world.put(number, version: 1) }
        world.subscribe(0, to: Set((0..<3).map(LogNetwork.id)))
        for number in 15..<20 { world.put(number, version: 2) }
        world.run(for: .seconds(20))
        let expected = Self.records(5..<15, version: 1).merging(Self.records(15..<20, version: 2)) { $1 }
        for index in 1...2 { #expect(world.live(of: 0, at: index) == expected, "seed \(seed)") }
    }

    @Test func endpointsStayWhileTheirOwnerIsAway() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        world.cut = [0]
        world.run(for: .seconds(3600))
        #expect(world.live(of: 0, at: 1).count == 5)
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func aSubscriberThatRestartsGetsAllAnew(seed: UInt64) {
        var world = LogNetwork(count: 3, seed: seed)
        world.loss = 0.2
        world.longestDelay = 20_000
        world.subscribeAll()
        for number in 0..<30 { world.put(number) }
        world.run(for: .seconds(5))
        world.restart(1)
        world.subscribe(1, to: Set((0..<3).map(LogNetwork.id)))
        // As the membership does on hearing of the new boot.
        world.act(0) { [now = world.now] in $0.reset(LogNetwork.id(1), now: now, into: &$1) }
        for number in 30..<35 { world.put(number) }
        world.run(for: .seconds(10))
        #expect(world.live(of: 0, at: 1) == Self.records(0..<35), "seed \(seed)")
        #expect(world.nodes[1].isSynchronised(with: LogNetwork.id(0), on: LogNetwork.network))
    }

    @Test func whatASubscriberForgotIsRepairedByItsDigest() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        world.compareDigests()
        world.run(for: .seconds(1))
        world.restart(1)
        world.subscribe(1, to: Set((0..<2).map(LogNetwork.id)))
        world.run(for: .seconds(5))
        #expect(world.live(of: 0, at: 1).isEmpty, "nobody told the owner")
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1) == Self.records(0..<5))
        world.forgetSent()
        world.compareDigests()
        #expect(world.sent.isEmpty)
    }

    // MARK: Who takes part

    @Test func whoLeavesTheNetworkIsForgotten() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for index in 0..<3 { world.put(index, by: index) }
        world.run(for: .seconds(1))
        #expect(world.told[1].count == 2)
        world.act(0) { $0.unsubscribe(LogNetwork.network, into: &$1) }
        #expect(world.told[0].isEmpty && world.nodes[0].endpoints(on: LogNetwork.network).isEmpty)
        for index in 1...2 { world.subscribe(index, to: [LogNetwork.id(1), LogNetwork.id(2)]) }
        #expect(world.told[1].count == 1 && world.told[2].count == 1)
        world.forgetSent()
        world.put(9, by: 1)
        world.run(for: .seconds(1))
        #expect(!world.sent.contains { $0.to == 0 || $0.from == 0 }, "nothing goes to who is gone")
        #expect(!world.nodes[1].isSynchronised(with: LogNetwork.id(0), on: LogNetwork.network))
    }

    /// A host removes the network and makes it again before another one has heard of either.
    @Test func whoLeavesAndComesBackUnnoticedIsBelieved() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        world.act(0) { $0.unsubscribe(LogNetwork.network, into: &$1) }
        world.subscribe(0, to: Set((0..<2).map(LogNetwork.id)))
        for number in 50..<57 {
            world.put(number)
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        world.run(for: .seconds(5))
        #expect(world.live(of: 0, at: 1) == Self.records(50..<57))
        #expect(world.nodes[0].isAcknowledged(LogNetwork.network))
    }

    /// Its last words may be overtaken by the news that it left.
    @Test func lateWordsOfWhoLeftAreNotTaken() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.subscribe(1, to: [LogNetwork.id(1)])
        #expect(world.live(of: 0, at: 1).isEmpty)
        let late = ReplicationMessage.snapshot(LogNetwork.network, LogPosition(boot: 1, sequence: 1000), [LogNetwork.record(1)])
        world.deliver(late.wireBytes, from: 0, to: 1)
        world.run(for: .milliseconds(1))
        #expect(world.live(of: 0, at: 1).isEmpty && world.told[1].isEmpty)
    }

    @Test func aNetworkThatIsNotHereIsNotFollowed() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribe(0, to: Set((0..<2).map(LogNetwork.id)))
        world.put(1)
        world.run(for: .seconds(2))
        #expect(world.nodes[1].endpoints(on: LogNetwork.network).isEmpty && !world.sent.contains { $0.from == 1 })
        world.subscribe(1, to: Set((0..<2).map(LogNetwork.id)))
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1) == Self.records([1]), "and then it is, by the owner's repeats")
    }

    @Test func synchronisedIsToldOncePerOwner() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        #expect(world.synchronised == 6)
        for index in 0..<3 {
            world.act(index) { [now = world.now] in $0.reset(LogNetwork.id((index + 1) % 3), now: now, into: &$1) }
        }
        world.run(for: .seconds(1))
        #expect(world.synchronised == 6)
    }
}
