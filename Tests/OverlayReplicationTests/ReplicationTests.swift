import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

@Suite struct ReplicationTests {
    @Test func aChangeArrivesInOneHop() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.put(1)
        world.run(for: .microseconds(200))
        #expect((1...2).allSatisfy { world.live(of: 0, at: $0) == LogNetwork.records([1]) })
        world.run(for: .milliseconds(1))
        world.remove(1)
        world.run(for: .microseconds(200))
        #expect((1...2).allSatisfy { world.live(of: 0, at: $0).isEmpty && world.told[$0].isEmpty })
    }

    @Test func aChangeThatChangesNothingIsNotSent() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.attach(0)
        world.run(for: .seconds(1))
        world.forgetSent()
        world.put(1)
        world.remove(2)
        world.attach(0)
        world.detach(1)
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty)
        // Compared with pending changes as well.
        world.put(3)
        world.put(4)
        world.put(4)
        world.remove(4)
        world.remove(4)
        world.run(for: .seconds(1))
        let changes = world.messages(from: 0).compactMap(\.batch).flatMap(\.changes)
        let record = LogNetwork.record(4)
        #expect(changes == [.endpoint(LogNetwork.record(3)), .endpoint(record), .gone(record.endpoint)])
    }

    @Test(arguments: [0, 0.3])
    func nothingIsSentWhenAllIsAcknowledged(loss: Double) {
        var world = LogNetwork(count: 4, seed: 5)
        world.wires.loss = loss
        world.subscribeAll()
        for number in 0..<50 { world.put(number, by: number % 4) }
        world.run(for: .seconds(20))
        #expect(world.nodes.allSatisfy { $0.isAcknowledged(LogNetwork.network) && $0.nextDeadline == nil && $0.isQuiet })
        world.expectEqual()
        world.forgetSent()
        for _ in 0..<60 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        #expect(world.sent.isEmpty)
    }

    /// A burst costs few packets, and its first change does not wait.
    @Test func changesOfOneInstantTravelTogether() {
        var world = LogNetwork(count: 3, seed: 1)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.forgetSent()
        for number in 0..<50 { world.put(number) }
        #expect(world.sent.count == 2, "the first goes at once to each")
        world.run(for: .seconds(1))
        world.expectEqual()
        #expect(world.messages(from: 0, to: 1).count { $0.isBatch } <= 8)
        #expect(world.messages(from: 1, to: 0).count { $0.isAcknowledgement } <= 3)
        #expect(world.nodes[0].counters.batchesResent == 0)
    }

    @Test func attachmentsTravelLikeEndpoints() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.attach(0)
        world.run(for: .seconds(1))
        let network = LogNetwork.network
        #expect(world.nodes[1].attachment(of: LogNetwork.id(0), on: network) == LogNetwork.attachment(0))
        world.attach(0, mtu: 9000)
        world.run(for: .seconds(1))
        #expect(world.attachments[2] == [LogNetwork.id(0): LogNetwork.attachment(0, mtu: 9000)])
        world.detach(0)
        world.run(for: .seconds(1))
        #expect((1...2).allSatisfy { world.attachments[$0].isEmpty && world.told[$0].isEmpty })
        world.put(2)
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records([2]), "an endpoint needs no attachment")
        world.expectEqual()
    }

    @Test func whoMissedMoreThanTheTailGetsASnapshot() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for number in 0..<10 { world.put(number) }
        world.run(for: .seconds(1))
        world.wires.cut = [2]
        // More changes than are kept, and most of it is gone again.
        for number in 0..<(2 * Int(OwnerLog.tailChanges)) {
            world.put(100 + number % 7, version: number % 100)
            if number % 50 == 0 { world.run(for: .milliseconds(2)) }
        }
        for number in 0..<9 { world.remove(number) }
        world.run(for: .seconds(5))
        world.forgetSent()
        world.wires.cut = []
        world.run(for: .seconds(2))
        #expect(world.messages(from: 0, to: 2).contains { $0.isPart })
        #expect(world.live(of: 0, at: 2).count == 8)
        world.expectEqual()
    }

    @Test func whoMissedLessGetsTheBatches() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.wires.cut = [1]
        for number in 0..<900 { world.put(number) }
        world.run(for: .seconds(1))
        world.wires.cut = []
        world.forgetSent()
        world.run(for: .seconds(2))
        world.expectEqual()
        #expect(!world.messages().contains { $0.isPart })
    }

    /// Changes beyond the window are sent as it is acknowledged, not by the timer.
    @Test func aBurstIsSentAsFastAsItIsAcknowledged() {
        var world = LogNetwork(count: 2, seed: 1)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        for number in 0..<950 { world.put(number) }
        world.run(for: .milliseconds(6))
        world.expectEqual()
    }

    /// An acknowledgement waits for others to share a packet, but not until the repeat.
    @Test func acknowledgementsAreShared() {
        var world = LogNetwork(count: 2, seed: 1)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.forgetSent()
        for number in 0..<3 {
            world.put(number)
            world.run(for: .microseconds(900))
        }
        #expect(world.messages(from: 1).isEmpty)
        world.run(for: .milliseconds(20))
        #expect(world.messages(from: 1).map(\.isAcknowledgement) == [true])
        #expect(world.messages(from: 0).count == 3)
        world.expectEqual()
    }

    @Test func aSilentSubscriberCostsLittleAndDelaysNobody() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.wires.cut = [2]
        world.forgetSent()
        for number in 0..<1500 {
            world.put(number % 300, version: number % 7)
            world.run(for: .milliseconds(1))
        }
        world.run(for: .milliseconds(1))
        #expect(world.live(of: 0, at: 1) == world.live(of: 0, at: 0))
        // In a second and a half, each change once at most, and a few repeats every 200 ms.
        #expect(world.messages(from: 0, to: 2).count < 1500 + 12 * (Replication.batchesPerResend + 1))
        world.setReachable(2, false, at: 0)
        world.forgetSent()
        for number in 0..<100 {
            world.put(number, version: 9)
            world.run(for: .milliseconds(10))
        }
        #expect(world.messages(from: 0, to: 2).isEmpty && world.nodes[0].isQuiet, "nothing goes to who is away")
        world.wires.cut = []
        world.setReachable(2, true, at: 0)
        world.run(for: .milliseconds(20))
        world.expectEqual()
    }

    @Test func repeatsAreSpacedByTheRoundTrip() throws {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.act(0) { node, _ in node.setRoundTrip(LogNetwork.id(1), .milliseconds(30)) }
        world.wires.cut = [1]
        world.put(1)
        #expect(world.nodes[0].nextDeadline == world.now + .milliseconds(60))
        world.forgetSent()
        world.run(for: .seconds(10))
        // After 60 ms, 120 ms, then every 200 ms.
        #expect((48...52).contains(world.sent.count))
    }

    // MARK: Who takes part

    @Test func whoLeavesTheNetworkIsForgotten() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for index in 0..<3 {
            world.put(index, by: index)
            world.attach(index)
        }
        world.run(for: .seconds(1))
        #expect(world.told[1].count == 2)
        world.act(0) { $0.unsubscribe(LogNetwork.network, into: &$1) }
        #expect(world.told[0].isEmpty && world.attachments[0].isEmpty)
        #expect(world.nodes[0].endpoints(on: LogNetwork.network).isEmpty && world.nodes[0].nextDeadline == nil)
        for index in 1...2 { world.subscribe(index, to: [LogNetwork.id(1), LogNetwork.id(2)]) }
        #expect(world.told[1].count == 1 && world.told[2].count == 1)
        world.forgetSent()
        world.put(9, by: 1)
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(!world.sent.contains { $0.to == 0 || $0.from == 0 }, "nothing goes to who is gone")
        #expect(!world.nodes[1].isSynchronised(with: LogNetwork.id(0), on: LogNetwork.network))
        let digest = world.digest(of: 1, with: 0)
        #expect(digest == 0, "nothing is shared")
    }

    /// A host removes the network and creates it again before another one has heard of either.
    @Test func whoLeavesAndComesBackUnnoticedIsBelieved() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.put(200, by: 1)
        world.run(for: .seconds(1))
        world.act(0) { $0.unsubscribe(LogNetwork.network, into: &$1) }
        world.subscribe(0, to: Set((0..<2).map(LogNetwork.id)))
        for number in 50..<57 {
            world.put(number)
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        world.run(for: .seconds(5))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(50..<57))
        world.expectEqual()
    }

    /// Late messages of a subscriber may be overtaken by the news that it left.
    @Test func lateWordsOfWhoLeftAreNotTaken() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.put(2)
        world.subscribe(1, to: [LogNetwork.id(1)])
        world.reset(1, at: 0)
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
        #expect(world.live(of: 0, at: 1) == LogNetwork.records([1]), "and then it is, by the owner's repeats")
    }

    @Test func synchronisedIsToldOncePerOwner() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        #expect(world.synchronised == 6)
        for index in 0..<3 { world.reset((index + 1) % 3, at: index) }
        world.run(for: .seconds(1))
        #expect(world.synchronised == 6)
    }

    /// Two networks have their own numbers, and a subscriber of one hears nothing of the other.
    @Test func networksAreApart() {
        let other = NetworkID(bits: 78)
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.act(0) { [now = world.now] node, effects in
            node.subscribe(other, to: [LogNetwork.id(0), LogNetwork.id(1)], now: now, into: &effects)
        }
        world.act(1) { [now = world.now] node, effects in
            node.subscribe(other, to: [LogNetwork.id(0), LogNetwork.id(1)], now: now, into: &effects)
            node.put(LogNetwork.record(1000), on: other, now: now, into: &effects)
        }
        world.put(1)
        world.run(for: .seconds(1))
        #expect(world.nodes[0].endpoints(on: other).map(\.record) == [LogNetwork.record(1000)])
        #expect(world.nodes[2].endpoints(on: other).isEmpty)
        world.expectEqual()
        world.forgetSent()
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty)
    }
}
