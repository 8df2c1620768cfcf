import OverlayModel

/// The last changes of other nodes' states, numbered.
struct NodeHistory: Sendable {
    private static let length = 256
    private var changes: [(sequence: UInt64, at: Instant, change: NodeChange)] = []
    private var last: UInt64 = 0

    mutating func append(_ node: String, from old: PeerState, to status: PeerStatus, now: Instant) {
        last += 1
        let change = NodeChange(node: node, state: status.state.word, was: old.word, reason: status.reason, age: 0)
        changes.append((last, now, change))
        if changes.count > Self.length { changes.removeFirst(changes.count - Self.length) }
    }

    /// - Parameter sequence: The last one that the caller knows; nil for one who wants to know where things stand.
    func changes(after sequence: UInt64?, now: Instant) -> NodeChanges? {
        guard let sequence else { return none(now: now) }
        // A number from an earlier life of the daemon is above all of this one.
        guard sequence != last else { return nil }
        let new = changes.filter { $0.sequence > sequence || sequence > last }
        return NodeChanges(
            last: last,
            changes: new.map { entry in
                var change = entry.change
                change.age = (now - entry.at).nanoseconds / 1_000_000
                return change
            })
    }

    func none(now: Instant) -> NodeChanges { NodeChanges(last: last, changes: []) }
}
