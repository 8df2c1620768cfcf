import OverlayModel
import Testing

@testable import OverlayMembership

/// A member that lies. It can be an annoyance, but it cannot take a healthy member away from anybody.
@Suite struct HostileMemberTests {
    enum Lie: CaseIterable {
        /// Accusations of the present incarnation.
        case accusations
        /// Accusations with counters that nobody has used yet.
        case futureCounters
        /// Accusations of lives that never were.
        case futureLives
        case views
        case rounds
        case helping
        case everything
    }

    private static let liar = 0

    private func message(_ lie: Lie, to: Int, _ network: MemberNetwork) -> MembershipMessage {
        let count = network.members.count
        let lie = lie == .everything ? Lie.allCases[network.random(below: 6)] : lie
        var body = MembershipMessage.Body.ping(UInt32(network.random(below: 1 << 20)))
        var round = network[Self.liar].round
        var view = network[Self.liar].view
        var updates: [Update] = []
        func claims(_ incarnation: (Incarnation) -> Incarnation) {
            for _ in 0..<3 {
                let subject = 1 + network.random(below: count - 1)
                let known = network[subject].incarnation
                let claim: [Update.Claim] = [.alive, .suspect, .daemonDown, .unreachable]
                updates.append(
                    Update(
                        subject: MemberNetwork.id(subject), incarnation: incarnation(known), claim: claim[network.random(below: 4)],
                        source: MemberNetwork.id(network.random(below: count))))
            }
        }
        switch lie {
        case .accusations: claims { $0 }
        case .futureCounters:
            claims { Incarnation(value: $0.value | [1, 0xFF, 0xFFFF, 0xFF_FFFE, 0xFF_FFFF][network.random(below: 5)]) }
        case .futureLives:
            claims {
                Incarnation(value: [$0.value + 1 << 24, $0.value + 1 << 48, .max, .max - 1, 0][network.random(below: 5)])
            }
        case .views:
            body = [.states(isAnswer: false), .states(isAnswer: true), .acknowledge(3)][network.random(below: 3)]
            view = UInt64(network.random(below: .max))
            claims { $0 }
        case .rounds: round = UInt32(truncatingIfNeeded: network.random(below: 1 << 32))
        case .helping, .everything:
            let target = 1 + network.random(below: count - 1)
            let number = network[to].nextNumber &- UInt32(network.random(below: 4))
            body =
                [
                    .reached(number), .notReached(number), .acknowledge(number),
                    .request(number, target: MemberNetwork.id(target), milliseconds: UInt16(network.random(below: 65536))),
                ][network.random(below: 4)]
        }
        return MembershipMessage(
            body: body, incarnation: network[Self.liar].incarnation, round: round, healthScore: 0, report: MemberNetwork.nothing,
            view: view,
            updates: updates)
    }

    @Test(arguments: Lie.allCases, [1] as [UInt64])
    func noLieMakesAHealthyMemberUnreachable(lie: Lie, seed: UInt64) {
        let network = MemberNetwork(count: 7, seed: seed)
        network.run(for: .seconds(2))
        let restarts = network.restarts.count
        for _ in 0..<250 {
            let to = 1 + network.random(below: 6)
            network.send(message(lie, to: to, network), from: Self.liar, to: to)
            network.run(for: .milliseconds(Int64(network.random(below: 100))))
        }
        #expect(network.declarations().isEmpty, "\(network.declarations().prefix(3))")
        #expect(network.restarts.count == restarts, "nobody started anew")
        // When it is quiet, everything is healthy.
        network.run(for: .seconds(10))
        #expect(network.declarations().isEmpty && network.allAreAlive)
        #expect(network.busy == 0)
        // A restart and a crash are noticed as usual.
        network.stop(3, .dead)
        network.start(3, boot: 9)
        #expect(network.wait(atMost: .milliseconds(500)) { $0.allAreAlive } != nil)
        #expect(Set(network.restarts[restarts...].map(\.by)).count == 6)
        network.stop(4, .dead)
        let known = network.wait(atMost: .seconds(12)) { network in
            network.running.allSatisfy { network.state(4, by: $0) == .unreachable }
        }
        #expect(known != nil)
    }

    /// Claims about a life in which a member never spoke do not make its own messages late.
    @Test(arguments: [0, 1] as [UInt64], [Update.Claim.alive, .suspect, .unreachable, .daemonDown])
    func aLifeThatNeverWasSilencesNobody(known: UInt64, claim: Update.Claim) {
        var lone = LoneMember(count: 3, heard: known == 1)
        let update = Update(
            subject: LoneMember.peer, incarnation: Incarnation(epoch: 9, boot: 9), claim: claim,
            source: claim == .alive ? LoneMember.peer : LoneMember.other)
        lone.hear(.ping(1), from: LoneMember.other, updates: [update])
        lone.effects = []
        lone.run(for: .seconds(10), answering: [LoneMember.peer, LoneMember.other])
        #expect(lone.state() == .alive)
        #expect(lone.membership.counters.declared == 0)
        #expect(!lone.take().contains(.restarted(LoneMember.peer)))
        // Its true next life is one.
        lone.hear(.ping(1), incarnation: Incarnation(epoch: 1, boot: 2))
        #expect(lone.take().filter { $0 == .restarted(LoneMember.peer) }.count == 1)
    }

