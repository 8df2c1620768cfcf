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

    /// True if an answer repeats this question, with the name in whatever case, or is an error without any question: old servers
    /// refuse so what they do not know.
    func isRepeated(in answer: [UInt8]) -> Bool {
        let questions = Int(answer[4]) << 8 | Int(answer[5])
        if answer.count == DNSQuery.headerBytes { return questions == 0 && answer[3] & 0x0F != 0 }
        let name = query.name.wire
        let given = answer.dropFirst(DNSQuery.headerBytes).prefix(name.count + 4)
        let typeAndClass = message[DNSQuery.headerBytes...].dropFirst(name.count).prefix(4)
        return questions == 1 && zip(given, name).allSatisfy { Self.lower($0) == Self.lower($1) }
            && given.dropFirst(name.count).elementsEqual(typeAndClass)
    }

    private static func lower(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }

    /// Answer with SERVFAIL. It repeats the question: resolvers take no other answer for theirs.
    var failure: [UInt8] { DNSResponse(code: .serverFailure, ttl: 0).bytes(for: query, limit: DNSResponse.plainLimit) }
}
