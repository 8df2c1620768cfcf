import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// After restarts, partitions and losses, missing changes are found and fetched from any node that has them.
@Suite struct HealingTests {
    /// Invariant C (see Rules).
    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func allConvergeWhateverTheNetworkDoes(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let count = 5
        var world = LogNetwork(count: count, seed: seed, relayThreshold: seed % 3 == 0 ? 2 : 128)
        world.subscribeAll()
        world.wires.loss = Double(seed % 5) / 10
        world.wires.duplication = 0.2
        world.wires.delay = 50...(seed % 2 == 0 ? 40_000 : 2000)
        var live: [[Int: Int]] = Array(repeating: [:], count: count)
        let all = Set((0..<count).map(LogNetwork.id))
        for step in 0..<250 {
            let owner = Int.random(in: 0..<count, using: &generator)
            let number = owner * 100 + Int.random(in: 0..<20, using: &generator)
            switch Int.random(in: 0..<40, using: &generator) {
            case 0:
                // The endpoints of its engine are known again before it takes part.
                world.restart(owner)
                for (number, version) in live[owner].sorted(by: { $0.key < $1.key }) {
                    world.put(number, version: version, by: owner)
                }
                world.subscribe(owner, to: all)
                for other in 0..<count where other != owner && seed % 2 == 0 { world.reset(owner, at: other) }
            case 1: world.attach(owner, mtu: UInt32(1000 + step))
            case 2:
                world.detach(owner)
                live[owner] = [:]
            case 3:
                let other = (owner + Int.random(in: 1..<count, using: &generator)) % count
                world.wires.cutLinks.insert(Link(from: owner, to: other))
                if seed % 4 < 2 { world.setReachable(other, false, at: owner) }
            case 4: world.wires.cut.insert(owner)
            case 5:
                world.wires.cut = []
                world.wires.cutLinks = []
                for a in 0..<count { for b in 0..<count where a != b { world.setReachable(a, true, at: b) } }
            case 6: world.compareDigests()
            case 7...17:
                world.remove(number, by: owner)
                live[owner][number] = nil
            default:
                world.put(number, version: step % 200, by: owner)
                live[owner][number] = step % 200
            }
            world.run(for: .microseconds(Int64.random(in: 0...10_000, using: &generator)))
        }
        world.wires.cut = []
        world.wires.cutLinks = []
        for a in 0..<count { for b in 0..<count where a != b { world.setReachable(a, true, at: b) } }
        for _ in 0..<12 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        world.wires.loss = 0
        world.run(for: .seconds(2))
        world.expectEqual("seed \(seed)")
        for owner in 0..<count {
            let expected = Dictionary(
                uniqueKeysWithValues: live[owner].map { (LogNetwork.record($0).endpoint, LogNetwork.record($0, version: $1)) })
            #expect(world.live(of: owner, at: owner) == expected, "seed \(seed)")
        }
        #expect(world.rejected.isEmpty, "seed \(seed)")
        world.compareDigests()
        world.run(for: .seconds(1))
        world.forgetSent()
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty, "all is equal, and still there is talk: seed \(seed)")
    }

    // MARK: Restarts

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func anOwnerThatRestartsSaysAllAnew(seed: UInt64) {
        var world = LogNetwork(count: 3, seed: seed)
        world.wires.loss = 0.2
        world.wires.delay = 50...20_000
        world.wires.duplication = 0.2
        world.subscribeAll()
        for number in 0..<30 { world.put(number) }
        world.run(for: .milliseconds(Int64(seed) * 7))
        world.restart(0)
        // The engine's endpoints are known again before the subscribers are.
        for number in 5..<15 { world.put(number, version: 1) }
        world.subscribe(0, to: Set((0..<3).map(LogNetwork.id)))
        for number in 15..<20 { world.put(number, version: 2) }
        world.run(for: .seconds(20))
        let expected = LogNetwork.records(5..<15, version: 1).merging(LogNetwork.records(15..<20, version: 2)) { $1 }
        for index in 1...2 { #expect(world.live(of: 0, at: index) == expected, "seed \(seed)") }
    }

    /// Endpoints that are the same after a restart are not touched.
    @Test func aRestartThatChangesNothingTellsNothing() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<20 { world.put(number) }
        world.attach(0)
        world.run(for: .seconds(1))
        world.restart(0)
        for number in 0..<20 { world.put(number) }
        world.attach(0)
        let before = world.effectsOfOthers
        world.subscribe(0, to: Set((0..<2).map(LogNetwork.id)))
        world.run(for: .seconds(1))
        let after = world.effectsOfOthers
        world.expectEqual()
        #expect(world.nodes[1].position(of: LogNetwork.id(0), on: LogNetwork.network)?.life == 2)
        #expect(after == before)
    }

    @Test func endpointsStayWhileTheirOwnerIsAway() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        world.wires.cut = [0]
        world.setReachable(0, false, at: 1)
        world.run(for: .seconds(3600))
        #expect(world.live(of: 0, at: 1).count == 5)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func aSubscriberThatRestartsGetsAllAnew(seed: UInt64) {
        var world = LogNetwork(count: 3, seed: seed)
        world.wires.loss = 0.2
        world.wires.delay = 50...20_000
        world.subscribeAll()
        for number in 0..<30 { world.put(number) }
        world.run(for: .seconds(5))
        world.restart(1)
        world.subscribe(1, to: Set((0..<3).map(LogNetwork.id)))
        // As membership does when it hears of the new boot.
        world.reset(1, at: 0)
        for number in 30..<35 { world.put(number) }
        world.run(for: .seconds(10))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(0..<35), "seed \(seed)")
        let isSynchronised = world.nodes[1].isSynchronised(with: LogNetwork.id(0), on: LogNetwork.network)
        #expect(isSynchronised)
    }

    @Test func whatASubscriberForgotIsFoundWithoutAWord() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<5 { world.put(number) }
        world.run(for: .seconds(1))
        world.restart(1)
        world.subscribe(1, to: Set((0..<2).map(LogNetwork.id)))
        // The acknowledgement of its own empty log shows that the views differ.
        world.run(for: .milliseconds(60))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(0..<5))
        world.run(for: .seconds(1))
        world.forgetSent()
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty)
    }

    @Test func aNewLifeIsForWhoHasNoLog() throws {
        let node = LogNetwork.id(0)
        var replication = Replication(node: node, life: 1, signing: TestSigning(node: node))
        var effects: [Replication.Effect] = []
        let now = Instant(nanoseconds: 0)
        replication.put(LogNetwork.record(1), on: LogNetwork.network, now: now, into: &effects)
        replication.advance(to: now, into: &effects)
        replication.unsubscribe(LogNetwork.network, into: &effects)
        replication.setLife(5)
        replication.put(LogNetwork.record(1), on: LogNetwork.network, now: now, into: &effects)
        replication.advance(to: now, into: &effects)
        let first = replication.position(of: node, on: LogNetwork.network)
        #expect(first == LogPosition(life: 5, sequence: 2))
        replication.unsubscribe(LogNetwork.network, into: &effects)
        replication.setLife(5)
        replication.put(LogNetwork.record(1), on: LogNetwork.network, now: now, into: &effects)
        replication.advance(to: now, into: &effects)
        let second = replication.position(of: node, on: LogNetwork.network)
        #expect(second == LogPosition(life: 5, sequence: 4), "numbers of a life are never used twice")
    }

    // MARK: Gaps

    @Test func aGapIsFilledByThePeerThatShowedIt() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.wires.cutLinks = [Link(from: 0, to: 1)]
        world.put(1)
        world.run(for: .milliseconds(2))
        world.wires.cutLinks = []
        world.forgetSent()
        world.put(2)
        // Long before the first repeat.
        world.run(for: .microseconds(700))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records([1, 2]))
        #expect(world.messages(from: 1, to: 0).count { $0.isPull } == 1)
    }

    /// A batch that overlaps the known end cannot be checked. It only shows that there is more.
    @Test func anOverlappingBatchIsAskedForInstead() throws {
        var world = LogNetwork(count: 2, seed: 1)
        world.wires.delay = 50...50
        world.subscribeAll()
        world.run(for: .seconds(1))
        for number in 0..<3 { world.put(number) }
        world.run(for: .seconds(1))
        let batch = try #require(world.messages(from: 0).compactMap(\.batch).last)
        var overlapping = batch
        overlapping.changes += [.gone(LogNetwork.record(0).endpoint)]
        overlapping.after -= 1
        world.forgetSent()
        world.deliver(ReplicationMessage.batch(overlapping, relay: nil).wireBytes, from: 0, to: 1)
        world.run(for: .milliseconds(1))
        #expect(world.live(of: 0, at: 1) == LogNetwork.records(0..<3) && world.rejected.isEmpty)
        // The owner says that there is no more.
        var beyond = overlapping
        beyond.after += 2
        world.run(for: .milliseconds(10))
        world.forgetSent()
        world.deliver(ReplicationMessage.batch(beyond, relay: nil).wireBytes, from: 0, to: 1)
        world.run(for: .seconds(1))
        #expect(world.messages(from: 1, to: 0).count { $0.isPull } == 1)
        #expect(world.nodes[1].isQuiet && world.live(of: 0, at: 1) == LogNetwork.records(0..<3))
    }

    /// Node 2 cannot reach the owner, but node 1 reaches both.
    @Test(arguments: [3, 700])
    func aThirdPartyRepairs(count: Int) {
        var world = LogNetwork(count: 3, seed: 1)
        world.wires.cutLinks = [Link(from: 0, to: 2), Link(from: 2, to: 0)]
        for (index, other) in [(0, 2), (2, 0)] { world.setReachable(other, false, at: index) }
        for number in 0..<count { world.put(number) }
        world.attach(0)
        world.run(for: .milliseconds(10))
        world.subscribeAll()
        world.run(for: .seconds(1))
        #expect(world.live(of: 0, at: 1).count == count)
        world.compareDigests()
        world.run(for: .milliseconds(400))
        #expect(world.live(of: 0, at: 2) == world.live(of: 0, at: 0))
        #expect(world.attachments[2][LogNetwork.id(0)] == LogNetwork.attachment(0))
        // Later changes come the same way, as batches.
        let snapshots = world.nodes[2].counters.snapshots
        for number in 0..<200 { world.put(number, version: 1) }
        world.run(for: .milliseconds(100))
        world.compareDigests()
        world.run(for: .milliseconds(400))
        #expect(world.live(of: 0, at: 2) == world.live(of: 0, at: 0))
        let now = world.nodes[2].counters.snapshots
        #expect(now == snapshots)
        let isQuiet = world.nodes[2].isQuiet
        #expect(isQuiet)
    }

    /// A false claim to have more costs a few questions and no more.
    @Test func aClaimThatIsNotTrueIsGivenUp() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.setReachable(0, false, at: 1)
        world.forgetSent()
        let claim = VectorEntry(owner: LogNetwork.id(0), position: LogPosition(life: 9, sequence: 9))
        let message = ReplicationMessage.vector(LogNetwork.network, [claim], isAnswer: false)
        world.wires.cutLinks = [Link(from: 1, to: 2)]
        world.deliver(message.wireBytes, from: 2, to: 1)
        world.run(for: .seconds(60))
        #expect(world.nodes[1].isQuiet)
        #expect(world.messages(from: 1).count < 50)
    }

    /// More networks than one comparison holds. When all are equal, none of them costs anything.
    @Test func manyNetworksAreComparedByTurns() {
        let networks = (0..<660).map { NetworkID(bits: 1000 + UInt128($0)) }
        let both = Set((0..<2).map(LogNetwork.id))
        var world = LogNetwork(count: 2, seed: 1)
        func fill(_ world: inout LogNetwork, _ index: Int) {
            world.act(index) { [now = world.now] node, effects in
                for (number, network) in networks.enumerated() {
                    node.put(LogNetwork.record(index * 1000 + number), on: network, now: now, into: &effects)
                    node.subscribe(network, to: both, now: now, into: &effects)
                }
            }
        }
        for index in 0..<2 { fill(&world, index) }
        world.run(for: .seconds(1))
        #expect(world.nodes.allSatisfy { $0.nextDeadline == nil })
        // It comes back without memory, and what it says of itself is lost: digests alone tell.
        world.restart(1)
        world.wires.cutLinks = [Link(from: 1, to: 0)]
        fill(&world, 1)
        world.setReachable(0, false, at: 1)
        world.wires.cutLinks = []
        for _ in 0..<4 {
            world.compareDigests()
            world.run(for: .milliseconds(300))
        }
        for network in networks { #expect(world.nodes[1].count(of: LogNetwork.id(0), on: network) == 1) }
        world.setReachable(0, true, at: 1)
        world.run(for: .seconds(1))
        for network in networks { #expect(world.nodes[0].position(of: LogNetwork.id(1), on: network)?.life == 2) }
        world.forgetSent()
        world.compareDigests()
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty && world.nodes.allSatisfy { $0.nextDeadline == nil })
    }

    // MARK: Snapshots

    @Test func twelveThousandEndpointsArriveOverALossyNetwork() {
        var world = LogNetwork(count: 2, seed: 3)
        world.wires.delay = 50...300
        for number in 0..<12_000 { world.put(number) }
        world.attach(0)
        world.run(for: .milliseconds(10))
        world.wires.loss = 0.2
        world.subscribeAll()
        world.settle(within: .seconds(30))
        world.expectEqual()
        let count = world.nodes[1].count(of: LogNetwork.id(0), on: LogNetwork.network)
        #expect(count == 12_000)
        #expect(world.now < Instant(nanoseconds: 0) + .seconds(5))
        world.wires.loss = 0
        world.put(20_000)
        world.run(for: .milliseconds(1))
        let later = world.nodes[1].count(of: LogNetwork.id(0), on: LogNetwork.network)
        #expect(later == 12_001)
        // The interrupted snapshot is given up.
        world.run(for: .seconds(30))
        let deadline = world.nodes[0].nextDeadline
        #expect(deadline == nil)
    }

    /// Changes during a snapshot restart it at worst, and are in it at the end.
    @Test func changesDuringASnapshotAreNotLost() {
        var world = LogNetwork(count: 2, seed: 3)
        world.wires.delay = 50...2000
        for number in 0..<1200 { world.put(number) }
        world.run(for: .milliseconds(10))
        world.wires.loss = 0.1
        world.subscribeAll()
        for number in 0..<1200 {
            world.put(number % 1000, version: 1 + number / 1000)
            if number % 10 == 0 { world.run(for: .milliseconds(2)) }
        }
        world.settle(within: .seconds(30))
        world.expectEqual()
    }
}
