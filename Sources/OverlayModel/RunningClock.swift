/// Running time of a process: time that passes while it is stopped, starved of a processor or asleep does not count, and neither
/// does a jump of the clock beneath. So no deadline expires because nobody looked, and a node that wakes up accuses no other of its
/// own absence.
public struct RunningClock: Sendable {
    /// Lateness at an appointment beyond which there was a stall.
    public static let tolerance = Interval.milliseconds(100)

    private var excluded = Interval(nanoseconds: 0)
    private var last: Instant?
    /// Number of stalls so far.
    public private(set) var stalls = 0

    public init() {}

    /// - Parameters:
    ///   - raw: Reading of the monotonic clock.
    ///   - appointment: Running time at which something was to be done next; nil if nothing was.
    /// - Returns: The running time, and the length of a stall that has just ended.
    public mutating func read(_ raw: Instant, appointment: Instant?) -> (now: Instant, stall: Interval?) {
        let now = Instant(nanoseconds: raw.nanoseconds &- excluded.nanoseconds)
        let previous = last ?? now
        // Never backwards, and never far past what should have been done in between.
        var limit = now
        if let appointment { limit = min(now, max(previous, appointment) + Self.tolerance) }
        let result = max(previous, limit)
        last = result
        excluded = Interval(nanoseconds: raw.nanoseconds &- result.nanoseconds)
        guard now > result else { return (result, nil) }
        stalls += 1
        return (result, now - result)
    }

    /// Reading of the monotonic clock at a running time, if nothing stalls.
    public func raw(_ running: Instant) -> Instant { Instant(nanoseconds: running.nanoseconds &+ excluded.nanoseconds) }
}
