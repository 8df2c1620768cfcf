import OverlayCatalogue
import OverlayModel
import OverlayReplication

/// Follow-up of membership: tells the parts about peers' states. Owns nothing.
///
/// Nothing of a peer is withdrawn because it is away: its containers may run on without its daemon.
enum PeerFollower {
    /// Follows a change of a peer's state.
    static func follow(_ node: inout Node, _ status: PeerStatus, of peer: NodeID) {
        let old = node.peers.state(of: peer)
        let wasAway = node.isWriterAway
        node.peers.set(status, of: peer)
        NameFollower.followPeerNames(&node, of: peer, was: old)
        if old != status.state {
            node.peers.record(node.name(of: peer), from: old, to: status, now: node.now)
            for id in node.requests.waiting(where: { if case .nodeChange = $0 { true } else { false } }) { node.perform(id) }
            node.outbox.log(
                Self.level(of: status.state), "state of a node changed",
                [LogKey.peer: node.name(of: peer), LogKey.state: status.state.word, LogKey.reason: status.reason])
        }
        if old.isReachable != status.state.isReachable || old == .unknown {
            node.withReplication { [now = node.now] in $0.setReachable(peer, status.state.isReachable, now: now, into: &$1) }
        }
        if wasAway, !node.isWriterAway {
            node.writer.status.answered()
            Mirroring.mirrorSoon(&node)
        }
        if peer == node.catalogueNode.writer, wasAway || old == .unknown, !node.isWriterAway, !node.closings.isEmpty {
            CatalogueFollower.proposeClosing(&node)
        }
    }

    /// Weight of the log message about a state.
    private static func level(of state: PeerState) -> LogLevel {
        switch state {
        case .unknown, .alive: .info
        case .suspect: .debug
        case .udpBlocked, .daemonDown, .unreachable: .warning
        }
    }

    /// Changes of states after a number; nil where there is none yet.
    static func changes(_ node: Node, after sequence: UInt64?) -> NodeChanges? {
        node.peers.history.changes(after: sequence, now: node.now)
    }
}
