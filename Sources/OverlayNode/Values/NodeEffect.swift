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
    /// Reading of the kernel, answered with ``NodeEvent/observed(_:_:)``. Of the sandboxes at these paths, those are told of that do
    /// not exist.
    case observe(EffectID, sandboxes: Set<String>)
    /// Reading of one network in the kernel, answered with ``NodeEvent/seen(_:_:)``.
    case look(EffectID, VNI)
    /// A port whose veth pair is gone while its container runs is to be made again, with its other end in the sandbox.
    case restore(EffectID, LostPort)
    /// Frames to listen for at the port of an endpoint of this host, from now on; nil for none. The operations before it have made the
    /// port.
    case listen(EndpointID, VNI, Hearing?)
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
    /// Reading of the routes of the host's main table, answered with ``NodeEvent/hostRoutes(_:_:isWhole:)``.
    case readRoutes(EffectID)
    /// Reading of the host's addresses, answered with ``NodeEvent/host(_:_:)``; with the one that would be chosen now, where that is
    /// asked for.
    case readHost(EffectID, choosing: Bool)
    /// Question whether the main table of the sandbox at this path has a route for one of these destinations. The answer is
    /// ``NodeEvent/routesSeen(_:isAny:)``.
    case lookForRoutes(EffectID, String, [IPPrefix])
    /// Routes to be added in the sandbox at this path, through its link with this MAC, behind those that are there. There is no
    /// answer: the sandbox may be gone any time.
    case addRoutes(String, MACAddress, [IPPrefix])
    /// Routes of the sandbox at this path that are to lead through its link with this MAC, as soon as both are there. There is no
    /// answer, and nothing is added: the engine fails a container whose routes are there already.
    case moveRoutes(String, MACAddress, [IPPrefix])
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
