import OverlayModel
import Testing

@testable import OverlayMembership

@Suite struct ProbeTests {
    private static let peer = LoneMember.peer
    private static let other = LoneMember.other

    // MARK: Rounds

    /// In a large cluster news of some members misses a node. It must not take a round over all members to find them alive.
    @Test func whoWasNotHeardOfYetIsProbedSoon() {
        var lone = LoneMember(count: 400, heard: false)
        let all = Set((2...400).map { NodeID(bits: UInt128($0)) })
        for bits in 2...380 { lone.hear(.ping(0), from: NodeID(bits: UInt128(bits))) }
        _ = lone.take()
        lone.run(for: .seconds(8), answering: all)
        let unknown = all.filter { lone.state($0) == .unknown }
        #expect(unknown == [], "\(unknown.count) of 20 are still unknown")
    }

    /// In each round everybody is probed by exactly one other.
    @Test(arguments: [2, 3, 4, 7, 12])
    func everyMemberIsProbedOnceAPeriod(count: Int) {
        var members = (0..<count).map { index in
            Membership(node: NodeID(bits: UInt128(index) + 1), incarnation: LoneMember.first, seed: UInt64(index))
        }
        let ids = members.map(\.node)
        var ignored: [Membership.Effect] = []
        for index in members.indices {
            members[index].setMembers(
                ids, epoch: 1, now: Instant(nanoseconds: 0), report: { _ in LoneMember.nothing }, into: &ignored)
        }
        var pairs: Set<[NodeID]> = []
        for _ in 0..<count - 1 {
            var probed: [NodeID] = []
            for index in members.indices {
                var effects: [Membership.Effect] = []
                members[index].probes = [:]
                members[index].tick({ _ in LoneMember.nothing }, into: &effects)
                let targets = effects.compactMap { if case .send(let to, _, _) = $0 { to } else { nil } }
                #expect(targets.count == 1)
                probed += targets
                pairs.insert([members[index].node] + targets)
            }
            #expect(Set(probed).count == count)
        }
        #expect(pairs.count == count * (count - 1), "everybody probed everybody")
    }

    @Test func whoFellBehindCatchesUp() {
        let network = MemberNetwork(count: 6, seed: 2)
        network.run(for: .seconds(20))
        network.stall(3, for: .seconds(10))
        network.run(for: .seconds(13))
        network.stop(4, .dead)
        network.start(4)
        network.run(for: .seconds(4))
        let rounds = network.running.map { network[$0].round }
        #expect(rounds.max()! - rounds.min()! <= 1, "\(rounds)")
    }

    @Test(arguments: [0, 1, 1 << 31, .max, .max - 1] as [UInt32])
    func roundsOfOthersNeverTrap(heard: UInt32) {
        var lone = LoneMember(count: 5)
        for _ in 0..<10 {
            lone.hear(.ping(0), round: heard)
            lone.run(for: .milliseconds(600), answering: Set(lone.membership.ring))
        }
        #expect(lone.membership.counters.unanswered == 0)
    }

    /// The number of pings per second does not depend on lies about rounds.
    @Test func roundsOfOthersDoNotMakeMoreProbes() {
        var lone = LoneMember(count: 5)
        lone.run(for: .seconds(1), answering: Set(lone.membership.ring))
        var pings = 0
        for step in 0..<1000 as Range<UInt32> {
            lone.hear(.acknowledge(0), round: step &* 1_000_003)
            lone.run(for: .milliseconds(10))
            for (to, message, path) in lone.sent {
                if case .ping(let number) = message.body {
                    pings += 1
                    lone.hear(.acknowledge(number), from: to, by: path)
                }
            }
            lone.effects = []
        }
        #expect((18...22).contains(pings))
    }

    // MARK: One probe

