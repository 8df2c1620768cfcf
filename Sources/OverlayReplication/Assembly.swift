import OverlayModel

/// A snapshot that arrives part by part. Its head was checked when it was begun. Whether the parts match the head is known when all have
/// arrived.
struct Assembly: Sendable {
    /// Greatest number of parts that were asked for and have not arrived.
    static let window = 32

    let key: LogKey
    let position: LogPosition
    let root: [UInt8]
    private let signature: [UInt8]
    private let attachment: Attachment?
    private let total: Int
    /// Peer that gives all of it. So it is known who is at fault if it proves false.
    let source: NodeID
    private var parts: [Int: SnapshotPart] = [:]
    private var records = 0
    private var nameParts = 0
    private var claims = 0
    private var facts = 0
    /// All parts below this index were asked for.
    private var asked = 0
    /// All parts below this index have arrived.
    private var firstMissing = 0

    init(_ part: SnapshotPart, from source: NodeID) {
        key = part.key
        position = part.position
        root = part.root
        signature = part.signature
        attachment = part.attachment
        total = Int(part.total)
        self.source = source
    }

    enum Place {
        /// It belongs to this snapshot.
        case inside
        /// It begins another snapshot that replaces this one.
        case instead
        case unwanted
    }

    /// A snapshot from the owner is interrupted by nobody else, one from another peer only by a newer one.
    func place(of part: SnapshotPart, from peer: NodeID) -> Place {
        if peer == source { return part.position == position && part.root == root ? .inside : .instead }
        if peer == key.owner { return .instead }
        return source != key.owner && part.position > position ? .instead : .unwanted
    }

    var isComplete: Bool { parts.count == total }

    enum Taken {
        case new
        case known
        /// The part cannot belong to this snapshot.
        case broken
    }

    mutating func take(_ part: SnapshotPart) -> Taken {
        let index = Int(part.index)
        guard part.total == total, index < total, part.attachment == attachment, part.signature == signature,
            Self.isAscending(part.records), records + part.records.count <= Limits.endpointsPerLog,
            nameParts + part.names.count <= Limits.namePartsPerLog, claims + part.claims.count <= Limits.claimantsPerLog,
            facts + part.facts.count <= Limits.factsPerLog
        else { return .broken }
        guard parts[index] == nil else { return .known }
        parts[index] = part
        records += part.records.count
        nameParts += part.names.count
        claims += part.claims.count
        facts += part.facts.count
        asked = max(asked, index + 1)
        while firstMissing < asked, parts[firstMissing] != nil { firstMissing += 1 }
        return .new
    }

    private static func isAscending(_ records: [EndpointRecord]) -> Bool {
        zip(records, records.dropFirst()).allSatisfy { $0.endpoint < $1.endpoint }
    }

    /// Requests to send now, so that at most a window is under way.
    /// - Parameter again: True if parts did not arrive in time and are asked for once more.
    mutating func requests(again: Bool) -> [PartRequest] {
        var ranges: [Range<Int>] = []
        var free = Self.window
        if again {
            for index in firstMissing..<asked where parts[index] == nil && free > 0 {
                free -= 1
                if let last = ranges.last, last.upperBound == index, last.count < PartRequest.limit {
                    ranges[ranges.count - 1] = last.lowerBound..<index + 1
                } else {
                    ranges.append(index..<index + 1)
                }
            }
        } else {
            free -= asked - parts.count
            // Half a window at a time, and not a request for each part that arrives.
            guard free >= min(PartRequest.limit, total - asked) else { return [] }
        }
        while free > 0, asked < total {
            let count = min(free, PartRequest.limit, total - asked)
            ranges.append(asked..<asked + count)
            asked += count
            free -= count
        }
        return ranges.map { PartRequest(position: position, first: UInt32($0.lowerBound), count: UInt8($0.count)) }
    }

    /// The log, if all parts have arrived and are what its owner signed.
    func log(_ signing: any RecordSigning) -> OwnerLog? {
        guard isComplete else { return nil }
        let records = (0..<total).flatMap { parts[$0]?.records ?? [] }
        let names = (0..<total).flatMap { parts[$0]?.names ?? [] }
        let claims = (0..<total).flatMap { parts[$0]?.claims ?? [] }
        let facts = (0..<total).flatMap { parts[$0]?.facts ?? [] }
        guard Self.isAscending(records), let all = DividedRecord.all(records, names),
            zip(claims, claims.dropFirst()).allSatisfy({ $0.endpoint < $1.endpoint }), claims.allSatisfy({ !$0.isEmpty }),
            EndpointFacts.areInOrder(facts)
        else { return nil }
        let contents = LogContents(all, claims, facts, attachment: attachment, signing: signing)
        guard contents.root(signing) == root else { return nil }
        return OwnerLog(key, at: position, contents, root: root, signature: signature)
    }
}
