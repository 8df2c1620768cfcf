import OverlayModel
import Testing

@testable import OverlayMembership

/// Members echo what they heard, so that one with an old copy of its state finds out.
@Suite struct OldStateTests {
    private static let later = Incarnation(epoch: 1, boot: 3)

    private func echoes(_ lone: LoneMember) -> [(mark: StateMark, isAhead: Bool)] {
        lone.effects.compactMap { if case .echo(_, let mark, let isAhead) = $0 { (mark, isAhead) } else { nil } }
    }

    @Test func aMemberIsToldWhatWasHeardOfIt() throws {
        var lone = LoneMember(count: 3)
        lone.hear(.ping(1), incarnation: Self.later, run: 7, writes: 40)
        let answer = try #require(lone.sent.last { $0.to == LoneMember.peer })
        #expect(answer.message.heard == StateMark(life: Self.later.life, run: 7, writes: 40))
        #expect(answer.message.run == lone.membership.run)
        // A lower mark changes nothing, and the first process of a life stays.
        lone.hear(.ping(2), incarnation: Self.later, run: 8, writes: 3)
        #expect(lone.sent.last?.message.heard == StateMark(life: Self.later.life, run: 7, writes: 40))
        lone.hear(.ping(3), incarnation: Incarnation(epoch: 1, boot: 4), run: 8, writes: 41)
        #expect(lone.sent.last?.message.heard == StateMark(life: Incarnation(epoch: 1, boot: 4).life, run: 8, writes: 41))
    }

    /// A member that has just started cannot confirm a state.
    @Test func whoHasOnlyTheWordOfTheMemberItselfTellsItNothing() {
        var lone = LoneMember(count: 3, heard: false)
        lone.hear(.ping(1), incarnation: Self.later, run: 7, writes: 40)
        lone.hear(.ping(2), incarnation: Self.later, run: 7, writes: 41)
        #expect(!lone.sent.isEmpty && lone.sent.allSatisfy { $0.message.heard == .none })
        // A machine was rolled back while its daemon ran on.
        lone.hear(.ping(3), incarnation: Self.later, run: 7, writes: 40)
        #expect(lone.sent.last?.message.heard == StateMark(life: Self.later.life, run: 7, writes: 41))
        lone.hear(.ping(4), incarnation: Incarnation(epoch: 1, boot: 4), run: 8, writes: 42)
        #expect(lone.sent.last?.message.heard == StateMark(life: Incarnation(epoch: 1, boot: 4).life, run: 8, writes: 42))
    }

    /// At most once per second, and never back and forth; also from a member that has heard of no other life.
    @Test(arguments: [false, true])
    func whoSpeaksInALifeThatIsOverIsTold(heard: Bool) {
        var lone = LoneMember(count: 3, heard: heard)
        lone.hear(.ping(1), incarnation: Self.later, run: 7)
        lone.effects = []
        for number in 0..<100 as Range<UInt32> {
            lone.hear(.ping(number), incarnation: LoneMember.first, run: 9)
            lone.hear(.notice, incarnation: LoneMember.first, run: 9)
            lone.now = lone.now + .milliseconds(5)
        }
        #expect(lone.sent.count == 1)
        #expect(lone.sent.first?.message.body == .notice && lone.sent.first?.message.heard.life == Self.later.life)
        lone.now = lone.now + .seconds(1)
        lone.membership.heardEarlierLife(
            of: LoneMember.peer, now: lone.now, report: { _ in LoneMember.nothing }, into: &lone.effects)
        #expect(lone.sent.count == 2)
        // No answer to a notice, and none to a stranger.
        lone.effects = []
        lone.hear(.notice, from: LoneMember.other)
        lone.membership.heardEarlierLife(
            of: NodeID(bits: 77), now: lone.now, report: { _ in LoneMember.nothing }, into: &lone.effects)
        #expect(lone.sent.isEmpty)
    }

    @Test func moreThanThisMemberKnowsIsProof() {
        var lone = LoneMember(count: 3)
        let own = StateMark(life: LoneMember.first.life, run: lone.membership.run, writes: 0)
        lone.hear(.ping(0), heard: own)
        #expect(echoes(lone).map(\.isAhead) == [false])
        lone.effects = []
        // Told once that its state is the newest.
        lone.hear(.ping(0), heard: own)
        #expect(echoes(lone).isEmpty)
        for (life, run, writes) in [
            (own.life + 1, own.run, 0), (own.life + 1 << 24, 0, 0), (own.life, own.run ^ 1, 0), (own.life, own.run, 1), (0, 0, 1),
        ] as [(UInt64, UInt32, UInt64)] {
            lone.effects = []
            let mark = StateMark(life: life, run: run, writes: writes)
            lone.hear(.acknowledge(5), heard: mark)
            #expect(echoes(lone).map(\.isAhead) == [true], "\(mark)")
        }
        lone.effects = []
        lone.hear(.ping(0), heard: StateMark(life: own.life - 1, run: 5, writes: 0))
        #expect(echoes(lone).isEmpty)
    }

    @Test func aRaisedBootIsANewIncarnation() {
        var lone = LoneMember(count: 2)
        lone.membership.setMembers(
            [LoneMember.me, LoneMember.peer], epoch: 2, boot: 9, now: lone.now, report: { _ in LoneMember.nothing },
            into: &lone.effects)
        #expect(lone.membership.incarnation == Incarnation(epoch: 2, boot: 9))
        lone.setMembers(count: 3)
        #expect(lone.membership.incarnation == Incarnation(epoch: 1, boot: 9))
    }
}
