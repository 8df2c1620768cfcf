import OverlayModel
import Testing

@Suite struct DeadlinesTests {
    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func timersAreThoseOfAList(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var deadlines = Deadlines<Int>()
        var model: [Int: Instant] = [:]
        for step in 0..<3000 {
            let key = Int.random(in: 0..<50, using: &generator)
            let at = Instant(nanoseconds: Int64(step / 4) + Int64.random(in: 0..<200, using: &generator))
            switch Int.random(in: 0..<9, using: &generator) {
            case 0...3:
                deadlines.set(key, at: at)
                model[key] = at
            case 4:
                deadlines.set(key, noLaterThan: at)
                model[key] = min(model[key] ?? at, at)
            case 5:
                deadlines.clear(key)
                model[key] = nil
            case 6:
                let now = Instant(nanoseconds: Int64(step / 4))
                let expected = model.filter { $0.value <= now && $0.key % 3 == 1 }.keys.sorted()
                #expect(deadlines.takeDue(at: now) { $0 % 3 == 1 }.sorted() == expected)
                for key in expected { model[key] = nil }
            case 7:
                let now = Instant(nanoseconds: Int64(step / 4))
                #expect(deadlines.takeDue(key, at: now) == (model[key].map { $0 <= now } ?? false))
                if let at = model[key], at <= now { model[key] = nil }
            default:
                let now = Instant(nanoseconds: Int64(step / 4))
                while let due = deadlines.takeDue(at: now) {
                    let at = model.removeValue(forKey: due)
                    #expect(at.map { $0 <= now } == true && model.values.allSatisfy { $0 >= at ?? now })
                }
                #expect(model.values.allSatisfy { $0 > now })
            }
            #expect(deadlines.next == model.values.min() && deadlines[key] == model[key])
        }
    }

    @Test func equalInstantsAreTakenInTheOrderInWhichTheyWereSet() {
        var deadlines = Deadlines<String>()
        let at = Instant(nanoseconds: 5)
        for key in ["c", "a", "b"] { deadlines.set(key, at: at) }
        deadlines.set("c", at: Instant(nanoseconds: 4))
        deadlines.set("c", at: at)
        var taken: [String] = []
        while let key = deadlines.takeDue(at: at) { taken.append(key) }
        #expect(taken == ["a", "b", "c"])
    }

    /// As a core with a fixed order of phases uses it: the instants do not matter, and a timer set meanwhile waits for its phase.
    @Test func aFixedOrderIsKept() {
        enum Timer: CaseIterable { case first, second, third }
        var timers = Deadlines<Timer>()
        let now = Instant(nanoseconds: 10)
        timers[.third] = Instant(nanoseconds: 1)
        timers[.first] = now
        var fired: [Timer] = []
        for timer in Timer.allCases where timers.takeDue(timer, at: now) {
            fired.append(timer)
            if timer == .first { timers[.second] = now }
            if timer == .third { timers[.first] = now }
        }
        #expect(fired == [.first, .second, .third])
        #expect(timers.next == now)
        timers[.first] = nil
        #expect(timers.next == nil)
    }

    @Test func whatWasClearedIsNotTaken() {
        var deadlines = Deadlines<Int>()
        for key in 0..<10 { deadlines.set(key, at: Instant(nanoseconds: Int64(key))) }
        deadlines.clear(3)
        deadlines.set(4, at: Instant(nanoseconds: 100))
        #expect(deadlines.takeDue(at: Instant(nanoseconds: 6)) { $0 > 1 }.sorted() == [2, 5, 6])
        #expect(deadlines.takeDue(at: Instant(nanoseconds: 6)) { _ in true }.sorted() == [0, 1])
        #expect(deadlines.next == Instant(nanoseconds: 7))
        deadlines.clearAll()
        #expect(deadlines.next == nil && deadlines.keys.isEmpty)
    }
}
