public import OverlayModel

/// Forwards the questions of one sandbox that are not ours to Docker's resolver, and returns its answers.
///
/// Questions by datagram share one socket, so each is given an id of its own. Questions of TCP connections have a connection each,
/// a relay, and keep their ids.
///
/// It is a value without clock, randomness or sockets: events go in, effects for the shell come out.
public struct Forwarder: Sendable {
    /// Time to wait for an answer. Docker's resolver asks up to three servers for four seconds each.
    public static let patience = Interval.seconds(15)
    /// Time without any answer after which the resolver may listen elsewhere.
    static let silence = Interval.seconds(2)
    /// Number of times that a question is tried to be sent: a socket tells with the next datagram that the last one was refused.
    private static let attempts = 2
    /// Messages on a relay that are not its answer before the relay ends: a container can pose as the resolver, and talk without end.
    static let mostWrongAnswers = 8
    /// Most questions that may wait, whatever is asked for: half of all ids, so that a free one is found soon.
    private static let mostQuestions = 32_768

    public enum Event: Hashable, Sendable {
        /// A question to be forwarded: the message, and the same decoded.
        case question([UInt8], DNSQuery, from: DNSClient)
        /// End of a search: the port that Docker's resolver listens on, nil if it does not.
        case found(DNSTransport, port: UInt16?)
        /// A datagram could not be sent.
        case unsent(UInt16)
        /// Docker's resolver does not listen where it was asked (ICMP port unreachable).
        case refused
        /// A datagram from a port of 127.0.0.11.
        case datagram([UInt8], port: UInt16)
        /// A message on a connection to Docker's resolver.
        case message([UInt8], relay: UInt64)
        /// A connection to Docker's resolver that could not be opened, or has ended.
        case relayFailed(UInt64, RelayFailure)
        /// Time has passed. Due about twice a second while ``Forwarder/isWaiting``.
        case tick
    }

    public enum RelayFailure: Hashable, Sendable {
        /// There was no socket to open it with.
        case noSocket
        /// Nobody listens.
        case refused
        /// It ended before the answer came.
        case ended
    }

    private struct Pending: Sendable {
        var question: ForwardedQuestion
        var client: DNSClient
        var begun: Instant
        /// Port that it was sent to; nil while that is being searched.
        var port: UInt16?
        var attempts = 0
    }

    private struct Relay: Sendable {
        var question: ForwardedQuestion
        var connection: UInt64
        var deadline: Instant
        /// Messages that were not its answer.
        var wrongAnswers = 0
    }

    private let limit: Int
    /// Questions by datagram, by the id that Docker's resolver was given.
    private var pending: [UInt16: Pending] = [:]
    /// Questions of connections.
    private var relays: [UInt64: Relay] = [:]
    private var udp = ResolverPort<UInt16>()
    private var tcp = ResolverPort<UInt64>()
    private var lastRelay: UInt64 = 0
    /// Time of the last answer by datagram.
    private var heard: Instant

    /// - Parameter limit: Most questions that wait for answers at a time.
    public init(limit: Int, at now: Instant) {
        self.limit = min(max(0, limit), Self.mostQuestions)
        heard = now
    }

    /// Number of questions that wait for an answer.
    public var count: Int { pending.count + relays.count }

    /// True if time changes anything.
    public var isWaiting: Bool { count > 0 }

    /// True if a connection may still get an answer.
    public func isAwaited(by connection: UInt64) -> Bool { relays.values.contains { $0.connection == connection } }

    /// - Parameter generator: Source of ids.
    public mutating func handle(
        _ event: Event, at now: Instant, using generator: inout SeededGenerator, into outbox: inout DNSOutbox
    ) {
        switch event {
        case .question(let message, let query, .connection(let connection)):
            relay(ForwardedQuestion(message, query), of: connection, now, &outbox)
        case .question(let message, let query, let client):
            ask(ForwardedQuestion(message, query), of: client, now, &generator, &outbox)
        case .found(.udp, let port):
            for id in udp.found(port) where pending[id] != nil { send(id, now, &outbox) }
        case .found(.tcp, let port):
            for number in tcp.found(port) where relays[number] != nil { open(number, now, &outbox) }
        case .unsent(let id): retry(id, now, &outbox)
        case .refused: udp.forget()
        case .datagram(let message, let port): receive(message, from: port, now, &outbox)
        case .message(let message, let number): receive(message, on: number, &outbox)
        case .relayFailed(let number, let failure): end(number, failure, &outbox)
        case .tick: expire(now, &outbox)
        }
    }

    // MARK: Datagrams

    private mutating func ask(
        _ question: ForwardedQuestion, of client: DNSClient, _ now: Instant, _ generator: inout SeededGenerator,
        _ outbox: inout DNSOutbox
    ) {
        guard count < limit else { return refuse(question, of: client, &outbox) }
        var id = UInt16(truncatingIfNeeded: generator.next())
        while pending[id] != nil { id &+= 1 }
        pending[id] = Pending(question: question, client: client, begun: now)
        send(id, now, &outbox)
    }

