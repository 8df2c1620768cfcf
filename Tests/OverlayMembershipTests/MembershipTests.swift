import OverlayModel
import Testing

@testable import OverlayMembership

@Suite struct MembershipTests {
    private static let me = NodeID(bits: 1)
    private static let peer = NodeID(bits: 2)
    private static let nothing = Membership.Facts(catalogueIndex: 0, digest: 0)

    /// One node's membership, and all it did.
    private struct Harness {
        var membership: Membership
        var effects: [Membership.Effect] = []
        var now = Instant(nanoseconds: 0)

        init(peers: [NodeID] = [peer], seed: UInt64 = 1) {
            membership = Membership(node: me, boot: 7, seed: seed)
            membership.setMembers([me] + peers, now: now)
        }

        /// Lets every timer up to the end of `time` go off.
        mutating func run(for time: Interval) {
            let end = now + time
            while let next = membership.nextDeadline, next <= end {
                now = max(now, next)
                membership.advance(to: now, facts: { _ in nothing }, into: &effects)
            }
            now = end
        }

        mutating func hear(
            from sender: NodeID = peer, answer: Bool = true, number: UInt64 = 0, boot: UInt32 = 1, facts: Membership.Facts = nothing
        ) throws {
            let message = ProbeMessage(isAnswer: answer, number: number, boot: boot, facts: facts)
            try membership.receive(
                message.wireBytes, from: sender, now: now, facts: { Membership.Facts(catalogueIndex: 40, digest: UInt64($0.bits)) },
                into: &effects)
        }

        mutating func take() -> [Membership.Effect] {
            defer { effects = [] }
            return effects
        }

