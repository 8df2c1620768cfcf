import OverlayModel

/// Difference that a step of a log made, in the form that the datapath takes.
enum LogDifference: Hashable, Sendable {
    case attached(Attachment, was: Attachment?)
    case detached(Attachment)
    case changed(EndpointRecord, was: EndpointRecord?)
    case gone(EndpointRecord)
    /// The endpoint claims other things than before. Empty claims stand for none.
    case claimed(EndpointClaims, was: EndpointClaims)
}

/// Live endpoints of a log, with the digest that its owner signs. Endpoints lie in up to 256 buckets by a byte of their id's hash,
/// each with its own digest, so that a change costs one bucket and the root. A copy costs the list of the buckets, so a batch can
/// be tried on one.
struct LogContents: Sendable {
    private struct Entry: Sendable {
        let pieces: DividedRecord
        /// The pieces together.
        let record: EndpointRecord
        let wire: [UInt8]

        init(_ pieces: DividedRecord) {
            self.pieces = pieces
            record = pieces.whole
            wire = pieces.wireBytes
        }
    }

    private struct Bucket: Sendable {
        let index: UInt8
        /// Entries in order of their endpoints.
        var entries: [Entry] = []
        var digest: [UInt8] = []

        /// Position at which the endpoint is, or would be.
        func position(of endpoint: EndpointID) -> Int {
            entries.partitioningIndex { $0.record.endpoint >= endpoint }
        }

        func entry(of endpoint: EndpointID) -> Entry? {
            let position = position(of: endpoint)
            guard position < entries.count, entries[position].record.endpoint == endpoint else { return nil }
            return entries[position]
        }

        mutating func rehash(_ signing: any RecordSigning) {
            var bytes: [UInt8] = []
            bytes.reserveCapacity(entries.reduce(0) { $0 + $1.wire.count })
            for entry in entries { bytes += entry.wire }
            digest = signing.hash(bytes)
        }
    }

    private(set) var attachment: Attachment?
    /// Number of endpoints.
    private(set) var count = 0
    /// Number of parts of their names.
    private(set) var partCount = 0
    /// Buckets in order of their index, none empty.
    private var buckets: [Bucket] = []
    /// Claims of those endpoints that have some.
    private(set) var claims: [EndpointID: EndpointClaims] = [:]
    /// Digest of the claims in order of their endpoints; empty where there are none.
    private var claimsDigest: [UInt8] = []
    private(set) var facts = EndpointFacts()

    init() {}

    /// - Parameters:
    ///   - endpoints: Endpoints in order, each once.
    ///   - claims: Claims of some of the endpoints, each endpoint once.
    ///   - facts: Facts of some of the endpoints.
    init(
        _ endpoints: [DividedRecord], _ claims: [EndpointClaims] = [], _ facts: [EndpointFact] = [], attachment: Attachment?,
        signing: any RecordSigning
    ) {
        self.attachment = attachment
        count = endpoints.count
        partCount = endpoints.reduce(0) { $0 + $1.parts.count }
        for one in claims { self.claims[one.endpoint] = one }
        claimsDigest = Self.digest(of: self.claims, signing)
        self.facts = EndpointFacts(facts, signing)
        var all = (0...UInt8.max).map { Bucket(index: $0) }
        for pieces in endpoints { all[Int(Self.bucket(of: pieces.first.endpoint))].entries.append(Entry(pieces)) }
        buckets = all.filter { !$0.entries.isEmpty }
        for position in buckets.indices { buckets[position].rehash(signing) }
    }

    /// Bucket of an endpoint: FNV-1a of the id, folded to a byte.
    private static func bucket(of endpoint: EndpointID) -> UInt8 {
        var hash = FNV1a<UInt32>()
        hash.combine(endpoint.text.utf8)
        let half = hash.value ^ hash.value >> 16
        return UInt8(truncatingIfNeeded: half ^ half >> 8)
    }

    /// Position at which the bucket with this index is, or would be.
    private func position(of index: UInt8) -> Int { buckets.partitioningIndex { $0.index >= index } }

    // MARK: Changes

