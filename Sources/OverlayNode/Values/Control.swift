public import OverlayCatalogue
public import OverlayDriver
public import OverlayModel

/// What the command line asks of its daemon.
public enum ControlRequest: Sendable {
    case initialise(Initialise)
    case join(token: String, host: String, port: UInt16)
    case leave(force: Bool)
    /// `newSecret` rotates the token.
    case joinToken(newSecret: JoinSecret?)
    /// `now`: its addresses are free at once; also of one that was removed before.
    case removeNode(String, force: Bool, now: Bool = false)
    /// This node becomes the catalogue writer, as the one before is gone for good.
    case promote(force: Bool)
    case nodes
    /// Changes of nodes' states after a number; waits for the next one. nil asks for the number alone.
    case nodeChanges(after: UInt64?)
    case networks
    case network(String)
    /// `swift-overlay network create`: by this host's engine, and by it on all.
    case createNetwork(EngineNetwork)
    case removeNetwork(String)
    case status
}

/// `swift-overlay init`. Secrets come from the shell, as a core draws none.
public struct Initialise: Sendable {
    public var cluster: ClusterID
    public var addressPool: IPPrefix
    public var subnetLength: Int
    public var dataPathPort: UInt16
    /// Both halves of the cluster's key; its id is of their making.
    public var rootKey: [UInt8]
    public var rootPublicKey: [UInt8]
    public var gossipKey: [UInt8]
    public var joinSecret: JoinSecret

    public init(
        cluster: ClusterID, addressPool: IPPrefix, subnetLength: Int, dataPathPort: UInt16, rootKey: [UInt8],
        rootPublicKey: [UInt8], gossipKey: [UInt8], joinSecret: JoinSecret
    ) {
        self.cluster = cluster
        self.addressPool = addressPool
        self.subnetLength = subnetLength
        self.dataPathPort = dataPathPort
        self.rootKey = rootKey
        self.rootPublicKey = rootPublicKey
        self.gossipKey = gossipKey
        self.joinSecret = joinSecret
    }
}

public enum ControlResponse: Sendable {
    case done(String)
    case token(JoinTokenReport)
    case nodes([NodeReport])
    case nodeChanges(NodeChanges)
    case networks([NetworkReport])
    case network(NetworkReport)
    case status(StatusReport)
    /// Refused: the cause and the way out, in one line.
    case refused(String)
}

/// How a joining host is let in.
public struct JoinTokenReport: Codable, Hashable, Sendable {
    public var token: String
    /// The whole command for another host.
    public var command: String
    /// Unix seconds; 0 is never.
    public var expires: UInt64
}

/// A row of `swift-overlay node ls`.
public struct NodeReport: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var address: String
    public var dataPathAddress: String
    /// ``PeerState/word``; this node itself is always alive.
    public var state: String
    /// What the state rests on, or what is wrong although it is alive; empty when all is well.
    public var reason: String
    /// How the node says it does itself: 0 is well, up to 7 (starved of a processor, deaf on its network).
    public var healthScore: UInt8
    /// Old spelling of ``healthScore``, for scripts; it goes after 0.2.
    public var ailment: UInt8
    /// Seconds in this state.
    public var since: Int64
    /// Round trip in microseconds.
    public var roundTrip: Int64?
    public var isSelf: Bool
    public var isWriter: Bool
    /// Blocks of addresses it owns.
    public var blocks: Int
    /// Networks its engine has.
    public var networks: Int
}

/// One change of a node's state, as this node sees it.
public struct NodeChange: Codable, Hashable, Sendable {
    public var node: String
    public var state: String
    public var was: String
    public var reason: String
    /// Milliseconds since it happened.
    public var age: Int64
}

/// What `swift-overlay node ls --watch` prints.
public struct NodeChanges: Codable, Hashable, Sendable {
    /// The number of the last change; ask for those after it next.
    public var last: UInt64
    public var changes: [NodeChange]
}

public struct SubnetReport: Codable, Hashable, Sendable {
    public var pool: String
    public var subnet: String
    public var range: String?
    public var gateway: String
    public var auxiliary: [String]
    /// Blocks with their owners' names.
    public var blocks: [BlockReport]
    /// Addresses this node handed out.
    public var leases: Int
}

public struct BlockReport: Codable, Hashable, Sendable {
    public var range: String
    public var owner: String
    /// Addresses that containers have, as this node knows it, and that the owner has left to hand out.
    public var used: UInt64
    public var free: UInt64
    /// The owner was removed; nobody is given these addresses for ten minutes.
    public var isQuarantined: Bool
    /// Old spelling of ``isQuarantined``, for scripts; it goes after 0.2.
    public var isResting: Bool
}

public struct EndpointReport: Codable, Hashable, Sendable {
    public var id: String
    public var node: String
    public var names: [String]
    public var addresses: [String]
    public var mac: String
}

/// A row of `swift-overlay network ls`, whole in `network inspect`.
public struct NetworkReport: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var vni: UInt32
    public var mtu: UInt32?
    public var isInternal: Bool
    public var isEncrypted: Bool
    /// Somebody removed it; engines that have it still let it go.
    public var isRemoved: Bool
    public var labels: [String: String]
    /// The network's id on this host's engine.
    public var engineID: String?
    public var nodes: [String]
    public var subnets: [SubnetReport]
    public var endpoints: [EndpointReport]
}

/// The engine's own API.
public struct EngineLinkReport: Codable, Hashable, Sendable {
    /// `connected`, `away`, or `none` where no engine is to be asked.
    public var state: String
    public var apiVersion: String?
    /// Why it is away.
    public var reason: String?
}

public struct StatusReport: Codable, Hashable, Sendable {
    public var version: String
    public var node: String
    public var name: String
    /// nil outside a cluster.
    public var cluster: String?
    public var address: String
    public var dataPathAddress: String
    public var dataPathPort: UInt16?
    public var writer: String?
    public var writerState: String?
    /// Of the catalogue: how manieth writer's it is.
    public var term: UInt64?
    /// Old spelling of ``term``, for scripts; it goes after 0.2.
    public var generation: UInt64?
    public var catalogueIndex: UInt64
    public var members: Int
    public var reachable: Int
    public var engine: EngineLinkReport
    /// Containers of this host whose questions for names are to be answered here.
    public var sandboxes: Int
    public var networks: [NetworkReport]
    /// Local endpoints.
    public var endpoints: Int
    /// Addresses handed out by this node.
    public var leases: Int
    /// What is wrong now, in sentences.
    public var problems: [String]
}
