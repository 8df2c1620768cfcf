public import OverlayModel

/// Position of a log. A later life of the owner starts anew and is above every earlier one.
public struct LogPosition: Hashable, Comparable, Sendable {
    /// ``Incarnation/life`` of the owner.
    public var life: UInt64
    /// Number of the last change. Numbers have no gaps.
    public var sequence: UInt64

    public init(life: UInt64, sequence: UInt64) {
        self.life = life
        self.sequence = sequence
    }

    /// Position below that of every log.
    public static let none = LogPosition(life: 0, sequence: 0)

    public static func < (lhs: LogPosition, rhs: LogPosition) -> Bool { (lhs.life, lhs.sequence) < (rhs.life, rhs.sequence) }
}

extension LogPosition: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(life: try reader.counter(), sequence: try reader.counter())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(life)
        writer.integer(sequence)
    }
}

/// Name of a log: the owner of its endpoints, and their network.
struct LogKey: Hashable, Sendable {
    var network: NetworkID
    var owner: NodeID
}

/// One numbered change of an owner log.
enum LogChange: Hashable, Sendable, Wire {
    case attach(Attachment)
    case endpoint(EndpointRecord)
    case gone(EndpointID)
    /// The owner no longer has the network, nor an endpoint on it.
    case detach
    /// Part of an endpoint's names, as it is from now on. It means nothing where the endpoint is not known.
    case names(NamePart)
    /// An endpoint has no such part of names any more.
    case namesGone(EndpointID, UInt8)
    /// All that an endpoint claims from now on. It counts for an endpoint that the log has, and goes with it.
    case claims(EndpointClaims)
    /// Fact of a kind that this node may not know. It counts for an endpoint that the log has, and goes with it.
    case fact(EndpointFact)

    /// Version of the protocol that came with the change.
    var version: UInt16 {
        switch self {
        case .fact: 3
        default: ProtocolVersions.unannounced
        }
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .endpoint(try reader.value())
        case 2: self = .gone(try reader.value())
        case 3: self = .attach(try reader.value())
        case 4: self = .detach
        case 5: self = .names(try reader.value())
        case 6: self = .namesGone(try reader.value(), try reader.byte())
        case 7: self = .claims(try reader.value())
        case 8: self = .fact(try reader.value())
        default: throw .invalid("log change")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .endpoint(let record):
            writer.byte(1)
            writer.value(record)
        case .gone(let endpoint):
            writer.byte(2)
            writer.value(endpoint)
        case .attach(let attachment):
            writer.byte(3)
            writer.value(attachment)
        case .detach: writer.byte(4)
        case .names(let part):
            writer.byte(5)
            writer.value(part)
        case .namesGone(let endpoint, let number):
            writer.byte(6)
            writer.value(endpoint)
            writer.byte(number)
        case .claims(let claims):
            writer.byte(7)
            writer.value(claims)
        case .fact(let fact):
            writer.byte(8)
            writer.value(fact)
        }
    }
}

/// Greatest sizes of encoded forms, in bytes.
enum Budget {
    /// Size of a message. With its kind (1) and its seal it fits ``Limits/datagramBytes``.
    static let message = Limits.datagramBytes - Limits.sealBytes - 1
    /// Size of the changes of a batch.
    static let batch = 860
    /// Size of the records of a snapshot part.
    static let part = 960
    /// Size of a signature (Ed25519, RFC 8032 §5.1.6).
    static let signature = 64
    /// Size of a digest (SHA-256).
    static let digest = 32
}

/// Changes of this node on a network that are not numbered yet, and their effect on its state.
struct PendingChanges: Sendable {
    private(set) var changes: [LogChange] = []
    private var endpoints: [EndpointID: DividedRecord?] = [:]
    private var claims: [EndpointID: EndpointClaims] = [:]
    private var facts: [EndpointFact.Key: [UInt8]] = [:]
    /// Attachment after the changes. The outer nil means that it is unchanged.
    private(set) var attachment: Attachment??
    private var isCleared = false
    /// Number of endpoints more than before; negative if fewer.
    private(set) var growth = 0
    /// Number of parts of names more than before; negative if fewer.
    private var partGrowth = 0

