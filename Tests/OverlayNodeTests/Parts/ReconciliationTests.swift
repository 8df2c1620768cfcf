import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct ReconciliationTests {
    private static let id = Part.engineNetwork(1)
    private static let endpoint = Reconciliation.Subject.endpoint(Part.endpoint(1))
    private static let lease = Reconciliation.Subject.lease(Part.subnet, Part.address(9))

    /// Looks at a time, and answers everything with nothing.
    private func look(
        _ part: inout Reconciliation, at now: Instant, running: Set<EndpointID>? = [], shown: Reconciliation.Shown? = nil
    ) {
        part.begin(at: now)
        part.ask(Self.id, by: Part.effect(1))
        part.askEndpoints(by: Part.effect(2))
        #expect(!part.isAnswered && part.isAsked(by: Part.effect(1)))
        #expect(part.answered(Part.effect(1), shown ?? .init(endpoints: [], addresses: []), else: "") == true)
        #expect(part.answered(Part.effect(2), running: running) == true)
        #expect(part.isAnswered)
    }

    private func end(_ part: inout Reconciliation, at now: Instant) -> Instant { part.end(at: now, isWhole: true) { _ in true } }

    @Test func whatWasJoinedIsLeftAfterTwoLooks() {
        var part = Reconciliation()
        look(&part, at: .seconds(1))
        #expect(part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true) == .suspected)
        #expect(end(&part, at: .seconds(1)) == .seconds(6))
        #expect(part.hasSuspects)
        look(&part, at: .seconds(5))
        #expect(part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true) == .suspected, "too soon")
        #expect(end(&part, at: .seconds(5)) == .seconds(6))
        look(&part, at: .seconds(6))
        #expect(part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true) == .left)
        #expect(end(&part, at: .seconds(6)) == .seconds(66))
    }

    @Test(arguments: 0..<6) func oneSignOfLifeBeginsItAnew(sign: Int) {
        var part = Reconciliation()
        look(&part, at: .seconds(1))
        _ = part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true)
        _ = end(&part, at: .seconds(1))
        if sign == 4 { part.forget() }
        look(&part, at: .seconds(10), running: sign == 2 ? [Part.endpoint(1)] : [])
        // A call that came while the engine was asked.
        if sign == 3 { part.touch(Self.endpoint, at: .seconds(11)) }
        if sign == 5 { part.touch(Self.endpoint, at: .seconds(9)) }
        let verdict = part.judge(Self.endpoint, isHeld: sign == 0, isBusy: sign == 1, isWritten: true)
        #expect(verdict == (sign > 3 ? .suspected : .kept))
        _ = end(&part, at: .seconds(10))
        look(&part, at: .seconds(20))
        #expect(part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true) == (sign > 3 ? .left : .suspected))
    }

    /// An engine writes what it made after the answer to its call.
    @Test func whatIsNewIsWaitedFor() {
        var part = Reconciliation()
        look(&part, at: .seconds(1))
        _ = end(&part, at: .seconds(1))
        part.touch(Self.lease, at: .seconds(100))
        look(&part, at: .seconds(129))
        #expect(part.judge(Self.lease, isHeld: false, isBusy: false) == .kept)
        #expect(end(&part, at: .seconds(129)) == .seconds(130))
        look(&part, at: .seconds(130))
        #expect(part.judge(Self.lease, isHeld: false, isBusy: false) == .suspected)
        #expect(end(&part, at: .seconds(130)) == .seconds(135))
        look(&part, at: .seconds(135))
        #expect(part.judge(Self.lease, isHeld: false, isBusy: false) == .left)
    }

    /// Nothing is known of what was before the start.
    @Test func whatWasThereBeforeIsNewAtTheFirstLook() {
        var part = Reconciliation()
        look(&part, at: .seconds(500))
        #expect(part.judge(Self.lease, isHeld: false, isBusy: false) == .kept)
        #expect(end(&part, at: .seconds(500)) == .seconds(530))
    }

    @Test func nothingIsLeftWhileContainersCannotBeAsked() {
        var part = Reconciliation()
        for time: Int64 in [1, 10, 20, 30] {
            look(&part, at: .seconds(time), running: nil)
            #expect(part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true) == .suspected)
            _ = end(&part, at: .seconds(time))
        }
    }

    @Test func whatIsNotHereAnyMoreIsNotAskedFor() {
        var part = Reconciliation()
        look(&part, at: .seconds(1))
        _ = part.judge(Self.endpoint, isHeld: false, isBusy: false, isWritten: true)
        #expect(part.end(at: .seconds(1), isWhole: true) { _ in false } == .seconds(61))
        #expect(!part.hasSuspects)
    }

    @Test func aLookThatIsNotWholeComesAgainSoon() {
        var part = Reconciliation()
        part.begin(at: .seconds(1))
        #expect(part.end(at: .seconds(1), isWhole: false) { _ in true } == .seconds(2))
    }

    @Test func reasonsStayUntilAnAnswer() {
        var part = Reconciliation()
        part.begin(at: .seconds(1))
        part.ask(Self.id, by: Part.effect(1))
        #expect(part.answered(Part.effect(9), nil, else: "other") == false)
        #expect(part.answered(Part.effect(1), nil, else: "away") == true)
        #expect(part.failures == [Self.id: "away"])
        #expect(part.shown(Self.id) == nil && !part.isMissing(Self.id))
        #expect(end(&part, at: .seconds(1)) == .seconds(6))
        part.begin(at: .seconds(6))
        part.ask(Self.id, by: Part.effect(2))
        #expect(part.answeredMissing(Part.effect(2)) == Self.id)
        #expect(part.failures.isEmpty && part.isMissing(Self.id))
        part.askSandbox(of: Part.endpoint(1), by: Part.effect(3))
        #expect(!part.isAnswered)
        #expect(part.answered(Part.effect(3), isHoused: true) == true)
        #expect(part.isAnswered && part.isHoused(Part.endpoint(1)))
        part.setStrays([Part.endpoint(1)], of: Self.id)
        part.keepOnly { _ in false }
        #expect(part.strays.isEmpty)
    }

    @Test func oneReleaseIsLate() {
        var part = Reconciliation()
        #expect(part.takeLateRelease(of: Self.lease, at: .seconds(1)) == false)
        part.setGivenUp(Self.lease, at: .seconds(1))
        #expect(part.takeLateRelease(of: Self.lease, at: .seconds(60)) == true)
        #expect(part.takeLateRelease(of: Self.lease, at: .seconds(60)) == false)
        part.setGivenUp(Self.lease, at: .seconds(1))
        #expect(part.takeLateRelease(of: Self.lease, at: .seconds(61)) == false)
    }
}

