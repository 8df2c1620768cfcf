import OverlayModel

/// Ports that are made again because their veth pair was deleted while their container runs.
///
/// A container may delete its own interface as often as it likes. So the pauses between two restorations of one port become longer.
struct Restorations: Sendable {
    /// Shortest and longest pause before a port is made again that was made again before.
    private static let pause = Interval.milliseconds(200)
    private static let longestPause = Interval.seconds(60)
    /// Number of times that a port is made again after the shortest pause. Each further one doubles it.
    private static let prompt = 8
    /// Time after which restorations do not count any more. It is twice the pause where that is longer.
    private static let memory = Interval.seconds(30)

    private struct Record: Sendable {
        var count = 0
        var last: Instant
        /// Refusal of the kernel; nil if the port was made.
        var failure: String?

        private var pause: Interval {
            min(Restorations.longestPause, Restorations.pause * Int64(1 << max(0, min(count + 1 - Restorations.prompt, 10))))
        }
        /// Time from which the port may be made again.
        var next: Instant { last + pause }
        /// Time from which what was does not count any more.
        var end: Instant { last + max(Restorations.memory, pause * 2) }
    }

    private var records: [EndpointID: Record] = [:]
    private var underWay: [EffectID: EndpointID] = [:]

    /// Refusals of the kernel, by endpoint: ports that could not be made again.
    var failures: [EndpointID: String] { records.compactMapValues(\.failure) }

    /// Begins to make a port again.
    ///
    /// - Returns: nil if it may be made now; else the time from which it may.
    mutating func begin(_ endpoint: EndpointID, at now: Instant) -> Instant? {
        records = records.filter { now < $0.value.end }
        if let record = records[endpoint], record.next > now { return record.next }
        let count = records[endpoint]?.count ?? 0
        records[endpoint] = Record(count: count + 1, last: now, failure: records[endpoint]?.failure)
        return nil
    }

    mutating func setEffect(_ id: EffectID, of endpoint: EndpointID) { underWay[id] = endpoint }

    /// Takes note of the end of a restoration.
    ///
    /// - Parameter failure: Refusal of the kernel; nil if there is none.
    /// - Returns: The endpoint, and the time from which it may be tried again; nil if nothing was asked for in this life.
    mutating func end(_ id: EffectID, failure: String?) -> (endpoint: EndpointID, next: Instant?)? {
        guard let endpoint = underWay.removeValue(forKey: id) else { return nil }
        records[endpoint]?.failure = failure
        return (endpoint, records[endpoint]?.next)
    }

    /// The port of an endpoint is there, or is not wanted any more.
    mutating func settle(_ isLost: (EndpointID) -> Bool) {
        for endpoint in failures.keys where !isLost(endpoint) { records[endpoint]?.failure = nil }
    }
}
