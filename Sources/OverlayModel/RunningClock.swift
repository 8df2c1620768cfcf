/// Time as a process lives it: what passes while it is stopped, starved of a processor, or asleep does not exist, and no jump of the
/// clock beneath does either. So no deadline runs out because nobody looked, and a node that wakes up accuses nobody of its own absence.
public struct RunningClock: Sendable {
    /// Later than this at an appointment is a stall.
    public static let tolerance = Interval.milliseconds(100)

    private var excluded = Interval(nanoseconds: 0)
    private var last: Instant?
    /// Stalls so far.
    public private(set) var stalls = 0

    public init() {}

    /// - Parameters:
    ///   - raw: What the monotonic clock shows.
    ///   - appointment: When, in running time, something was to be done next; nil if nothing was.
    /// - Returns: The running time, and how much of a stall has just ended.
    public mutating func read(_ raw: Instant, appointment: Instant?) -> (now: Instant, stall: Interval?) {
        let now = Instant(nanoseconds: raw.nanoseconds &- excluded.nanoseconds)
        let previous = last ?? now
        // Never backwards; and never far past what should have been done in between.
        var limit = now
        if let appointment { limit = min(now, max(previous, appointment) + Self.tolerance) }
        let result = max(previous, limit)
        last = result
        excluded = Interval(nanoseconds: raw.nanoseconds &- result.nanoseconds)
        guard now > result else { return (result, nil) }
        stalls += 1
        return (result, now - result)
    }

    /// When the monotonic clock will show what is `running` here, if nothing stalls.
    public func raw(_ running: Instant) -> Instant { Instant(nanoseconds: running.nanoseconds &+ excluded.nanoseconds) }
}
