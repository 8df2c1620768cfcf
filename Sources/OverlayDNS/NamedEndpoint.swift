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

    public init(endpoint: EndpointID, names: [String], addresses: [IPAddress], ports: [ExposedPort] = []) {
        self.endpoint = endpoint
        self.names = names
        self.addresses = addresses
        self.ports = ports
    }
}
