public import OverlayCatalogue
public import OverlayDatapath
public import OverlayDriver
public import OverlayMembership
public import OverlayModel

/// Event that a shell tells a node.
public enum NodeEvent: Sendable {
    /// First event after the daemon's start.
    case start
    case driver(RequestID, DriverRequest)
    case control(RequestID, ControlRequest)
    /// Message of an authenticated member.
    case message(from: NodeID, [UInt8], MessagePath)
    /// Result of opening a stream to a member: nil on success.
    case stream(NodeID, StreamFailure?)
    /// Authentic packet of a member, from an earlier life of it.
    case earlierLife(of: NodeID)
    /// Finding of a membership outside the node. Simulations without membership set peers' states by it.
    case membership(Membership.Effect)
    /// Packet in the name of a node that is no member. Its real sender is not known.
    case stranger(NodeID, SocketEndpoint)
    /// Body of a removal notice, from an unproven sender.
    case notice([UInt8])
    /// Request for admission from a host that knows the join secret.
    case joinRequest(RequestID, Member)
    /// Answer to ``NodeEffect/contact(_:_:)``.
    case joinAnswer(RequestID, JoinAnswer)
    case applied(EffectID, KernelOutcome)
    case stored(EffectID, StoreOutcome)
    case observed(EffectID, ObservedState)
    /// Answer to ``NodeEffect/makeKey``: 32 random bytes.
    case keyMade([UInt8])
    /// Event of the engine's API.
    case engineNews(EngineAPINews)
    /// Answer to ``NodeEffect/engineCall(_:_:)``.
    case engineAnswer(EffectID, EngineAPIAnswer)
    /// End of ``NodeEffect/serve(_:_:_:)``: questions of the sandbox are answered, or its namespace does not exist yet.
    case served(EffectID)
    /// State of a sandbox, by path: the reason why its questions are not answered here, or nil.
    case sandbox(String, failure: String?)
    /// The namespace of a sandbox, by path, is gone.
    case sandboxGone(String)
    /// Answer to ``NodeEffect/readRoutes(_:)``: the subnets that the host has routes for; nil where they could not be read. Not whole
    /// where there are more than ``Limits/hostRoutes``.
    case hostRoutes(EffectID, [HostSubnet]?, isWhole: Bool)
    /// Answer to ``NodeEffect/readHost(_:choosing:)``; nil where the host could not be read.
    case host(EffectID, HostView?)
    /// Answer to ``NodeEffect/lookForRoutes(_:_:_:)``.
    case routesSeen(EffectID, SandboxSight)
    /// The kernel could not be read, for this reason.
    case notObserved(EffectID, String)
    /// Another program changed a namespace of ours.
    case foreignChange
    /// Another program changed something at a place, or may have.
    case changed(KernelPlace)
    /// Answer to ``NodeEffect/look(_:_:)``.
    case seen(EffectID, ObservedState)
    /// Answer to ``NodeEffect/restore(_:_:)``.
    case restored(EffectID, RestoreOutcome)
    /// News heard at the port of an endpoint of this host.
    case heard(EndpointID, [Heard])
    /// The port of an endpoint of this host is not listened at any more, for this reason.
    case deaf(EndpointID, String)
    /// The time ``Node/nextDeadline`` has come.
    case tick
}
