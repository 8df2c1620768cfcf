public import OverlayCatalogue
public import OverlayDriver

/// Request of the command line to its daemon.
public enum ControlRequest: Sendable {
    case initialise(Initialise)
    /// Joins the cluster of another host; without a port by those that it may have.
    case join(token: String, host: String, port: UInt16?)
    case leave(force: Bool)
    /// `newSecret` rotates the token.
    case joinToken(newSecret: JoinSecret?)
    /// Removes a member. `now` frees its addresses at once, also those of a node that was removed before.
    case removeNode(String, force: Bool, now: Bool = false)
    /// Makes this node the catalogue writer, as the one before is gone for good.
    case promote(force: Bool)
    case nodes
    /// Changes of nodes' states after a number; waits for the next one. nil asks for the number alone.
    case nodeChanges(after: UInt64?)
    case networks
    case network(String)
    /// `swift-overlay network create`: creates a network on this host's engine, from where it is mirrored to all.
    case createNetwork(EngineNetwork)
    case removeNetwork(String)
    /// Frees what no container has any more: an endpoint of this host by its id, the beginning of that, a name or an address, or an address
    /// that no endpoint has.
    case disconnect(network: String, endpoint: String, force: Bool)
    case status
}
