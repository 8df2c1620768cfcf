public import OverlayModel

/// What all nodes agree on about the cluster itself; set by `init`.
public struct Cluster: Hashable, Sendable {
    public var id: ClusterID
    /// The one node that commits, and which term of a writer this is (design §5.9).
    public var writer: NodeID
    public var termNumber: UInt64
    /// Where subnets come from when `docker network create` names none, and how large each is.
    public var addressPool: IPPrefix
    /// Prefix length of a subnet out of the pool.
    public var subnetLength: Int
    /// UDP port of VXLAN on every host.
    public var dataPathPort: UInt16
    /// The cluster's Ed25519 key, 32 bytes each half: it vouches for members towards who joins. The private half is never logged.
    public var rootKey: [UInt8]
    public var rootPublicKey: [UInt8]
    /// Part of the keys of all packets between members, the newest first.
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

    /// The oldest key goes. Numbers go round, but for 0.
    mutating func rotate(to bytes: [UInt8]) {
        let last = gossipKeys.first?.id ?? 0
        let id = last == 255 ? 1 : last + 1
        // They follow one another, unless somebody made them up.
        gossipKeys.removeAll { $0.id == id }
        gossipKeys.insert(GossipKey(id: id, bytes: bytes), at: 0)
        gossipKeys = Array(gossipKeys.prefix(Self.gossipKeyCount))
    }
}

public struct GossipKey: Hashable, Sendable {
    /// On the wire with each packet; never 0.
    public var id: UInt8
    /// 32. Never logged.
    public var bytes: [UInt8]
}

/// What a joining node must know.
public struct JoinSecret: Hashable, Sendable {
    /// 16 bytes. Never logged.
    public var secret: [UInt8]
    /// Unix seconds; 0 is never.
    public var expires: UInt64

    public init(secret: [UInt8], expires: UInt64) {
        self.secret = secret
        self.expires = expires
    }
}

/// A node that may take part.
public struct Member: Hashable, Sendable {
    public var id: NodeID
    /// The host's name, for people. Unique, so that errors can name a node.
    public var name: String
    /// Where its port 7946 is reached.
    public var address: IPAddress
    public var port: UInt16
    /// Its tunnel address.
    public var vtep: IPAddress
    /// Ed25519, 32 bytes; the id is its hash.
    public var publicKey: [UInt8]
    /// X25519, 32 bytes: keys of packets to and from it come of this.
    public var agreementKey: [UInt8]
    /// The identity life: a new one after lost state. Commands of another epoch are ignored (rule R3).
    public var epoch: UInt32
    /// What its host has routes for, of the cluster's address pool: no subnet is chosen there.
    public var routes: [IPPrefix]

    public init(
        id: NodeID, name: String, address: IPAddress, port: UInt16, vtep: IPAddress, publicKey: [UInt8],
        agreementKey: [UInt8], epoch: UInt32, routes: [IPPrefix] = []
    ) {
        self.id = id
        self.name = name
        self.address = address
        self.port = port
        self.vtep = vtep
        self.publicKey = publicKey
        self.agreementKey = agreementKey
        self.epoch = epoch
        self.routes = routes
    }

    /// With those routes alone that a pool is concerned by, in an order; of very many the first.
    public func limited(to pool: IPPrefix) -> Member {
        var member = self
        member.routes = Array(Set(routes.filter { $0.overlaps(pool) }).sorted().prefix(Limits.routesPerMember))
        return member
    }
}

/// A range of addresses that one node may hand out. Blocks of a subnet are disjoint.
public struct Block: Hashable, Sendable {
    public var range: AddressRange
    public var owner: NodeID

    public init(range: AddressRange, owner: NodeID) {
        self.range = range
        self.owner = owner
    }
}

/// A subnet of a network: one engine pool.
public struct Subnet: Hashable, Sendable {
    public var id: SubnetID
    public var prefix: IPPrefix
    /// `--ip-range`: where addresses are handed out from; nil is the whole subnet. The rest is for `--ip`.
    public var range: IPPrefix?
    /// The same on every host, on the bridge, never handed out.
    public var gateway: IPAddress
    /// Addresses kept for other uses (`--aux-address`).
    public var auxiliary: Set<IPAddress>
    /// Nodes whose engine has it.
    public var users: Set<NodeID>
    /// In order of address.
    public internal(set) var blocks: [Block]

    /// Where blocks are cut from; nil when the range has no address that an endpoint may have.
    public var dynamic: AddressRange? { Self.dynamic(range, in: prefix) }

