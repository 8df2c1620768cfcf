/// Row of `swift-overlay network ls`; `network inspect` prints all of it.
public struct NetworkReport: Codable, Hashable, Sendable {
    /// Id in the cluster: 32 hexadecimal digits.
    public var id: String
    /// Name that engines give it; empty until one has told.
    public var name: String
    /// VXLAN network identifier, 24 bits.
    public var vni: UInt32
    /// MTU of containers' interfaces in bytes; nil until it is known.
    public var mtu: UInt32?
    /// True if nothing leaves the network (`--internal`).
    public var isInternal: Bool
    /// True if it was created with `-o encrypted`.
    public var isEncrypted: Bool
    /// True if a user removed the network. Engines that still have it remove it when no container is on it.
    public var isRemoved: Bool
    /// Labels of the network on engines.
    public var labels: [String: String]
    /// The network's id on this host's engine.
    public var engineID: String?
    /// Names of the hosts whose engines have it, sorted.
    public var nodes: [String]
    /// Its subnets.
    public var subnets: [SubnetReport]
    /// Endpoints on all hosts, as far as they are known here.
    public var endpoints: [EndpointReport]
}

/// Subnet of a network in `swift-overlay network inspect`.
public struct SubnetReport: Codable, Hashable, Sendable {
    /// Pool id, as the engine has it.
    public var pool: String
    /// Subnet in CIDR notation.
    public var subnet: String
    /// Range of `--ip-range` in CIDR notation; nil where none was given.
    public var range: String?
    /// Gateway address.
    public var gateway: String
    /// Addresses of `--aux-address`, sorted.
    public var auxiliary: [String]
    /// Blocks with their owners' names.
    public var blocks: [BlockReport]
    /// Number of addresses that this node has handed out.
    public var leases: Int
}

/// Block of addresses in `swift-overlay network inspect`.
public struct BlockReport: Codable, Hashable, Sendable {
    /// First and last address with a dash between them; a single address alone.
    public var range: String
    /// Name of the node that may hand the addresses out.
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
    /// Id as the engine gives it.
    public var id: String
    /// Name of the host that has it.
    public var node: String
    /// Names by which other containers find it.
    public var names: [String]
    /// IPv4 and IPv6 address.
    public var addresses: [String]
    /// MAC, six bytes in hexadecimal with colons.
    public var mac: String
    /// Addresses that it has by announcing them, and MACs besides its own from which it sends.
    public var claims: [String]
}
