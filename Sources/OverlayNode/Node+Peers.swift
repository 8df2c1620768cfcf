import OverlayCatalogue
import OverlayModel
import OverlayReplication

/// What the node makes of others' being there. Nothing of a peer is withdrawn for its absence (design §5.5): a daemon that is away says
/// nothing of its containers.
extension Node {
    mutating func peer(_ peer: NodeID, is status: PeerStatus) {
        let old = peers.state(of: peer)
        let wasAway = isWriterAway
        peers.set(status, of: peer)
        followPeerNames(of: peer, was: old)
        if old != status.state {
            peers.record(name(of: peer), from: old, to: status, now: now)
            for id in requests.waiting(where: { if case .nodeChange = $0 { true } else { false } }) { perform(id) }
            outbox.log(level(of: status.state), "node is \(status.state.word)", ["node": name(of: peer), "reason": status.reason])
        }
        if old.isReachable != status.state.isReachable || old == .unknown {
            withReplication { [now] in $0.setReachable(peer, status.state.isReachable, now: now, into: &$1) }
        }
        if wasAway, !isWriterAway {
            writerStatus.answered()
            mirrorSoon()
        }
        if peer == catalogueNode.writer, wasAway || old == .unknown, !isWriterAway, !closings.isEmpty { proposeClosing() }
    }

    private func level(of state: PeerState) -> LogLevel {
        switch state {
        case .unknown, .alive: .info
        case .suspect: .debug
        case .udpBlocked, .daemonDown, .unreachable: .warning
        }
    }

    /// nil where there is nothing to tell yet.
    func changes(after sequence: UInt64?) -> NodeChanges? { peers.history.changes(after: sequence, now: now) }
}
