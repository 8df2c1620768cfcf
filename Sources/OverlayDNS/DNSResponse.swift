public import OverlayModel

/// One record of an answer; its owner is the name of the question.
public enum RecordData: Hashable, Sendable {
    case address(IPAddress)
    case pointer(DNSName)
    /// RFC 2782.
    case service(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName)

    public var type: RecordType {
        switch self {
        case .address(let address): address.family == .v4 ? .a : .aaaa
        case .pointer: .ptr
        case .service: .srv
        }
    }
}

/// Builds the answer to a question.
public struct DNSResponse: Sendable {
    public var code: ResponseCode
    public var answers: [RecordData]
    /// Seconds.
    public var ttl: UInt32
    /// What the answer says of a name holds for all of it: a negative answer carries an SOA record, so that it is kept no longer than a
    /// positive one (RFC 2308 §3).
    public var isNegative: Bool { answers.isEmpty && (code == .noError || code == .nameError) }

    public init(code: ResponseCode = .noError, answers: [RecordData] = [], ttl: UInt32) {
        self.code = code
        self.answers = answers
        self.ttl = ttl
    }

    /// The largest datagram that is sent, whatever the other side takes: it passes every link unfragmented (DNS flag day 2020).
    public static let datagramLimit = 1232
    /// What a resolver without EDNS takes (RFC 1035 §4.2.1).
    public static let plainLimit = 512
    /// Over TCP (RFC 1035 §4.2.2).
    public static let streamLimit = 65_535

    /// How large an answer by datagram may be.
    public static func datagramLimit(for query: DNSQuery) -> Int {
        guard let edns = query.edns else { return plainLimit }
        return min(max(Int(edns.datagramBytes), plainLimit), datagramLimit)
    }

    /// The whole message, at most `limit` bytes.
    ///
    /// What does not fit is left out. Who has EDNS is told by TC, and asks again by TCP; who has not gets addresses that fit without a
    /// word, because old resolvers take TC for a failure (musl before 1.2.4).
    public func bytes(for query: DNSQuery, limit: Int) -> [UInt8] {
        var writer = DNSWriter(query, code: code, answers: answers.count)
        let reserve = writer.count + (query.edns == nil ? 0 : DNSWriter.optBytes)
        var left = limit - reserve
        var written = 0
        for answer in answers {
            let size = DNSWriter.size(of: answer)
            guard size <= left else { break }
            left -= size
            writer.append(answer, ttl: ttl)
            written += 1
        }
        let isPlainSet = query.edns == nil && answers.allSatisfy { if case .address = $0 { true } else { false } }
        let isTruncated = written < answers.count && !(isPlainSet && written > 0)
        if isNegative, DNSWriter.soaBytes <= left { writer.appendSOA(ttl: ttl) }
        return writer.finish(
            query, answers: written, hasSOA: isNegative && DNSWriter.soaBytes <= left, isTruncated: isTruncated, code)
    }

    /// The answer to what is no question.
    public static func refusal(_ code: ResponseCode, to bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= DNSQuery.headerBytes else { return [] }
        // Opcode and RD are the sender's.
        let flags = UInt16(0x8000) | UInt16(bytes[2] & 0x79) << 8 | code.rawValue & 0x0F
        return [bytes[0], bytes[1], UInt8(flags >> 8), UInt8(flags & 0xFF)] + [UInt8](repeating: 0, count: 8)
    }
}

/// A message under construction.
private struct DNSWriter {
    /// Owner, type, class, TTL and length of RDATA; the owner is a pointer to the question.
    static let recordBytes = 12
    static let optBytes = 11
    /// Owner by pointer, MNAME the root's, RNAME too, and five numbers.
    static let soaBytes = recordBytes + 2 + 20
    private static let ownerPointer = UInt16(0xC000 | DNSQuery.headerBytes)

    private var bytes: [UInt8]
    var count: Int { bytes.count }

    init(_ query: DNSQuery, code: ResponseCode, answers: Int) {
        bytes = []
        // One piece of memory for the usual answer.
        bytes.reserveCapacity(96 + query.name.wire.count + 28 * min(answers, 64))
        for _ in 0..<DNSQuery.headerBytes { bytes.append(0) }
        bytes += query.name.wire
        number(query.type.rawValue)
        number(query.recordClass)
    }

    static func size(of data: RecordData) -> Int {
        switch data {
        case .address(let address): recordBytes + address.family.bitWidth / 8
        case .pointer(let name): recordBytes + name.wire.count
        case .service(_, _, _, let target): recordBytes + 6 + target.wire.count
        }
    }

    private mutating func number(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    private mutating func number(_ value: UInt32) {
        number(UInt16(truncatingIfNeeded: value >> 16))
        number(UInt16(truncatingIfNeeded: value))
    }

    private mutating func head(_ type: RecordType, ttl: UInt32, length: Int) {
        number(Self.ownerPointer)
        number(type.rawValue)
        number(1 as UInt16)
        number(ttl)
        number(UInt16(length))
    }

    mutating func append(_ data: RecordData, ttl: UInt32) {
        head(data.type, ttl: ttl, length: Self.size(of: data) - Self.recordBytes)
        switch data {
        case .address(let address):
            var shift = address.family.bitWidth
            while shift > 0 {
                shift -= 8
                bytes.append(UInt8(truncatingIfNeeded: address.bits >> UInt128(shift)))
            }
        case .pointer(let name): bytes += name.wire
        case .service(let priority, let weight, let port, let target):
            number(priority)
            number(weight)
            number(port)
            // Not compressed (RFC 2782).
            bytes += target.wire
        }
    }

    /// Its MINIMUM is how long the answer may be kept (RFC 2308 §4).
    mutating func appendSOA(ttl: UInt32) {
        head(.soa, ttl: ttl, length: Self.soaBytes - Self.recordBytes)
        bytes += [0, 0]
        for value in [1, 3600, 600, 86_400, ttl] as [UInt32] { number(value) }
    }

    mutating func finish(
        _ query: DNSQuery, answers: Int, hasSOA: Bool, isTruncated: Bool, _ code: ResponseCode
    ) -> [UInt8] {
        if let edns = query.edns {
            bytes.append(0)
            number(RecordType.opt.rawValue)
            number(UInt16(DNSResponse.datagramLimit))
            number(UInt32(code.rawValue >> 4) << 24 | (edns.isDNSSECOK ? 0x8000 : 0))
            number(0 as UInt16)
        }
        // An answer, authoritative; recursion is there for who asks.
        var flags: UInt16 = 0x8400 | 0x0080 | code.rawValue & 0x0F
        if isTruncated { flags |= 0x0200 }
        if query.wantsRecursion { flags |= 0x0100 }
        if query.isCheckingDisabled { flags |= 0x0010 }
        put(query.id, at: 0)
        put(flags, at: 2)
        put(1, at: 4)
        put(UInt16(answers), at: 6)
        put(hasSOA ? 1 : 0, at: 8)
        put(query.edns == nil ? 0 : 1, at: 10)
        return bytes
    }

    private mutating func put(_ value: UInt16, at position: Int) {
        bytes[position] = UInt8(truncatingIfNeeded: value >> 8)
        bytes[position + 1] = UInt8(truncatingIfNeeded: value)
    }
}
