import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct WriterDutiesTests {
    private static let none: [NodeID] = []
    private static let other = NodeID(bits: 8)

    // MARK: The gossip key

    @Test func onlyTheWriterHasTimers() {
        var duties = WriterDuties()
        var outbox = Part.outbox()
        duties.follow(isWriter: false, departed: [Part.node], into: &outbox)
        #expect(outbox.timers[.rotateKey] == nil && outbox.timers[.quarantine] == nil)
        duties.follow(isWriter: true, departed: [Part.node], into: &outbox)
        #expect(outbox.timers[.rotateKey] == .zero + WriterDuties.rotationPeriod)
        #expect(outbox.timers[.quarantine] == .zero + WriterDuties.quarantine)
        duties.follow(isWriter: false, departed: [Part.node], into: &outbox)
        #expect(outbox.timers[.rotateKey] == nil && outbox.timers[.quarantine] == nil)
    }

    @Test func theKeysLifeIsNotMadeLongerByFollowing() {
        var duties = WriterDuties()
        var outbox = Part.outbox()
        duties.follow(isWriter: true, departed: Self.none, into: &outbox)
        outbox.begin(at: .seconds(5))
        duties.follow(isWriter: true, departed: Self.none, into: &outbox)
        #expect(outbox.timers[.rotateKey] == .zero + WriterDuties.rotationPeriod)
    }

    @Test func aRotationIsTriedAgainUnlessItIsFollowed() {
        var duties = WriterDuties()
        var outbox = Part.outbox(at: .seconds(3))
        duties.beginRotation(isWriter: true, into: &outbox)
        #expect(outbox.take().kinds == ["makeKey"] && outbox.timers[.rotateKey] == Instant.seconds(3) + WriterDuties.rotationRetry)
        duties.beginRotation(isWriter: false, into: &outbox)
        #expect(outbox.take().isEmpty && outbox.timers[.rotateKey] == nil)
    }

    // MARK: Quarantine

    @Test func quarantineCountsFromWhenTheRemovalWasFirstHeardWhoeverWrites() {
        var duties = WriterDuties()
        var outbox = Part.outbox(at: .seconds(1))
        duties.follow(isWriter: false, departed: [Part.node], into: &outbox)
        outbox.begin(at: .seconds(100))
        duties.followQuarantines(isWriter: true, departed: [Part.node, Self.other], into: &outbox)
        let end = Instant.seconds(1) + WriterDuties.quarantine
        #expect(outbox.timers[.quarantine] == end)
        outbox.begin(at: .seconds(600))
        #expect(duties.takeEnded(isWriter: true, into: &outbox).isEmpty)
        outbox.begin(at: end)
        #expect(duties.takeEnded(isWriter: true, into: &outbox) == [Part.node])
    }

    @Test func theEndOfAQuarantineIsProposedAgain() {
        var duties = WriterDuties()
        var outbox = Part.outbox()
        duties.follow(isWriter: true, departed: [Self.other, Part.node], into: &outbox)
        let end = Instant.zero + WriterDuties.quarantine
        outbox.begin(at: end)
        #expect(duties.takeEnded(isWriter: true, into: &outbox) == [Part.node, Self.other])
        #expect(outbox.timers[.quarantine] == end + WriterDuties.quarantineRetry)
        #expect(duties.takeEnded(isWriter: true, into: &outbox).isEmpty)
        outbox.begin(at: end + WriterDuties.quarantineRetry)
        #expect(duties.takeEnded(isWriter: true, into: &outbox) == [Part.node, Self.other])
    }

    @Test func aNodeThatIsInQuarantineNoMoreIsForgotten() {
        var duties = WriterDuties()
        var outbox = Part.outbox()
        duties.follow(isWriter: true, departed: [Part.node], into: &outbox)
        duties.followQuarantines(isWriter: true, departed: Self.none, into: &outbox)
        #expect(outbox.timers[.quarantine] == nil)
        outbox.begin(at: .seconds(1000))
        #expect(duties.takeEnded(isWriter: true, into: &outbox).isEmpty)
        // A node that was removed again is in quarantine for the whole time.
        duties.followQuarantines(isWriter: true, departed: [Part.node], into: &outbox)
        #expect(outbox.timers[.quarantine] == Instant.seconds(1000) + WriterDuties.quarantine)
    }
}