    /// Applies changes.
    mutating func apply(_ changes: [LogChange], signing: any RecordSigning) -> [LogDifference] {
        var differences: [LogDifference] = []
        var touched: Set<UInt8> = []
        let oldClaims = claims
        let oldFacts = facts
        for change in changes {
            switch change {
            case .attach(let new):
                if attachment != new { differences.append(.attached(new, was: attachment)) }
                attachment = new
            case .detach:
                for endpoint in claims.keys.sorted() { differences += claim(EndpointClaims(of: endpoint)) }
                differences += records.map { .gone($0) }
                if let old = attachment { differences.append(.detached(old)) }
                attachment = nil
                facts = EndpointFacts()
                buckets = []
                count = 0
                partCount = 0
                touched = []
            case .endpoint(let record):
                var pieces = pieces(of: record.endpoint) ?? DividedRecord(record)
                pieces.first = record
                put(pieces, &differences, &touched)
            case .names(let part): set(part.number, part.names, of: part.endpoint, &differences, &touched)
            case .namesGone(let endpoint, let number): set(number, nil, of: endpoint, &differences, &touched)
            case .gone(let endpoint):
                let index = Self.bucket(of: endpoint)
                guard let old = remove(endpoint, from: index) else { continue }
                differences += claim(EndpointClaims(of: endpoint))
                facts.remove(endpoint)
                differences.append(.gone(old))
                touched.insert(index)
            case .claims(let new):
                guard record(of: new.endpoint) != nil else { continue }
                differences += claim(new)
            case .fact(let new):
                // It makes no difference to this node's own tables.
                if record(of: new.key.endpoint) != nil { facts.set(new) }
            }
        }
        if facts != oldFacts { facts.rehash(signing) }
        if claims != oldClaims { claimsDigest = Self.digest(of: claims, signing) }
        for index in touched {
            let position = position(of: index)
            if buckets[position].entries.isEmpty {
                buckets.remove(at: position)
            } else {
                buckets[position].rehash(signing)
            }
        }
        return differences
    }

    /// Sets the claims of an endpoint. Those of more than ``Limits/claimantsPerLog`` endpoints are not kept.
    private mutating func claim(_ new: EndpointClaims) -> [LogDifference] {
        let old = claims[new.endpoint]
        guard old != nil || claims.count < Limits.claimantsPerLog else { return [] }
        claims[new.endpoint] = new.isEmpty ? nil : new
        let was = old ?? EndpointClaims(of: new.endpoint)
        return was == new ? [] : [.claimed(new, was: was)]
    }

    private static func digest(of claims: [EndpointID: EndpointClaims], _ signing: any RecordSigning) -> [UInt8] {
        guard !claims.isEmpty else { return [] }
        var writer = ByteWriter()
        for endpoint in claims.keys.sorted() { writer.optional(claims[endpoint]) }
        return signing.hash(writer.bytes)
    }

    /// Sets a part of an endpoint's names; nil drops it.
    private mutating func set(
        _ number: UInt8, _ names: [String]?, of endpoint: EndpointID, _ differences: inout [LogDifference],
        _ touched: inout Set<UInt8>
    ) {
        guard var pieces = pieces(of: endpoint) else { return }
        pieces.set(number, names)
        put(pieces, &differences, &touched)
    }

    private mutating func put(_ pieces: DividedRecord, _ differences: inout [LogDifference], _ touched: inout Set<UInt8>) {
        let index = Self.bucket(of: pieces.first.endpoint)
        let slot = position(of: index)
        if slot == buckets.count || buckets[slot].index != index { buckets.insert(Bucket(index: index), at: slot) }
        let old = buckets[slot].entry(of: pieces.first.endpoint)
        guard old?.pieces != pieces else { return }
        let entry = Entry(pieces)
        let position = buckets[slot].position(of: pieces.first.endpoint)
        if let old {
            buckets[slot].entries[position] = entry
            partCount += pieces.parts.count - old.pieces.parts.count
        } else {
            buckets[slot].entries.insert(entry, at: position)
            count += 1
        }
        if old?.record != entry.record { differences.append(.changed(entry.record, was: old?.record)) }
        touched.insert(index)
    }

