import OverlayModel
import Testing

@testable import OverlayMembership

@Suite struct SuspicionTests {
    private static let peer = LoneMember.peer
    private static let other = LoneMember.other

    private func claim(_ claim: Update.Claim, _ incarnation: Incarnation = LoneMember.first, by source: NodeID = other) -> Update {
        Update(subject: Self.peer, incarnation: incarnation, claim: claim, source: source)
    }

    private func everybody(_ count: Int, but silent: NodeID...) -> Set<NodeID> {
        Set((2...count).map { NodeID(bits: UInt128($0)) }).subtracting(silent)
    }

    /// Hearsay makes a node probe, and nothing more.
    @Test(arguments: [Update.Claim.suspect, .unreachable, .daemonDown], [3, 4, 60])
    func hearsayOfAHealthyMemberIsLookedInto(what: Update.Claim, count: Int) {
        var lone = LoneMember(count: count)
        for _ in 0..<5 {
            lone.hear(.ping(0), from: Self.other, updates: [claim(what)])
            lone.run(for: .milliseconds(400), answering: everybody(count))
        }
        // Longer than an unconfirmed accusation takes.
        lone.run(for: .seconds(count > 50 ? 14 : 8), answering: everybody(count))
        #expect(lone.state() == .alive && lone.statuses.isEmpty && lone.membership.counters.accusations == 0)
    }

    /// A declaration is believed after two rounds of own probes without an answer.
    @Test func aDeclarationIsBelievedAfterTwoRounds() {
        var lone = LoneMember(count: 4)
        lone.run(for: .milliseconds(10), answering: everybody(4))
        lone.hear(.ping(0), from: Self.other, updates: [claim(.unreachable)])
        lone.run(for: .milliseconds(290), answering: everybody(4, but: Self.peer))
        #expect(lone.state()?.isReachable == true)
        lone.run(for: .milliseconds(30), answering: everybody(4, but: Self.peer))
        #expect(lone.state() == .unreachable)
    }

    /// A node that never heard of a member does not know its incarnation. Its report that there was no answer is still worth a
    /// probe.
    @Test func newsFromWhoNeverHeardOfItCount() {
        var lone = LoneMember(count: 4)
        lone.run(for: .milliseconds(10), answering: everybody(4))
        lone.hear(.ping(0), from: Self.other, updates: [claim(.unreachable, Incarnation(value: 0))])
        lone.run(for: .milliseconds(320), answering: everybody(4, but: Self.peer))
        #expect(lone.state() == .unreachable)
    }

    /// Confirmations by others shorten the suspicion.
    @Test(arguments: [(0, 7200), (1, 3414), (2, 1200), (3, 1200)] as [(UInt128, Int64)])
    func confirmationsShortenTheWait(confirmations: UInt128, milliseconds: Int64) {
        var lone = LoneMember(count: 6)
        lone.run(for: .milliseconds(10), answering: everybody(6))
        lone.membership.inquire(after: Self.peer)
        while lone.state() == .alive { lone.run(for: .milliseconds(1), answering: everybody(6, but: Self.peer)) }
        #expect(lone.state() == .suspect)
        let start = lone.now
        for source in 0..<confirmations {
            lone.hear(.ping(0), from: Self.other, updates: [claim(.suspect, by: NodeID(bits: 3 + source))])
        }
        while lone.state() == .suspect { lone.run(for: .milliseconds(1), answering: everybody(6, but: Self.peer)) }
        let taken = (lone.now - start).nanoseconds / 1_000_000
        #expect(lone.state() == .unreachable && (milliseconds...milliseconds + 170).contains(taken), "\(taken)")
    }

    /// One accuser counts once, and the suspect does not count.
    @Test func oneAccuserCountsOnce() {
        var lone = LoneMember(count: 6)
        for _ in 0..<5 { lone.hear(.ping(0), from: Self.other, updates: [claim(.suspect), claim(.suspect, by: Self.peer)]) }
        #expect(lone.membership.suspicions[Self.peer]?.accusers == [Self.other])
    }

    @Test func aStrangersAccusationDoesNotCount() {
        var lone = LoneMember(count: 6)
        lone.hear(.ping(0), from: Self.other, updates: [claim(.suspect, by: NodeID(bits: 99))])
        lone.hear(.ping(0), from: Self.other, updates: [claim(.suspect, Incarnation(value: 1))])
        #expect(lone.membership.suspicions.isEmpty && lone.membership.inquiries.isEmpty)
    }

    // MARK: Refutation

    @Test(arguments: [Update.Claim.suspect, .unreachable, .daemonDown])
    func whoIsAccusedSaysOtherwise(what: Update.Claim) {
        var lone = LoneMember(count: 4)
        let own = Update(subject: LoneMember.me, incarnation: LoneMember.first, claim: what, source: Self.other)
        lone.effects = []
        lone.hear(.ping(0), updates: [own])
        #expect(lone.membership.incarnation == LoneMember.first.next && lone.membership.counters.refutations == 1)
        let answer = Update(subject: LoneMember.me, incarnation: LoneMember.first.next, claim: .alive, source: LoneMember.me)
        #expect(Set(lone.sent.filter { $0.message.updates == [answer] }.map(\.to)) == everybody(4))
        // Accusations of an old incarnation or of another life do not count.
        for incarnation in [LoneMember.first, Incarnation(epoch: 1, boot: 0), Incarnation(epoch: 5, boot: 0)] {
            lone.hear(
                .ping(0), updates: [Update(subject: LoneMember.me, incarnation: incarnation, claim: what, source: Self.other)])
        }
        #expect(lone.membership.counters.refutations == 1)
    }

