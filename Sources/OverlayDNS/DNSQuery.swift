/// A question that a resolver sends (RFC 1035 §4.1, RFC 6891).
public struct DNSQuery: Hashable, Sendable {
    public var id: UInt16
    /// The sender wants recursion; echoed.
    public var wantsRecursion: Bool
    public var isCheckingDisabled: Bool
    public var name: DNSName
    public var type: RecordType
    /// 1 is IN, 255 any.
    public var recordClass: UInt16
    public var edns: EDNS?

    /// The OPT record (RFC 6891 §6.1).
    public struct EDNS: Hashable, Sendable {
        /// The largest datagram that the sender takes, in bytes.
        public var datagramBytes: UInt16
        public var version: UInt8
        /// The sender wants DNSSEC records (RFC 3225); echoed.
        public var isDNSSECOK: Bool
    }

    public static let headerBytes = 12
    /// More records beside the question nobody sends.
    static let recordLimit = 16

    /// What to do with a message that is no question.
    public enum Failure: Error, Hashable, Sendable {
        /// It is an answer, or too short to be answered at all.
        case ignored
        /// To be answered with this code, and with the id and opcode of the header.
        case refused(ResponseCode)
    }

    /// Reads a message. Everything in it is bounded by its own length; nothing is allocated but the name.
    ///
    /// - Throws: ``Failure``.
    public init(_ bytes: [UInt8]) throws(Failure) {
        guard bytes.count >= Self.headerBytes, bytes[2] & 0x80 == 0 else { throw .ignored }
        guard bytes[2] >> 3 & 0x0F == 0 else { throw .refused(.notImplemented) }
        var reader = DNSReader(bytes, from: 0)
        guard let id = reader.number16(), let flags = reader.number16(), let questions = reader.number16(),
            let answers = reader.number16(), let authorities = reader.number16(), let additional = reader.number16()
        else { throw .ignored }
        guard questions == 1, answers == 0, authorities == 0, additional <= Self.recordLimit, let name = reader.name(),
            let type = reader.number16(), let recordClass = reader.number16()
        else { throw .refused(.formatError) }
        self.id = id
        wantsRecursion = flags & 0x0100 != 0
        isCheckingDisabled = flags & 0x0010 != 0
        self.name = name
        self.type = RecordType(rawValue: type)
        self.recordClass = recordClass
        for _ in 0..<additional {
            let isRoot = reader.position < bytes.count && bytes[reader.position] == 0
            guard reader.skipName(), let type = reader.number16(), let size = reader.number16(), let extended = reader.number32(),
                let length = reader.number16(), reader.skip(Int(length))
            else { throw .refused(.formatError) }
            guard type == RecordType.opt.rawValue else { continue }
            // There is one, of the root (RFC 6891 §6.1.1).
            guard isRoot, edns == nil else { throw .refused(.formatError) }
            edns = EDNS(
                datagramBytes: size, version: UInt8(truncatingIfNeeded: extended >> 16), isDNSSECOK: extended & 0x8000 != 0)
        }
        guard reader.remaining == 0 else { throw .refused(.formatError) }
    }
}

/// The type of a record or a question; any number is one.
public struct RecordType: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let a = RecordType(rawValue: 1)
    public static let soa = RecordType(rawValue: 6)
    public static let ptr = RecordType(rawValue: 12)
    public static let aaaa = RecordType(rawValue: 28)
    public static let srv = RecordType(rawValue: 33)
    public static let opt = RecordType(rawValue: 41)
    public static let any = RecordType(rawValue: 255)
}

/// RFC 1035 §4.1.1, RFC 6891 §9. Values above 15 need EDNS.
public enum ResponseCode: UInt16, Sendable {
    case noError = 0
    case formatError = 1
    case serverFailure = 2
    case nameError = 3
    case notImplemented = 4
    case refused = 5
    case badVersion = 16
}
