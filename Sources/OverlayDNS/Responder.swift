public import OverlayModel

/// Answers the questions of one sandbox: those of our names from the tables, others through Docker's resolver.
///
/// It is a value without clock, randomness or sockets: events go in, effects for the shell come out.
public struct Responder: Sendable {
    /// Bounds of what one container may take of what serves all.
    public struct Limits: Sendable {
        /// Questions per second; 0 is no bound.
        public var queriesPerSecond = 200_000
        /// Questions that wait for Docker's resolver, which takes as many (libnetwork's `maxConcurrent`).
        public var forwards = 1024

        public init() {}
    }

    public enum Event: Hashable, Sendable {
        /// A datagram from the sandbox; nil for one that was longer than the room for it.
        case datagram([UInt8]?, from: SocketEndpoint)
        /// A message on a TCP connection from the sandbox (RFC 7766).
        case message([UInt8], connection: UInt64)
        /// An event of forwarding.
        case forwarding(Forwarder.Event)
        /// Time has passed, or names have changed. Due about every 10 ms while ``Responder/isHolding``.
        case look
    }

    /// Names that the sandbox sees.
    public var scope: SandboxScope
    private var rate: QuestionRate
    private var forwarder: Forwarder
    private var held = HeldQuestions()

    public init(_ scope: SandboxScope, limits: Limits, at now: Instant) {
        self.scope = scope
        rate = QuestionRate(perSecond: limits.queriesPerSecond, at: now)
        forwarder = Forwarder(limit: limits.forwards, at: now)
    }

    /// Number of questions that wait for Docker's resolver.
    public var forwards: Int { forwarder.count }

    /// True if a ``Forwarder/Event/tick`` changes anything.
    public var isWaiting: Bool { forwarder.isWaiting }

    /// True if questions wait until more is known.
    public var isHolding: Bool { !held.isEmpty }

    /// True if a question of this connection may still be answered.
    public func isAwaited(by connection: UInt64) -> Bool {
        forwarder.isAwaited(by: connection) || held.isAwaited(by: connection)
    }

    /// - Parameter generator: Source of the ids of forwarded questions and of the order of several addresses.
    public mutating func handle(
        _ event: Event, at now: Instant, _ tables: NameTables, using generator: inout SeededGenerator, into outbox: inout DNSOutbox
    ) {
        switch event {
        case .datagram(let message, let source):
            guard rate.admit(at: now), let message else {
                outbox.counters.dropped += 1
                return
            }
            if !answer(message, from: .datagram(source), now, tables, &generator, &outbox) { outbox.counters.dropped += 1 }
        case .message(let message, let connection):
            // Ended, rather than left without an answer: what follows could not be told from one.
            guard rate.admit(at: now), answer(message, from: .connection(connection), now, tables, &generator, &outbox) else {
                return outbox.append(.endConnection(connection))
            }
        case .forwarding(let event): forwarder.handle(event, at: now, using: &generator, into: &outbox)
        case .look: for question in held.takeAll() { decide(question, now, tables, &generator, &outbox) }
        }
    }

    /// - Returns: False if the message is nothing to answer.
    private mutating func answer(
        _ message: [UInt8], from client: DNSClient, _ now: Instant, _ tables: NameTables, _ generator: inout SeededGenerator,
        _ outbox: inout DNSOutbox
    ) -> Bool {
        outbox.counters.queries += 1
        let query: DNSQuery
        do throws(DNSQuery.Failure) {
            query = try DNSQuery(message)
        } catch {
            guard case .refused(let code) = error else { return false }
            outbox.counters.answered += 1
            outbox.append(.answer(DNSResponse.refusal(code, to: message), to: client))
            return true
        }
        let question = HeldQuestions.Question(message: message, query: query, client: client, since: now)
        decide(question, now, tables, &generator, &outbox)
        return true
    }

    private mutating func decide(
        _ question: HeldQuestions.Question, _ now: Instant, _ tables: NameTables, _ generator: inout SeededGenerator,
        _ outbox: inout DNSOutbox
    ) {
        let (query, client) = (question.query, question.client)
        var decision = tables.decide(query, in: scope, mayWait: question.mayWait(at: now), using: &generator)
        if case .wait = decision {
            guard !held.hold(question) else { return }
            decision = tables.decide(query, in: scope, mayWait: false, using: &generator)
        }
        switch decision {
        case .answer(let response):
            let limit = if case .connection = client { DNSResponse.streamLimit } else { DNSResponse.datagramLimit(for: query) }
            outbox.counters.answered += 1
            outbox.append(.answer(response.bytes(for: query, limit: limit), to: client))
        case .forward:
            forwarder.handle(.question(question.message, query, from: client), at: now, using: &generator, into: &outbox)
        case .wait: break
        }
    }
}
