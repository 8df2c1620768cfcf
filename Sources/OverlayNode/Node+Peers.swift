import OverlayCatalogue
import OverlayModel
import OverlayReplication

/// What the node makes of others' being there. Nothing of a peer is withdrawn for its absence (design §5.5): a daemon that is away says
/// nothing of its containers.
extension Node {
    mutating func peer(_ peer: NodeID, is status: PeerStatus) {
        let old = peers[peer]?.state ?? .unknown
        let wasAway = isWriterAway
        peers[peer] = status
        followNames(of: peer, was: old)
        if old != status.state {
            history.append(name(of: peer), from: old, to: status, now: now)
            let waiting = watchers.sorted { $0.value < $1.value }
            watchers = []
            for id in waiting { perform(id) }
            outbox.log(level(of: status.state), "node is \(status.state.word)", ["node": name(of: peer), "reason": status.reason])
        }
        if old.isReachable != status.state.isReachable || old == .unknown {
            withReplication { [now] in $0.setReachable(peer, status.state.isReachable, now: now, into: &$1) }
        }
        if wasAway, !isWriterAway {
            unansweredAt = nil
            mirrorSoon()
        }
        if peer == catalogueNode.writer, wasAway || old == .unknown, !isWriterAway, !closing.isEmpty { proposeClosing() }
    }

    private func level(of state: PeerState) -> LogLevel {
        switch state {
        case .unknown, .alive: .info
        case .suspect: .debug
        case .udpBlocked, .daemonDown, .unreachable: .warning
        }
    }

    /// nil where there is nothing to tell yet.
    func changes(after sequence: UInt64?) -> NodeChanges? { history.changes(after: sequence, now: now) }
}

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
