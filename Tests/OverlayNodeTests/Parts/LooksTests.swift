import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct LooksTests {
    private static let one = VNI(1_048_576)!
    private static let other = VNI(1_048_577)!

    @Test func theFirstChangeIsLookedAtAtOnceAndTheNextAfterThePause() {
        var looks = Looks()
        looks.changed(Self.one, at: .seconds(1))
        #expect(looks.next == .seconds(1))
        #expect(looks.takeDue(at: .seconds(1)) == [Self.one])
        #expect(looks.next == nil)
        looks.begin(Part.effect(1), at: Self.one)
        #expect(looks.end(Part.effect(1)) == Self.one && looks.end(Part.effect(1)) == nil)
        looks.found(true, at: Self.one)
        looks.changed(Self.one, at: .seconds(1) + .milliseconds(1))
        #expect(looks.next == Instant.seconds(1) + Looks.pause)
    }

    @Test func oneThatIsChangedWithoutEndIsLookedAtFiveTimesASecondAndHoldsUpNoOther() {
        var looks = Looks()
        var count = 0
        var others = 0
        for millisecond in 0..<10_000 as Range<Int64> {
            let now = Instant(nanoseconds: 0) + .milliseconds(millisecond)
            looks.changed(Self.one, at: now)
            if millisecond % 1000 == 7 { looks.changed(Self.other, at: now) }
            for vni in looks.takeDue(at: now) {
                looks.found(true, at: vni)
                if vni == Self.one { count += 1 } else { others += 1 }
            }
        }
        #expect(count == 50 && others == 10)
    }

    @Test func looksThatFindNothingBecomeRareAndQuietMakesThemPromptAgain() {
        var looks = Looks()
        var times: [Int64] = []
        for millisecond in 0..<30_000 as Range<Int64> {
            let now = Instant(nanoseconds: 0) + .milliseconds(millisecond)
            looks.changed(Self.one, at: now)
            for vni in looks.takeDue(at: now) {
                looks.found(false, at: vni)
                times.append(millisecond)
            }
        }
        #expect(times.prefix(6) == [0, 400, 1200, 2800, 6000, 9200])
        #expect(times.count < 15)
        let later = Instant(nanoseconds: 0) + .seconds(60)
        looks.changed(Self.one, at: later)
        #expect(looks.takeDue(at: later) == [Self.one])
        looks.found(true, at: Self.one)
        looks.changed(Self.one, at: later)
        #expect(looks.next == later + Looks.pause)
    }

    @Test func aNetworkThatIsLookedAtWaitsForTheEnd() {
        var looks = Looks()
        looks.changed(Self.one, at: .zero)
        #expect(looks.takeDue(at: .zero) == [Self.one])
        looks.begin(Part.effect(1), at: Self.one)
        looks.changed(Self.one, at: .seconds(1))
        #expect(looks.takeDue(at: .seconds(1)).isEmpty && looks.next == Instant.seconds(1) + Looks.pause)
        _ = looks.end(Part.effect(1))
        #expect(looks.takeDue(at: .seconds(2)) == [Self.one])
        looks.demand(Self.one, at: .seconds(9))
        looks.demand(Self.one, at: .seconds(8))
        #expect(looks.next == .seconds(8))
        looks.forget(Self.one)
        #expect(looks.next == nil)
    }
}

@Suite struct RestorationsTests {
    private static let endpoint = Part.endpoint(1)

    @Test func aPortIsMadeAgainAtOnceAndThenLessAndLessOften() {
        var restorations = Restorations()
        var times: [Int64] = []
        for millisecond in stride(from: 0, to: 300_000, by: 100) as StrideTo<Int64> {
            let now = Instant(nanoseconds: 0) + .milliseconds(millisecond)
            guard restorations.begin(Self.endpoint, at: now) == nil else { continue }
            times.append(millisecond)
            let id = Part.effect(UInt64(times.count))
            restorations.setEffect(id, of: Self.endpoint)
            #expect(restorations.end(id, failure: nil)?.endpoint == Self.endpoint)
        }
        #expect(times.prefix(10) == [0, 200, 400, 600, 800, 1000, 1200, 1400, 1800, 2600])
        #expect(times.count < 25, "\(times)")
        // Ten minutes later it is as the first time.
        #expect(restorations.begin(Self.endpoint, at: .seconds(2000)) == nil)
    }

    @Test func aFailureIsKeptUntilThePortIsThere() {
        var restorations = Restorations()
        #expect(restorations.begin(Self.endpoint, at: .zero) == nil)
        restorations.setEffect(Part.effect(1), of: Self.endpoint)
        #expect(restorations.end(Part.effect(9), failure: "no") == nil)
        #expect(restorations.end(Part.effect(1), failure: "no")?.next == .milliseconds(200))
        #expect(restorations.failures == [Self.endpoint: "no"])
        restorations.settle { $0 == Self.endpoint }
        #expect(restorations.failures.count == 1)
        restorations.settle { _ in false }
        #expect(restorations.failures.isEmpty)
    }
}
