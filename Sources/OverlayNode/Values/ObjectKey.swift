import OverlayModel

/// Object that an effect changes: a call that finds it done already waits for the effect, too.
enum ObjectKey: Hashable, Sendable {
    case lease(SubnetID, IPAddress)
    case network(EngineNetworkID)
    case endpoint(EndpointID)
}
