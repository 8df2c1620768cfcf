import OverlayModel

/// Object that an effect changes. A later call that finds the change done waits for the effect, too.
enum ObjectKey: Hashable, Sendable {
    case lease(SubnetID, IPAddress)
    case network(EngineNetworkID)
    case endpoint(EndpointID)
}
