/// Report of `swift-overlay status`.
public struct StatusReport: Codable, Hashable, Sendable {
    public var version: String
    public var node: String
    public var name: String
    /// Id of the cluster; nil outside one.
    public var cluster: String?
    public var address: String
    public var dataPathAddress: String
    public var dataPathPort: UInt16?
    public var writer: String?
    public var writerState: String?
    /// Number of the catalogue writer's term.
    public var term: UInt64?
    /// Old spelling of ``term``, for scripts; it goes after 0.2.
    public var generation: UInt64?
    public var catalogueIndex: UInt64
    public var members: Int
    public var reachable: Int
    public var engine: EngineLinkReport
    /// Number of containers of this host whose questions for names are to be answered here.
    public var sandboxes: Int
    public var networks: [NetworkReport]
    /// Number of endpoints of this host.
    public var endpoints: Int
    /// Number of addresses that this node has handed out.
    public var leases: Int
    /// Sentences about what is wrong now.
    public var problems: [String]
}

/// Link to the engine's own API.
public struct EngineLinkReport: Codable, Hashable, Sendable {
    /// State: `connected`, `away`, or `none` where there is no link.
    public var state: String
    public var apiVersion: String?
    /// Reason why it is away.
    public var reason: String?
}
