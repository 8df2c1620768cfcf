import OverlayCatalogue
import OverlayDriver
import OverlayModel

struct OpenRequest: Sendable {
    var call: Call
    var deadline: Instant
    var awaiting: Set<EffectID> = []
    var reply: Reply?
    var undo: Undo?
    var rounds = 0
    /// Set when no block is to be had.
    var scarcity: Node.Scarcity?
}

enum Call: Sendable {
    case driver(DriverRequest)
    case control(ControlRequest)
    case admission(Member)
}

enum Reply: Sendable {
    case driver(DriverResponse)
    case control(ControlResponse)
    case admission(JoinAnswer)
    /// Not yet one: another node is asked first.
    case contact(JoinContact)
}

/// What a call that failed half-way takes back.
enum Undo: Sendable {
    case lease(SubnetID, IPAddress)
    case network(EngineNetworkID)
    case endpoint(EndpointID)
    case join(EndpointID)
    /// init or join
    case cluster
}