    /// Runs until the first probe.
    private func probing(_ count: Int) -> (LoneMember, target: NodeID, number: UInt32) {
        var lone = LoneMember(count: count)
        // Answers that setMembers queued.
        while lone.membership.probes.isEmpty {
            lone.run(for: .milliseconds(1), answering: [])
            if let (number, probe) = lone.membership.probes.first { return (lone, probe.target, number) }
        }
        return (lone, Self.peer, 0)
    }

    @Test func anAnswerInTimeIsAllThatIsNeeded() {
        var (lone, target, number) = probing(5)
        lone.hear(.acknowledge(number), from: target)
        lone.effects = []
        #expect(lone.membership.probes.isEmpty && lone.state(target) == .alive)
        #expect(lone.membership.status(of: target)?.roundTrip != nil)
    }

    @Test func afterTheTimeoutOthersAndTheStreamAreTried() {
        var (lone, target, number) = probing(6)
        lone.run(for: .milliseconds(202))
        let requests = lone.sent.filter {
            if case .request(let theirs, let whom, _) = $0.message.body { theirs == number && whom == target } else { false }
        }
        #expect(Set(requests.map(\.to)).count == 3 && !requests.contains { $0.to == target })
        #expect(lone.sent.contains { $0.to == target && $0.path == .stream && $0.message.body == .ping(number) })
        #expect(lone.state(target) == .alive)
    }

    @Test func anAnswerByStreamKeepsItAlive() {
        var (lone, target, number) = probing(6)
        lone.run(for: .milliseconds(210))
        lone.hear(.acknowledge(number), from: target, by: .stream)
        #expect(lone.state(target) == .alive && lone.membership.counters.accusations == 0)
        #expect(lone.membership.inquiries[target] != nil, "whether datagrams pass is to be found out")
    }

    @Test func anAnswerThroughAHelperKeepsItAlive() {
        var (lone, target, number) = probing(6)
        lone.run(for: .milliseconds(210))
        let helper = lone.sent.first { if case .request = $0.message.body { true } else { false } }!.to
        lone.hear(.reached(number), from: helper)
        #expect(lone.state(target) == .alive && lone.reason(target) == "answers other nodes, but not this one")
        #expect(lone.membership.probes[number] == nil && lone.membership.inquiries.isEmpty)
    }

