import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// A node that relays or stores a log can neither forge, nor omit, nor bring back anything.
@Suite struct TrustTests {
    private static let network = LogNetwork.network
    private static let owner = LogNetwork.id(0)

    /// Owner 0, victim 1 and a hostile node 2, all in sync with ten endpoints.
    private static func world() -> LogNetwork {
        var world = LogNetwork(count: 3, seed: 1)
        world.wires.delay = 50...50
        world.subscribeAll()
        for number in 0..<10 { world.put(number) }
        world.attach(0)
        world.run(for: .seconds(1))
        world.forgetSent()
        return world
    }

    /// A batch of the owner's that the victim does not get from it.
    private static func missed(_ world: inout LogNetwork) throws -> SignedBatch {
        world.wires.cutLinks = [Link(from: 0, to: 1)]
        world.put(100)
        world.run(for: .microseconds(500))
        return try #require(world.messages(from: 0, to: 2).compactMap(\.batch).last)
    }

    enum Forgery: CaseIterable {
        case alteredRecord, addedChange, omittedChange, otherSignature, emptySignature, otherOwner, otherNetwork, later, otherLife
    }

    @Test(arguments: Forgery.allCases)
    func anAlteredBatchIsNotBelieved(forgery: Forgery) throws {
        var world = Self.world()
        var batch = try Self.missed(&world)
        switch forgery {
        case .alteredRecord: batch.changes = [.endpoint(LogNetwork.record(100, version: 1))]
        case .addedChange: batch.changes.append(.gone(LogNetwork.record(1).endpoint))
        case .omittedChange: batch.changes = [.detach]
        case .otherSignature: batch.signature = TestSigning(node: LogNetwork.id(2)).sign([1])
        case .emptySignature: batch.signature = Array(repeating: 0, count: Budget.signature)
        case .otherOwner: batch.owner = LogNetwork.id(2)
        case .otherNetwork: batch.network = NetworkID(bits: 5)
        case .later: batch.after += 1
        case .otherLife: batch.life += 1
        }
        let before = world.nodes[1].endpoints(on: Self.network).map(\.record)
        let effects = world.effectsOfOthers
        world.deliver(ReplicationMessage.batch(batch, relay: nil).wireBytes, from: 2, to: 1)
        world.run(for: .microseconds(60))
        let after = world.nodes[1].endpoints(on: Self.network).map(\.record)
        #expect(after == before && world.effectsOfOthers == effects)
        switch forgery {
        case .alteredRecord, .addedChange, .omittedChange, .otherSignature, .emptySignature:
            #expect(world.rejected.map(\.reason) == [.badSignature])
            #expect(world.rejected.first?.from == LogNetwork.id(2) && world.nodes[1].counters.rejected == 1)
        case .otherOwner, .otherNetwork, .later, .otherLife: #expect(world.rejected.isEmpty, "nothing to check it against")
        }
        world.wires.cutLinks = []
        world.run(for: .seconds(2))
        world.expectEqual()
        let isQuiet = world.nodes[1].isQuiet
        #expect(isQuiet)
    }

