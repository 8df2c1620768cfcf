import OverlayDriver
import OverlayModel

/// Watch over containers that an engine gave up in their back-off, as their network or docker_gwbridge was away at that moment: for a
/// while after a prune they are looked for. An engine tells of no such end.
struct RestartWatch: Sendable {
    /// Time from a prune until the last start that it failed has shown.
    static let time = Interval.seconds(8)
    /// Pause before the first look; the next ones are each twice as long.
    static let pause = Interval.milliseconds(500)
    /// Number of containers that are inspected at a look.
    static let most = 64

    private var until: Instant?
    private var pause = Self.pause
    /// Containers that are known to have ended for another reason.
    private var known: Set<ContainerID> = []

    var isOver: Bool { until == nil }

    /// A prune has ended.
    ///
    /// - Returns: Time of the next look.
    mutating func begin(at now: Instant) -> Instant {
        until = now + Self.time
        pause = Self.pause
        return now + pause
    }

    /// It is time for a look.
    ///
    /// - Returns: Time of the next one; nil where the watch is over.
    mutating func look(at now: Instant) -> Instant? {
        guard let until, now < until else {
            self.until = nil
            return nil
        }
        pause = pause + pause
        return now + pause
    }

    /// Containers to inspect, of those that ended.
    mutating func candidates(_ ended: [ContainerID]) -> [ContainerID] {
        known.formIntersection(ended)
        return Array(ended.filter { !known.contains($0) }.prefix(Self.most))
    }

    mutating func endedOtherwise(_ container: ContainerID) { known.insert(container) }
}
