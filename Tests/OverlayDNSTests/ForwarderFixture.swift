import OverlayModel
import Testing

@testable import OverlayDNS

/// Forwarder of one sandbox in virtual time, whose resolver the test plays.
struct ForwarderFixture {
    static let port: UInt16 = 4000
    static let client = SocketEndpoint(address: IPAddress(v4: 127, 0, 0, 1), port: 40_000)

    var forwarder: Forwarder
    var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var outbox = DNSOutbox()
    private var generator = SeededGenerator(seed: 1)

    init(limit: Int = 1024) { forwarder = Forwarder(limit: limit, at: now) }

    var counters: DNSCounters { outbox.counters }

    /// Effects of one event.
    mutating func handle(_ event: Forwarder.Event) -> [DNSEffect] {
        forwarder.handle(event, at: now, using: &generator, into: &outbox)
        defer { outbox.effects = [] }
        return outbox.effects
    }

    mutating func wait(_ interval: Interval) -> [DNSEffect] {
        now = now + interval
        return handle(.tick)
    }

    /// Asks, and has the resolver found where it is searched.
    mutating func ask(
        _ name: String = "example.com", _ type: RecordType = .a, id: UInt16 = 0x1234, from client: DNSClient = .datagram(client),
        resolver: UInt16? = port
    ) throws -> [DNSEffect] {
        let message = DNSQueryTests.question(name, type, id: id)
        let effects = handle(.question(message, try DNSQuery(message), from: client))
        guard case .findResolver(let transport)? = effects.first else { return effects }
        return handle(.found(transport, port: resolver))
    }

    /// Asks by datagram.
    ///
    /// - Returns: The message that is sent to the resolver.
    mutating func forwarded(
        _ name: String = "example.com", _ type: RecordType = .a, id: UInt16 = 0x1234, from client: DNSClient = .datagram(client)
    ) throws -> [UInt8] {
        let effects = try ask(name, type, id: id, from: client)
        let asked = try #require(effects.only?.asked, "\(effects)")
        #expect(asked.port == Self.port && asked.message.prefix(2).elementsEqual([UInt8(asked.id >> 8), UInt8(asked.id & 0xFF)]))
        return asked.message
    }

    /// Asks from a connection.
    ///
    /// - Returns: Number of the connection to the resolver.
    mutating func relayed(_ name: String = "example.com", id: UInt16 = 0x1234, from connection: UInt64 = 7) throws -> UInt64 {
        let effects = try ask(name, id: id, from: .connection(connection))
        let opened = try #require(effects.only?.opened, "\(effects)")
        #expect(opened.port == Self.port)
        return opened.number
    }

    /// Answer to a message, with one address.
    static func answer(to message: [UInt8]) -> [UInt8] {
        var end = 12
        while message[end] != 0 { end += Int(message[end]) + 1 }
        return message.prefix(2) + [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + message[12..<end + 5]
            + [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]
    }

    /// SERVFAIL for a question.
    static func failure(of name: String = "example.com", id: UInt16 = 0x1234) -> [UInt8] {
        var message = DNSQueryTests.question(name, id: id)
        message[2] = 0x85
        message[3] = 0x82
        return message
    }
}

extension DNSEffect {
    var asked: (message: [UInt8], id: UInt16, port: UInt16)? {
        if case .ask(let message, let id, let port) = self { (message, id, port) } else { nil }
    }

    var opened: (number: UInt64, message: [UInt8], port: UInt16)? {
        if case .openRelay(let number, let message, let port) = self { (number, message, port) } else { nil }
    }

    var answer: (message: [UInt8], client: DNSClient)? {
        if case .answer(let message, let client) = self { (message, client) } else { nil }
    }
}

extension [DNSEffect] {
    /// The one effect that there is.
    var only: DNSEffect? { count == 1 ? first : nil }
}
