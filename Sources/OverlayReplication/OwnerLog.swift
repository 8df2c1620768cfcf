import OverlayModel

/// Reason why a peer's message was not believed. It changed nothing.
public enum Rejection: String, Error, Hashable, Sendable, CaseIterable {
    /// The owner's public key is not known.
    case noKey = "no key of the owner"
    /// The signature is not the owner's, or not of this state.
    case badSignature = "bad signature"
    /// The parts of a snapshot do not make what its owner signed.
    case brokenSnapshot = "broken snapshot"
    /// The log would have more than ``Limits/endpointsPerLog`` endpoints.
    case tooManyEndpoints = "too many endpoints"
    /// The log would have more than ``Limits/namePartsPerLog`` parts of names.
    case tooManyNames = "too many names"
    /// A peer claims to have more of this node's own log than there is.
    case ownLogAhead = "more of the own log than there is"
}

/// An owner's log as this node holds it, its own or another's: all live endpoints, and the last batches as they were signed.
struct OwnerLog: Sendable {
    /// A batch, kept byte for byte.
    struct Kept: Sendable {
        var after: UInt64
        var end: UInt64
        /// The message, without a relay.
        var message: [UInt8]
    }

    /// A snapshot, divided into messages.
    struct Prepared: Sendable {
        var position: LogPosition
        var parts: [[UInt8]]
        var askedAt: Instant
    }

    /// Number of changes and of batches kept for subscribers that lag. Those that lag by more get a snapshot.
    static let tailChanges: UInt64 = 1024
    static let tailBatches = 256

    let key: LogKey
    private(set) var position: LogPosition
    private(set) var contents: LogContents
    /// Digest of the contents, and the owner's signature over it and the position.
    private(set) var root: [UInt8]
    private(set) var signature: [UInt8]
    private var tail: [Kept] = []
    private var prepared: Prepared?

    /// Empty log of this node.
    init(own key: LogKey, at position: LogPosition, signing: any RecordSigning) {
        self.key = key
        self.position = position
        contents = LogContents()
        root = contents.root(signing)
        signature = signing.sign(Self.head(key, position, root))
    }

    /// Log from a snapshot whose signature was verified.
    init(_ key: LogKey, at position: LogPosition, _ contents: LogContents, root: [UInt8], signature: [UInt8]) {
        self.key = key
        self.position = position
        self.contents = contents
        self.root = root
        self.signature = signature
    }

    /// Bytes that an owner signs.
    static func head(_ key: LogKey, _ position: LogPosition, _ root: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.raw("swift-overlay log v1".utf8)
        writer.value(key.owner)
        writer.value(key.network)
        writer.value(position)
        writer.raw(root)
        return writer.bytes
    }

    /// A batch message without its relay.
    static func direct(_ message: [UInt8]) -> [UInt8] {
        // Kind, "there is a relay", group, number of groups.
        message.count > 6 && message[1] == 1 ? [message[0], 0] + message[6...] : message
    }

    /// A batch message with a relay.
    static func relayed(_ message: [UInt8], _ group: RelayGroup) -> [UInt8] {
        [message[0], 1] + group.wireBytes + message[2...]
    }

    // MARK: Growing

    /// Numbers and signs changes that fit one batch, on the owner's side.
    mutating func extend(_ changes: [LogChange], signing: any RecordSigning) {
        _ = contents.apply(changes, signing: signing)
        let after = position.sequence
        position.sequence += UInt64(changes.count)
        root = contents.root(signing)
        signature = signing.sign(Self.head(key, position, root))
        let batch = SignedBatch(
            network: key.network, owner: key.owner, life: position.life, after: after, changes: changes, signature: signature)
        keep(batch, ReplicationMessage.batch(batch, relay: nil).wireBytes)
    }

    /// Takes the next batch on another node's side, if the owner signed it.
    mutating func accept(
        _ batch: SignedBatch, _ message: [UInt8], publicKey: [UInt8], signing: any RecordSigning
    ) throws(Rejection) -> [LogDifference] {
        var new = contents
        let differences = new.apply(batch.changes, signing: signing)
        guard new.count <= Limits.endpointsPerLog else { throw .tooManyEndpoints }
        guard new.partCount <= Limits.namePartsPerLog else { throw .tooManyNames }
        let root = new.root(signing)
        guard signing.verify(batch.signature, of: Self.head(key, batch.end, root), by: publicKey) else { throw .badSignature }
        contents = new
        self.root = root
        signature = batch.signature
        position = batch.end
        keep(batch, Self.direct(message))
        return differences
    }

