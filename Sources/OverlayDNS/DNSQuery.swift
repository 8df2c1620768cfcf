/// Question of a stub resolver (RFC 1035 §4.1, RFC 6891).
public struct DNSQuery: Hashable, Sendable {
    public var id: UInt16
    /// RD: the sender wants recursion. Echoed in the answer.
    public var wantsRecursion: Bool
    /// CD: the sender wants no validation (RFC 4035 §3.2.2). Echoed in the answer.
    public var isCheckingDisabled: Bool
    public var name: DNSName
    public var type: RecordType
    /// Class: 1 is IN, 255 any.
    public var recordClass: UInt16
    public var edns: EDNS?

    /// Content of the OPT record (RFC 6891 §6.1).
    public struct EDNS: Hashable, Sendable {
        /// Bytes of the largest datagram that the sender takes.
        public var datagramBytes: UInt16
        public var version: UInt8
        /// DO: the sender wants DNSSEC records (RFC 3225). Echoed in the answer.
        public var isDNSSECOK: Bool
    }

    /// Bytes of the header (RFC 1035 §4.1.1).
    public static let headerBytes = 12
    /// Most records beside the question; nobody sends more.
    static let recordLimit = 16

    /// Treatment of a message that is no question.
    public enum Failure: Error, Hashable, Sendable {
        /// Nothing: it is an answer, or too short to be answered.
        case ignored
        /// An answer with this code, and the id and opcode of the header.
        case refused(ResponseCode)
    }

    /// Decodes a message. Everything in it is bounded by its length; nothing is allocated but the name.
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
            // There is at most one, owned by the root (RFC 6891 §6.1.1).
            guard isRoot, edns == nil else { throw .refused(.formatError) }
            edns = EDNS(
                datagramBytes: size, version: UInt8(truncatingIfNeeded: extended >> 16), isDNSSECOK: extended & 0x8000 != 0)
        }
        guard reader.remaining == 0 else { throw .refused(.formatError) }
    }
}