    private mutating func send(_ id: UInt16, _ now: Instant, _ outbox: inout DNSOutbox) {
        guard let question = pending[id]?.question else { return }
        switch udp.look(for: id, at: now) {
        case .known(let port):
            if pending[id]?.attempts == 0 { outbox.counters.forwarded += 1 }
            pending[id]?.port = port
            pending[id]?.attempts += 1
            outbox.append(.ask(question.message(id: id), id: id, port: port))
        case .searching(let isNew):
            pending[id]?.port = nil
            if isNew { outbox.append(.findResolver(.udp)) }
        case .unknown: fail(id, &outbox)
        }
    }

    /// Sends a question again, to where the resolver is by now.
    private mutating func retry(_ id: UInt16, _ now: Instant, _ outbox: inout DNSOutbox) {
        guard let asked = pending[id], let port = asked.port else { return }
        // An earlier datagram was refused: nobody listens there any more.
        if udp.port == port { udp.forget() }
        guard asked.attempts < Self.attempts else { return fail(id, &outbox) }
        send(id, now, &outbox)
    }

    private mutating func receive(_ message: [UInt8], from port: UInt16, _ now: Instant, _ outbox: inout DNSOutbox) {
        guard let id = ForwardedQuestion.answerID(message), let asked = pending[id], asked.port == port,
            asked.question.isRepeated(in: message)
        else { return }
        pending[id] = nil
        heard = now
        outbox.append(.answer(ForwardedQuestion.message(message, id: asked.question.id), to: asked.client))
    }

    private mutating func fail(_ id: UInt16, _ outbox: inout DNSOutbox) {
        guard let asked = pending.removeValue(forKey: id) else { return }
        refuse(asked.question, of: asked.client, &outbox)
    }

    private func refuse(_ question: ForwardedQuestion, of client: DNSClient, _ outbox: inout DNSOutbox) {
        outbox.counters.refused += 1
        outbox.append(.answer(question.failure, to: client))
    }

    // MARK: Connections

    private mutating func relay(
        _ question: ForwardedQuestion, of connection: UInt64, _ now: Instant, _ outbox: inout DNSOutbox
    ) {
        guard count < limit else { return refuse(question, of: .connection(connection), &outbox) }
        lastRelay += 1
        relays[lastRelay] = Relay(question: question, connection: connection, deadline: now + Self.patience)
        open(lastRelay, now, &outbox)
    }

    private mutating func open(_ number: UInt64, _ now: Instant, _ outbox: inout DNSOutbox) {
        guard let relay = relays[number] else { return }
        switch tcp.look(for: number, at: now) {
        case .known(let port):
            outbox.counters.forwarded += 1
            outbox.append(.openRelay(number, relay.question.message(id: relay.question.id), port: port))
        case .searching(let isNew): if isNew { outbox.append(.findResolver(.tcp)) }
        case .unknown:
            relays[number] = nil
            refuse(relay.question, of: .connection(relay.connection), &outbox)
        }
    }

    private mutating func receive(_ message: [UInt8], on number: UInt64, _ outbox: inout DNSOutbox) {
        guard let relay = relays[number] else { return }
        guard ForwardedQuestion.answerID(message) == relay.question.id, relay.question.isRepeated(in: message) else {
            relays[number]?.wrongAnswers += 1
            if relay.wrongAnswers + 1 >= Self.mostWrongAnswers { end(number, .ended, &outbox) }
            return
        }
        relays[number] = nil
        outbox.append(.closeRelay(number))
        outbox.append(.answer(message, to: .connection(relay.connection)))
    }

    private mutating func end(_ number: UInt64, _ failure: RelayFailure, _ outbox: inout DNSOutbox) {
        guard let relay = relays.removeValue(forKey: number) else { return }
        switch failure {
        case .noSocket: break
        case .refused: tcp.forget()
        case .ended: doubtResolver()
        }
        outbox.append(.closeRelay(number))
        refuse(relay.question, of: .connection(relay.connection), &outbox)
    }

    // MARK: Time

    private mutating func doubtResolver() {
        udp.doubt()
        tcp.doubt()
    }

    /// Gives up what has waited for too long. Clients by datagram are told nothing: they have stopped waiting long before.
    private mutating func expire(_ now: Instant, _ outbox: inout DNSOutbox) {
        // If questions are on the way and none is answered, the resolver may have started anew.
        if let oldest = pending.values.map(\.begun).min(), now - max(oldest, heard) > Self.silence { doubtResolver() }
        pending = pending.filter { now - $0.value.begun < Self.patience }
        for number in relays.filter({ $0.value.deadline <= now }).keys.sorted() { end(number, .ended, &outbox) }
        udp.keepWaiters { pending[$0] != nil }
        tcp.keepWaiters { relays[$0] != nil }
    }
}