    static func dynamic(_ range: IPPrefix?, in prefix: IPPrefix) -> AddressRange? {
        let usable = prefix.usable
        guard let range else { return usable }
        let first = max(range.first, usable.first)
        let last = min(range.last, usable.last)
        return first <= last && prefix.contains(range) ? AddressRange(first: first, last: last) : nil
    }

    /// May no endpoint have it?
    public func isReserved(_ address: IPAddress) -> Bool {
        address == gateway || auxiliary.contains(address) || !prefix.usable.contains(address)
    }

    public func block(holding address: IPAddress) -> Block? {
        // The last block that starts at or before the address.
        var low = 0
        var high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if blocks[middle].range.first <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0, blocks[low - 1].range.contains(address) else { return nil }
        return blocks[low - 1]
    }

    /// Takes addresses from what a node owns.
    mutating func take(_ range: AddressRange, from owner: NodeID) {
        blocks = blocks.flatMap { block in
            guard block.owner == owner, block.range.overlaps(range) else { return [block] }
            return block.range.subtracting([range]).map { Block(range: $0, owner: owner) }
        }
    }

    public func blocks(of node: NodeID) -> [AddressRange] { blocks.filter { $0.owner == node }.map(\.range) }
}

/// What `docker network create` options mean for the whole network; equal on every host.
public struct NetworkSettings: Hashable, Sendable {
    /// Bytes; nil follows each host's underlay.
    public var mtu: UInt32?
    public var isEncrypted: Bool
    public var isInternal: Bool

    public init(mtu: UInt32? = nil, isEncrypted: Bool = false, isInternal: Bool = false) {
        self.mtu = mtu
        self.isEncrypted = isEncrypted
        self.isInternal = isInternal
    }
}

public struct Network: Hashable, Sendable {
    public var id: NetworkID
    /// `--ipam-opt net=NAME`; nil until it is known. Unique.
    public var name: String?
    public var vni: VNI
    public var subnets: [Subnet]
    /// Set by the first CreateNetwork, and from then on the subnets are complete.
    public var settings: NetworkSettings?
    /// What engines call it, and what it is made of on others; nil until an engine has told.
    public internal(set) var description: NetworkDescription?
    /// Somebody removed it, and nobody was on it: engines that have it still let it go.
    public internal(set) var isRemoved = false

    /// Nodes whose engine has the network.
    public var users: Set<NodeID> { subnets.reduce(into: []) { $0.formUnion($1.users) } }
    /// For messages.
    public var title: String { name ?? id.short }
    /// What its names end with: the word that `docker` knows it by.
    public var zone: String { description?.name ?? name ?? "" }
    /// No other network may have one of these.
    var names: Set<String> { Set([name, description?.name].compactMap { $0 }) }
}

/// A network as `docker network inspect` shows it, but for what the catalogue has anyway: other engines make it of this.
public struct NetworkDescription: Hashable, Sendable {
    /// One pair of a map, such as a label.
    public struct Pair: Hashable, Comparable, Sendable {
        public var key: String
        public var value: String

        public init(key: String, value: String) {
            self.key = key
            self.value = value
        }

        public static func < (lhs: Pair, rhs: Pair) -> Bool { (lhs.key, lhs.value) < (rhs.key, rhs.value) }
    }

    /// Docker's.
    public var name: String
    /// By key; so that equal ones have equal bytes.
    public private(set) var labels: [Pair]
    /// `-o`
    public private(set) var options: [Pair]
    /// `--ipam-opt`
    public private(set) var ipamOptions: [Pair]
    /// `--aux-address` by name.
    public private(set) var auxiliary: [Pair]
    public var isIPv6: Bool
    public var isAttachable: Bool

    /// nil where it is more than ``Limits/descriptionBytes`` or ``Limits/descriptionPairs``, or has no name.
    public init?(
        name: String, labels: [String: String], options: [String: String], ipamOptions: [String: String],
        auxiliary: [String: String], isIPv6: Bool, isAttachable: Bool
    ) {
        self.init(
            name: name, labels: Self.pairs(labels), options: Self.pairs(options), ipamOptions: Self.pairs(ipamOptions),
            auxiliary: Self.pairs(auxiliary), isIPv6: isIPv6, isAttachable: isAttachable)
    }

    private static func pairs(_ map: [String: String]) -> [Pair] { map.map { Pair(key: $0.key, value: $0.value) }.sorted() }