        var sent: [(to: NodeID, message: ProbeMessage)] {
            effects.compactMap {
                guard case .send(let to, let bytes) = $0, let message = try? ProbeMessage(wire: bytes) else { return nil }
                return (to, message)
            }
        }
    }

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        expectHostileBytesAreHarmless(
            [
                ProbeMessage(isAnswer: false, number: 1, boot: 2, facts: Membership.Facts(catalogueIndex: 3, digest: 4)),
                ProbeMessage(isAnswer: true, number: .max, boot: .max, facts: Membership.Facts(catalogueIndex: .max, digest: .max)),
            ], seed: seed)
    }

    @Test func aNewMemberIsProbedAtOnceAndOneselfNever() {
        var harness = Harness()
        #expect(harness.membership.nextDeadline == harness.now)
        harness.run(for: .milliseconds(0))
        #expect(harness.sent.map(\.to) == [Self.peer])
        #expect(harness.membership.status(of: Self.peer)?.state == .unknown && harness.membership.status(of: Self.me) == nil)
        #expect(harness.sent.first?.message.boot == 7 && harness.sent.first?.message.isAnswer == false)
    }

    @Test func silenceMakesAMemberUnreachable() throws {
        var harness = Harness()
        try harness.hear()
        #expect(harness.take().prefix(2) == [.reachable(Self.peer), .heard(Self.peer, Self.nothing)])
        harness.run(for: .seconds(4))
        #expect(!harness.effects.contains(.unreachable(Self.peer)))
        // Looked at when the next probe is due, so at most a period later.
        harness.run(for: .milliseconds(1100))
        #expect(harness.effects.filter { $0 == .unreachable(Self.peer) }.count == 1)
        #expect(harness.membership.status(of: Self.peer)?.state == .unreachable)
        harness.run(for: .seconds(60))
        #expect(harness.effects.filter { $0 == .unreachable(Self.peer) }.count == 1, "it is told once")
        #expect(harness.sent.count > 50, "and tried for ever")
    }

    @Test func whoNeverAnsweredIsUnreachableToo() {
        var harness = Harness()
        harness.run(for: .seconds(6))
        #expect(harness.effects.contains(.unreachable(Self.peer)))
    }

    @Test(arguments: [true, false])
    func anyWordMakesItReachableAtOnce(isAnswer: Bool) throws {
        var harness = Harness()
        harness.run(for: .seconds(30))
        _ = harness.take()
        try harness.hear(answer: isAnswer)
        #expect(harness.effects.first == .reachable(Self.peer))
        #expect(harness.membership.status(of: Self.peer)?.state == .alive)
        #expect(harness.membership.status(of: Self.peer)?.since == harness.now)
        _ = harness.take()
        try harness.hear()
        #expect(harness.take() == [.heard(Self.peer, Self.nothing)], "that is news once")
    }

    @Test func probesAreAnsweredWithFactsForTheAsker() throws {
        var harness = Harness()
        let facts = Membership.Facts(catalogueIndex: 12, digest: 34)
        try harness.hear(answer: false, number: 99, facts: facts)
        #expect(harness.effects.contains(.heard(Self.peer, facts)))
        let answer = try #require(harness.sent.last)
        #expect(answer.to == Self.peer && answer.message.isAnswer && answer.message.number == 99 && answer.message.boot == 7)
        #expect(answer.message.facts == Membership.Facts(catalogueIndex: 40, digest: 2))
        _ = harness.take()
        try harness.hear(answer: true, number: 99)
        #expect(harness.sent.isEmpty, "an answer is not answered")
    }

    @Test func aRestartIsToldOnce() throws {
        var harness = Harness()
        try harness.hear(boot: 3)
        #expect(!harness.effects.contains(.restarted(Self.peer)), "the first word is no restart")
        try harness.hear(boot: 3)
        #expect(!harness.effects.contains(.restarted(Self.peer)))
        try harness.hear(boot: 4)
        try harness.hear(boot: 4)
        #expect(harness.effects.filter { $0 == .restarted(Self.peer) }.count == 1)
    }

    @Test func wordsOfAnEarlierLifeAreIgnored() throws {
        var harness = Harness()
        try harness.hear(boot: 4)
        harness.run(for: .seconds(6))
        _ = harness.take()
        try harness.hear(answer: false, boot: 3, facts: Membership.Facts(catalogueIndex: 99, digest: 99))
        #expect(harness.take().isEmpty)
        #expect(harness.membership.status(of: Self.peer)?.state == .unreachable)
    }

    @Test func strangersAreIgnoredAndJunkIsRefused() throws {
        var harness = Harness()
        try harness.hear(from: NodeID(bits: 3))
        #expect(harness.effects.isEmpty)
        var effects: [Membership.Effect] = []
        #expect(throws: DecodeError.self) {
            try harness.membership.receive(
                [1, 2, 3], from: Self.peer, now: harness.now, facts: { _ in Self.nothing }, into: &effects)
        }
        #expect(effects.isEmpty)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func everyMemberIsProbedOnceASecond(seed: UInt64) throws {
        let peers = (2...11).map { NodeID(bits: UInt128($0)) }
        var harness = Harness(peers: peers, seed: seed)
        var times: [NodeID: [Instant]] = [:]
        for _ in 0..<1200 {
            harness.run(for: .milliseconds(50))
            for (to, _) in harness.sent { times[to, default: []].append(harness.now) }
            harness.effects = []
        }
        for peer in peers {
            let probes = try #require(times[peer])
            #expect((54...67).contains(probes.count), "seed \(seed): \(probes.count) probes a minute")
            for (one, next) in zip(probes, probes.dropFirst()) {
                #expect(next - one >= .milliseconds(850) && next - one <= .milliseconds(1150), "seed \(seed)")
            }
        }
        // They started together and do not stay together.
        #expect(Set(times.values.compactMap(\.last)).count > 3)
    }

    @Test func roundTripsAreSmoothed() throws {
        var harness = Harness()
        harness.run(for: .milliseconds(0))
        let first = try #require(harness.sent.last?.message.number)
        harness.now = harness.now + .milliseconds(8)
        try harness.hear(number: first)
        #expect(harness.membership.status(of: Self.peer)?.roundTrip == .milliseconds(8))
        try harness.hear(number: first)
        #expect(harness.membership.status(of: Self.peer)?.roundTrip == .milliseconds(8), "the same answer again measures nothing")
        harness.run(for: .milliseconds(1200))
        let second = try #require(harness.sent.last?.message.number)
        #expect(second != first)
        let probed = try #require(harness.membership.nextDeadline)
        try harness.hear(number: first)
        #expect(harness.membership.status(of: Self.peer)?.roundTrip == .milliseconds(8), "nor does an answer to an older probe")
        try harness.hear(number: second)
        #expect(try #require(harness.membership.status(of: Self.peer)?.roundTrip) > .milliseconds(8))
        #expect(harness.membership.nextDeadline == probed, "answers do not move probes")
    }

    @Test func whoIsNoMemberAnyMoreIsForgotten() throws {
        var harness = Harness(peers: [Self.peer, NodeID(bits: 3)])
        try harness.hear()
        harness.membership.setMembers([Self.me, Self.peer], now: harness.now)
        #expect(harness.membership.status(of: NodeID(bits: 3)) == nil)
        #expect(harness.membership.status(of: Self.peer)?.state == .alive, "the others keep what is known of them")
        harness.membership.setMembers([], now: harness.now)
        #expect(harness.membership.nextDeadline == nil)
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func alteredMessagesNeverTrap(seed: UInt64) {
        var harness = Harness(seed: seed)
        var generator = SeededGenerator(seed: seed)
        let good = ProbeMessage(isAnswer: true, number: 5, boot: 1, facts: Self.nothing).wireBytes
        for _ in 0..<5000 {
            var bytes = good
            for _ in 0..<3 {
                bytes[Int.random(in: bytes.indices, using: &generator)] = [0, 1, 5, 255].randomElement(using: &generator)!
            }
            try? harness.membership.receive(
                bytes, from: Self.peer, now: harness.now, facts: { _ in Self.nothing }, into: &harness.effects)
            harness.run(for: .milliseconds(37))
        }
    }
}
