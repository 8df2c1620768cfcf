import OverlayModel

/// Chores of the catalogue writer: the next gossip key, the end of quarantines, and the version of the protocol. Every node keeps count, as each may be the
/// writer next; only the writer acts.
struct WriterDuties: Sendable {
    /// Life of a gossip key, and the pause after a rotation that came to nothing.
    static let rotationPeriod = Interval.seconds(12 * 3600)
    static let rotationRetry = Interval.seconds(60)
    /// Time for which nobody is given the addresses of a removed node (rule R5), and the pause before its end is proposed again.
    static let quarantine = Interval.seconds(600)
    static let quarantineRetry = Interval.seconds(60)
    /// Time for which every member must speak a version of the protocol before it is used: until then one may be taken back to its
    /// release of before, and another one of that release may join. And the pause before it is proposed again.
    static let raiseDelay = Interval.seconds(600)
    static let raiseRetry = Interval.seconds(10)

    /// Ends of quarantines by removed node, counted from when this process first heard of the removal.
    private var quarantineEnds: [NodeID: Instant] = [:]

    /// Follows who writes, and which removed nodes' addresses are in quarantine.
    mutating func follow(isWriter: Bool, departed: some Sequence<NodeID>, into outbox: inout Outbox) {
        outbox.timers[.rotateKey] = isWriter ? outbox.timers[.rotateKey] ?? outbox.now + Self.rotationPeriod : nil
        followQuarantines(isWriter: isWriter, departed: departed, into: &outbox)
    }

    mutating func followQuarantines(isWriter: Bool, departed: some Sequence<NodeID>, into outbox: inout Outbox) {
        let known = quarantineEnds
        quarantineEnds = departed.reduce(into: [:]) { $0[$1] = known[$1] ?? outbox.now + Self.quarantine }
        setTimer(isWriter: isWriter, into: &outbox)
    }

    /// Returns the nodes whose addresses have been in quarantine for long enough. Should the proposal come to nothing, they come
    /// again.
    mutating func takeEnded(isWriter: Bool, into outbox: inout Outbox) -> [NodeID] {
        let ended = quarantineEnds.filter { $0.value <= outbox.now }.keys.sorted()
        for node in ended { quarantineEnds[node] = outbox.now + Self.quarantineRetry }
        setTimer(isWriter: isWriter, into: &outbox)
        return ended
    }

    private func setTimer(isWriter: Bool, into outbox: inout Outbox) {
        outbox.timers[.quarantine] = isWriter ? quarantineEnds.values.min() : nil
    }

    /// Follows whether every member speaks a later version than the one in use.
    func followVersion(canRise: Bool, into outbox: inout Outbox) {
        outbox.timers[.version] = canRise ? outbox.timers[.version] ?? outbox.now + Self.raiseDelay : nil
    }

    /// The writer makes a key now.
    func beginRotation(isWriter: Bool, into outbox: inout Outbox) {
        guard isWriter else { return outbox.timers.clear(.rotateKey) }
        outbox.timers[.rotateKey] = outbox.now + Self.rotationRetry
        outbox.append(.makeKey)
    }
}
