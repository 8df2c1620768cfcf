/// Answer to a question.
public struct DNSResponse: Sendable {
    public var code: ResponseCode
    public var answers: [RecordData]
    /// Time for which the answer may be kept, in seconds.
    public var ttl: UInt32
    /// True if the answer says that there is no such name, or no such record. It then carries an SOA record, so that it is kept no
    /// longer than a positive one (RFC 2308 §3).
    public var isNegative: Bool { answers.isEmpty && (code == .noError || code == .nameError) }

    public init(code: ResponseCode = .noError, answers: [RecordData] = [], ttl: UInt32) {
        self.code = code
        self.answers = answers
        self.ttl = ttl
    }

    /// Bytes of the largest datagram that is sent, whatever the other side takes: it passes every link unfragmented (DNS flag day
    /// 2020).
    public static let datagramLimit = 1232
    /// Bytes of the largest datagram that a resolver without EDNS takes (RFC 1035 §4.2.1).
    public static let plainLimit = 512
    /// Bytes of the largest message over TCP (RFC 1035 §4.2.2).
    public static let streamLimit = 65_535

    /// Bytes of the largest answer to a question by datagram.
    public static func datagramLimit(for query: DNSQuery) -> Int {
        guard let edns = query.edns else { return plainLimit }
        return min(max(Int(edns.datagramBytes), plainLimit), datagramLimit)
    }

    /// Encodes the message, in at most `limit` bytes.
    ///
    /// Records that do not fit are left out. A sender with EDNS is told so by TC, and asks again over TCP. One without gets the
    /// addresses that fit and no TC, because old resolvers take TC for a failure (musl before 1.2.4).
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

    /// Answer to a message that is no question; empty if it has no header.
    public static func refusal(_ code: ResponseCode, to bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= DNSQuery.headerBytes else { return [] }
        // Opcode and RD are copied from the sender.
        let flags = UInt16(0x8000) | UInt16(bytes[2] & 0x79) << 8 | code.rawValue & 0x0F
        return [bytes[0], bytes[1], UInt8(flags >> 8), UInt8(flags & 0xFF)] + [UInt8](repeating: 0, count: 8)
    }
}