    /// A genuine batch is believed, whoever brings it.
    @Test func aGenuineBatchOfAnotherIsBelieved() throws {
        var world = Self.world()
        let batch = try Self.missed(&world)
        world.forgetSent()
        world.deliver(ReplicationMessage.batch(batch, relay: nil).wireBytes, from: 2, to: 1)
        world.run(for: .microseconds(60))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(Array(0..<10) + [100]))
        world.run(for: .milliseconds(4))
        #expect(world.messages(from: 1, to: 0).map(\.isAcknowledgement) == [true])
    }

    @Test func whoHasNoKeyIsNotBelieved() throws {
        var world = Self.world()
        let batch = try Self.missed(&world)
        var keys = LogNetwork.keys(3)
        keys[Self.owner] = nil
        world.act(1) { node, _ in node.setKeys(keys) }
        world.deliver(ReplicationMessage.batch(batch, relay: nil).wireBytes, from: 0, to: 1)
        world.wires.cutLinks = []
        world.run(for: .seconds(1))
        #expect(
            world.live(of: 0, at: 1).count == 10 && world.rejected.allSatisfy { $0.reason == .noKey } && !world.rejected.isEmpty)
        world.act(1) { node, _ in node.setKeys(LogNetwork.keys(3)) }
        world.run(for: .seconds(1))
        world.expectEqual()
    }

    enum SnapshotForgery: CaseIterable {
        case altered, omitted, resurrected, disordered, doubled, otherAttachment, otherRoot, otherTotal
    }

    /// The victim has nothing, cannot reach the owner, and asks the hostile node. Later it reaches the owner.
    @Test(arguments: SnapshotForgery.allCases, [10, 300])
    func anAlteredSnapshotIsNotBelieved(forgery: SnapshotForgery, count: Int) {
        var world = LogNetwork(count: 3, seed: 1)
        world.wires.delay = 50...50
        for number in 0..<count { world.put(number) }
        world.attach(0)
        world.run(for: .milliseconds(10))
        world.wires.cutLinks = [Link(from: 0, to: 1), Link(from: 1, to: 0)]
        world.setReachable(0, false, at: 1)
        world.tamper = { from, to, bytes in
            guard from == 2, to == 1, case .part(var part) = try? ReplicationMessage(wire: bytes), part.owner == Self.owner else {
                return bytes
            }
            switch forgery {
            case .altered: part.records[0].mac = MACAddress(bits: 0x02FF_0000_0000)
            case .omitted: part.records.removeLast()
            case .resurrected:
                // In the place of another record, as a part is full.
                part.records = (part.records.dropFirst() + [LogNetwork.record(5000 + Int(part.index))])
                    .sorted { $0.endpoint < $1.endpoint }
            case .disordered: part.records.swapAt(0, 1)
            case .doubled: part.records[0] = part.records[1]
            case .otherAttachment: part.attachment = LogNetwork.attachment(2)
            case .otherRoot: part.root[0] ^= 1
            case .otherTotal: part.total += part.index % 2 == 0 ? 1 : 0
            }
            return ReplicationMessage.part(part).wireBytes
        }
        world.subscribeAll()
        for _ in 0..<3 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        #expect(world.told[1][Self.owner] == nil && world.attachments[1][Self.owner] == nil)
        #expect(
            forgery == .otherTotal || forgery == .omitted || world.rejected.contains { $0.at == 1 && $0.from == LogNetwork.id(2) })
        world.wires.cutLinks = []
        world.setReachable(0, true, at: 1)
        for _ in 0..<3 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        world.expectEqual()
    }

    /// A removed endpoint stays removed: an older snapshot, however genuine, is below the known position.
    @Test func whatIsGoneIsNotBroughtBack() throws {
        var world = LogNetwork(count: 3, seed: 1)
        world.put(1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        let old = try #require(world.messages(from: 0, to: 1).first { $0.isPart })
        world.remove(1)
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1).isEmpty)
        world.deliver(old.wireBytes, from: 2, to: 1)
        world.deliver(old.wireBytes, from: 0, to: 1)
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1).isEmpty && world.rejected.isEmpty)
        // And with a position that is not its own it is no snapshot of the owner's.
        guard case .part(var part) = old else {
            Issue.record("no snapshot was sent: \(old)")
            return
        }
        part.position.sequence += 100
        world.deliver(ReplicationMessage.part(part).wireBytes, from: 2, to: 1)
        world.run(for: .seconds(1))
        #expect(world.rejected.map(\.reason) == [.badSignature])
        world.expectEqual()
        let isQuiet = world.nodes[1].isQuiet
        #expect(isQuiet)
    }

    /// A snapshot that the hostile node spoils is fetched from the owner, while the hostile node goes on spoiling.
    @Test func aSpoiledSnapshotIsHealedFromTheOwner() {
        var world = LogNetwork(count: 3, seed: 1)
        world.wires.delay = 50...50
        for number in 0..<400 { world.put(number) }
        world.run(for: .milliseconds(10))
        world.tamper = { from, to, bytes in
            // The owner's offers are lost at first; all its other messages arrive.
            guard to == 1, case .part(var part) = try? ReplicationMessage(wire: bytes), part.owner == Self.owner else {
                return bytes
            }
            if from == 0 { return bytes }
            part.records[0].v4 = nil
            return ReplicationMessage.part(part).wireBytes
        }
        world.wires.cutLinks = [Link(from: 0, to: 1)]
        world.subscribeAll()
        for _ in 0..<2 {
            world.run(for: .milliseconds(300))
            world.compareDigests()
        }
        #expect(world.rejected.contains { $0.reason == .brokenSnapshot && $0.from == LogNetwork.id(2) })
        world.wires.cutLinks = []
        world.run(for: .milliseconds(600))
        world.expectEqual()
    }

    /// Two histories with the same numbers, as after a restored backup. A snapshot of the owner's repairs it.
    @Test func anOwnerWithAnotherHistoryIsFollowed() throws {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        var other = LogNetwork(count: 2, seed: 1)
        other.wires.cut = [1]
        other.subscribeAll()
        for number in 10..<15 { other.put(number) }
        other.run(for: .seconds(1))
        other.wires.cut = []
        other.forgetSent()
        other.put(20)
        let batch = try #require(other.messages(from: 0, to: 1).last?.batch)
        world.replace(0, by: other.nodes[0])
        world.deliver(ReplicationMessage.batch(batch, relay: nil).wireBytes, from: 0, to: 1)
        world.run(for: .seconds(2))
        #expect(world.rejected.map(\.reason).allSatisfy { $0 == .badSignature } && !world.rejected.isEmpty)
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(Array(10..<15) + [20]))
    }

    @Test func whoClaimsMoreOfOurLogThanThereIsIsNotHeard() {
        var world = Self.world()
        let ahead = LogPosition(life: 1, sequence: 1000)
        world.deliver(ReplicationMessage.acknowledge(Self.network, ahead, view: 1).wireBytes, from: 1, to: 0)
        let entry = VectorEntry(owner: Self.owner, position: ahead)
        world.deliver(ReplicationMessage.vector(Self.network, [entry], isAnswer: false).wireBytes, from: 2, to: 0)
        world.run(for: .seconds(1))
        #expect(world.rejected.map(\.reason) == [.ownLogAhead, .ownLogAhead])
        let isAcknowledged = world.nodes[0].isAcknowledged(Self.network)
        #expect(isAcknowledged && world.sent.isEmpty)
        world.put(50)
        world.run(for: .seconds(1))
        world.expectEqual()
    }
}
