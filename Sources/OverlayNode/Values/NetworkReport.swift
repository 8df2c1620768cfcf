/// Row of `swift-overlay network ls`; `network inspect` prints all of it.
public struct NetworkReport: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var vni: UInt32
    public var mtu: UInt32?
    public var isInternal: Bool
    public var isEncrypted: Bool
    /// True if a user removed the network. Engines that still have it remove it when no container is on it.
    public var isRemoved: Bool
    public var labels: [String: String]
    /// The network's id on this host's engine.
    public var engineID: String?
    public var nodes: [String]
    public var subnets: [SubnetReport]
    public var endpoints: [EndpointReport]
}

/// Subnet of a network in `swift-overlay network inspect`.
public struct SubnetReport: Codable, Hashable, Sendable {
    public var pool: String
    public var subnet: String
    public var range: String?
    public var gateway: String
    public var auxiliary: [String]
    /// Blocks with their owners' names.
    public var blocks: [BlockReport]
    /// Number of addresses that this node has handed out.
    public var leases: Int
}

/// Block of addresses in `swift-overlay network inspect`.
public struct BlockReport: Codable, Hashable, Sendable {
    public var range: String
    public var owner: String
    /// Number of addresses that containers have, as this node knows it.
    public var used: UInt64
    /// Number of addresses that the owner has left to hand out.
    public var free: UInt64
    /// True if the owner was removed and the addresses are in quarantine.
    public var isQuarantined: Bool
    /// Old spelling of ``isQuarantined``, for scripts; it goes after 0.2.
    public var isResting: Bool
}

/// Endpoint in `swift-overlay network inspect`.
public struct EndpointReport: Codable, Hashable, Sendable {
    public var id: String
    public var node: String
    public var names: [String]
    public var addresses: [String]
    public var mac: String
}
