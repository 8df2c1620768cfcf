public import OverlayCatalogue
public import OverlayModel

/// Parameters of `swift-overlay init`. Secrets come from the shell, as a core draws none.
public struct Initialise: Sendable {
    public var cluster: ClusterID
    public var addressPool: IPPrefix
    public var subnetLength: Int
    public var dataPathPort: UInt16
    /// Private and public half of the cluster's root key. The cluster's id comes from it.
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
