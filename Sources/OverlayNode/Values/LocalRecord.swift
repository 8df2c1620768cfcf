public import OverlayModel

/// Endpoint of this host as other nodes are told of it.
public struct LocalRecord: Hashable, Sendable {
    /// VXLAN network identifier of its network.
    public var vni: VNI
    /// Id by the engine.
    public var endpoint: EndpointID
    /// Its network by the engine.
    public var engineNetwork: EngineNetworkID
    /// MAC of the container's interface.
    public var mac: MACAddress
    /// IPv4 and IPv6 address, as far as it has them.
    public var addresses: [IPAddress]
    /// Names in lower case.
    public var names: [String]
}
