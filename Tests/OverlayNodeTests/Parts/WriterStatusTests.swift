import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct WriterStatusTests {
    private static let patience = WriterStatus.silencePatience

    private static func writer(_ state: PeerState, silentSince: Instant? = nil) -> PeerStatus {
        PeerStatus(state: state, since: .seconds(5), silentSince: silentSince)
    }

    @Test(arguments: [PeerState.daemonDown, .unreachable]) func aWriterThatIsNotReachableIsAwaySinceThen(state: PeerState) {
        #expect(WriterStatus.awaySince(Self.writer(state, silentSince: .seconds(1)), now: .seconds(9)) == .seconds(5))
        #expect(WriterStatus.awayAt(Self.writer(state, silentSince: .seconds(8)), now: .seconds(9)) == nil)
    }

    @Test(arguments: [PeerState.unknown, .alive, .udpBlocked, .suspect]) func aWriterThatAnswersIsNotAway(state: PeerState) {
        #expect(WriterStatus.awaySince(Self.writer(state), now: .seconds(100)) == nil)
        #expect(WriterStatus.awayAt(Self.writer(state), now: .seconds(100)) == nil)
    }

    @Test func aWriterThatAnswersOthersOnlyIsAwayAfterThePatience() {
        let silent = Self.writer(.alive, silentSince: .seconds(6))
        let at = Instant.seconds(6) + Self.patience
        let before: Instant = at - .milliseconds(1)
        #expect(WriterStatus.awaySince(silent, now: before) == nil && WriterStatus.awayAt(silent, now: before) == at)
        #expect(WriterStatus.awaySince(silent, now: at) == .seconds(6) && WriterStatus.awayAt(silent, now: at) == nil)
    }

    @Test func aProposalThatWasNotAnsweredTellsForItsAge() {
        var status = WriterStatus()
        #expect(!status.isSilent(at: .zero))
        status.didNotAnswer(at: .seconds(1))
        let end = Instant.seconds(1) + WriterStatus.unansweredAge
        #expect(status.isSilent(at: .seconds(1)) && status.isSilent(at: end - .milliseconds(1)) && !status.isSilent(at: end))
        status.answered()
        #expect(!status.isSilent(at: .seconds(1)))
    }

    @Test func aTermIsLoggedOnce() {
        var status = WriterStatus()
        let first = Term(number: 1, writer: Part.node)
        let second = Term(number: 1, writer: NodeID(bits: 8))
        #expect(!status.logs(.none) && status.logs(first) && !status.logs(first))
        #expect(status.logs(second) && !status.logs(second) && status.logs(first))
    }
}
