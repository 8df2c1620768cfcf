import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct NodeClockTests {
    @Test func aStallDoesNotExist() {
        var clock = NodeClock()
        #expect(clock.read(.seconds(1)) == (.seconds(1), false))
        clock.setAppointment(.seconds(2))
        #expect(clock.nextDeadline == .seconds(2))
        // Stopped for eight seconds: only the tolerance of it counts.
        let reading = clock.read(.seconds(10))
        #expect(reading == (.seconds(2) + RunningClock.tolerance, true))
        clock.setAppointment(.seconds(4))
        #expect(clock.read(.seconds(11)) == (.seconds(3) + RunningClock.tolerance, false))
    }

    @Test func deadlinesAreByTheMonotonicClock() {
        var clock = NodeClock()
        _ = clock.read(.seconds(1))
        clock.setAppointment(.seconds(2))
        let now = clock.read(.seconds(10)).now
        clock.setAppointment(now + .seconds(1))
        #expect(clock.nextDeadline == .seconds(11))
    }

    @Test func withoutAnAppointmentThereIsNoStallAndNoDeadline() {
        var clock = NodeClock()
        _ = clock.read(.seconds(1))
        clock.setAppointment(.seconds(2))
        clock.setAppointment(nil)
        #expect(clock.nextDeadline == nil)
        #expect(clock.read(.seconds(100)) == (.seconds(100), false))
    }

    @Test func aReadingInTimeIsNoStall() {
        var clock = NodeClock()
        _ = clock.read(.seconds(1))
        clock.setAppointment(.seconds(2))
        #expect(clock.read(.seconds(2) + RunningClock.tolerance) == (.seconds(2) + RunningClock.tolerance, false))
    }
}