    var isEmpty: Bool { changes.isEmpty }

    /// Pieces that an endpoint has after the changes.
    func pieces(of endpoint: EndpointID, over contents: LogContents) -> DividedRecord? {
        if let known = endpoints[endpoint] { return known }
        return isCleared ? nil : contents.pieces(of: endpoint)
    }

    func count(over contents: LogContents) -> Int { (isCleared ? 0 : contents.count) + growth }

    private func partCount(over contents: LogContents) -> Int { (isCleared ? 0 : contents.partCount) + partGrowth }

    enum Added: Equatable {
        case added
        /// It changes nothing.
        case same
        /// The log has ``Limits/endpointsPerLog`` endpoints, or ``Limits/namePartsPerLog`` parts of names.
        case full(Rejection)
    }

    /// Adds a change, if it changes anything.
    mutating func add(_ change: LogChange, over contents: LogContents) -> Added {
        switch change {
        case .attach(let new):
            guard attachment ?? contents.attachment != new else { return .same }
            attachment = .some(new)
        case .detach:
            guard (attachment ?? contents.attachment) != nil || count(over: contents) > 0 else { return .same }
            attachment = .some(nil)
            endpoints = [:]
            claims = [:]
            facts = [:]
            isCleared = true
            growth = 0
            partGrowth = 0
        case .endpoint(let new):
            let old = pieces(of: new.endpoint, over: contents)
            guard old?.first != new else { return .same }
            if old == nil {
                guard count(over: contents) < Limits.endpointsPerLog else { return .full(.tooManyEndpoints) }
                growth += 1
            }
            var pieces = old ?? DividedRecord(new)
            pieces.first = new
            endpoints[new.endpoint] = .some(pieces)
        case .gone(let endpoint):
            guard let old = pieces(of: endpoint, over: contents) else { return .same }
            growth -= 1
            partGrowth -= old.parts.count
            endpoints[endpoint] = .some(nil)
            claims[endpoint] = EndpointClaims(of: endpoint)
            for key in Array(facts.keys) + Array(contents.facts.values.keys) where key.endpoint == endpoint { facts[key] = [] }
        case .fact(let new):
            let old = facts[new.key] ?? (isCleared ? [] : contents.facts.values[new.key] ?? [])
            guard old != new.value, pieces(of: new.key.endpoint, over: contents) != nil else { return .same }
            facts[new.key] = new.value
        case .claims(let new):
            let none = EndpointClaims(of: new.endpoint)
            let old = claims[new.endpoint] ?? (isCleared ? none : contents.claims[new.endpoint] ?? none)
            guard old != new, pieces(of: new.endpoint, over: contents) != nil else { return .same }
            claims[new.endpoint] = new
        case .names(let part): return add(change, part.endpoint, part.number, part.names, over: contents)
        case .namesGone(let endpoint, let number): return add(change, endpoint, number, nil, over: contents)
        }
        changes.append(change)
        return .added
    }

    /// Adds a change of a part of names.
    private mutating func add(
        _ change: LogChange, _ endpoint: EndpointID, _ number: UInt8, _ names: [String]?, over contents: LogContents
    ) -> Added {
        guard var pieces = pieces(of: endpoint, over: contents) else { return .same }
        let old = pieces
        pieces.set(number, names)
        guard pieces != old else { return .same }
        let more = pieces.parts.count - old.parts.count
        guard more <= 0 || partCount(over: contents) < Limits.namePartsPerLog else { return .full(.tooManyNames) }
        partGrowth += more
        endpoints[endpoint] = .some(pieces)
        changes.append(change)
        return .added
    }

    /// Divides the changes into batches, in order.
    func batches() -> [[LogChange]] {
        var batches: [[LogChange]] = []
        var batch: [LogChange] = []
        var bytes = 0
        for change in changes {
            let size = change.wireBytes.count
            if !batch.isEmpty, bytes + size > Budget.batch {
                batches.append(batch)
                batch = []
                bytes = 0
            }
            batch.append(change)
            bytes += size
        }
        if !batch.isEmpty { batches.append(batch) }
        return batches
    }
}
