import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayMembership

/// Whole clusters, and their faults.
@Suite struct FaultTests {
    /// Checks that hold after every scenario.
    private func expectSound(_ network: MemberNetwork, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(network.busy == 0, "a deadline stays in the past", sourceLocation: sourceLocation)
        #expect(network.largest <= 1200 - MemberNetwork.envelope, sourceLocation: sourceLocation)
    }

    private func settled(_ count: Int, seed: UInt64) -> MemberNetwork {
        let network = MemberNetwork(count: count, seed: seed)
        network.run(for: .milliseconds(2000 + Int64(network.random(below: 500))))
        #expect(network.viewsAreEqual && network.declarations().isEmpty)
        return network
    }

    // MARK: Quiet

    @Test(arguments: [2, 3, 10, 25])
    func aQuietClusterIsAliveAndCheap(count: Int) {
        let network = settled(count, seed: 1)
        network.run(for: .milliseconds(Int64(count) * 500))
        #expect(network.allAreAlive)
        let (packets, bytes, frames) = (network.packets, network.bytes, network.frames)
        network.run(for: .seconds(20))
        // Two pings and two answers per second.
        #expect((network.packets - packets) <= count * 20 * 4 + 4 * count)
        #expect((network.packets - packets) >= count * 20 * 4 - 4 * count)
        #expect((network.bytes - bytes) / count / 20 <= 500)
        #expect(network.frames == frames && network.declarations().isEmpty)
        for index in 0..<count {
            #expect(network[index].outbox.isEmpty && network[index].timers[.gossip] == nil && network[index].probes.count <= 2)
            #expect(network[index].counters == MembershipCounters() && network[index].healthScore == 0)
        }
        expectSound(network)
    }

    // MARK: Crash

    /// Sizes with the milliseconds that all may take, and a seed; large ones take long, so one seed is enough.
    private static let clusters: [(count: Int, limit: Int64, seed: UInt64)] =
        [2, 3, 4, 10].flatMap { count in (1...3).map { (count, 2500, $0) } } + [(25, 3000, 1), (60, 4000, 1)]

    @Test(arguments: clusters)
    func aDeadHostIsKnownToAll(size: (count: Int, limit: Int64, seed: UInt64)) throws {
        let seed = size.seed
        let network = settled(size.count, seed: seed)
        let victim = network.random(below: size.count)
        network.stop(victim, .dead)
        let taken = network.wait(atMost: .milliseconds(size.limit)) { network in
            network.running.allSatisfy { network.state(victim, by: $0) == .unreachable }
        }
        #expect(taken != nil, "\(network.running.filter { network.state(victim, by: $0) != .unreachable })")
        network.run(for: .seconds(2))
        #expect(network.viewsAreEqual && network.declarations().allSatisfy { $0.of == victim })
        expectSound(network)
    }

    /// All the dead are found together, however many they are.
    @Test(arguments: [1] as [UInt64])
    func manyDeadHostsAreKnownToAll(seed: UInt64) {
        let network = settled(20, seed: seed)
        for victim in 0..<10 { network.stop(victim, .dead) }
        let taken = network.wait(atMost: .seconds(6)) { network in
            network.running.allSatisfy { by in (0..<10).allSatisfy { network.state($0, by: by) == .unreachable } }
        }
        #expect(taken != nil)
        #expect(network.declarations().allSatisfy { $0.of < 10 })
        expectSound(network)
    }

    // MARK: Restart

    /// Every peer starts anew with it, once.
    @Test(arguments: [0, 200, 20_000] as [Int64])
    func aRestartIsNoticedOnceByEach(away: Int64) {
        let network = settled(6, seed: 3)
        network.stop(2, .dead)
        network.run(for: .milliseconds(away))
        network.start(2)
        let taken = network.wait(atMost: .milliseconds(200), poll: .milliseconds(1)) { $0.allAreAlive }
        #expect(taken != nil)
        network.run(for: .seconds(5))
        #expect(network.restarts.map(\.by).sorted() == [0, 1, 3, 4, 5] && network.restarts.allSatisfy { $0.of == 2 })
        #expect(network.viewsAreEqual && network.allAreAlive)
        expectSound(network)
    }

    @Test func allRestartTogether() {
        let network = settled(8, seed: 4)
        for index in 0..<8 { network.stop(index, .dead) }
        network.run(for: .seconds(3))
        for index in 0..<8 { network.start(index) }
        network.run(for: .seconds(6))
        #expect(network.allAreAlive && network.viewsAreEqual && network.declarations().isEmpty)
        expectSound(network)
    }

