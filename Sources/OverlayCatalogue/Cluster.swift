public import OverlayModel

/// Facts about the cluster itself that all nodes agree on; set by `init`.
public struct Cluster: Hashable, Sendable {
    public var id: ClusterID
    /// The one node that commits, and the number of its term.
    public var writer: NodeID
    public var termNumber: UInt64
    /// Pool of subnets for `docker network create` without `--subnet`.
    public var addressPool: IPPrefix
    /// Prefix length of a subnet out of the pool.
    public var subnetLength: Int
    /// UDP port for VXLAN on every host.
    public var dataPathPort: UInt16
    /// The cluster's Ed25519 key, 32 bytes each half. It vouches for members to a joining node. The private half is never logged.
    public var rootKey: [UInt8]
    public var rootPublicKey: [UInt8]
    /// Secrets in the keys of all packets between members, the newest first.
    public internal(set) var gossipKeys: [GossipKey]
    public internal(set) var joinSecret: JoinSecret

    static let gossipKeyCount = 3

    public init(
        id: ClusterID, writer: NodeID, termNumber: UInt64 = 1, addressPool: IPPrefix, subnetLength: Int, dataPathPort: UInt16,
        rootKey: [UInt8], rootPublicKey: [UInt8], gossipKey: [UInt8], joinSecret: JoinSecret
    ) {
        self.id = id
        self.writer = writer
        self.termNumber = termNumber
        self.addressPool = addressPool
        self.subnetLength = subnetLength
        self.dataPathPort = dataPathPort
        self.rootKey = rootKey
        self.rootPublicKey = rootPublicKey
        gossipKeys = [GossipKey(id: 1, bytes: gossipKey)]
        self.joinSecret = joinSecret
    }

    /// Adds a key and drops the oldest. Ids wrap around and skip 0.
    mutating func rotate(to bytes: [UInt8]) {
        let last = gossipKeys.first?.id ?? 0
        let id = last == 255 ? 1 : last + 1
        // Ids follow one another, unless the state was forged.
        gossipKeys.removeAll { $0.id == id }
        gossipKeys.insert(GossipKey(id: id, bytes: bytes), at: 0)
        gossipKeys = Array(gossipKeys.prefix(Self.gossipKeyCount))
    }
}

extension Cluster: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        writer = try reader.value()
        termNumber = try reader.counter()
        addressPool = try reader.value()
        subnetLength = Int(try reader.byte())
        dataPathPort = try reader.integer()
        rootKey = try reader.sized(limit: 32)
        rootPublicKey = try reader.sized(limit: 32)
        gossipKeys = try reader.list(limit: Cluster.gossipKeyCount)
        joinSecret = try reader.value()
        guard rootKey.count == 32, rootPublicKey.count == 32, joinSecret.secret.count == JoinSecret.bytes else {
            throw .invalid("key length")
        }
        guard !gossipKeys.isEmpty, Set(gossipKeys.map(\.id)).count == gossipKeys.count else { throw .invalid("gossip keys") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(self.writer)
        writer.integer(termNumber)
        writer.value(addressPool)
        writer.byte(UInt8(subnetLength))
        writer.integer(dataPathPort)
        writer.sized(rootKey)
        writer.sized(rootPublicKey)
        writer.list(gossipKeys)
        writer.value(joinSecret)
    }
}
