import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

@Suite struct RelayTests {
    @Test func groupsHoldEverybodyOnce() {
        let subscribers = (1..<400).map(LogNetwork.id)
        let log = LogKey(network: LogNetwork.network, owner: LogNetwork.id(0))
        #expect([0, 1, 2, 4, 5, 129, 144, 145].map(Relays.groups) == [0, 1, 2, 2, 3, 12, 12, 13])
        let groups = Relays.groups(of: subscribers.count)
        let sizes = Dictionary(grouping: subscribers) { Relays.group(of: $0, log, of: groups) }.mapValues(\.count)
        #expect(sizes.count == groups && sizes.values.allSatisfy { (5...40).contains($0) })
        let relays = Relays.plan(log, subscribers: subscribers, groups: groups)
        #expect(Set(relays).count == groups)
        let other = LogKey(network: LogNetwork.network, owner: LogNetwork.id(500))
        #expect(Relays.plan(other, subscribers: subscribers, groups: groups) != relays, "each owner has relays of its own")
        // A subscriber that leaves moves hardly any other relay.
        let without = Relays.plan(log, subscribers: subscribers.filter { $0 != relays[0] }, groups: groups)
        #expect(zip(relays, without).count { $0 != $1 } <= 3)
    }

    @Test func aChangeGoesByRelays() {
        var world = LogNetwork(count: 30, seed: 1, relayThreshold: 4)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.forgetSent()
        world.put(1)
        #expect(world.sent.count == 6, "⌈√29⌉")
        world.run(for: .microseconds(150))
        #expect((1..<30).allSatisfy { world.live(of: 0, at: $0) == LogNetwork.records([1]) }, "two hops")
        world.run(for: .seconds(1))
        world.expectEqual()
        // Each subscriber gets it once from its relay, and the relays once more from the owner. Each acknowledges to the owner.
        #expect(world.messages().count { $0.isRelayed } == 6)
        #expect((24...29).contains(world.messages().count { $0.isBatch && !$0.isRelayed }))
        #expect(world.messages(from: 0).count { !$0.isRelayed } == 0)
        #expect(world.messages(to: 0).count { $0.isAcknowledgement } <= 29 + 6)
    }

    @Test func aRelayThatIsDownCostsARetry() throws {
        var world = LogNetwork(count: 30, seed: 1, relayThreshold: 4)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        let log = LogKey(network: LogNetwork.network, owner: LogNetwork.id(0))
        let relay = try #require(Relays.plan(log, subscribers: (1..<30).map(LogNetwork.id), groups: 6).first)
        let index = LogNetwork.index(relay)
        world.wires.cut = [index]
        for number in 0..<3 {
            world.put(number)
            world.run(for: .milliseconds(16))
            let others = (1..<30).filter { $0 != index }
            #expect(others.allSatisfy { world.live(of: 0, at: $0).count == number + 1 }, "after one retry at most")
        }
        // Once membership knows, another subscriber is the relay.
        world.setReachable(index, false, at: 0)
        world.forgetSent()
        world.put(10)
        world.run(for: .microseconds(150))
        #expect((1..<30).allSatisfy { $0 == index || world.live(of: 0, at: $0).count == 4 })
        #expect(world.messages(from: 0, to: index).isEmpty)
        world.wires.cut = []
        world.setReachable(index, true, at: 0)
        world.run(for: .milliseconds(100))
        world.expectEqual()
    }

    @Test(arguments: 1...2 as ClosedRange<UInt64>)
    func relaysConvergeWhateverTheNetworkDoes(seed: UInt64) {
        var world = LogNetwork(count: 20, seed: seed, relayThreshold: 4)
        world.subscribeAll()
        world.wires.loss = 0.2
        world.wires.delay = 50...5000
        world.wires.duplication = 0.1
        for step in 0..<60 {
            world.put(step, by: step % 3)
            if step % 7 == 0 { world.remove(step / 2, by: step / 2 % 3) }
            world.run(for: .milliseconds(2))
        }
        world.run(for: .seconds(5))
        world.compareDigests()
        world.run(for: .seconds(5))
        world.expectEqual("seed \(seed)")
        #expect(world.rejected.isEmpty)
    }

    /// A forged batch goes no further than the relay that detects it, and only the owner appoints relays.
    @Test func whatIsForgedIsNotPassedOn() throws {
        var world = LogNetwork(count: 10, seed: 1, relayThreshold: 4)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.wires.cutLinks = Set((1..<10).map { Link(from: 0, to: $0) })
        world.put(1)
        let batch = try #require(world.messages(from: 0).compactMap(\.batch).last)
        world.forgetSent()
        let all = RelayGroup(index: 0, of: 1)
        var forged = batch
        forged.changes = [.endpoint(LogNetwork.record(2))]
        world.deliver(ReplicationMessage.batch(forged, relay: all).wireBytes, from: 3, to: 4)
        world.deliver(ReplicationMessage.batch(batch, relay: all).wireBytes, from: 3, to: 5)
        world.run(for: .microseconds(120))
        #expect(
            world.rejected.map(\.at) == [4] && (1..<10).allSatisfy { from in !world.messages(from: from).contains { $0.isBatch } })
        #expect(world.live(of: 0, at: 5).count == 1 && world.live(of: 0, at: 4).isEmpty)
    }
}
