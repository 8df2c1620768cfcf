public import OverlayCatalogue
public import OverlayDNS
public import OverlayDatapath
public import OverlayDriver
public import OverlayModel

/// Everything that a node does to the outside. The effects of one event are carried out in their order.
public enum NodeEffect: Sendable {
    case respond(RequestID, DriverResponse)
    case answer(RequestID, ControlResponse)
    case send(NodeID, [UInt8], MessagePath)
    /// One transaction.
    case store(EffectID, [StoreWrite])
    /// One ordered batch.
    case apply(EffectID, [KernelOperation])
    case observe(EffectID)
    /// The members, and the keys of packets between them, the newest first; none outside a cluster.
    case peers([Member], keys: [GossipKey])
    /// A call of the engine's own API, which is never in the way of anything.
    case engineCall(EffectID, EngineAPICall)
    /// The names of a network; nil: it is of no concern here any more.
    case names(NetworkID, NetworkNames?)
    /// All subnets of the cluster.
    case subnets([IPPrefix])
    /// All changes of names and subnets were told: questions are answered by them from now on.
    case publishNames
    /// Questions of the sandbox at a path are to be answered from now on, with what is in its scope.
    case serve(EffectID, String, SandboxScope)
    /// No more.
    case unserve(String)
    /// 32 random bytes are wanted, of a quality that a core does not have; they come with ``NodeEvent/keyMade(_:)``.
    case makeKey
    /// One datagram, not sealed, to who is no member any more.
    case notify(SocketEndpoint, [UInt8])
    /// Peers have seen starts of this daemon up to below this one. Counters that must never be used twice go on from it.
    case raiseBoot(UInt32)
    /// Ask the node at an address for admission of `Member`.
    case contact(RequestID, JoinContact)
    /// The answer to ``NodeEvent/joinRequest(_:_:)``.
    case admit(RequestID, JoinAnswer)
    case log(LogLevel, String, [String: String])
}