    private mutating func keep(_ batch: SignedBatch, _ message: [UInt8]) {
        tail.append(Kept(after: batch.after, end: position.sequence, message: message))
        let oldest = position.sequence - min(position.sequence, Self.tailChanges)
        var drop = max(0, tail.count - Self.tailBatches)
        while drop < tail.count - 1, tail[drop].after < oldest { drop += 1 }
        if drop > 0 { tail.removeFirst(drop) }
        if let position = prepared?.position, position.sequence < tailStart { prepared = nil }
    }

    // MARK: Giving

    /// Oldest sequence whose successor is still kept.
    var tailStart: UInt64 { tail.first?.after ?? position.sequence }

    /// True if all batches after this sequence are kept, and one starts right there.
    func reaches(back sequence: UInt64) -> Bool { sequence == position.sequence || index(after: sequence) != nil }

    private func index(after sequence: UInt64) -> Int? {
        let index = tail.partitioningIndex { $0.after >= sequence }
        return index < tail.count && tail[index].after == sequence ? index : nil
    }

    /// Batches that follow `sequence`.
    func batches(after sequence: UInt64, limit: Int) -> ArraySlice<Kept> {
        guard let start = index(after: sequence) else { return [] }
        return tail[start...].prefix(limit)
    }

    /// Snapshot for a peer that asks now. One of many parts is kept as long as it is asked for and the batches since are kept.
    mutating func snapshot(at now: Instant) -> Prepared {
        if prepared != nil {
            prepared?.askedAt = now
        } else {
            let new = Prepared(position: position, parts: cut(), askedAt: now)
            guard new.parts.count > 1 else { return new }
            prepared = new
        }
        return prepared ?? Prepared(position: position, parts: [], askedAt: now)
    }

    /// The kept snapshot, if it has this position.
    mutating func snapshot(of position: LogPosition, at now: Instant) -> Prepared? {
        guard prepared?.position == position else { return nil }
        return snapshot(at: now)
    }

    /// Instant at which the kept snapshot was last asked for.
    var snapshotAskedAt: Instant? { prepared?.askedAt }

    mutating func forgetSnapshot() { prepared = nil }

    private func cut() -> [[UInt8]] {
        var parts = Parts()
        for pieces in contents.endpoints {
            parts.make(room: pieces.first.wireBytes.count)
            parts.all[parts.all.count - 1].records.append(pieces.first)
            for part in pieces.sortedParts {
                parts.make(room: part.wireBytes.count)
                parts.all[parts.all.count - 1].names.append(part)
            }
        }
        for endpoint in contents.claims.keys.sorted() {
            guard let claims = contents.claims[endpoint] else { continue }
            parts.make(room: claims.wireBytes.count)
            parts.all[parts.all.count - 1].claims.append(claims)
        }
        for fact in contents.facts.sorted {
            parts.make(room: fact.wireBytes.count)
            parts.all[parts.all.count - 1].facts.append(fact)
        }
        return parts.all.enumerated().map { index, part in
            ReplicationMessage.part(
                SnapshotPart(
                    network: key.network, owner: key.owner, position: position, root: root, signature: signature,
                    attachment: contents.attachment, total: UInt32(parts.all.count), index: UInt32(index), records: part.records,
                    names: part.names, claims: part.claims, facts: part.facts)
            ).wireBytes
        }
    }

    /// Parts of a snapshot while it is cut.
    private struct Parts {
        var all: [(records: [EndpointRecord], names: [NamePart], claims: [EndpointClaims], facts: [EndpointFact])] = [
            ([], [], [], [])
        ]
        private var bytes = 0

        /// Begins another part where this one has too little room.
        mutating func make(room size: Int) {
            if bytes + size > Budget.part {
                all.append(([], [], [], []))
                bytes = 0
            }
            bytes += size
        }
    }
}
