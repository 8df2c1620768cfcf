import OverlayModel
import Testing

@testable import OverlayDNS

/// Answers, read back by a reader that knows nothing of the writer.
@Suite struct DNSResponseTests {
    private static func address(_ last: Int) -> RecordData {
        .address(IPAddress(v4: 10, 0, UInt8(last / 250), UInt8(last % 250 + 1)))
    }

    private static func query(_ name: String = "web", _ type: RecordType = .a, edns: UInt16? = nil) throws -> DNSQuery {
        try DNSQuery(DNSQueryTests.question(name, type, edns: edns))
    }

    @Test func anAnswerHasTheQuestionAndItsRecords() throws {
        let service = RecordData.service(priority: 1, weight: 2, port: 8080, target: try #require(DNSName("web.net")))
        let response = DNSResponse(
            answers: [.address(IPAddress(v4: 10, 0, 0, 9)), .address(try #require(IPAddress("fd00::9"))), service], ttl: 2)
        let message = try #require(Message(response.bytes(for: try Self.query("WeB", .any, edns: 4096), limit: 1232)))
        #expect(message.id == 0x1234 && message.isAnswer && message.isAuthoritative && message.wantsRecursion && message.canRecurse)
        #expect(!message.isTruncated && message.code == 0)
        #expect(message.question == [3] + Array("WeB".utf8) + [0] && message.type == 255)
        #expect(
            message.answers.map(\.type) == [1, 28, 33] && message.answers.allSatisfy { $0.ttl == 2 && $0.owner == message.question }
        )
        #expect(message.answers[0].data == [10, 0, 0, 9])
        #expect(message.answers[2].data == [0, 1, 0, 2, 0x1F, 0x90, 3] + Array("web".utf8) + [3] + Array("net".utf8) + [0])
        #expect(message.additional.map(\.type) == [41] && message.authorities.isEmpty)
    }

    /// NODATA and NXDOMAIN are two things, and both say for how long (RFC 2308).
    @Test(arguments: [ResponseCode.noError, .nameError])
    func aNegativeAnswerHasAnSOA(code: ResponseCode) throws {
        let message = try #require(Message(DNSResponse(code: code, ttl: 7).bytes(for: try Self.query(), limit: 512)))
        #expect(message.code == code.rawValue && message.answers.isEmpty)
        let soa = try #require(message.authorities.first)
        #expect(soa.type == 6 && soa.ttl == 7 && soa.data.suffix(4).elementsEqual([0, 0, 0, 7]))
        #expect(message.additional.isEmpty, "who has no EDNS gets none")
    }

    @Test func aVersionThatIsNotThereIsRefused() throws {
        let bytes = DNSResponse(code: .badVersion, ttl: 0).bytes(for: try Self.query(edns: 1232), limit: 1232)
        let message = try #require(Message(bytes))
        #expect(message.code == 0 && message.additional.first?.ttl == 1 << 24, "16 has its upper bits in the OPT")
        #expect(message.authorities.isEmpty)
    }

    @Test(arguments: [(nil, 512), (512, 512), (100, 512), (1000, 1000), (4096, 1232)] as [(UInt16?, Int)])
    func datagramsAreAsLargeAsBothTake(size: UInt16?, limit: Int) throws {
        #expect(DNSResponse.datagramLimit(for: try Self.query(edns: size)) == limit)
    }

    @Test(arguments: [nil, 512, 1232] as [UInt16?])
    func whatDoesNotFitIsLeftOut(size: UInt16?) throws {
        let query = try Self.query(edns: size)
        let limit = DNSResponse.datagramLimit(for: query)
        for count in [0, 1, 29, 30, 31, 70, 300] {
            let response = DNSResponse(answers: (0..<count).map(Self.address), ttl: 2)
            let bytes = response.bytes(for: query, limit: limit)
            let message = try #require(Message(bytes), "\(count)")
            let fitting = (limit - 21 - (size == nil ? 0 : 11)) / 16
            #expect(bytes.count <= limit && message.answers.count == min(count, fitting))
            #expect(message.isTruncated == (size != nil && count > fitting), "old resolvers take TC for a failure")
            let all = try #require(Message(response.bytes(for: query, limit: DNSResponse.streamLimit)))
            #expect(all.answers.count == count && !all.isTruncated)
        }
    }

    /// Half of the services is no answer.
    @Test func servicesAreNotLeftOutSilently() throws {
        let target = try #require(DNSName("a-container-with-a-long-name.a-network"))
        let services = (0..<20).map { RecordData.service(priority: 0, weight: 0, port: $0, target: target) }
        let message = try #require(
            Message(DNSResponse(answers: services, ttl: 2).bytes(for: try Self.query("web", .srv), limit: 512)))
        #expect(message.isTruncated && !message.answers.isEmpty)
    }

    @Test func aRefusalHasTheHeaderAlone() throws {
        var bytes = DNSQueryTests.question("web")
        bytes[2] = 5 << 3 | 1
        let refusal = DNSResponse.refusal(.notImplemented, to: bytes)
        #expect(refusal == [0x12, 0x34, 0x80 | 5 << 3 | 1, 4, 0, 0, 0, 0, 0, 0, 0, 0])
        #expect(DNSResponse.refusal(.formatError, to: [1, 2]) == [])
    }
}

/// A DNS message, read by the book (RFC 1035 §4.1), with pointers.
struct Message {
    struct Record {
        var owner: [UInt8]
        var type: UInt16
        var ttl: UInt32
        var data: [UInt8]
    }

    var id: UInt16
    private var flags: UInt16
    var question: [UInt8]
    var type: UInt16
    var answers: [Record] = []
    var authorities: [Record] = []
    var additional: [Record] = []

    var isAnswer: Bool { flags & 0x8000 != 0 }
    var isAuthoritative: Bool { flags & 0x0400 != 0 }
    var isTruncated: Bool { flags & 0x0200 != 0 }
    var wantsRecursion: Bool { flags & 0x0100 != 0 }
    var canRecurse: Bool { flags & 0x0080 != 0 }
    var code: UInt16 { flags & 0x0F }

    init?(_ bytes: [UInt8]) {
        var position = 0
        func number() -> UInt16? {
            guard position + 2 <= bytes.count else { return nil }
            defer { position += 2 }
            return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
        }
        func name(at start: Int, _ depth: Int = 0) -> (wire: [UInt8], end: Int)? {
            var (at, wire) = (start, [UInt8]())
            while at < bytes.count, depth < 5 {
                let length = Int(bytes[at])
                if length == 0 { return (wire + [0], at + 1) }
                if length >= 0xC0 {
                    guard at + 1 < bytes.count, let rest = name(at: (length & 0x3F) << 8 | Int(bytes[at + 1]), depth + 1) else {
                        return nil
                    }
                    return (wire + rest.wire, at + 2)
                }
                guard at + length < bytes.count else { return nil }
                wire += bytes[at...at + length]
                at += length + 1
            }
            return nil
        }
        func record() -> Record? {
            guard let owner = name(at: position) else { return nil }
            position = owner.end
            guard let type = number(), number() != nil, let high = number(), let low = number(), let length = number(),
                position + Int(length) <= bytes.count
            else { return nil }
            defer { position += Int(length) }
            return Record(
                owner: owner.wire, type: type, ttl: UInt32(high) << 16 | UInt32(low),
                data: Array(bytes[position..<position + Int(length)]))
        }
        guard let id = number(), let flags = number(), number() == 1, let answers = number(), let authorities = number(),
            let additional = number(), let question = name(at: position)
        else { return nil }
        position = question.end
        guard let type = number(), number() == 1 else { return nil }
        (self.id, self.flags, self.question, self.type) = (id, flags, question.wire, type)
        for _ in 0..<answers {
            guard let record = record() else { return nil }
            self.answers.append(record)
        }
        for _ in 0..<authorities {
            guard let record = record() else { return nil }
            self.authorities.append(record)
        }
        for _ in 0..<additional {
            guard let record = record() else { return nil }
            self.additional.append(record)
        }
        guard position == bytes.count else { return nil }
    }
}
