public import OverlayCatalogue
public import OverlayModel

/// Parameters of `swift-overlay init`. Secrets come from the shell, as a core draws none.
public struct Initialise: Sendable {
    /// Id of the cluster.
    public var cluster: ClusterID
    /// IPv4 pool that subnets of new networks come from.
    public var addressPool: IPPrefix
    /// Prefix length of those subnets, from the pool's to 29.
    public var subnetLength: Int
    /// UDP port for VXLAN, for all nodes.
    public var dataPathPort: UInt16
    /// Private half of the root key, 32 bytes. The id of the cluster comes from the key. Never logged.
    public var rootKey: [UInt8]
    /// Public half, 32 bytes.
    public var rootPublicKey: [UInt8]
    /// First key of packets between nodes, 32 bytes. Never logged.
    public var gossipKey: [UInt8]
    /// Secret of the first join token, and when it ends.
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
