import OverlayModel
import Testing

@testable import OverlayDNS

/// Questions of one sandbox: answered here, forwarded, or dropped.
@Suite struct ResponderTests {
    private static let network = NetworkID(bits: 1)
    private static let source = SocketEndpoint(address: IPAddress(v4: 127, 0, 0, 1), port: 40_000)

    private struct Fixture {
        var responder: Responder
        var tables = NameTables()
        var now = Instant(nanoseconds: 0)
        var outbox = DNSOutbox()
        var generator = SeededGenerator(seed: 1)

        init(rate: Int = 0, forwards: Bool = true) {
            var limits = Responder.Limits()
            limits.queriesPerSecond = rate
            responder = Responder(SandboxScope(networks: [network], forwards: forwards), limits: limits, at: now)
            var names = NetworkNames(title: "net")
            for number in 1...200 as ClosedRange<UInt8> {
                names.insert(
                    NamedEndpoint(
                        endpoint: EndpointID(unchecked: "0123456789\(number)"), names: ["web-\(number)", "many"],
                        addresses: [IPAddress(v4: 10, 0, 0, number)]))
            }
            tables.networks[network] = names
        }

        mutating func handle(_ event: Responder.Event) -> [DNSEffect] {
            responder.handle(event, at: now, tables, using: &generator, into: &outbox)
            defer { outbox.effects = [] }
            return outbox.effects
        }

        mutating func datagram(_ message: [UInt8]?) -> [DNSEffect] { handle(.datagram(message, from: source)) }
    }

    @Test func ourNamesAreAnsweredAndOthersForwarded() throws {
        var fixture = Fixture()
        let answer = try #require(fixture.datagram(DNSQueryTests.question("web-7")).only?.answer)
        #expect(answer.client == .datagram(Self.source) && answer.message.suffix(4) == [10, 0, 0, 7])
        #expect(fixture.responder.forwards == 0 && !fixture.responder.isWaiting)
        #expect(fixture.datagram(DNSQueryTests.question("example.com")) == [.findResolver(.udp)])
        #expect(fixture.responder.forwards == 1 && fixture.responder.isWaiting)
        #expect(fixture.handle(.forwarding(.found(.udp, port: nil))).count == 1)
        #expect(fixture.outbox.counters.queries == 2 && fixture.outbox.counters.answered == 1)
        #expect(fixture.outbox.counters.refused == 1)
    }

    @Test func connectionsGetWhatDatagramsHaveNoRoomFor() throws {
        var fixture = Fixture()
        let message = DNSQueryTests.question("many")
        let short = try #require(fixture.datagram(message).only?.answer)
        let long = try #require(fixture.handle(.message(message, connection: 7)).only?.answer)
        #expect(short.message.count <= 512 && long.message.count > 3000 && long.client == .connection(7))
    }

    @Test func whatIsNoQuestionIsDroppedOrEndsItsConnection() {
        var fixture = Fixture()
        let answer: [UInt8] = [0, 1, 0x80] + [UInt8](repeating: 0, count: 9)
        #expect(fixture.datagram(answer).isEmpty)
        #expect(fixture.datagram(nil).isEmpty, "longer than any question")
        #expect(fixture.handle(.message(answer, connection: 7)) == [.endConnection(7)])
        #expect(fixture.outbox.counters.dropped == 2)
        let update: [UInt8] = [0, 1, 5 << 3] + [UInt8](repeating: 0, count: 9)
        #expect(
            fixture.datagram(update) == [.answer([0, 1, 0xA8, 4] + [UInt8](repeating: 0, count: 8), to: .datagram(Self.source))])
    }

    @Test func aSecondsWorthMayComeAtOnce() {
        var fixture = Fixture(rate: 10)
        let message = DNSQueryTests.question("web-1")
        #expect((0..<30).map { _ in fixture.datagram(message).count }.reduce(0, +) == 10)
        #expect(fixture.outbox.counters.dropped == 20 && fixture.outbox.counters.queries == 10)
        fixture.now = fixture.now + .milliseconds(200)
        #expect((0..<30).map { _ in fixture.datagram(message).count }.reduce(0, +) == 2)
        #expect(fixture.handle(.message(message, connection: 7)) == [.endConnection(7)], "connections count, too")
        fixture.now = fixture.now + .seconds(100)
        #expect((0..<30).map { _ in fixture.datagram(message).count }.reduce(0, +) == 10, "no more is saved up")
    }

    @Test func aScopeCanChange() throws {
        var fixture = Fixture(forwards: false)
        let refusal = try #require(fixture.datagram(DNSQueryTests.question("example.com")).only?.answer)
        #expect(refusal.message[3] & 0x0F == 5)
        fixture.responder.scope.forwards = true
        #expect(fixture.datagram(DNSQueryTests.question("example.com")) == [.findResolver(.udp)])
    }

    // MARK: Questions that wait

    private func unsettled(forwards: Bool = false) -> Fixture {
        var fixture = Fixture(forwards: forwards)
        fixture.responder.scope = SandboxScope(places: [.ours(Self.network)], forwards: forwards, isSettled: false)
        return fixture
    }

    @Test func aQuestionWaitsForItsName() throws {
        var fixture = unsettled()
        #expect(fixture.datagram(DNSQueryTests.question("me")).isEmpty)
        #expect(fixture.handle(.message(DNSQueryTests.question("me"), connection: 7)).isEmpty)
        #expect(fixture.responder.isHolding && fixture.responder.isAwaited(by: 7) && !fixture.responder.isAwaited(by: 8))
        fixture.now = fixture.now + .milliseconds(100)
        #expect(fixture.handle(.look).isEmpty && fixture.responder.isHolding)
        fixture.tables.networks[Self.network]?.insert(
            NamedEndpoint(endpoint: EndpointID("0123456789ff")!, names: ["me"], addresses: [IPAddress(v4: 10, 0, 1, 1)]))
        fixture.responder.scope.isSettled = true
        let answers = fixture.handle(.look).compactMap(\.answer)
        #expect(answers.map(\.client) == [.datagram(Self.source), .connection(7)])
        #expect(answers.allSatisfy { $0.message.suffix(4) == [10, 0, 1, 1] })
        #expect(!fixture.responder.isHolding && fixture.handle(.look).isEmpty)
    }

    /// Nobody tells more: Docker is asked, and not later than a resolver would ask again.
    @Test func aQuestionWaitsNotForEver() throws {
        var fixture = unsettled()
        #expect(fixture.datagram(DNSQueryTests.question("me")).isEmpty)
        fixture.now = fixture.now + .milliseconds(299)
        #expect(fixture.handle(.look).isEmpty)
        fixture.now = fixture.now + .milliseconds(1)
        #expect(fixture.handle(.look) == [.findResolver(.udp)])
        #expect(!fixture.responder.isHolding && fixture.responder.forwards == 1)
    }

    /// A container cannot have more held than there is room for.
    @Test func whatFindsNoRoomDoesNotWait() {
        var fixture = unsettled()
        for _ in 0..<HeldQuestions.limit { #expect(fixture.datagram(DNSQueryTests.question("me")).isEmpty) }
        #expect(fixture.datagram(DNSQueryTests.question("me")) == [.findResolver(.udp)])
        fixture.responder.scope.isSettled = true
        let answers = fixture.handle(.look).compactMap(\.answer)
        #expect(answers.count == HeldQuestions.limit && answers.allSatisfy { $0.message[3] & 15 == 3 })
    }
}
