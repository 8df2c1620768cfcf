import OverlayModel

/// Networks that this node follows, and the time when it last followed the catalogue's members.
struct Following: Sendable {
    /// Pause for each member between changes of the members that are followed: each costs as much as there are members, so where a
    /// thousand join, a few of them are followed at a time.
    static let pausePerMember = Interval.microseconds(10)

    /// Networks whose owner logs this node takes part in.
    private(set) var networks: Set<NetworkID> = []
    private var last: Instant?

    mutating func subscribe(to networks: Set<NetworkID>) { self.networks = networks }

    /// Members and everything else are followed now.
    mutating func followed(at now: Instant) { last = now }

    /// A member was admitted: it is followed soon.
    func followSoon(members: Int, into outbox: inout Outbox) {
        guard outbox.timers[.follow] == nil else { return }
        let now = outbox.now
        outbox.timers.set(.follow, at: max(now, last.map { $0 + Self.pausePerMember * Int64(members) } ?? now))
    }
}
