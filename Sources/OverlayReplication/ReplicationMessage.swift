import OverlayModel

/// Contiguous changes of a log, with the owner's signature over the state that they lead to. A node that has the state before them
/// can check them, whichever peer sends them.
struct SignedBatch: Hashable, Sendable {
    var network: NetworkID
    var owner: NodeID
    var life: UInt64
    /// Sequence before the first change.
    var after: UInt64
    var changes: [LogChange]
    var signature: [UInt8]

    var end: LogPosition { LogPosition(life: life, sequence: after + UInt64(changes.count)) }
    var key: LogKey { LogKey(network: network, owner: owner) }
}

extension SignedBatch: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        network = try reader.value()
        owner = try reader.value()
        life = try reader.counter()
        after = try reader.counter()
        // A change takes at least a byte.
        changes = try reader.list(limit: Budget.batch)
        signature = try reader.take(Budget.signature)
        guard !changes.isEmpty, end.sequence < Limits.counter else { throw .invalid("batch") }
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(network)
        writer.value(owner)
        writer.integer(life)
        writer.integer(after)
        writer.list(changes)
        writer.raw(signature)
    }
}

/// Share of the subscribers to which one relay passes a batch on.
struct RelayGroup: Hashable, Sendable, Wire {
    var index: UInt16
    var of: UInt16

    init(index: UInt16, of: UInt16) {
        self.index = index
        self.of = of
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(index: try reader.integer(), of: try reader.integer())
        guard index < of else { throw .invalid("relay group") }
    }

    func encode(to writer: inout ByteWriter) {
        writer.integer(index)
        writer.integer(of)
    }
}

/// Part of all endpoints that are live at a position. An endpoint in no part is gone, so deletions need no tombstones.
struct SnapshotPart: Hashable, Sendable {
    var network: NetworkID
    var owner: NodeID
    var position: LogPosition
    /// Digest of the whole. Every part carries it, so that only a signed snapshot is ever begun.
    var root: [UInt8]
    var signature: [UInt8]
    var attachment: Attachment?
    /// Number of parts; one even if there is no record.
    var total: UInt32
    /// Index of this part, from 0.
    var index: UInt32
    /// Records in order of their endpoints.
    var records: [EndpointRecord]
    /// Parts of names in order of their endpoints and numbers. The record of an endpoint may be in an earlier part.
    var names: [NamePart] = []
    /// Claims in order of their endpoints. They come after all records, and make another kind of message.
    var claims: [EndpointClaims] = []
    /// Facts in their order. They come after all claims, and make another kind of message.
    var facts: [EndpointFact] = []

    var key: LogKey { LogKey(network: network, owner: owner) }
}

extension SnapshotPart: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        network = try reader.value()
        owner = try reader.value()
        position = try reader.value()
        root = try reader.take(Budget.digest)
        signature = try reader.take(Budget.signature)
        attachment = try reader.optional()
        total = try reader.integer()
        index = try reader.integer()
        // A record takes more than 16 bytes.
        records = try reader.list(limit: Budget.part / 16)
        names = try reader.list(limit: Budget.part / 16)
        guard index < total, total <= Limits.endpointsPerLog + Limits.namePartsPerLog + Limits.claimantsPerLog + Limits.factsPerLog
        else { throw .invalid("snapshot part") }
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(network)
        writer.value(owner)
        writer.value(position)
        writer.raw(root)
        writer.raw(signature)
        writer.optional(attachment)
        writer.integer(total)
        writer.integer(index)
        writer.list(records)
        writer.list(names)
    }
}

/// Request for parts of a snapshot.
struct PartRequest: Hashable, Sendable, Wire {
    /// Position of the snapshot.
    var position: LogPosition
    var first: UInt32
    /// Number of parts, 1…16.
    var count: UInt8

    static let limit = 16

    init(position: LogPosition, first: UInt32, count: UInt8) {
        self.position = position
        self.first = first
        self.count = count
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(position: try reader.value(), first: try reader.integer(), count: try reader.byte())
        guard (1...Self.limit).contains(Int(count)) else { throw .invalid("count of parts") }
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(position)
        writer.integer(first)
        writer.byte(count)
    }
}

/// Hash of what a node holds of a network.
struct NetworkView: Hashable, Sendable, Wire {
    var network: NetworkID
    var hash: UInt64

    init(network: NetworkID, hash: UInt64) {
        self.network = network
        self.hash = hash
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(network: try reader.value(), hash: try reader.integer())
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(network)
        writer.integer(hash)
    }
}