    /// It cannot hide a death by choosing whom others probe.
    @Test func roundsDoNotHideADeadMember() {
        let network = MemberNetwork(count: 6, seed: 5)
        network.run(for: .seconds(2))
        network.stop(3, .dead)
        let end = network.now + .seconds(20)
        while network.now < end {
            for to in network.running where to != Self.liar {
                // The next round in which `to` probes a live member.
                let membership = network[to]
                guard let own = membership.ring.firstIndex(of: MemberNetwork.id(to)), membership.ring.count > 1 else { continue }
                var round = max(membership.round, membership.heardRound) &+ 1000
                while membership.ring[(own + 1 + Int(round % UInt32(membership.ring.count - 1))) % membership.ring.count]
                    == MemberNetwork.id(3)
                { round &+= 1 }
                let message = MembershipMessage(
                    body: .ping(1), incarnation: network[Self.liar].incarnation, round: round, healthScore: 0,
                    report: MemberNetwork.nothing, view: membership.view, updates: [])
                network.send(message, from: Self.liar, to: to)
            }
            network.run(for: .milliseconds(50))
        }
        #expect(network.running.allSatisfy { $0 == Self.liar || network.state(3, by: $0) == .unreachable })
    }

    /// A storm of requests does not use up what a member does for the others.
    @Test func requestsOfOneDoNotShutOutAnother() {
        var lone = LoneMember(count: 4)
        for number in 0..<1000 as Range<UInt32> {
            lone.hear(.request(number, target: NodeID(bits: 4), milliseconds: 500), from: LoneMember.peer)
        }
        #expect(lone.membership.probes.count <= 256)
        lone.effects = []
        lone.hear(.request(7, target: NodeID(bits: 4), milliseconds: 500), from: LoneMember.other)
        #expect(lone.sent.contains { $0.to == NodeID(bits: 4) })
    }

    /// A helper that was not asked has no say.
    @Test func onlyHelpersThatWereAskedMaySayReached() {
        var lone = LoneMember(count: 8)
        lone.run(for: .milliseconds(750))
        guard
            let (number, probe) = lone.membership.probes.first(where: { if case .indirect = $0.value.stage { true } else { false } }
            ),
            case .indirect(let helpers) = probe.stage
        else {
            Issue.record("nothing was probed")
            return
        }
        let outsider = lone.membership.ring.first { $0 != LoneMember.me && $0 != probe.target && !helpers.contains($0) }!
        lone.hear(.reached(number), from: outsider)
        #expect(lone.membership.probes[number] != nil)
        lone.hear(.reached(number), from: helpers.min()!)
        #expect(lone.membership.probes[number] == nil)
    }

    /// Accusations lower a member's health score at a limited rate, and its answers are bounded.
    @Test func aStormOfAccusationsIsBounded() {
        let network = MemberNetwork(count: 8, seed: 6)
        network.run(for: .seconds(2))
        let packets = network.packets
        for _ in 0..<100 {
            let update = Update(
                subject: MemberNetwork.id(1), incarnation: network[1].incarnation, claim: .unreachable, source: MemberNetwork.id(2))
            let message = MembershipMessage(
                body: .ping(1), incarnation: network[Self.liar].incarnation, round: 0, healthScore: 0,
                report: MemberNetwork.nothing,
                view: network[1].view, updates: [update])
            network.send(message, from: Self.liar, to: 1)
            network.run(for: .milliseconds(10))
        }
        // Each costs at most one ping to all, with their answers.
        #expect(network.packets - packets <= 100 * 2 * 8 + 200)
        #expect(network.declarations().isEmpty)
    }

    /// Little is held for a peer that does not read.
    @Test func aSilentPeerCostsLittle() {
        var lone = LoneMember(count: 40)
        for step in 0..<1000 {
            let subject = NodeID(bits: UInt128(3 + step % 38))
            let incarnation = Incarnation(epoch: 1, boot: 1, sequence: UInt32(step))
            let claim: Update.Claim = step % 2 == 0 ? .suspect : .alive
            let source = claim == .alive ? subject : LoneMember.other
            lone.hear(
                .ping(0), from: LoneMember.other,
                updates: [Update(subject: subject, incarnation: incarnation, claim: claim, source: source)])
            lone.run(for: .milliseconds(5))
            lone.effects = []
            #expect(lone.membership.outbox.count <= 39 && lone.membership.outbox.values.allSatisfy { $0.updates.count <= 40 })
            #expect(lone.membership.suspicions.count <= 39 && lone.membership.inquiries.count <= 39)
            #expect(lone.membership.probes.count <= 300)
        }
    }
}
