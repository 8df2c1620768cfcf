import OverlayModel
import Testing

@testable import OverlayDNS

/// Questions, as resolvers send them and as nobody should.
@Suite struct DNSQueryTests {
    static func question(
        _ name: String, _ type: RecordType = .a, id: UInt16 = 0x1234, flags: UInt16 = 0x0100, edns: UInt16? = nil,
        version: UInt8 = 0, isDNSSECOK: Bool = false
    ) -> [UInt8] {
        var bytes: [UInt8] = [UInt8(id >> 8), UInt8(id & 0xFF), UInt8(flags >> 8), UInt8(flags & 0xFF), 0, 1, 0, 0, 0, 0, 0]
        bytes.append(edns == nil ? 0 : 1)
        for label in name.split(separator: ".") { bytes += [UInt8(label.utf8.count)] + Array(label.utf8) }
        bytes += [0, UInt8(type.rawValue >> 8), UInt8(type.rawValue & 0xFF), 0, 1]
        if let edns {
            bytes += [0, 0, 41, UInt8(edns >> 8), UInt8(edns & 0xFF), 0, version, isDNSSECOK ? 0x80 : 0, 0, 0, 0]
        }
        return bytes
    }

    @Test func aQuestionIsRead() throws {
        let query = try DNSQuery(Self.question("Web.Net", .aaaa, edns: 4096, isDNSSECOK: true))
        #expect(query.id == 0x1234 && query.wantsRecursion && !query.isCheckingDisabled)
        #expect(query.name.key == "web.net" && query.name.labels == 2)
        #expect(query.name.wire == [3] + Array("Web".utf8) + [3] + Array("Net".utf8) + [0], "the case is kept")
        #expect(query.type == .aaaa && query.recordClass == 1)
        #expect(query.edns == .init(datagramBytes: 4096, version: 0, isDNSSECOK: true))
        #expect(try DNSQuery(Self.question("")).name.key == "")
    }

    @Test func aDotInALabelIsNoSeparator() throws {
        var bytes = Self.question("axb")
        bytes[14] = UInt8(ascii: ".")
        #expect(try DNSQuery(bytes).name.key == nil)
        for byte in [0, 0x20, 0x7F, 0xC3] as [UInt8] {
            bytes[14] = byte
            #expect(try DNSQuery(bytes).name.key == nil)
        }
    }

    private static let good = question("web", edns: 1232)

    private static func altered(_ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes = good
        change(&bytes)
        return bytes
    }

    /// A message that is no question costs nothing, and its sender is told so if it has one.
    @Test(
        arguments: [
            ("nothing", [], .ignored), ("short of a header", Array(good.prefix(11)), .ignored),
            ("an answer", altered { $0[2] |= 0x80 }, .ignored),
            ("an update", altered { $0[2] = 5 << 3 }, .refused(.notImplemented)),
            ("no question", altered { $0[5] = 0 }, .refused(.formatError)), ("two", altered { $0[5] = 2 }, .refused(.formatError)),
            ("an answer inside", altered { $0[7] = 1 }, .refused(.formatError)),
            ("an authority inside", altered { $0[9] = 1 }, .refused(.formatError)),
            ("65 535 records beside it", altered { ($0[10], $0[11]) = (255, 255) }, .refused(.formatError)),
            ("a pointer in the question", altered { ($0[12], $0[13]) = (0xC0, 12) }, .refused(.formatError)),
            ("a label of 64", altered { $0[12] = 64 }, .refused(.formatError)),
            ("a label beyond the end", Array(good.prefix(14)), .refused(.formatError)),
            ("no type", Array(good.prefix(18)), .refused(.formatError)),
            ("half an OPT", Array(good.dropLast(4)), .refused(.formatError)),
            ("bytes behind it", good + [0], .refused(.formatError)),
            ("an OPT of a name", altered { $0.replaceSubrange(21..<22, with: [1, 97, 0]) }, .refused(.formatError)),
            (
                "two OPTs",
                altered {
                    $0[11] = 2; $0 += $0[21...]
                }, .refused(.formatError)
            ),
            ("an OPT with more data than there is", altered { $0[$0.count - 1] = 9 }, .refused(.formatError)),
        ] as [(String, [UInt8], DNSQuery.Failure)])
    func whatIsNoQuestionIsRefused(what: String, bytes: [UInt8], failure: DNSQuery.Failure) {
        #expect(throws: failure, "\(what)") { try DNSQuery(bytes) }
    }

    @Test func namesAreBounded() throws {
        let label = String(repeating: "a", count: 63)
        #expect(
            try DNSQuery(Self.question([label, label, label, String(repeating: "a", count: 61)].joined(separator: "."))).name.wire
                .count == 255)
        #expect(throws: DNSQuery.Failure.refused(.formatError)) {
            try DNSQuery(Self.question([label, label, label, String(repeating: "a", count: 62)].joined(separator: ".")))
        }
        #expect(DNSName(label + "a") == nil && DNSName("") == nil && DNSName("a..b") == nil && DNSName("a.") == nil)
        #expect(DNSName([label, label, label, label].joined(separator: ".")) == nil)
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func noBytesTrap(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var read = 0
        for _ in 0..<20_000 {
            var bytes = Self.good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = [0, 1, 12, 63, 64, 0xC0, 255].randomElement(
                    using: &generator)!
            }
            if Bool.random(using: &generator) { bytes.removeLast(Int.random(in: 0...bytes.count, using: &generator)) }
            guard let query = try? DNSQuery(bytes) else { continue }
            read += 1
            let answer = DNSResponse(ttl: 2).bytes(for: query, limit: 512)
            #expect(answer.count <= 512 && answer[12..<12 + query.name.wire.count].elementsEqual(query.name.wire))
        }
        #expect(read > 1000)
    }
}
