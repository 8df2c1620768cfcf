import OverlayCatalogue
import OverlayModel
import OverlayReplication

/// What the node makes of others' being there. Nothing of a peer is withdrawn for its absence (design §5.5): a daemon that is away says
/// nothing of its containers.
enum PeerFollower {
    static func peer(_ node: inout Node, _ peer: NodeID, is status: PeerStatus) {
        let old = node.peers.state(of: peer)
        let wasAway = node.isWriterAway
        node.peers.set(status, of: peer)
        NameFollower.followPeerNames(&node, of: peer, was: old)
        if old != status.state {
            node.peers.record(node.name(of: peer), from: old, to: status, now: node.now)
            for id in node.requests.waiting(where: { if case .nodeChange = $0 { true } else { false } }) { node.perform(id) }
            node.outbox.log(PeerFollower.level(node, of: status.state), "node is \(status.state.word)", ["node": node.name(of: peer), "reason": status.reason])
        }
        if old.isReachable != status.state.isReachable || old == .unknown {
            node.withReplication { [now = node.now] in $0.setReachable(peer, status.state.isReachable, now: now, into: &$1) }
        }
        if wasAway, !node.isWriterAway {
            node.writerStatus.answered()
            Mirroring.mirrorSoon(&node)
        }
        if peer == node.catalogueNode.writer, wasAway || old == .unknown, !node.isWriterAway, !node.closings.isEmpty { CatalogueFollower.proposeClosing(&node) }
    }

    private static func level(_ node: Node, of state: PeerState) -> LogLevel {
        switch state {
        case .unknown, .alive: .info
        case .suspect: .debug
        case .udpBlocked, .daemonDown, .unreachable: .warning
        }
    }

    /// nil where there is nothing to tell yet.
    static func changes(_ node: Node, after sequence: UInt64?) -> NodeChanges? { node.peers.history.changes(after: sequence, now: node.now) }
}