    @Test func aRefutationClearsASuspect() {
        for away in [false, true] {
            var lone = LoneMember(count: 4)
            lone.membership.inquire(after: Self.peer)
            while lone.state() != (away ? .unreachable : .suspect) {
                lone.run(for: .milliseconds(5), answering: everybody(4, but: Self.peer))
            }
            lone.hear(.ping(0), from: Self.other, updates: [claim(.alive)])
            #expect(lone.state() == (away ? .unreachable : .suspect), "the same incarnation is nothing new")
            lone.hear(.ping(0), from: Self.other, updates: [claim(.alive, LoneMember.first.next)])
            #expect(lone.state() == .alive && lone.membership.suspicions.isEmpty && lone.membership.inquiries.isEmpty)
            #expect(lone.membership.retries.isEmpty && lone.membership.ring.contains(Self.peer))
        }
    }

    /// Being heard is half of what is needed.
    @Test func onlyTwoWayEvidenceBringsAMemberBack() {
        var lone = LoneMember(count: 4)
        lone.membership.inquire(after: Self.peer)
        while lone.state() != .unreachable { lone.run(for: .milliseconds(5), answering: everybody(4, but: Self.peer)) }
        lone.run(for: .seconds(20), answering: everybody(4, but: Self.peer))
        lone.effects = []
        lone.hear(.ping(9))
        #expect(lone.state() == .unreachable && lone.sent.contains { $0.message.body == .acknowledge(9) })
        // But it is worth a probe at once.
        lone.run(for: .milliseconds(1))
        let ping = lone.sent.last { $0.to == Self.peer }
        guard case .ping(let number)? = ping?.message.body else {
            Issue.record("it is not tried")
            return
        }
        #expect(ping?.message.updates.first?.claim == .unreachable, "it is told what is held against it")
        lone.hear(.acknowledge(number))
        #expect(lone.state() == .alive && lone.reason() == "")
    }

    /// The suspect is the first to be told.
    @Test func theSuspectIsTold() {
        var lone = LoneMember(count: 6)
        lone.hear(.ping(0), from: Self.other, updates: [claim(.suspect)])
        lone.effects = []
        lone.run(for: .milliseconds(1))
        #expect(Set(lone.sent.filter { $0.to == Self.peer }.map(\.path)) == [.datagram, .stream])
        #expect(lone.sent.filter { $0.to == Self.peer }.allSatisfy { $0.message.updates.contains { $0.subject == Self.peer } })
    }

    // MARK: For ever

    /// An unreachable member is probed without end, every 1 to 10 s.
    @Test(arguments: [(2, 1000), (11, 2000), (100, 10_000)] as [(Int, Int64)])
    func theUnreachableAreTriedForEver(count: Int, milliseconds: Int64) {
        var lone = LoneMember(count: count)
        lone.run(for: .milliseconds(10), answering: everybody(count, but: Self.peer))
        lone.membership.timers[.tick] = nil
        lone.hear(.ping(0), from: NodeID(bits: UInt128(count)), updates: [claim(.unreachable)])
        if count == 2 { lone.membership.inquire(after: Self.peer, isDeclared: true) }
        lone.run(for: .seconds(120))
        #expect(lone.state() == .unreachable)
        lone.effects = []
        lone.run(for: .seconds(600))
        let tries = lone.sent.filter { $0.to == Self.peer && $0.path == .datagram }.count
        let expected = 600_000 / milliseconds
        #expect((expected * 9 / 10...expected * 11 / 10).contains(Int64(tries)), "\(tries)")
    }

    /// Answers that wait in the socket are read before anything is concluded.
    @Test func afterAStallNothingIsConcludedAtOnce() {
        var lone = LoneMember(count: 2)
        lone.membership.inquire(after: Self.peer)
        while lone.state() != .suspect { lone.run(for: .milliseconds(1)) }
        while lone.membership.inquiries[Self.peer]!.unanswered < 7 { lone.run(for: .milliseconds(1)) }
        lone.stalled()
        let (healthScore, stalls) = (lone.membership.healthScore, lone.membership.counters.stalls)
        lone.run(for: .milliseconds(249))
        #expect(lone.state() == .suspect && healthScore >= 2 && stalls == 1)
        lone.hear(.acknowledge(1))
        #expect(lone.state() == .alive)
    }

    /// The few inquirers of a large cluster are chosen from reachable members.
    @Test func theDeadAreNoInquirers() {
        var parameters = MembershipParameters()
        parameters.allInquire = 8
        parameters.inquirers = 3
        let network = MemberNetwork(count: 20, seed: 3, parameters: parameters)
        network.run(for: .seconds(2))
        for index in 0..<14 { network.stop(index, .dead) }
        let known = network.wait(atMost: .seconds(60), poll: .milliseconds(100)) { network in
            network.running.allSatisfy { by in (0..<14).allSatisfy { network.state($0, by: by) == .unreachable } }
        }
        #expect(known != nil)
        network.start(0)
        network.run(for: .seconds(3))
        network.stop(0, .dead)
        let again = network.wait(atMost: .seconds(5), poll: .milliseconds(100)) { network in
            network.running.allSatisfy { network.state(0, by: $0) == .unreachable }
        }
        #expect(again != nil)
        #expect(network.declarations().allSatisfy { $0.of < 14 })
    }
}
