/// Action that the shell takes for a ``Responder``.
public enum DNSEffect: Hashable, Sendable {
    /// Send a message to the sender of a question; to nobody, if the connection has ended meanwhile.
    case answer([UInt8], to: DNSClient)
    /// End a client's connection.
    case endConnection(UInt64)
    /// Find the port that Docker's resolver listens on. Always followed by ``Forwarder/Event/found(_:port:)``.
    case findResolver(DNSTransport)
    /// Send a datagram to a port of Docker's resolver; if that fails, ``Forwarder/Event/unsent(_:)`` with this id follows.
    case ask([UInt8], id: UInt16, port: UInt16)
    /// Open a connection to a port of Docker's resolver and send a message on it; if that fails,
    /// ``Forwarder/Event/relayFailed(_:_:)`` follows.
    case openRelay(UInt64, [UInt8], port: UInt16)
    /// Close a connection to Docker's resolver.
    case closeRelay(UInt64)
}
