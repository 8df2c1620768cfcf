import OverlayDNS
import OverlayModel

/// Docker's resolver of one host as a value: it knows every name, and answers as its mode says.
struct VirtualResolver {
    enum Mode: Hashable, CaseIterable {
        /// Answers at once.
        case well
        /// Takes from 0.1 to 20 s for an answer: some come too late.
        case slow
        /// Listens, and answers nothing.
        case dead
        /// Sends answers that are not of the question, before the right one or in its place.
        case lying
        /// Does not listen.
        case gone
    }

    /// A message that it sends.
    struct Reply {
        var delay: Interval
        var message: [UInt8]
        /// Port that it is sent from.
        var port: UInt16
    }

    private(set) var mode = Mode.well
    /// Port that takes datagrams; the next one takes connections.
    private var port: UInt16 = 40_000
    /// Number of times that it has begun to listen.
    private(set) var starts = 1
    private(set) var lies = 0
    /// The last questions, to answer one as another.
    private var heard: [[UInt8]] = []

    /// Address of no name: what lies say.
    static let lie = IPAddress(v4: 203, 0, 113, 66)

    /// True if it has its ports.
    var isListening: Bool { mode != .gone }

    func port(_ transport: DNSTransport) -> UInt16 { transport == .udp ? port : port + 1 }

    /// Address of a name.
    static func address(of name: String) -> IPAddress {
        var hash = FNV1a<UInt32>()
        hash.combine(name.utf8)
        return IPAddress(v4: 198, 51, UInt8(hash.value >> 8 & 0xFF), UInt8(hash.value & 0xFF))
    }

    /// Changes what it does. Where it comes back, it often has other ports.
    mutating func become(_ new: Mode, _ random: inout SeededGenerator) {
        if mode == .gone, new != .gone {
            starts += 1
            heard = []
            if random.chance(0.7) { port = port >= 60_000 ? 40_000 : port + 2 }
        }
        mode = new
    }

    mutating func replies(to question: [UInt8], port: UInt16, _ random: inout SeededGenerator) -> [Reply] {
        let truth = Self.answer(question, Self.address(of: DNSText.name(of: question) ?? ""))
        heard = heard.suffix(31) + [question]
        switch mode {
        case .well: return [Reply(delay: .milliseconds(Int64(1 + random.below(30))), message: truth, port: port)]
        case .slow: return [Reply(delay: .milliseconds(Int64(100 + random.below(20_000))), message: truth, port: port)]
        case .dead, .gone: return []
        case .lying:
            var replies = (0..<1 + random.below(3)).map { _ in lie(question, port, &random) }
            // Twice the right one is one too many.
            for _ in 0..<random.below(3) {
                replies.append(Reply(delay: .milliseconds(Int64(1 + random.below(400))), message: truth, port: port))
            }
            return replies
        }
    }

    private mutating func lie(_ question: [UInt8], _ port: UInt16, _ random: inout SeededGenerator) -> Reply {
        lies += 1
        var reply = Reply(delay: .milliseconds(Int64(1 + random.below(300))), message: Self.answer(question, Self.lie), port: port)
        switch random.below(7) {
        case 0:
            reply.message[0] = UInt8(random.below(256))
            reply.message[1] ^= UInt8(1 + random.below(255))
        case 1:
            // The answer to one question with the id of another.
            let others = heard.filter {
                DNSText.section(of: $0) != DNSText.section(of: question) && DNSText.id(of: $0) != DNSText.id(of: question)
            }
            reply.message = random.pick(others).map { Array($0.prefix(2)) + reply.message.dropFirst(2) } ?? []
        case 2: reply.message[13] = UInt8(ascii: "x")
        case 3: reply.message[question.count - 3] = 28
        case 4: reply.port = port ^ 1
        case 5: reply.message = question
        default: reply.message = Array(reply.message.prefix(random.below(question.count)))
        }
        return reply
    }

    /// Answer with one address.
    static func answer(_ question: [UInt8], _ address: IPAddress) -> [UInt8] {
        var message = question
        message.replaceSubrange(2..<DNSText.headerBytes, with: [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
        message += [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]
        message += UInt32(truncatingIfNeeded: address.bits).wireBytes
        return message
    }
}
