import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// A call from outside: of the engine, of the command line, or of a node that wants to join.
enum Call: Sendable {
    case driver(DriverRequest)
    case control(ControlRequest)
    case admission(Member)
}

/// Answer to a ``Call``, of the same kind.
enum Reply: Sendable {
    case driver(DriverResponse)
    case control(ControlResponse)
    case admission(JoinAnswer)
    /// No answer yet: another node is asked first.
    case contact(JoinContact)
}

/// Part of a call that is undone if the call fails.
enum Undo: Sendable {
    case lease(SubnetID, IPAddress)
    case network(EngineNetworkID)
    case endpoint(EndpointID)
    case join(EndpointID)
    /// Membership, by `init` or `join`.
    case cluster
}

/// Result of a round of a call.
enum Step: Sendable {
    case reply(Reply)
    /// The reply is given when these effects have ended.
    case after(Set<EffectID>, Reply, undo: Undo?)
    case propose(Command)
    /// The call goes on with a later event.
    case wait
}
