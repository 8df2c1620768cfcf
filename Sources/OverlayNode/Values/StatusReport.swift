/// Report of `swift-overlay status`.
public struct StatusReport: Codable, Hashable, Sendable {
    /// Version of the daemon.
    public var version: String
    /// Id of this node: 32 hexadecimal digits.
    public var node: String
    /// Host name.
    public var name: String
    /// Id of the cluster; nil outside one.
    public var cluster: String?
    /// Address and port at which other nodes reach this daemon.
    public var address: String
    /// Tunnel address.
    public var dataPathAddress: String
    /// UDP port for VXLAN; nil outside a cluster.
    public var dataPathPort: UInt16?
    /// Name of the catalogue writer; nil outside a cluster.
    public var writer: String?
    /// State of the writer in one word (``PeerState/word``).
    public var writerState: String?
    /// Number of the catalogue writer's term.
    public var term: UInt64?
    /// Old spelling of ``term``, for scripts; it goes after 0.2.
    public var generation: UInt64?
    /// Number of the last catalogue entry that was applied here.
    public var catalogueIndex: UInt64
    /// Number of members, this node included.
    public var members: Int
    /// Number of members that this node reaches, itself included.
    public var reachable: Int
    /// Link to the engine's own API.
    public var engine: EngineLinkReport
    /// Number of containers of this host whose questions for names are to be answered here.
    public var sandboxes: Int
    /// Networks of the cluster.
    public var networks: [NetworkReport]
    /// Number of endpoints of this host.
    public var endpoints: Int
    /// Number of addresses that this node has handed out.
    public var leases: Int
    /// Versions of the protocol between nodes; nil from daemons that do not tell.
    public var protocols: ProtocolReport?
    /// Sentences about what is wrong now.
    public var problems: [String]
}

/// Link to the engine's own API.
public struct EngineLinkReport: Codable, Hashable, Sendable {
    /// State: `connected`, `away`, or `none` where there is no link.
    public var state: String
    /// Version of the engine's API; nil while it is away.
    public var apiVersion: String?
    /// Reason why it is away.
    public var reason: String?
}
