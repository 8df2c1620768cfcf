public import OverlayModel

/// Something that arrived on the node's port, or became of a connection there.
public enum GossipEvent: Sendable {
    /// Message of an authenticated member, and the path it took.
    case received([UInt8], from: NodeID, by: MessagePath)
    /// Authentic packet of a member's earlier life: that member seems to have lost its later one.
    case earlierLife(of: NodeID)
    /// Datagram in the name of a node that is no member, and its source.
    case stranger(NodeID, SocketEndpoint)
    /// Notice, which is not sealed: anybody may have sent it.
    case notice([UInt8])
    /// Outcome of an attempt to open a stream to a member: nil when it is open.
    case stream(to: NodeID, StreamFailure?)
    /// End of a batch: the messages that arrived together have been delivered.
    case drained
    /// Frame of a node that wants to join.
    case join(GossipTransport.JoinConnection, [UInt8])
    /// End of a join's connection.
    case joinEnded(GossipTransport.JoinConnection)
}

/// Receiver of what arrives at a ``GossipTransport``.
public protocol GossipDelegate: AnyObject, Sendable {
    /// Called on the transport's event loop, in the order of arrival. It may call the transport back at once.
    func handle(_ event: GossipEvent)
}