    /// The time since when a member is silent is reported, and it is probed until it answers this node itself, on either path.
    @Test(arguments: [MessagePath.datagram, .stream])
    func whoAnswersOthersAloneIsAskedOn(path: MessagePath) {
        var (lone, target, number) = probing(100)
        lone.run(for: .milliseconds(210))
        let helper = lone.sent.first { if case .request = $0.message.body { true } else { false } }!.to
        lone.hear(.reached(number), from: helper)
        let since = lone.membership.status(of: target)?.silentSince
        #expect(since == lone.now && lone.statuses.last?.silentSince == since)
        lone.effects = []
        lone.run(for: .seconds(2))
        let pings = lone.sent.filter { $0.to == target && $0.path == .datagram }
        #expect(pings.count >= 3)
        #expect(lone.membership.status(of: target)?.silentSince == since)
        guard case .ping(let last)? = pings.last?.message.body else { return }
        lone.hear(.acknowledge(last), from: target, by: path)
        #expect(lone.state(target) == .alive && lone.statuses.last?.silentSince == nil && !lone.statuses.isEmpty)
        if path == .datagram { #expect(lone.reason(target) == "") }
    }

    /// A member that was silent, was gone, and is back by its own word has its time anew: its earlier silence tells nothing of now. It is
    /// asked as a silent one is, until it answers.
    @Test func silenceDoesNotOutliveAnAbsence() {
        var (lone, target, number) = probing(3)
        lone.run(for: .milliseconds(210))
        let helper = lone.sent.first { if case .request = $0.message.body { true } else { false } }!.to
        lone.hear(.reached(number), from: helper)
        let since = lone.membership.status(of: target)?.silentSince
        #expect(since == lone.now)
        for _ in 0..<100 where lone.state(target) != .unreachable {
            let news = Update(subject: target, incarnation: LoneMember.first, claim: .unreachable, source: helper)
            lone.hear(.ping(1), from: helper, updates: [news])
            lone.run(for: .milliseconds(100), answering: [helper])
        }
        #expect(lone.state(target) == .unreachable)
        lone.run(for: .seconds(3), answering: [helper])
        lone.effects = []
        // It is heard, and was not asked yet.
        lone.hear(.ping(0), from: target, incarnation: LoneMember.first.next)
        #expect(lone.state(target) == .alive)
        let back = lone.membership.status(of: target)?.silentSince
        #expect(back == lone.now && lone.statuses.last?.silentSince == back)
        lone.effects = []
        lone.run(for: .seconds(1), answering: [helper])
        lone.run(for: .seconds(1), answering: [helper, target], incarnation: LoneMember.first.next)
        #expect(lone.state(target) == .alive && lone.membership.status(of: target)?.silentSince == nil)
    }

    /// Helpers that answer "no" are heard and hear. Silence of the helpers may mean that this node is the deaf one.
    @Test(arguments: [true, false])
    func silentHelpersCostHealth(saysNo: Bool) {
        var (lone, target, number) = probing(6)
        lone.run(for: .milliseconds(210))
        if saysNo {
            for (to, message, _) in lone.sent {
                if case .request(let theirs, _, _) = message.body { lone.hear(.notReached(theirs), from: to) }
            }
        }
        #expect(lone.membership.probes[number] != nil)
        lone.run(for: .milliseconds(400))
        #expect(lone.membership.probes[number] == nil && lone.membership.counters.unanswered == 1)
        #expect(lone.membership.healthScore == (saysNo ? 0 : 1) && lone.state(target) == .suspect)
    }

    @Test func healthComesBackAndSlowsProbes() {
        var lone = LoneMember(count: 3)
        lone.membership.healthScore = 7
        lone.run(for: .seconds(30), answering: [Self.peer, Self.other])
        #expect(lone.membership.healthScore == 0)
        lone.membership.healthScore = 3
        lone.membership.worsen(by: 200)
        #expect(lone.membership.healthScore == 7)
    }

    @Test func aHelperPingsAndTells() {
        var lone = LoneMember(count: 4)
        lone.hear(.request(77, target: Self.other, milliseconds: 100))
        let ping = lone.sent.last!
        guard case .ping(let number) = ping.message.body else {
            Issue.record("no ping")
            return
        }
        #expect(ping.to == Self.other && number != 77)
        var silent = lone
        lone.effects = []
        lone.hear(.acknowledge(number), from: Self.other)
        #expect(lone.sent.contains { $0.to == Self.peer && $0.message.body == .reached(77) })
        silent.effects = []
        silent.run(for: .milliseconds(99))
        #expect(!silent.sent.contains { $0.message.body == .notReached(77) })
        silent.run(for: .milliseconds(2))
        #expect(silent.sent.contains { $0.to == Self.peer && $0.message.body == .notReached(77) })
        #expect(silent.state(Self.other) == .alive, "what is no evidence of one's own accuses nobody")
    }

    @Test func requestsThatMakeNoSenseAreIgnored() {
        var lone = LoneMember(count: 3)
        lone.run(for: .milliseconds(1))
        lone.effects = []
        for target in [LoneMember.me, Self.peer, NodeID(bits: 99)] {
            lone.hear(.request(1, target: target, milliseconds: 100), from: Self.peer)
        }
        #expect(lone.sent.isEmpty)
    }

    @Test func strangersAreNotHeard() {
        var lone = LoneMember(count: 2)
        lone.effects = []
        lone.hear(.ping(1), from: NodeID(bits: 50))
        #expect(lone.effects.isEmpty)
    }

    @Test func whatIsOfAnEarlierLifeIsNotHeard() {
        var lone = LoneMember(count: 2)
        lone.hear(.ping(1), incarnation: Incarnation(epoch: 1, boot: 5))
        lone.effects = []
        lone.hear(.ping(2), incarnation: Incarnation(epoch: 1, boot: 4, sequence: 9))
        // But it is told that the probe is over.
        #expect(lone.effects.count == 1 && lone.sent.map(\.message.body) == [.notice])
        lone.hear(.ping(2), incarnation: Incarnation(epoch: 2, boot: 0))
        #expect(lone.take().contains(.restarted(Self.peer)))
    }

    // MARK: News

    /// News is repeated until it is acknowledged, but not for ever.
    @Test func newsAreRepeatedTenTimes() {
        var lone = LoneMember(count: 2, heard: false)
        var carried = lone.sent.filter { !$0.message.updates.isEmpty }.count
        lone.effects = []
        lone.membership.timers[.tick] = nil
        lone.run(for: .seconds(5))
        carried += lone.sent.filter { !$0.message.updates.isEmpty }.count
        #expect(carried == 10 && lone.membership.outbox.isEmpty && lone.membership.timers[.gossip] == nil)
    }

    @Test func acknowledgedNewsAreNotRepeated() {
        var lone = LoneMember(count: 2, heard: false)
        guard case .ping(let number)? = lone.sent.first?.message.body else {
            Issue.record("no ping")
            return
        }
        lone.effects = []
        lone.membership.timers[.tick] = nil
        lone.hear(.acknowledge(number))
        lone.run(for: .seconds(5))
        #expect(lone.membership.outbox.isEmpty && lone.sent.allSatisfy { $0.message.updates.isEmpty })
    }

    /// News that went along with another kind of ping is also repeated if that ping is lost.
    @Test func newsThatWentAlongAreRepeated() {
        var lone = LoneMember(count: 2)
        lone.run(for: .milliseconds(300), answering: [Self.peer])
        #expect(lone.membership.outbox.isEmpty && lone.membership.timers[.gossip] == nil)
        lone.membership.timers[.tick] = nil
        let news = Update(subject: LoneMember.me, incarnation: LoneMember.first, claim: .alive, source: LoneMember.me)
        lone.membership.queue(news, for: Self.peer)
        lone.membership.send(.ping(5), to: Self.peer, by: .datagram, { _ in LoneMember.nothing }, into: &lone.effects)
        lone.membership.flush({ _ in LoneMember.nothing }, into: &lone.effects)
        lone.effects = []
        lone.run(for: .milliseconds(150))
        #expect(lone.sent.contains { $0.message.updates == [news] })
    }

    /// More news than one message holds.
    @Test(arguments: [23, 24, 25, 60])
    func muchNewsTakesSeveralMessages(count: Int) {
        var lone = LoneMember(count: count + 2)
        lone.run(for: .milliseconds(50), answering: Set(lone.membership.ring))
        lone.membership.timers[.tick] = nil
        lone.effects = []
        for bits in 3..<3 + UInt128(count) {
            let subject = NodeID(bits: bits)
            lone.membership.queue(
                Update(subject: subject, incarnation: LoneMember.first, claim: .alive, source: subject), for: Self.peer)
        }
        lone.membership.flush({ _ in LoneMember.nothing }, into: &lone.effects)
        var told: Set<NodeID> = []
        for step in 0..<40 {
            let pings = lone.sent
            lone.effects = []
            for (to, message, path) in pings where to == Self.peer {
                #expect(message.updates.count <= MembershipMessage.updateLimit)
                // Every other one is lost.
                guard case .ping(let number) = message.body, step % 2 == 0 else { continue }
                told.formUnion(message.updates.map(\.subject).filter { $0 != LoneMember.me })
                lone.hear(.acknowledge(number), by: path)
            }
            lone.run(for: .milliseconds(100))
        }
        #expect(told.count == count && lone.membership.outbox.isEmpty)
    }
}
