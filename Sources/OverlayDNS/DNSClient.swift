public import OverlayModel

/// Sender of a question in a sandbox, and where its answer goes.
public enum DNSClient: Hashable, Sendable {
    /// Socket that sent a datagram.
    case datagram(SocketEndpoint)
    /// TCP connection, by the number that the shell gave it. Numbers are not used twice.
    case connection(UInt64)
}