    fileprivate init?(
        name: String, labels: [Pair], options: [Pair], ipamOptions: [Pair], auxiliary: [Pair], isIPv6: Bool, isAttachable: Bool
    ) {
        self.name = name
        self.labels = labels
        self.options = options
        self.ipamOptions = ipamOptions
        self.auxiliary = auxiliary
        self.isIPv6 = isIPv6
        self.isAttachable = isAttachable
        let all = [labels, options, ipamOptions, auxiliary]
        guard (1...Limits.networkNameBytes).contains(name.utf8.count), all.allSatisfy({ $0.count <= Limits.descriptionPairs }),
            all.joined().reduce(0, { $0 + $1.key.utf8.count + $1.value.utf8.count }) <= Limits.descriptionBytes,
            all.allSatisfy({ pairs in zip(pairs, pairs.dropFirst()).allSatisfy { $0.key < $1.key } })
        else { return nil }
    }
}

extension [NetworkDescription.Pair] {
    public var map: [String: String] { reduce(into: [:]) { $0[$1.key] = $1.value } }
}

extension NetworkDescription.Pair: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(
            key: try reader.string(limit: Limits.descriptionBytes), value: try reader.string(limit: Limits.descriptionBytes))
    }

    public func encode(to writer: inout ByteWriter) {
        writer.string(key)
        writer.string(value)
    }
}

extension NetworkDescription: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let name = try reader.string(limit: Limits.networkNameBytes)
        let lists = try (0..<4).map { _ throws(DecodeError) in try reader.list(Pair.self, limit: Limits.descriptionPairs) }
        guard
            let value = NetworkDescription(
                name: name, labels: lists[0], options: lists[1], ipamOptions: lists[2], auxiliary: lists[3],
                isIPv6: try reader.bool(), isAttachable: try reader.bool())
        else { throw .invalid("network description") }
        self = value
    }

    public func encode(to writer: inout ByteWriter) {
        writer.string(name)
        for list in [labels, options, ipamOptions, auxiliary] { writer.list(list) }
        writer.bool(isIPv6)
        writer.bool(isAttachable)
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

extension GossipKey: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.byte()
        bytes = try reader.sized(limit: 32)
        guard id != 0, bytes.count == 32 else { throw .invalid("gossip key") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.byte(id)
        writer.sized(bytes)
    }
}

extension JoinSecret: Wire {
    static let bytes = 16

    public init(from reader: inout ByteReader) throws(DecodeError) {
        secret = try reader.sized(limit: Self.bytes)
        expires = try reader.integer()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.sized(secret)
        writer.integer(expires)
    }
}

extension Member: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        name = try reader.string(limit: 253)
        address = try reader.value()
        port = try reader.integer()
        vtep = try reader.value()
        publicKey = try reader.sized(limit: 32)
        agreementKey = try reader.sized(limit: 32)
        epoch = try reader.integer()
        routes = try reader.list(limit: Limits.routesPerMember)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.string(name)
        writer.value(address)
        writer.integer(port)
        writer.value(vtep)
        writer.sized(publicKey)
        writer.sized(agreementKey)
        writer.integer(epoch)
        writer.list(routes)
    }
}

extension Block: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(range: try reader.value(), owner: try reader.value())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(range)
        writer.value(owner)
    }
}

extension Subnet: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        prefix = try reader.value()
        range = try reader.optional()
        gateway = try reader.value()
        auxiliary = Set(try reader.list(IPAddress.self, limit: Limits.auxiliaryAddresses))
        users = Set(try reader.list(NodeID.self, limit: Limits.members))
        blocks = try reader.list(limit: Limits.listCount)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(prefix)
        writer.optional(range)
        writer.value(gateway)
        writer.list(auxiliary.sorted())
        writer.list(users.sorted())
        writer.list(blocks)
    }
}

extension NetworkSettings: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        mtu = try reader.optional()
        isEncrypted = try reader.bool()
        isInternal = try reader.bool()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.optional(mtu)
        writer.bool(isEncrypted)
        writer.bool(isInternal)
    }
}

extension Network: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        name = try reader.optional()
        vni = try reader.value()
        subnets = try reader.list(limit: Limits.subnetsPerNetwork)
        settings = try reader.optional()
        description = try reader.optional()
        isRemoved = try reader.bool()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.optional(name)
        writer.value(vni)
        writer.list(subnets)
        writer.optional(settings)
        writer.optional(description)
        writer.bool(isRemoved)
    }
}