@Suite struct MissedStartsTests {
    private static let id = ContainerID(unchecked: String(repeating: "1", count: 64))
    private static let other = ContainerID(unchecked: String(repeating: "2", count: 64))

    @Test func eachIsLookedAtOnceUnlessItWasMissed() {
        var part = MissedStarts(starts: false)
        #expect(part.learn([Self.id: "a", Self.other: "b"]) == [Self.id, Self.other])
        #expect(part.learn(Self.id, isMissed: true) == false)
        #expect(part.learn(Self.other, isMissed: false) == false)
        #expect(part.names == [Self.id: "a"])
        #expect(part.learn([Self.id: "a", Self.other: "b"]) == [Self.id])
        part.forget()
        #expect(part.learn([Self.id: "a", Self.other: "b"]) == [Self.id, Self.other])
        #expect(part.learn([:]) == [])
        #expect(part.isEmpty)
    }

    @Test func eachIsStartedOnce() {
        var part = MissedStarts(starts: true)
        _ = part.learn([Self.id: "a"])
        #expect(part.learn(Self.id, isMissed: true) == true)
        #expect(part.learn(Self.id, isMissed: true) == false)
        part.drop(Self.id)
        #expect(part.isEmpty)
        _ = part.learn([Self.id: "a"])
        #expect(part.learn(Self.id, isMissed: true) == false)
        #expect(part.names == [Self.id: "a"])
        // A container that was not listed is none of ours.
        #expect(part.learn(Self.other, isMissed: true) == false)
    }
}
