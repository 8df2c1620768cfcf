import OverlayModel

/// Question that is forwarded: the message as it came, and how its answer is recognised.
struct ForwardedQuestion: Sendable {
    private let message: [UInt8]
    private let query: DNSQuery

    /// - Parameter query: The message, decoded.
    init(_ message: [UInt8], _ query: DNSQuery) {
        self.message = message
        self.query = query
    }

    /// Id that the client gave it.
    var id: UInt16 { query.id }

    /// The message with another id.
    func message(id: UInt16) -> [UInt8] { Self.message(message, id: id) }

    /// Any message with another id.
    ///
    /// - Precondition: The message has a header.
    static func message(_ message: [UInt8], id: UInt16) -> [UInt8] {
        var message = message
        message[0] = UInt8(id >> 8)
        message[1] = UInt8(id & 0xFF)
        return message
    }

    /// Id of a message; nil if it is no answer: too short for a header, or without QR (RFC 1035 §4.1.1).
    static func answerID(_ message: [UInt8]) -> UInt16? {
        guard message.count >= DNSQuery.headerBytes, message[2] & 0x80 != 0 else { return nil }
        return UInt16(message[0]) << 8 | UInt16(message[1])
    }

    /// Question section: name, type and class.
    private var section: ArraySlice<UInt8> {
        message[DNSQuery.headerBytes...].prefix(query.name.wire.count + 4)
    }

    /// True if an answer repeats this question in whatever case, or is an error without any question: old servers refuse so what
    /// they do not know.
    func isRepeated(in answer: [UInt8]) -> Bool {
        if answer.count == DNSQuery.headerBytes { return answer[4] == 0 && answer[5] == 0 && answer[3] & 0x0F != 0 }
        func folded(_ byte: UInt8) -> UInt8 { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte }
        let given = answer.dropFirst(DNSQuery.headerBytes).prefix(section.count)
        return given.count == section.count && zip(given, section).allSatisfy { $0 == $1 || folded($0) == folded($1) }
    }

    /// Answer with SERVFAIL. It repeats the question: resolvers take no other answer for theirs.
    var failure: [UInt8] { DNSResponse(code: .serverFailure, ttl: 0).bytes(for: query, limit: DNSResponse.plainLimit) }
}