/// Position up to which a node has an owner's log.
struct VectorEntry: Hashable, Sendable, Wire {
    var owner: NodeID
    /// ``LogPosition/none`` if it follows the owner and has nothing.
    var position: LogPosition

    init(owner: NodeID, position: LogPosition) {
        self.owner = owner
        self.position = position
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(owner: try reader.value(), position: try reader.value())
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(owner)
        writer.value(position)
    }
}

/// Messages between the nodes of a network. Each fits a datagram.
enum ReplicationMessage: Hashable, Sendable {
    case batch(SignedBatch, relay: RelayGroup?)
    case part(SnapshotPart)
    /// Everything up to the position has arrived. `view` is the hash of what the sender holds of the network.
    case acknowledge(NetworkID, LogPosition, view: UInt64)
    /// Request for what follows a position of the owner's log, or for parts of a snapshot.
    case pull(LogKey, have: LogPosition, part: PartRequest?)
    /// Request for a vector of each network for which the receiver has another view.
    case compare([NetworkView])
    /// Positions of logs. An answer is not answered with another vector.
    case vector(NetworkID, [VectorEntry], isAnswer: Bool)

    /// Number of networks in a comparison.
    static let viewLimit = 40
    /// Number of owners in a vector.
    static let vectorLimit = 30
}

extension ReplicationMessage {
    /// Decodes a message of a member, for a node that speaks these versions.
    init(received bytes: [UInt8], by versions: ProtocolVersions) throws(DecodeError) {
        // A stream may bring longer ones. They would be kept and passed on as they are, and fit no datagram.
        guard bytes.count <= Budget.message else { throw .tooLong(limit: Budget.message) }
        try self.init(wire: bytes)
        // Like a form that this build does not know.
        guard version <= versions.newest else { throw .invalid("replication message of a later protocol") }
    }

    /// Version of the protocol that a receiver must speak.
    var version: UInt16 {
        switch self {
        case .batch(let batch, _): batch.changes.map(\.version).max() ?? ProtocolVersions.unannounced
        case .part(let part): part.facts.isEmpty ? ProtocolVersions.unannounced : 3
        case .acknowledge, .pull, .compare, .vector: ProtocolVersions.unannounced
        }
    }
}

extension ReplicationMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1:
            let relay: RelayGroup? = try reader.optional()
            self = .batch(try reader.value(), relay: relay)
        case 2:
            let part: SnapshotPart = try reader.value()
            guard part.total == 1 || !part.records.isEmpty || !part.names.isEmpty else { throw .invalid("snapshot part") }
            self = .part(part)
        case 7:
            var part: SnapshotPart = try reader.value()
            // A claim takes more than 16 bytes.
            part.claims = try reader.list(limit: Budget.part / 16)
            guard !part.claims.isEmpty else { throw .invalid("claims") }
            self = .part(part)
        case 8:
            var part: SnapshotPart = try reader.value()
            part.claims = try reader.list(limit: Budget.part / 16)
            // A fact takes more than 16 bytes.
            part.facts = try reader.list(limit: Budget.part / 16)
            guard !part.facts.isEmpty else { throw .invalid("facts") }
            self = .part(part)
        case 3: self = .acknowledge(try reader.value(), try reader.value(), view: try reader.integer())
        case 4:
            let key = LogKey(network: try reader.value(), owner: try reader.value())
            self = .pull(key, have: try reader.value(), part: try reader.optional())
        case 5: self = .compare(try reader.list(limit: Self.viewLimit))
        case 6:
            let network: NetworkID = try reader.value()
            let isAnswer = try reader.bool()
            self = .vector(network, try reader.list(limit: Self.vectorLimit), isAnswer: isAnswer)
        default: throw .invalid("replication message")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .batch(let batch, let relay):
            writer.byte(1)
            writer.optional(relay)
            writer.value(batch)
        case .part(let part):
            writer.byte(!part.facts.isEmpty ? 8 : part.claims.isEmpty ? 2 : 7)
            writer.value(part)
            if !part.claims.isEmpty || !part.facts.isEmpty { writer.list(part.claims) }
            if !part.facts.isEmpty { writer.list(part.facts) }
        case .acknowledge(let network, let position, let view):
            writer.byte(3)
            writer.value(network)
            writer.value(position)
            writer.integer(view)
        case .pull(let key, let have, let part):
            writer.byte(4)
            writer.value(key.network)
            writer.value(key.owner)
            writer.value(have)
            writer.optional(part)
        case .compare(let views):
            writer.byte(5)
            writer.list(views)
        case .vector(let network, let entries, let isAnswer):
            writer.byte(6)
            writer.value(network)
            writer.bool(isAnswer)
            writer.list(entries)
        }
    }
}