    /// Removes an endpoint. An empty bucket stays until ``apply(_:signing:)`` removes it.
    private mutating func remove(_ endpoint: EndpointID, from index: UInt8) -> EndpointRecord? {
        let slot = position(of: index)
        guard slot < buckets.count, buckets[slot].index == index, let old = buckets[slot].entry(of: endpoint) else { return nil }
        buckets[slot].entries.remove(at: buckets[slot].position(of: endpoint))
        count -= 1
        partCount -= old.pieces.parts.count
        return old.record
    }

    // MARK: Reading

    /// Digest of everything.
    func root(_ signing: any RecordSigning) -> [UInt8] {
        var writer = ByteWriter()
        writer.optional(attachment)
        writer.integer(UInt32(count))
        for bucket in buckets {
            writer.byte(bucket.index)
            writer.raw(bucket.digest)
        }
        // A log without claims has the digest that it always had.
        if !claims.isEmpty {
            writer.raw("claims".utf8)
            writer.integer(UInt32(claims.count))
            writer.raw(claimsDigest)
        }
        if !facts.isEmpty {
            writer.raw("facts".utf8)
            writer.integer(UInt32(facts.values.count))
            writer.raw(facts.digest)
        }
        return signing.hash(writer.bytes)
    }

    private func entry(of endpoint: EndpointID) -> Entry? {
        let index = Self.bucket(of: endpoint)
        let slot = position(of: index)
        guard slot < buckets.count, buckets[slot].index == index else { return nil }
        return buckets[slot].entry(of: endpoint)
    }

    func record(of endpoint: EndpointID) -> EndpointRecord? { entry(of: endpoint)?.record }
    func pieces(of endpoint: EndpointID) -> DividedRecord? { entry(of: endpoint)?.pieces }

    /// Records in order of their endpoints.
    var records: [EndpointRecord] {
        buckets.flatMap { $0.entries.lazy.map(\.record) }.sorted { $0.endpoint < $1.endpoint }
    }

    /// Endpoints in order, in pieces.
    var endpoints: [DividedRecord] {
        buckets.flatMap { $0.entries.lazy.map(\.pieces) }.sorted { $0.first.endpoint < $1.first.endpoint }
    }

    /// Differences that lead from here to `new`: first claims and endpoints that are removed, then the attachment, then changed
    /// endpoints and claims.
    func differences(to new: LogContents) -> [LogDifference] {
        var gone: [EndpointRecord] = []
        var changed: [(record: EndpointRecord, was: EndpointRecord?)] = []
        for bucket in buckets where !new.has(bucket) {
            gone += bucket.entries.lazy.map(\.record).filter { new.record(of: $0.endpoint) == nil }
        }
        for bucket in new.buckets where !has(bucket) {
            for entry in bucket.entries {
                let old = record(of: entry.record.endpoint)
                if old != entry.record { changed.append((entry.record, old)) }
            }
        }
        let claimed = claimsDifferences(to: new)
        var differences = claimed.filter(\.isEnd).map { LogDifference.claimed($0.new, was: $0.old) }
        differences += gone.sorted { $0.endpoint < $1.endpoint }.map { LogDifference.gone($0) }
        if let attachment = new.attachment {
            if attachment != self.attachment { differences.append(.attached(attachment, was: self.attachment)) }
        } else if let attachment {
            differences.append(.detached(attachment))
        }
        differences += changed.sorted { $0.record.endpoint < $1.record.endpoint }.map { .changed($0.record, was: $0.was) }
        return differences + claimed.filter { !$0.isEnd }.map { .claimed($0.new, was: $0.old) }
    }

    private func claimsDifferences(to other: LogContents) -> [ClaimsDifference] {
        guard claimsDigest != other.claimsDigest else { return [] }
        return Set(claims.keys).union(other.claims.keys).sorted().compactMap { endpoint in
            let none = EndpointClaims(of: endpoint)
            let (old, new) = (claims[endpoint] ?? none, other.claims[endpoint] ?? none)
            return old == new ? nil : ClaimsDifference(old: old, new: new)
        }
    }

    private func has(_ bucket: Bucket) -> Bool {
        let slot = position(of: bucket.index)
        return slot < buckets.count && buckets[slot].index == bucket.index && buckets[slot].digest == bucket.digest
    }
}

private struct ClaimsDifference {
    let old: EndpointClaims
    let new: EndpointClaims

    var isEnd: Bool { new.isEmpty }
}
