import OverlayModel

/// Other nodes as this node sees them: their states by membership, and how far their catalogues are by what they told last.
///
/// Nothing of a peer is withdrawn because it is away: a daemon that is away says nothing of its containers.
struct Peers: Sendable {
    /// States by node; none of a node that was not heard of since the start.
    private(set) var statuses: [NodeID: PeerStatus] = [:]
    private(set) var positions: [NodeID: CataloguePosition] = [:]
    private(set) var history = NodeHistory()
    /// Times at which a rejected record of a peer was last logged.
    private var rejectionLogged: [NodeID: Instant] = [:]

    subscript(node: NodeID) -> PeerStatus? { statuses[node] }

    func state(of node: NodeID) -> PeerState { statuses[node]?.state ?? .unknown }

    /// True if the node was heard of and is reachable.
    func isReached(_ node: NodeID) -> Bool { statuses[node].map { $0.state != .unknown && $0.state.isReachable } ?? false }

    mutating func set(_ status: PeerStatus, of node: NodeID) { statuses[node] = status }

    /// A change of a node's state, for `node ls --watch`.
    mutating func record(_ name: String, from old: PeerState, to status: PeerStatus, now: Instant) {
        history.append(name, from: old, to: status, now: now)
    }

    /// A peer answered, or probed this node.
    mutating func heard(_ position: CataloguePosition, roundTrip: Interval?, from node: NodeID) {
        positions[node] = position
        statuses[node]?.roundTrip = roundTrip
    }

    /// Forgets nodes that are no members any more.
    mutating func keepOnly(where isMember: (NodeID) -> Bool) {
        statuses = statuses.filter { isMember($0.key) }
        positions = positions.filter { isMember($0.key) }
        rejectionLogged = rejectionLogged.filter { isMember($0.key) }
    }

    mutating func forgetAll() {
        statuses = [:]
        positions = [:]
        rejectionLogged = [:]
    }

    /// True if a rejected record of a peer is to be logged: it is tried again several times a second, and once in a while is
    /// enough.
    mutating func logsRejection(of node: NodeID, now: Instant, every pause: Interval) -> Bool {
        if let last = rejectionLogged[node], now - last < pause { return false }
        rejectionLogged[node] = now
        return true
    }
}
