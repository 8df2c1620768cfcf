public import Fuzzing
import OverlayModel

@testable import OverlayDNS

/// Steps of a forwarder: questions, searches, failures and whatever comes from the resolver, against a list of the open questions.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let seeds: [[UInt8]] = [
        // A question, found, answered; another, refused, found elsewhere; time.
        [0, 1, 7, 1, 2, 0, 40, 5, 0, 0, 0, 0, 0, 2, 7, 2, 4, 9, 3, 0, 2, 7, 2, 2, 0, 41, 3, 1, 9, 40],
        // Answers on a connection: given, failed, too late.
        [1, 1, 7, 1, 2, 1, 40, 7, 0, 0, 0, 1, 2, 8, 1, 8, 1, 2, 1, 3, 8, 2, 9, 200],
        // Two with one id, and lies: another id, another type, another port.
        [0, 1, 7, 1, 0, 2, 7, 2, 2, 0, 40, 5, 0, 40, 1, 1, 5, 0, 40, 26, 32, 5, 1, 41, 0, 0, 5, 1, 40, 0, 0],
        // Nobody listens.
        [0, 1, 7, 1, 2, 0, 0, 0, 1, 8, 1, 9, 1, 0, 1, 9, 1, 6, 13, 1, 1, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    return Target(seeds: seeds) { bytes in
        var play = Play(bytes)
        while play.step() {}
        play.end()
    }
}

private struct Play {
    private static let limit = 20

    private var script: ArraySlice<UInt8>
    private var forwarder: Forwarder
    private var outbox = DNSOutbox()
    private var generator = SeededGenerator(seed: 1)
    private var now = Instant(nanoseconds: 0)
    /// Questions that wait, by who asked.
    private var open: [DNSClient: [[UInt8]]] = [:]
    /// Datagrams and messages of connections that went to the resolver.
    private var asked: [(message: [UInt8], id: UInt16)] = []
    private var relays: [(message: [UInt8], number: UInt64)] = []

    init(_ bytes: [UInt8]) {
        script = bytes[...]
        forwarder = Forwarder(limit: Self.limit, at: now)
    }

    mutating func step() -> Bool {
        guard let what = script.popFirst() else { return false }
        switch what % 10 {
        case 0, 1:
            guard let name = script.popFirst(), let id = script.popFirst(), let client = script.popFirst() else { return false }
            ask(name, id, what % 10 == 0 ? .datagram(Self.endpoint(client)) : .connection(UInt64(client)))
        case 2:
            guard let transport = script.popFirst(), let port = script.popFirst() else { return false }
            handle(.found(transport % 2 == 0 ? .udp : .tcp, port: port == 0 ? nil : UInt16(port)))
        case 3:
            guard let index = script.popFirst() else { return false }
            handle(.unsent(Self.pick(asked, index)?.id ?? UInt16(index)))
        case 4: handle(.refused)
        case 5, 7:
            guard let index = script.popFirst(), let port = script.popFirst(), let place = script.popFirst(),
                let change = script.popFirst()
            else { return false }
            if what % 10 == 5, let question = Self.pick(asked, index) {
                handle(.datagram(Self.answer(question.message, place, change), port: UInt16(port)))
            } else if what % 10 == 7, let question = Self.pick(relays, index) {
                handle(.message(Self.answer(question.message, place, change), relay: question.number))
            }
        case 6:
            guard let count = script.popFirst() else { return false }
            let message = Array(script.prefix(Int(count)))
            script = script.dropFirst(Int(count))
            handle(.datagram(message, port: 40))
            handle(.message(message, relay: relays.last?.number ?? 1))
        case 8:
            guard let index = script.popFirst(), let kind = script.popFirst() else { return false }
            let failures: [Forwarder.RelayFailure] = [.noSocket, .refused, .ended]
            handle(.relayFailed(Self.pick(relays, index)?.number ?? 1, failures[Int(kind) % 3]))
        default:
            guard let time = script.popFirst() else { return false }
            now = now + .milliseconds(Int64(time) * 100)
            handle(.tick)
        }
        require(forwarder.count <= Self.limit, "\(forwarder.count) questions wait, of \(Self.limit)")
        require(forwarder.count <= open.values.reduce(0) { $0 + $1.count }, "what waits is open")
        return true
    }

    /// Nothing waits for longer than it may.
    mutating func end() {
        now = now + Forwarder.patience
        handle(.tick)
        require(forwarder.count == 0 && !forwarder.isWaiting, "\(forwarder.count) questions wait for ever")
        for (client, questions) in open {
            guard case .connection(let number) = client else { continue }
            require(questions.isEmpty && !forwarder.isAwaited(by: number), "a connection has all its answers")
        }
    }

    private static func endpoint(_ number: UInt8) -> SocketEndpoint {
        SocketEndpoint(address: IPAddress(v4: 127, 0, 0, 1), port: UInt16(number))
    }

    private static func pick<T>(_ values: [T], _ index: UInt8) -> T? {
        values.isEmpty ? nil : values[Int(index) % values.count]
    }

    /// A good answer with one byte changed; with none where the change is 0.
    private static func answer(_ question: [UInt8], _ place: UInt8, _ change: UInt8) -> [UInt8] {
        var message = question
        message[2] |= 0x80
        message[Int(place) % message.count] ^= change
        return message
    }

    private mutating func ask(_ name: UInt8, _ id: UInt8, _ client: DNSClient) {
        let message: [UInt8] = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, UInt8(ascii: "a") + name % 26, 0, 0, name, 0, 1]
        guard let query = try? DNSQuery(message) else { fatalError("it is a question") }
        open[client, default: []].append(message)
        handle(.question(message, query, from: client))
    }

    private mutating func handle(_ event: Forwarder.Event) {
        forwarder.handle(event, at: now, using: &generator, into: &outbox)
        for effect in outbox.effects {
            switch effect {
            case .answer(let answer, let client): receive(answer, client)
            case .endConnection: require(false, "that is not for the forwarder to say")
            case .findResolver: break
            case .ask(let message, let id, let port):
                require(port != 0 && message.prefix(2).elementsEqual([UInt8(id >> 8), UInt8(id & 0xFF)]), "it has its id")
                asked = asked.suffix(63) + [(message, id)]
            case .openRelay(let number, let message, let port):
                require(port != 0, "a port is known")
                relays = relays.suffix(63) + [(message, number)]
            case .closeRelay(let number): require(number > 0, "it was opened, or was to be")
            }
        }
        outbox.effects = []
    }

    /// An answer is of one open question of its client: the id, the type and the class are the same, and the letters of the name.
    private mutating func receive(_ answer: [UInt8], _ client: DNSClient) {
        require(answer.count >= 12 && answer[2] & 0x80 != 0, "an answer is one")
        let index = open[client]?.firstIndex { question in
            guard answer.prefix(2).elementsEqual(question.prefix(2)) else { return false }
            if answer.count == 12 { return answer[3] & 0x0F != 0 }
            guard answer.count >= question.count, answer[13] | 0x20 == question[13] else { return false }
            return answer[12] == 1 && answer[14..<19].elementsEqual(question[14..<19])
        }
        guard let index else { fatalError("not so: \(answer) answers a question of \(client): \(open[client] ?? [])") }
        open[client]?.remove(at: index)
    }
}
