import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct ProposerTests {
    private typealias Effect = CatalogueNode.Effect
    private static let writer = Fixture.node(0)
    private static let command = Command.rotateKey([UInt8](repeating: 1, count: 32))

    private var proposer = Proposer(boot: 3)
    private var timers = Deadlines<CatalogueNode.Timer>()
    private var effects: [Effect] = []
    private var now = Instant(nanoseconds: 0)

    private mutating func add(deadline: Int64 = 1000) -> (id: CatalogueNode.ProposalID, isFirst: Bool) {
        let id = proposer.takeID()
        let isFirst = proposer.add(Self.command, as: id, deadline: Instant(nanoseconds: deadline * 1_000_000), timers: &timers)
        return (id, isFirst)
    }

    private mutating func send(_ route: Proposer.Route = .peer(writer)) -> Proposer.Proposal? {
        proposer.sendFirst(by: route, epoch: 7, now: now, timers: &timers, into: &effects)
    }

    @Test mutating func theFirstIsInFlightAlone() throws {
        let first = add()
        let second = add()
        #expect(first.isFirst && !second.isFirst && first.id != second.id)
        #expect(send() == nil)
        let message = CatalogueMessage.propose(epoch: 7, sequence: 3 << 32 | 1, Self.command)
        #expect(effects == [.send(Self.writer, message.wireBytes)])
        proposer.finishFirst(.writerFailed, timers: &timers, into: &effects)
        #expect(effects.last == .outcome(first.id, .writerFailed))
        #expect(proposer.first?.id == second.id && proposer.first?.sequence == 3 << 32 | 2)
    }

    @Test mutating func repeatsComeEverMoreSeldom() {
        _ = add()
        var pauses: [Interval] = []
        for _ in 0..<6 {
            _ = send()
            guard let next = timers[.resend] else { break }
            pauses.append(next - now)
            now = next
        }
        #expect(pauses == [30, 60, 120, 240, 480, 480].map { .milliseconds($0) })
        proposer.resetRetry()
        _ = send()
        #expect(timers[.resend] == now + .milliseconds(30))
    }

    @Test mutating func whatTheWriterDecidedIsNotRepeatedSoon() throws {
        _ = add()
        _ = send()
        let sequence = try #require(proposer.first?.sequence)
        proposer.decided(sequence + 1, now: now, timers: &timers)
        #expect(timers[.resend] == now + Proposer.firstRetry)
        proposer.decided(sequence, now: now, timers: &timers)
        #expect(timers[.resend] == now + Proposer.lastRetry)
    }

    @Test mutating func theWriterStagesItsOwn() {
        let (id, _) = add()
        #expect(send(.here)?.id == id)
        #expect(effects.isEmpty && timers[.resend] == nil)
    }

    @Test mutating func aSuspendedWriterTriesAgain() {
        _ = add()
        #expect(send(.suspended) == nil)
        #expect(effects.isEmpty && timers[.resend] == now + Proposer.firstRetry)
        #expect(send(.nowhere) == nil)
        #expect(timers[.resend] == nil)
    }

    @Test mutating func theDeadlineIsThatOfTheFirst() {
        _ = add(deadline: 900)
        _ = add(deadline: 100)
        #expect(timers[.expire] == Instant(nanoseconds: 900_000_000))
        proposer.finishFirst(.writerFailed, timers: &timers, into: &effects)
        #expect(timers[.expire] == Instant(nanoseconds: 100_000_000))
        proposer.finishFirst(.writerFailed, timers: &timers, into: &effects)
        #expect(timers[.expire] == nil)
    }

    @Test mutating func allEndAtOnceInOrder() {
        let ids = [add().id, add().id, add().id]
        _ = send()
        effects = []
        proposer.finishAll(.noCluster, timers: &timers, into: &effects)
        #expect(effects == ids.map { .outcome($0, .noCluster) })
        #expect(proposer.first == nil && timers.next == nil)
    }

    @Test mutating func newSequencesAreAboveAllOld() {
        _ = add()
        _ = add()
        let promotion = proposer.takeSequence()
        proposer.renumber()
        #expect(proposer.first.map { $0.sequence > promotion } == true)
    }

    @Test mutating func aLaterBootHasLaterSequences() {
        #expect(!proposer.isAhead(2) && !proposer.isAhead(3) && proposer.isAhead(4))
        let last = proposer.takeSequence()
        proposer.start(boot: 4)
        #expect(proposer.takeSequence() > last && proposer.nextSequence == 4 << 32 | 2)
    }

    @Test mutating func thereIsALimit() {
        for _ in 0..<Proposer.limit { _ = add() }
        #expect(proposer.isFull)
        proposer.finishFirst(.writerFailed, timers: &timers, into: &effects)
        #expect(!proposer.isFull)
    }
}
