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
    /// All that an endpoint claims from now on. It counts for an endpoint that the log has, and goes with it.
    case claims(EndpointClaims)

    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .endpoint(try reader.value())
        case 2: self = .gone(try reader.value())
        case 3: self = .attach(try reader.value())
        case 4: self = .detach
        case 7: self = .claims(try reader.value())
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
        case .claims(let claims):
            writer.byte(7)
            writer.value(claims)
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
    private var endpoints: [EndpointID: EndpointRecord?] = [:]
    private var claims: [EndpointID: EndpointClaims] = [:]
    /// Attachment after the changes. The outer nil means that it is unchanged.
    private(set) var attachment: Attachment??
    private var isCleared = false
    /// Number of endpoints more than before; negative if fewer.
    private(set) var growth = 0

    var isEmpty: Bool { changes.isEmpty }

    /// The record an endpoint has after the changes.
    func record(of endpoint: EndpointID, over contents: LogContents) -> EndpointRecord? {
        if let known = endpoints[endpoint] { return known }
        return isCleared ? nil : contents.record(of: endpoint)
    }

    func count(over contents: LogContents) -> Int { (isCleared ? 0 : contents.count) + growth }

    enum Added {
        case added
        /// It changes nothing.
        case same
        /// The log has ``Limits/endpointsPerLog`` endpoints.
        case full
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
            isCleared = true
            growth = 0
        case .endpoint(let new):
            let old = record(of: new.endpoint, over: contents)
            guard old != new else { return .same }
            if old == nil {
                guard count(over: contents) < Limits.endpointsPerLog else { return .full }
                growth += 1
            }
            endpoints[new.endpoint] = .some(new)
        case .gone(let endpoint):
            guard record(of: endpoint, over: contents) != nil else { return .same }
            growth -= 1
            endpoints[endpoint] = .some(nil)
            claims[endpoint] = EndpointClaims(of: endpoint)
        case .claims(let new):
            let none = EndpointClaims(of: new.endpoint)
            let old = claims[new.endpoint] ?? (isCleared ? none : contents.claims[new.endpoint] ?? none)
            guard old != new, record(of: new.endpoint, over: contents) != nil else { return .same }
            claims[new.endpoint] = new
        }
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
