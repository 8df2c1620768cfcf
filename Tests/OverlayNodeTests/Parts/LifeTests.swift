import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct LifeTests {
    private static func mark(epoch: UInt32 = 3, boot: UInt32 = 7, writes: UInt64 = 0) -> StateMark {
        StateMark(life: UInt64(epoch) << 24 | UInt64(boot), run: 1, writes: writes)
    }

    private static func life() -> Life { Life(epoch: 3, boot: 7, isRolledBack: false) }

    private static func rollBack(
        _ life: inout Life, _ mark: StateMark, admitted: UInt32 = 3, sessionBoot: UInt32 = 0, writes: UInt64 = 0,
        now: Instant = .zero
    ) -> Bool {
        life.rollBack("why", seen: mark, admitted: admitted, sessionBoot: sessionBoot, writes: writes, now: now)
    }

    /// A life that was rolled back, and the write of the one to come.
    private static func rolledBack(_ outbox: inout Outbox) throws -> (life: Life, effect: EffectID) {
        var life = Self.life()
        try #require(rollBack(&life, mark(epoch: 5, boot: 9)))
        life.store(into: &outbox)
        return (life, try #require(outbox.take().stores.first).id)
    }

    // MARK: Joining

    @Test func aJoinSpeaksInItsEpochOnceItIsAMember() {
        var life = Self.life()
        life.beginEpoch()
        #expect(life.epoch == 4 && life.spoken == Incarnation(epoch: 3, boot: 7))
        #expect(life.row == .put(.node, key: NodeRow.epoch, value: UInt32(4).wireBytes))
        life.joined()
        #expect(life.spoken == Incarnation(epoch: 4, boot: 7) && !life.isRolledBack)
    }

    // MARK: What is believed

    @Test func aMarkIsBelievedUpToTheBoundOfEachKind() {
        let boots = 7 + Life.plausibleBoots
        let epochs = 3 + Life.plausibleEpochs
        let writes = 20 + Life.plausibleWrites
        for (mark, isBelieved) in [
            (Self.mark(boot: boots), true), (Self.mark(boot: boots + 1), false), (Self.mark(epoch: epochs), true),
            (Self.mark(epoch: epochs + 1), false), (Self.mark(writes: writes), true), (Self.mark(writes: writes + 1), false),
        ] {
            var life = Self.life()
            #expect(Self.rollBack(&life, mark, writes: 20) == isBelieved && life.isRolledBack == isBelieved, "\(mark)")
        }
    }

    @Test func epochsAreBelievedAboveWhatTheCatalogueKnows() {
        var life = Self.life()
        #expect(Self.rollBack(&life, Self.mark(epoch: 10 + Life.plausibleEpochs), admitted: 10))
    }

    @Test func theLifeToComeIsAboveAllThatWasSeen() throws {
        for (mark, admitted, sessionBoot, epoch, boot) in [
            (Self.mark(epoch: 5, boot: 9), 4, 8, 6, 10), (Self.mark(epoch: 1, boot: 1), 8, 30, 9, 31),
            (Self.mark(epoch: 1, boot: 1), 2, 0, 4, 8),
        ] as [(StateMark, UInt32, UInt32, UInt32, UInt32)] {
            var life = Self.life()
            #expect(Self.rollBack(&life, mark, admitted: admitted, sessionBoot: sessionBoot))
            let rollback = try #require(life.rollback)
            #expect(rollback.epoch == epoch && rollback.boot == boot && rollback.why == "why" && !rollback.isStored)
        }
    }

    @Test func theBootCounterEndsAtTheLastOne() {
        var life = Life(epoch: 3, boot: Life.lastBoot, isRolledBack: false)
        #expect(Self.rollBack(&life, Self.mark(boot: Life.lastBoot)) && life.rollback?.boot == Life.lastBoot)
    }

    // MARK: Marks while it is rolled back

    @Test func aMarkBelowTheLifeToComeIsCovered() {
        var life = Self.life()
        #expect(Self.rollBack(&life, Self.mark(epoch: 5, boot: 9), writes: 50))
        let later = Instant.seconds(10)
        #expect(!Self.rollBack(&life, Self.mark(epoch: 5, boot: 9, writes: 50), writes: 50, now: later))
        #expect(Self.rollBack(&life, Self.mark(epoch: 6, boot: 1), writes: 50, now: later) && life.rollback?.epoch == 7)
        #expect(Self.rollBack(&life, Self.mark(epoch: 1, boot: 20), writes: 50, now: .seconds(20)) && life.rollback?.boot == 21)
        #expect(Self.rollBack(&life, Self.mark(epoch: 1, boot: 1, writes: 51), writes: 50, now: .seconds(30)))
    }

    @Test func itIsRaisedNoMoreOftenThanThePause() {
        var life = Self.life()
        #expect(Self.rollBack(&life, Self.mark(epoch: 5), now: .seconds(1)))
        let end = Instant.seconds(1) + Life.retry
        #expect(!Self.rollBack(&life, Self.mark(epoch: 9), now: end - .milliseconds(1)))
        #expect(Self.rollBack(&life, Self.mark(epoch: 9), now: end))
    }

    @Test func anInterruptedRollbackTakesTheFirstMark() throws {
        var life = Life(epoch: 3, boot: 7, isRolledBack: true)
        #expect(life.isRolledBack && life.rollback?.why == Life.interrupted)
        #expect(Self.rollBack(&life, Self.mark(epoch: 4, boot: 8)) && life.rollback?.epoch == 5 && life.rollback?.boot == 9)
    }

    @Test func theLifeToComeIsRaisedAboveWhatTheCatalogueHas() throws {
        var life = Self.life()
        life.raise(above: 9, now: .zero)
        #expect(!life.isRolledBack)
        #expect(Self.rollBack(&life, Self.mark(epoch: 5, boot: 20)))
        life.raise(above: 3, now: .seconds(1))
        #expect(life.rollback?.epoch == 6 && life.rollback?.boot == 21 && life.rollback?.since == .seconds(1))
        life.raise(above: 6, now: .seconds(2))
        #expect(life.rollback?.epoch == 7)
        // One that was interrupted has no boot counter yet.
        life = Life(epoch: 3, boot: 7, isRolledBack: true)
        life.raise(above: 3, now: .zero)
        #expect(life.rollback?.epoch == 4 && life.rollback?.boot == 8)
    }

    @Test func aLaterLifeInTheCatalogueIsSeen() {
        var life = Self.life()
        #expect(!life.isBehind(3) && life.isBehind(4))
        #expect(Self.rollBack(&life, Self.mark(epoch: 5)))
        #expect(!life.isBehind(5) && life.isBehind(6))
        life.admitted()
        #expect(!life.isBehind(6))
    }

    // MARK: The way to a new life

    @Test func theNewLifeBeginsWhenItIsDurable() throws {
        var outbox = Part.outbox()
        var (life, effect) = try Self.rolledBack(&outbox)
        #expect(life.spoken == Incarnation(epoch: 3, boot: 7))
        guard case .other = life.stored(Part.effect(99), isStored: true, into: &outbox) else {
            Issue.record("another write began the life")
            return
        }
        #expect(outbox.take().isEmpty && life.rollback?.isStored == false)
        guard case .begun = life.stored(effect, isStored: true, into: &outbox) else {
            Issue.record("the life has not begun")
            return
        }
        #expect(
            life.rollback?.isStored == true && life.boot == 10 && life.spoken == Incarnation(epoch: 6, boot: 10) && life.epoch == 3)
        guard case .raiseBoot(10)? = outbox.take().first else {
            Issue.record("the boot counter was not raised")
            return
        }
    }

    @Test func theNewLifeIsStoredWithTheMarkThatTheStateIsOld() throws {
        var outbox = Part.outbox()
        var life = Self.life()
        life.store(into: &outbox)
        #expect(outbox.take().isEmpty)
        #expect(Self.rollBack(&life, Self.mark(epoch: 5, boot: 9)))
        life.store(into: &outbox)
        let rows = try #require(outbox.take().stores.first).rows
        #expect(rows.contains(.put(.node, key: NodeRow.epoch, value: UInt32(6).wireBytes)))
        #expect(rows.contains(.put(.node, key: NodeRow.boot, value: UInt32(10).wireBytes)))
        #expect(rows.contains(.put(.node, key: NodeRow.rollback, value: [])))
    }

    @Test func aWriteThatFailedIsTriedAgain() throws {
        var outbox = Part.outbox(at: .seconds(4))
        var (life, effect) = try Self.rolledBack(&outbox)
        guard case .failed = life.stored(effect, isStored: false, into: &outbox) else {
            Issue.record("a failure was taken for something else")
            return
        }
        #expect(
            outbox.timers[.newEpoch] == Instant.seconds(4) + Life.retry && life.rollback?.isStored == false && outbox.take().isEmpty
        )
        #expect(life.rollback?.storing == nil && life.spoken == Incarnation(epoch: 3, boot: 7))
    }

    @Test func theRollbackIsOverWhenThatIsDurable() throws {
        var outbox = Part.outbox()
        var (life, effect) = try Self.rolledBack(&outbox)
        _ = life.stored(effect, isStored: true, into: &outbox)
        life.admitted()
        life.finish(with: Part.effect(50))
        guard case .failed = life.stored(Part.effect(50), isStored: false, into: &outbox) else {
            Issue.record("a failure was taken for something else")
            return
        }
        #expect(life.isRolledBack && outbox.timers[.newEpoch] != nil)
        life.finish(with: Part.effect(51))
        guard case .other = life.stored(Part.effect(50), isStored: true, into: &outbox),
            case .finished = life.stored(Part.effect(51), isStored: true, into: &outbox)
        else {
            Issue.record("the end of the wrong write counts")
            return
        }
        life.end(into: &outbox)
        #expect(
            !life.isRolledBack && life.epoch == 6 && life.spoken == Incarnation(epoch: 6, boot: 10)
                && outbox.timers[.newEpoch] == nil)
        guard case .other = life.stored(Part.effect(51), isStored: true, into: &outbox) else {
            Issue.record("a life without a rollback waits for a write")
            return
        }
    }

    @Test func aNodeThatLeftItsClusterIsNotRolledBack() throws {
        var outbox = Part.outbox()
        var life = try Self.rolledBack(&outbox).life
        life.retry(into: &outbox)
        life.forgetRollback(into: &outbox)
        #expect(!life.isRolledBack && life.epoch == 3 && outbox.timers[.newEpoch] == nil)
        life.end(into: &outbox)
        #expect(life.epoch == 3)
    }
}
