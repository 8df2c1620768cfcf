public import OverlayCatalogue
public import OverlayDNS
public import OverlayDatapath
public import OverlayDriver
public import OverlayModel

/// Effect that a node asks of the shells. The effects of one event are carried out in their order.
public enum NodeEffect: Sendable {
    case respond(RequestID, DriverResponse)
    case answer(RequestID, ControlResponse)
    case send(NodeID, [UInt8], MessagePath)
    /// Rows to write in one transaction.
    case store(EffectID, [StoreWrite])
    /// Operations for the kernel, as one ordered batch.
    case apply(EffectID, [KernelOperation])
    case observe(EffectID)
    /// The members, and the keys of packets between them, the newest first; none outside a cluster.
    case peers([Member], keys: [GossipKey])
    /// Call of the engine's own API, for which nothing else waits.
    case engineCall(EffectID, EngineAPICall)
    /// Name table of a network; nil where this host does not take part in it any more.
    case names(NetworkID, NetworkNames?)
    /// All subnets of the cluster.
    case subnets([IPPrefix])
    /// Names on a network of another driver; nil where no container of ours needs them any more.
    case otherNames(EngineNetworkID, OtherNames?)
    /// Networks on which a container of this host is whose names are not all known yet.
    case unsettled(Set<NetworkID>)
    /// Owners whose addresses come last in answers.
    case suspects(Set<NodeID>)
    /// All changes of names and subnets were told: questions are answered by them from now on.
    case publishNames
    /// Questions of the sandbox at this path are to be answered from now on, by its scope.
    case serve(EffectID, String, SandboxScope)
    /// Questions of the sandbox at this path are not to be answered any more.
    case unserve(String)
    /// Request for 32 random bytes of cryptographic quality, which a core cannot draw. They come with ``NodeEvent/keyMade(_:)``.
    case makeKey
    /// Removal notice: one datagram, in clear, to a node that is no member any more.
    case notify(SocketEndpoint, [UInt8])
    /// Peers have seen starts of this daemon up to below this one. Counters that must never be used twice go on from it.
    case raiseBoot(UInt32)
    /// Request for this node's admission, to be sent to a member.
    case contact(RequestID, JoinContact)
    /// Answer to ``NodeEvent/joinRequest(_:_:)``.
    case admit(RequestID, JoinAnswer)
    case log(LogLevel, String, [String: String])
}