    // MARK: The daemon alone

    @Test(arguments: [2, 3, 10])
    func aHostThatRefusesIsDaemonDown(count: Int) {
        let network = settled(count, seed: 5)
        network.stop(0, .daemonDown)
        let down = network.wait(atMost: .seconds(3)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .daemonDown }
        }
        #expect(down != nil)
        network.run(for: .seconds(30))
        #expect(network.running.allSatisfy { network.state(0, by: $0) == .daemonDown })
        #expect(network.status(0, by: 1)?.reason == Membership.downReason)
        network.start(0)
        #expect(network.wait(atMost: .milliseconds(200)) { $0.allAreAlive } != nil)
        network.run(for: .seconds(2))
        #expect(network.viewsAreEqual && network.restarts.count == count - 1)
        expectSound(network)
    }

    /// Its daemon was killed, and lost its state before it came back.
    @Test(arguments: [2, 4]) func aDaemonThatKnowsNobodyIsUnreachable(count: Int) {
        let network = settled(count, seed: 7)
        network.stop(0, .daemonDown)
        let down = network.wait(atMost: .seconds(3)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .daemonDown }
        }
        #expect(down != nil)
        network.stop(0, .stranger)
        let found = network.wait(atMost: .seconds(10)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .unreachable }
        }
        #expect(found != nil)
        network.run(for: .seconds(30))
        #expect(network.running.allSatisfy { network.state(0, by: $0) == .unreachable })
        #expect(network.status(0, by: 1)?.reason == PeerStatus.strangerReason)
        network.start(0)
        #expect(network.wait(atMost: .seconds(12)) { $0.allAreAlive } != nil)
        expectSound(network)
    }

    @Test func aHostDiesAfterItsDaemon() {
        let network = settled(4, seed: 6)
        network.stop(0, .daemonDown)
        network.run(for: .seconds(5))
        network.stop(0, .dead)
        let dead = network.wait(atMost: .seconds(5)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .unreachable }
        }
        #expect(dead != nil)
        // The host boots before its daemon does.
        network.stop(0, .daemonDown)
        let up = network.wait(atMost: .seconds(12)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .daemonDown }
        }
        #expect(up != nil)
        expectSound(network)
    }

    // MARK: Paths

    @Test func aFirewallThatDropsDatagramsIsNamed() throws {
        let network = settled(5, seed: 7)
        network.cut([0], 1..<5, streams: false)
        let blocked = network.wait(atMost: .seconds(20)) { network in
            (1..<5).allSatisfy { network.state($0, by: 0) == .udpBlocked && network.state(0, by: $0) == .udpBlocked }
        }
        #expect(blocked != nil)
        #expect(network[0].path(to: MemberNetwork.id(1)) == .stream)
        network.run(for: .seconds(20))
        #expect(network.state(1, by: 0) == .udpBlocked && network.viewsAreEqual && network.declarations().isEmpty)
        #expect(try #require(network.status(1, by: 0)).reason.contains("UDP"))
        network.heal()
        #expect(network.wait(atMost: .seconds(4)) { $0.allAreAlive } != nil)
        #expect(network[0].path(to: MemberNetwork.id(1)) == .datagram)
        // Blocked again, and then it dies: the blocked state is not final.
        network.cut([0], 1..<5, streams: false)
        network.run(for: .seconds(20))
        network.stop(0, .dead)
        let dead = network.wait(atMost: .seconds(6)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .unreachable }
        }
        #expect(dead != nil)
        expectSound(network)
    }

    @Test func aFirewallThatDropsStreamsLeavesAMemberAlive() throws {
        let network = settled(4, seed: 8)
        network.cut([0], 1..<4, datagrams: false)
        for seconds in 0..<30 {
            if seconds % 5 == 1 {
                // Something needs a stream.
                network.stall(0, for: .milliseconds(90))
            }
            network.run(for: .seconds(1))
        }
        #expect(network.declarations().isEmpty && network.allAreAlive && network.viewsAreEqual)
        expectSound(network)
    }

    /// A firewall that refuses streams while some datagrams are lost is no daemon that is down.
    @Test(arguments: [2, 3, 5], [UInt64(40), 41, 42])
    func aFirewallThatRefusesStreamsTakesNoDaemonDown(count: Int, seed: UInt64) {
        let network = settled(count, seed: seed)
        network.streamsAreRefused = true
        network.wires.loss = 0.2
        network.run(for: .seconds(60))
        #expect(network.observations.allSatisfy { $0.status.state != .daemonDown })
        // Streams that work again are noticed, and a daemon that goes down then is named.
        network.streamsAreRefused = false
        network.wires.loss = 0
        network.run(for: .seconds(12))
        #expect(
            network.allAreAlive
                && network.running.allSatisfy { by in
                    network.running.allSatisfy { $0 == by || network.status($0, by: by)?.reason == "" }
                })
        network.stop(0, .daemonDown)
        let down = network.wait(atMost: .seconds(4)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .daemonDown }
        }
        #expect(down != nil)
    }

    /// The refusal of a firewall that is known is no evidence; the one of a host that answered streams is.
    @Test func aRefusalCountsUnlessTheDaemonAnsweredBesideIt() {
        for isFirewall in [true, false] {
            var lone = LoneMember(count: 2)
            lone.run(for: .seconds(1), answering: [LoneMember.peer])
            lone.stream(isFirewall ? .refused : nil)
            // It answers datagrams; no stream is tried again so soon.
            lone.run(for: .milliseconds(900), answering: [LoneMember.peer])
            for _ in 0..<100 where lone.state()?.isReachable == true {
                lone.run(for: .milliseconds(50))
                lone.stream(.refused)
            }
            #expect(lone.state() == (isFirewall ? .unreachable : .daemonDown))
            lone.run(for: .seconds(1))
            lone.stream(.refused)
            #expect(lone.state() == (isFirewall ? .unreachable : .daemonDown))
        }
    }

    @Test func whatFailsOfStreamsIsSaid() {
        var lone = LoneMember(count: 2)
        lone.run(for: .seconds(1), answering: [LoneMember.peer])
        lone.stream(.failed("no route to host"))
        lone.run(for: .milliseconds(500), answering: [LoneMember.peer])
        #expect(lone.state() == .alive && lone.reason() == "TCP to it fails, UDP passes: no route to host")
        lone.stream(.refused)
        lone.run(for: .milliseconds(400), answering: [LoneMember.peer])
        #expect(lone.state() == .alive && lone.reason() == "TCP to it is refused, UDP passes")
        // It is tried again by itself, and works now.
        lone.run(for: .seconds(1), answering: [LoneMember.peer])
        #expect(lone.state() == .alive && lone.reason() == "")
        lone.stream(.refused)
        lone.stream(nil)
        #expect(lone.state() == .alive && lone.reason() == "")
    }

    /// A failed stream is tried until it works, although the member was accused when a try was due, and has refuted since.
    @Test func whatFailedOfStreamsIsTriedUntilItDoesNot() {
        var lone = LoneMember(count: 3)
        lone.run(for: .seconds(1), answering: [LoneMember.peer, LoneMember.other])
        lone.stream(.refused)
        lone.run(for: .milliseconds(900), answering: [LoneMember.other])
        for _ in 0..<200 where lone.state() == .alive { lone.run(for: .milliseconds(10), answering: [LoneMember.other]) }
        #expect(lone.state() == .suspect)
        lone.run(for: .milliseconds(400), answering: [LoneMember.other])
        #expect(lone.state() == .suspect)
        let later = LoneMember.first.next
        lone.hear(.ping(0), incarnation: later)
        #expect(lone.state() == .alive)
        lone.run(for: .seconds(12), answering: [LoneMember.peer, LoneMember.other], incarnation: later)
        #expect(lone.state() == .alive && lone.reason() == "")
    }

    /// Two nodes do not hear each other, or one not the other, in a cluster whose others do.
    @Test(arguments: [3, 4, 10], [true, false])
    func oneLinkCutMakesNobodyUnreachable(count: Int, bothWays: Bool) throws {
        let network = settled(count, seed: 9)
        network.wires.cutLinks = [.init(from: 0, to: 1)]
        network.streamsCut = [.init(from: 0, to: 1)]
        if bothWays { network.cut([0], [1]) }
        network.run(for: .seconds(60))
        #expect(network.declarations().isEmpty && network.allAreAlive && network.viewsAreEqual)
        for (by, of) in [(0, 1), (1, 0)] {
            let status = try #require(network.status(of, by: by))
            #expect(status.reason == "answers other nodes, but not this one", "\(by) of \(of)")
        }
        network.heal()
        network.run(for: .seconds(20))
        #expect(network.status(1, by: 0)?.reason == "" && network.status(0, by: 1)?.reason == "")
        expectSound(network)
    }

    /// The same with loss everywhere: accusations happen, and declarations are corrected by those who know better.
    @Test(arguments: [1, 2] as [UInt64])
    func oneLinkCutUnderLossIsCorrected(seed: UInt64) {
        let network = settled(6, seed: seed)
        network.wires.loss = 0.2
        network.cut([0], [1])
        network.run(for: .seconds(60))
        let away = network.declarations()
        #expect(away.allSatisfy { [$0.by, $0.of].sorted() == [0, 1] })
        network.wires.loss = 0
        #expect(network.wait(atMost: .seconds(2)) { $0.allAreAlive && $0.viewsAreEqual } != nil)
        expectSound(network)
    }

    @Test func oneDeafNodeSpoilsNobodysView() {
        let network = settled(12, seed: 10)
        network.wires.lossTo[3] = 0.8
        network.run(for: .seconds(60))
        #expect(network.declarations().allSatisfy { $0.of == 3 || $0.by == 3 })
        let healthy = network.running.filter { $0 != 3 }
        #expect(healthy.allSatisfy { by in healthy.allSatisfy { $0 == by || network.state($0, by: by) == .alive } })
        expectSound(network)
    }

    // MARK: Partitions

    @Test(arguments: [(2, 1), (10, 5), (10, 1), (24, 12)])
    func partitionsHealByThemselves(size: (count: Int, side: Int)) {
        let network = settled(size.count, seed: 11)
        let (one, other) = (0..<size.side, size.side..<size.count)
        network.cut(one, other)
        // A node that is cut off has nobody to confirm what it finds, and its own health score is bad.
        let split = network.wait(atMost: .seconds(size.side == 1 ? 60 : 15)) { network in
            one.allSatisfy { a in
                other.allSatisfy { network.state($0, by: a) == .unreachable && network.state(a, by: $0) == .unreachable }
            }
        }
        #expect(split != nil)
        network.run(for: .seconds(size.count > 10 ? 5 : 60))
        #expect(network.declarations().allSatisfy { one.contains($0.by) != one.contains($0.of) })
        network.heal()
        let healed = network.wait(atMost: .seconds(2)) { $0.viewsAreEqual && $0.allAreAlive }
        #expect(healed != nil)
        network.run(for: .seconds(10))
        #expect(network.allAreAlive && network.viewsAreEqual && network.restarts.isEmpty)
        expectSound(network)
    }

    /// Open for 20 s, cut for 20 s.
    @Test func aFlappingPartitionNeverSticks() {
        let network = settled(8, seed: 12)
        for _ in 0..<3 {
            network.cut([0, 1], 2..<8)
            network.run(for: .seconds(20))
            network.heal()
            #expect(network.wait(atMost: .seconds(2)) { $0.viewsAreEqual && $0.allAreAlive } != nil)
            network.run(for: .seconds(5))
        }
        expectSound(network)
    }

    // MARK: Loss and stalls

    /// With streams that work, even 40 % lost datagrams make nobody unreachable.
    @Test(arguments: [1] as [UInt64])
    func lostDatagramsMakeNobodyUnreachable(seed: UInt64) {
        let network = MemberNetwork(count: 25, seed: seed)
        network.wires.loss = 0.4
        network.run(for: .seconds(120))
        #expect(network.declarations().isEmpty)
        network.wires.loss = 0
        network.run(for: .seconds(15))
        #expect(network.allAreAlive && network.viewsAreEqual)
        for index in 0..<25 { #expect(network[index].outbox.isEmpty) }
        expectSound(network)
    }

    /// A quarter of the processes stall again and again. Nobody takes a healthy one for dead.
    @Test(arguments: [1] as [UInt64])
    func stalledProcessesAccuseNobodyToDeath(seed: UInt64) {
        let network = settled(16, seed: seed)
        let ill = Array(0..<4)
        for _ in 0..<60 {
            for index in ill where !network.isStalled(index) && network.random(below: 3) == 0 {
                network.stall(index, for: .milliseconds(1000 + Int64(network.random(below: 29_000))))
            }
            network.run(for: .seconds(1))
        }
        #expect(network.stalls > 5)
        #expect(network.declarations().allSatisfy { $0.of < 4 })
        let back = network.wait(atMost: .seconds(40)) { $0.allAreAlive && $0.viewsAreEqual }
        #expect(back != nil)
        #expect(network.restarts.isEmpty)
        expectSound(network)
    }

    /// All processes stall at once. Nobody died of it.
    @Test func allStallTogether() {
        let network = settled(6, seed: 13)
        for index in 0..<6 { network.stall(index, for: .milliseconds(20_000 + Int64(index) * 100)) }
        network.run(for: .seconds(30))
        #expect(network.declarations().isEmpty && network.allAreAlive)
        expectSound(network)
    }

    // MARK: Members come and go

    /// A member is removed from the catalogue in any state. None of its timers is left.
    @Test(arguments: [0, 300, 600, 900, 1300, 1700, 2200, 4000, 12_000] as [Int64])
    func aRemovedMemberLeavesNothingBehind(after: Int64) {
        for host in [MemberNetwork.Host.dead, .daemonDown, .up] {
            let network = settled(5, seed: 14)
            network.stop(4, host)
            network.run(for: .milliseconds(after))
            for index in 0..<4 { network.setMembers(of: index, to: [0, 1, 2, 3]) }
            let gone = MemberNetwork.id(4)
            for index in 0..<4 {
                let membership = network[index]
                #expect(membership.status(of: gone) == nil && !membership.ring.contains(gone) && membership.members.count == 3)
                #expect(membership.retries[gone] == nil && membership.inquiries[gone] == nil && membership.suspicions[gone] == nil)
                #expect(membership.outbox[gone] == nil && !membership.probes.values.contains { $0.target == gone })
                #expect(membership.outbox.values.allSatisfy { $0.updates[gone] == nil })
                #expect(!membership.timers.keys.contains { $0.kind == .retry })
            }
            network.run(for: .seconds(3))
            #expect((0..<4).allSatisfy { network[$0].status(of: gone) == nil && network[$0].away.isEmpty })
            #expect(Set((0..<4).map { network[$0].view }).count == 1)
            expectSound(network)
        }
    }

    @Test func alone() {
        let network = MemberNetwork(count: 1, seed: 1)
        network.run(for: .seconds(10))
        #expect(network[0].nextDeadline == nil && network.packets == 0)
    }

    // MARK: Large clusters

    /// News of a crash spreads by members that pass it on.
    @Test func newsReachAllOfALargeCluster() {
        var parameters = MembershipParameters()
        parameters.flatGossip = 30
        parameters.fanout = 12
        let network = MemberNetwork(count: 55, seed: 15, parameters: parameters)
        network.run(for: .milliseconds(1500))
        network.stop(7, .dead)
        let known = network.wait(atMost: .seconds(6), poll: .milliseconds(100)) { network in
            network.running.allSatisfy { network.state(7, by: $0) == .unreachable }
        }
        #expect(known != nil)
        network.start(7)
        let back = network.wait(atMost: .seconds(3), poll: .milliseconds(100)) { network in
            network.running.allSatisfy { $0 == 7 || network.state(7, by: $0) == .alive }
        }
        #expect(back != nil)
        #expect(network.declarations().allSatisfy { $0.of == 7 })
        expectSound(network)
    }

    /// Nobody asks everybody: a starting member becomes known through those that heard it.
    @Test func aLargeClusterThatStartsAtOnceIsAliveToAll() {
        var parameters = MembershipParameters()
        parameters.flatGossip = 30
        let network = MemberNetwork(count: 55, seed: 16, parameters: parameters)
        let known = network.wait(atMost: .seconds(2), poll: .milliseconds(50)) { $0.allAreAlive }
        #expect(known != nil)
        expectSound(network)
    }

    /// A datagram overtakes the catalogue.
    @Test func newsOfAMemberThatIsNoneYetIsKept() {
        var lone = LoneMember(count: 2)
        let newcomer = LoneMember.other
        func news(_ claim: Update.Claim, _ subject: NodeID) -> Update {
            Update(subject: subject, incarnation: LoneMember.first, claim: claim, source: subject)
        }
        lone.hear(.ping(1), updates: [news(.alive, newcomer)])
        lone.setMembers(count: 3)
        #expect(lone.state(newcomer) == .alive)
        // Accusations are not kept, as there will be evidence. News of ids that never become members is bounded.
        lone.hear(.ping(2), updates: [news(.unreachable, NodeID(bits: 4))])
        lone.setMembers(count: 4)
        #expect(lone.state(NodeID(bits: 4)) == .unknown)
        for bits in 100..<UInt128(100 + 2 * Membership.earlyLimit) {
            lone.hear(.ping(3), updates: [news(.alive, NodeID(bits: bits))])
        }
        #expect(lone.membership.early.count <= Membership.earlyLimit)
    }
}
