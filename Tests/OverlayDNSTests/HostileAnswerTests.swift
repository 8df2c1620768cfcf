import OverlayModel
import Testing

@testable import OverlayDNS

/// Answers that a resolver should not give, and that no client may get.
@Suite struct HostileAnswerTests {
    /// Changes of a good answer; `true` if it is still one.
    struct Case: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var isAnswer = false
        var port = ForwarderFixture.port
        var change: @Sendable (inout [UInt8]) -> Void
    }

    static let cases: [Case] = [
        Case(testDescription: "as it should be", isAnswer: true) { _ in },
        Case(testDescription: "its name in another case (old servers)", isAnswer: true) { $0[13] = UInt8(ascii: "E") },
        Case(testDescription: "an error without a question (old servers)", isAnswer: true) {
            $0 = $0.prefix(2) + [0x81, 0x81] + [UInt8](repeating: 0, count: 8)
        },
        Case(testDescription: "truncated, as it says", isAnswer: true) {
            $0[2] |= 2
            $0.removeLast(16)
            $0[7] = 0
        },
        Case(testDescription: "another id") { $0[1] ^= 1 },
        Case(testDescription: "another name") { $0[13] = UInt8(ascii: "x") },
        Case(testDescription: "a longer name") { $0.insert(contentsOf: [1, 97], at: 12) },
        Case(testDescription: "a shorter name") { $0.removeSubrange(12..<20) },
        Case(testDescription: "another class") { $0[28] = 3 },
        Case(testDescription: "another type") { $0[26] = 28 },
        Case(testDescription: "a type that differs like a letter's case") { $0[26] = 97 },
        Case(testDescription: "no question, by its count") { $0[5] = 0 },
        Case(testDescription: "two questions, by its count") { $0[5] = 2 },
        Case(testDescription: "a pointer in place of the name") { $0.replaceSubrange(12..<25, with: [0xC0, 0]) },
        Case(testDescription: "a question") { $0[2] &= 0x7F },
        Case(testDescription: "no error, and no question") { $0 = $0.prefix(2) + [0x81, 0x80] + [UInt8](repeating: 0, count: 8) },
        Case(testDescription: "an error with a count of questions, and none") {
            $0 = $0.prefix(2) + [0x81, 0x81, 0, 1] + [UInt8](repeating: 0, count: 6)
        },
        Case(testDescription: "an error, and half a question") { $0 = $0.prefix(2) + [0x81, 0x81] + $0[4..<20] },
        Case(testDescription: "eleven bytes") { $0 = Array($0.prefix(11)) },
        Case(testDescription: "nothing") { $0 = [] },
        Case(testDescription: "ones") { $0 = $0.prefix(2) + [UInt8](repeating: 255, count: 500) },
    ]

    /// Type 65 (HTTPS), whose low byte is that of a letter.
    private static let type = RecordType(rawValue: 65)

    @Test(arguments: cases + [Case(testDescription: "from another port", port: 4001) { _ in }])
    func byDatagram(hostile: Case) throws {
        var fixture = ForwarderFixture()
        let message = try fixture.forwarded("example.com", Self.type)
        let good = ForwarderFixture.answer(to: message)
        var bytes = good
        hostile.change(&bytes)
        let effects = fixture.handle(.datagram(bytes, port: hostile.port))
        guard hostile.isAnswer else {
            #expect(effects.isEmpty)
            #expect(fixture.handle(.datagram(good, port: ForwarderFixture.port)).count == 1, "the right one is still waited for")
            return
        }
        #expect(effects == [.answer([0x12, 0x34] + bytes.dropFirst(2), to: .datagram(ForwarderFixture.client))])
    }

    @Test(arguments: cases)
    func byConnection(hostile: Case) throws {
        var fixture = ForwarderFixture()
        let (number, message, _) = try #require(try fixture.ask("example.com", Self.type, from: .connection(7)).only?.opened)
        let good = ForwarderFixture.answer(to: message)
        var bytes = good
        hostile.change(&bytes)
        let result = fixture.handle(.message(bytes, relay: number))
        guard hostile.isAnswer else {
            #expect(result.isEmpty)
            #expect(fixture.handle(.message(good, relay: number)).count == 2, "the right one is still waited for")
            return
        }
        #expect(result == [.closeRelay(number), .answer(bytes, to: .connection(7))])
    }

    /// Answers made from good ones at random reach nobody but who asked, with the id and question that it had.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func noAnswerReachesAnotherQuestion(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var fixture = ForwarderFixture(limit: 64)
        var waiting: [[UInt8]] = []
        var answered = 0
        for number in 0..<4000 as Range<UInt16> {
            let name = "n\(number).example"
            let client = DNSClient.datagram(SocketEndpoint(address: IPAddress(v4: 127, 0, 0, 1), port: number))
            if let asked = try fixture.ask(name, id: number, from: client).last?.asked { waiting.append(asked.message) }
            guard let message = waiting.randomElement(using: &generator) else { continue }
            var bytes = ForwarderFixture.answer(to: message)
            for _ in 0..<Int.random(in: 0...2, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            for case .answer(let answer, .datagram(let client)) in fixture.handle(.datagram(bytes, port: ForwarderFixture.port)) {
                answered += 1
                #expect(answer.prefix(2).elementsEqual([UInt8(client.port >> 8), UInt8(client.port & 0xFF)]))
                #expect(try ForwarderFixture.name(of: answer)?.lowercased() == "n\(client.port).example")
            }
            if number % 64 == 0 { _ = fixture.wait(.seconds(4)) }
            if waiting.count > 200 { waiting.removeFirst(100) }
        }
        #expect(answered > 500)
    }
}

extension ForwarderFixture {
    /// Name of the question of an answer.
    static func name(of answer: [UInt8]) throws -> String? {
        var reader = DNSReader(answer, from: 12)
        return reader.name()?.key
    }
}
