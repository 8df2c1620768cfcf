import OverlayModel

/// Clock of a node: running time, in which stalls of the process do not exist, and the time at which the node wants to be called
/// next.
struct NodeClock: Sendable {
    private var clock = RunningClock()
    /// The next deadline in running time.
    private var appointment: Instant?
    /// The next deadline by the monotonic clock; nil for never. Kept, as it is asked for more often than it changes.
    private(set) var nextDeadline: Instant?

    /// Reads the clock.
    ///
    /// - Parameter raw: Time of the monotonic clock.
    /// - Returns: Running time, and whether the process was stopped meanwhile.
    mutating func read(_ raw: Instant) -> (now: Instant, isStalled: Bool) {
        let reading = clock.read(raw, appointment: appointment)
        return (reading.now, reading.stall != nil)
    }

    /// - Parameter next: The next deadline in running time.
    mutating func setAppointment(_ next: Instant?) {
        appointment = next
        nextDeadline = next.map { clock.raw($0) }
    }
}
