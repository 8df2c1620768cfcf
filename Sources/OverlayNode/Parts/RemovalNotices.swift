import OverlayModel

/// Rate of removal notices. Both ends work for strangers no more often than the pause.
struct RemovalNotices: Sendable {
    static let pause = Interval.milliseconds(50)

    private var sent: Instant?
    private var checked: Instant?

    /// True if a notice may be sent now; counts as sent.
    mutating func maySend(at now: Instant) -> Bool { Self.take(&sent, now) }
    /// True if the signature of a notice may be checked now; counts as checked.
    mutating func mayCheck(at now: Instant) -> Bool { Self.take(&checked, now) }

    private static func take(_ last: inout Instant?, _ now: Instant) -> Bool {
        guard last.map({ now - $0 >= pause }) ?? true else { return false }
        last = now
        return true
    }
}
