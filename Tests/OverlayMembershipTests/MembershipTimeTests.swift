import OverlayModel
import Testing

@testable import OverlayMembership

@Suite struct MembershipTimeTests {
    private static func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    @Test(
        arguments: [
            // Nobody could confirm, so the shortest time applies at once.
            (1, [1200, 1200, 1200, 1200, 1200]), (2, [1200, 1200, 1200, 1200, 1200]), (3, [1200, 1200, 1200, 1200, 1200]),
            // Six times the shortest. Two confirmations bring it down, the first by log 2 / log 3 of the way.
            (4, [7200, 3414, 1200, 1200, 1200]), (10, [7200, 3414, 1200, 1200, 1200]),
            (25, [10065, 4773, 1677, 1677, 1677]), (100, [14400, 6828, 2400, 2400, 2400]),
            (1000, [21600, 10243, 3600, 3600, 3600]),
        ] as [(Int, [Int64])])
    func suspicionShrinksWithConfirmations(members: Int, milliseconds: [Int64]) {
        let parameters = MembershipParameters()
        for (index, expected) in milliseconds.enumerated() {
            let time = parameters.suspicionTime(accusers: index + 1, members: members)
            #expect(abs(time.nanoseconds - expected * 1_000_000) <= 1_000_000, "\(index + 1) accusers: \(time.nanoseconds)")
        }
        #expect(parameters.suspicionTime(accusers: 0, members: members) == parameters.suspicionTime(accusers: 1, members: members))
    }

    @Test func logarithmsAreExactEnough() {
        let exact: [(Int, Double)] = [
            (-5, 0), (0, 0), (1, 0), (2, 0.301_029_995_663_981), (3, 0.477_121_254_719_662), (7, 0.845_098_040_014_257), (10, 1),
            (25, 1.397_940_008_672_038), (99, 1.995_635_194_597_550), (100, 2), (1000, 3), (65536, 4.816_479_930_623_699),
            (1_000_000_000, 9), (.max, 18.964_889_726_830_815),
        ]
        for (number, expected) in exact { #expect(abs(decimalLogarithm(number) - expected) < 1e-9, "\(number)") }
        for number in 1..<2000 { #expect(decimalLogarithm(number) < decimalLogarithm(number + 1)) }
    }

    /// About five attempts per second in all; each member is tried at most every second and at least every ten.
    @Test func triesAreShared() {
        let parameters = MembershipParameters()
        func milliseconds(_ members: Int) -> [Int64] {
            [0, 1, 2, 3, 4, 5, 6, 1_000_000, .max].map {
                parameters.retryTime(tries: $0, members: members).nanoseconds / 1_000_000
            }
        }
        #expect(milliseconds(0) == [500, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000])
        #expect(milliseconds(2) == milliseconds(0) && milliseconds(6) == milliseconds(0))
        #expect(milliseconds(11) == [500, 1000, 2000, 2000, 2000, 2000, 2000, 2000, 2000])
        #expect(milliseconds(26) == [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000, 5000])
        #expect(milliseconds(51) == [500, 1000, 2000, 4000, 8000, 10000, 10000, 10000, 10000])
        #expect(milliseconds(1000) == milliseconds(51))
    }

    // MARK: Running time

    @Test func aClockKeptInTimeShowsTheTime() {
        var clock = RunningClock()
        for milliseconds in stride(from: 0, through: 1000, by: 50) as StrideThrough<Int64> {
            let reading = clock.read(Self.at(milliseconds), appointment: Self.at(milliseconds + 50))
            #expect(reading.now == Self.at(milliseconds) && reading.stall == nil)
        }
        #expect(clock.stalls == 0 && clock.raw(Self.at(1500)) == Self.at(1500))
    }

    @Test func aLittleLateIsNoStall() {
        var clock = RunningClock()
        _ = clock.read(Self.at(0), appointment: Self.at(10))
        let reading = clock.read(Self.at(110), appointment: Self.at(10))
        #expect(reading.now == Self.at(110) && reading.stall == nil)
    }

    @Test func aStallDoesNotCount() {
        var clock = RunningClock()
        _ = clock.read(Self.at(0), appointment: Self.at(10))
        let late = clock.read(Self.at(30_010), appointment: Self.at(10))
        #expect(late.now == Self.at(110) && late.stall == .milliseconds(29_900))
        // From here on time passes as usual.
        let next = clock.read(Self.at(30_020), appointment: Self.at(150))
        #expect(next.now == Self.at(120) && next.stall == nil && clock.stalls == 1)
        #expect(clock.raw(Self.at(150)) == Self.at(30_050))
    }

    @Test func withoutAnAppointmentNothingIsLate() {
        var clock = RunningClock()
        _ = clock.read(Self.at(0), appointment: nil)
        let reading = clock.read(Self.at(3_600_000), appointment: nil)
        #expect(reading.now == Self.at(3_600_000) && reading.stall == nil)
    }

    @Test func earlyReadingsAreFine() {
        var clock = RunningClock()
        for milliseconds in 0..<100 as Range<Int64> {
            let reading = clock.read(Self.at(milliseconds), appointment: Self.at(10_000))
            #expect(reading.now == Self.at(milliseconds))
        }
    }

    @Test func itNeverGoesBackwards() {
        var clock = RunningClock()
        _ = clock.read(Self.at(1000), appointment: Self.at(1100))
        let back = clock.read(Self.at(400), appointment: Self.at(1100))
        #expect(back.now == Self.at(1000) && back.stall == nil)
        let on = clock.read(Self.at(450), appointment: Self.at(1100))
        #expect(on.now == Self.at(1050))
        #expect(clock.raw(Self.at(1100)) == Self.at(500))
    }

    @Test func aJumpForwardIsAStall() {
        var clock = RunningClock()
        _ = clock.read(Self.at(0), appointment: Self.at(500))
        let day = clock.read(Self.at(86_400_000), appointment: Self.at(500))
        #expect(day.now == Self.at(600) && day.stall != nil)
    }

    /// Late calls: however it is read, the clock goes on, and never faster than the one beneath.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func repeatedStallsAddUp(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var clock = RunningClock()
        var raw = Self.at(0)
        var last = clock.read(raw, appointment: nil).now
        for _ in 0..<2000 {
            let step = Int64.random(in: -300...700, using: &generator)
            raw = raw + .milliseconds(step)
            let appointment = last + .milliseconds(Int64.random(in: -100...100, using: &generator))
            let reading = clock.read(raw, appointment: appointment)
            #expect(reading.now >= last && reading.now - last <= .milliseconds(max(step, 0)))
            #expect(reading.now <= max(appointment, last) + RunningClock.tolerance)
            #expect((reading.stall ?? Interval(nanoseconds: 1)).nanoseconds > 0)
            last = reading.now
        }
        #expect(clock.stalls > 100)
    }

    @Test func extremesDoNotTrap() {
        var clock = RunningClock()
        for raw in [0, .max, .min, -1, 1, .max - 1] as [Int64] {
            _ = clock.read(Instant(nanoseconds: raw), appointment: Instant(nanoseconds: 5))
        }
        #expect(clock.raw(Instant(nanoseconds: 0)).nanoseconds != 1)
    }
}
