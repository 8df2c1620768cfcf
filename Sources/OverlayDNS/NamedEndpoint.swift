public import OverlayModel

/// Endpoint with its names.
public struct NamedEndpoint: Hashable, Sendable {
    public var endpoint: EndpointID
    /// Names in any case. The first is the one that PTR and SRV records give.
    public var names: [String]
    /// Addresses of IPv4 and IPv6.
    public var addresses: [IPAddress]
    /// Ports that SRV records give.
    public var ports: [ExposedPort]
    /// Node that has it; nil for this one.
    public var owner: NodeID?

    public init(
        endpoint: EndpointID, names: [String], addresses: [IPAddress], ports: [ExposedPort] = [], owner: NodeID? = nil
    ) {
        self.owner = owner
        self.endpoint = endpoint
        self.names = names
        self.addresses = addresses
        self.ports = ports
    }
}
