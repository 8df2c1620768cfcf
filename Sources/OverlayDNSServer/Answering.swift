import OverlayDNS
import OverlayLinux
import OverlayModel
import Synchronization

/// What the answering thread holds.
struct Answering: ~Copyable {
    /// What an event of the epoll set is of.
    enum Source {
        case datagrams(String)
        case upstream(String)
        case listener(String)
        case connection(String, UInt64)
        case relay(String, UInt64)
    }

    private let loop: AnswerLoop
    private var batch: DatagramBatch
    private var generator: SeededGenerator
    private var sources: [UInt64: Source] = [:]
    private var sandboxes: [String: Sandbox] = [:]
    private var nextToken: UInt64 = 1
    private var counters = DNSServer.Counters()
    private var buffer = [UInt8](repeating: 0, count: Sandbox.answerBytes)

    init(loop: AnswerLoop, batch: consuming DatagramBatch, seed: UInt64) {
        self.loop = loop
        self.batch = batch
        generator = SeededGenerator(seed: seed)
    }

    mutating func token(for source: Source) -> UInt64 {
        defer { nextToken += 1 }
        sources[nextToken] = source
        return nextToken
    }

    // MARK: Sandboxes

    mutating func add(_ path: String, _ sockets: SandboxSockets, _ scope: SandboxScope, _ now: Int64) {
        remove(path)
        let sandbox = Sandbox(sockets, scope, limits: loop.limits, now: now)
        sandboxes[path] = sandbox
        let all: [(Int32, Source)] = [
            (sockets.datagrams.number, .datagrams(path)), (sockets.upstream.number, .upstream(path)),
            (sockets.listener.number, .listener(path)),
        ]
        for (descriptor, source) in all {
            let token = token(for: source)
            sandbox.tokens.append(token)
            if case .listener = source { sandbox.listenerToken = token }
            try? loop.ready.watch(descriptor, token, .readable)
        }
    }

    mutating func setScope(_ path: String, _ scope: SandboxScope) { sandboxes[path]?.scope = scope }

    /// Its sockets leave the set with their end.
    mutating func remove(_ path: String) {
        guard let sandbox = sandboxes.removeValue(forKey: path) else { return }
        for stream in sandbox.streams.values { drop(stream.token) }
        for relay in sandbox.relays.values { drop(relay.token) }
        for token in sandbox.tokens { drop(token) }
    }

    private mutating func drop(_ token: UInt64) { sources[token] = nil }

    /// Is there anything that may wait too long?
    var isWaiting: Bool {
        sandboxes.values.contains { !$0.pending.isEmpty || !$0.streams.isEmpty || !$0.relays.isEmpty || !$0.isListening }
    }

    func count(into shared: borrowing Mutex<DNSServer.Counters>) { shared.withLock { $0 = counters } }

    // MARK: Events

    mutating func handle(_ token: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Int64) {
        guard let source = sources[token] else { return }
        switch source {
        case .datagrams(let path):
            if let sandbox = sandboxes[path] { answerDatagrams(sandbox, tables, now) }
        case .upstream(let path):
            if let sandbox = sandboxes[path] { sandbox.receiveFromResolver(now, in: &buffer) }
        case .listener(let path):
            if let sandbox = sandboxes[path] { accept(path, sandbox, now) }
        case .connection(let path, let number):
            if let sandbox = sandboxes[path] { serve(path, sandbox, number, events, tables, now) }
        case .relay(let path, let number):
            if let sandbox = sandboxes[path] { relay(path, sandbox, number, events, tables, now) }
        }
    }

    mutating func expire(_ now: Int64) {
        for sandbox in sandboxes.values {
            listen(sandbox, true)
            sandbox.expirePending(now)
            for (number, relay) in sandbox.relays where relay.deadline <= now { end(relay: number, of: sandbox, now) }
            for (number, stream) in sandbox.streams
            where now - stream.active >= loop.limits.idleTime && !isAwaiting(number, sandbox) {
                close(number, of: sandbox)
            }
        }
    }

    // MARK: Datagrams

    private mutating func answerDatagrams(_ sandbox: Sandbox, _ tables: NameTables, _ now: Int64) {
        let socket = sandbox.sockets.datagrams.number
        guard let count = try? batch.receive(from: socket) else { return }
        for index in 0..<count {
            guard sandbox.mayAsk(now), let bytes = batch.bytes(at: index) else {
                counters.dropped += 1
                continue
            }
            counters.queries += 1
            switch decide(bytes, sandbox, tables, isStream: false) {
            case .answer(let answer):
                batch.answer(index, answer)
                counters.answered += 1
            case .forward(let query):
                if sandbox.forward(bytes, from: batch.source(at: index), now, &generator) {
                    counters.forwarded += 1
                } else {
                    batch.answer(index, failure(of: query))
                    counters.refused += 1
                }
            case .nothing: counters.dropped += 1
            }
        }
        _ = batch.send(to: socket)
    }

    private enum Reaction {
        case answer([UInt8])
        case forward(DNSQuery)
        case nothing
    }

    /// With its question: resolvers take no other answer for theirs.
    private func failure(of query: DNSQuery) -> [UInt8] {
        DNSResponse(code: .serverFailure, ttl: 0).bytes(for: query, limit: DNSResponse.plainLimit)
    }

    private mutating func decide(_ bytes: [UInt8], _ sandbox: Sandbox, _ tables: NameTables, isStream: Bool) -> Reaction {
        let query: DNSQuery
        do throws(DNSQuery.Failure) {
            query = try DNSQuery(bytes)
        } catch {
            switch error {
            case .ignored: return .nothing
            case .refused(let code): return .answer(DNSResponse.refusal(code, to: bytes))
            }
        }
        switch tables.decide(query, in: sandbox.scope, using: &generator) {
        case .answer(let response):
            let limit = isStream ? DNSResponse.streamLimit : DNSResponse.datagramLimit(for: query)
            return .answer(response.bytes(for: query, limit: limit))
        case .forward: return .forward(query)
        }
    }

    // MARK: Connections (RFC 7766)

    private mutating func accept(_ path: String, _ sandbox: Sandbox, _ now: Int64) {
        for _ in 0..<loop.limits.datagramsPerTurn {
            let accepted: Descriptor?
            do throws(SystemError) {
                accepted = try NetworkNamespace.accept(sandbox.sockets.listener.number)
            } catch {
                // As long as it waits, it would be reported without end.
                return listen(sandbox, false)
            }
            guard let descriptor = accepted else { return }
            guard sandbox.streams.count < loop.limits.connections else { continue }
            let id = sandbox.nextNumber()
            let token = token(for: .connection(path, id))
            guard (try? loop.ready.watch(descriptor.number, token, .readable)) != nil else { return drop(token) }
            sandbox.streams[id] = Stream(descriptor, token: token, active: now)
        }
    }

    private func listen(_ sandbox: Sandbox, _ isListening: Bool) {
        guard sandbox.isListening != isListening else { return }
        sandbox.isListening = isListening
        try? loop.ready.change(sandbox.sockets.listener.number, sandbox.listenerToken, isListening ? .readable : [])
    }

    private mutating func close(_ number: UInt64, of sandbox: Sandbox) {
        guard let stream = sandbox.streams.removeValue(forKey: number) else { return }
        drop(stream.token)
    }

    private mutating func serve(
        _ path: String, _ sandbox: Sandbox, _ number: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Int64
    ) {
        guard let stream = sandbox.streams[number] else { return }
        // It hears nothing any more either.
        guard !(stream.isEnded && events.contains(.ended)) else { return close(number, of: sandbox) }
        // Who does not read the answers is not heard.
        if !stream.isFull, !events.subtracting(.writable).isEmpty {
            guard stream.read() else { return close(number, of: sandbox) }
            stream.active = now
        }
        var turns = loop.limits.datagramsPerTurn
        while turns > 0, !stream.isFull, let message = stream.nextMessage() {
            turns -= 1
            guard sandbox.mayAsk(now) else { return close(number, of: sandbox) }
            counters.queries += 1
            switch decide(message, sandbox, tables, isStream: true) {
            case .answer(let answer):
                stream.queue(Stream.framed(answer))
                counters.answered += 1
            case .forward(let query):
                if open(relayOf: message, query, path, sandbox, for: number, now) {
                    counters.forwarded += 1
                } else {
                    stream.queue(Stream.framed(failure(of: query)))
                    counters.refused += 1
                }
            case .nothing: return close(number, of: sandbox)
            }
        }
        flush(stream, number, sandbox, now)
    }

    private mutating func send(_ bytes: [UInt8], on number: UInt64, of sandbox: Sandbox, _ now: Int64) {
        guard let stream = sandbox.streams[number] else { return }
        stream.queue(bytes)
        flush(stream, number, sandbox, now)
    }

    private func change(_ stream: Stream, _ events: ReadySet.Events) {
        guard events != stream.watched else { return }
        stream.watched = events
        try? loop.ready.change(stream.descriptor.number, stream.token, events)
    }

    private mutating func flush(_ stream: Stream, _ number: UInt64, _ sandbox: Sandbox, _ now: Int64) {
        guard let written = stream.write() else { return close(number, of: sandbox) }
        if written > 0 { stream.active = now }
        if stream.isEnded, !stream.hasOutput, !stream.hasMessage, !isAwaiting(number, sandbox) { return close(number, of: sandbox) }
        // Questions that are here already have their turn when the socket says that it takes answers.
        var wanted: ReadySet.Events = stream.hasOutput || stream.hasMessage ? .writable : []
        if !stream.isFull, !stream.isEnded { wanted.insert(.readable) }
        change(stream, wanted)
    }

    /// Is an answer of Docker's resolver still to come?
    private func isAwaiting(_ number: UInt64, _ sandbox: Sandbox) -> Bool {
        sandbox.relays.values.contains { $0.connection == number }
    }

    // MARK: Questions of connections, to Docker's resolver

    private mutating func open(
        relayOf message: [UInt8], _ query: DNSQuery, _ path: String, _ sandbox: Sandbox, for connection: UInt64, _ now: Int64
    ) -> Bool {
        guard sandbox.relays.count + sandbox.pending.count < loop.limits.forwards, let descriptor = sandbox.connectToResolver(now)
        else { return false }
        let id = sandbox.nextNumber()
        let token = token(for: .relay(path, id))
        guard (try? loop.ready.watch(descriptor.number, token, [.readable, .writable])) != nil else {
            drop(token)
            return false
        }
        let stream = Stream(descriptor, token: token, active: now)
        stream.watched = [.readable, .writable]
        stream.queue(Stream.framed(message))
        sandbox.relays[id] = Relay(stream: stream, connection: connection, query: query, deadline: now + Sandbox.patience)
        return true
    }

    private mutating func relay(
        _ path: String, _ sandbox: Sandbox, _ number: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Int64
    ) {
        guard let relay = sandbox.relays[number] else { return }
        let stream = relay.stream
        if events.contains(.writable) {
            guard stream.write() != nil else { return end(relay: number, of: sandbox, now) }
            if !stream.hasOutput { change(stream, .readable) }
        }
        guard !events.subtracting(.writable).isEmpty else { return }
        let isOpen = stream.read()
        if let answer = stream.nextMessage(), answer.count >= DNSQuery.headerBytes,
            UInt16(answer[0]) << 8 | UInt16(answer[1]) == relay.query.id
        {
            sandbox.relays[number] = nil
            drop(relay.token)
            return send(Stream.framed(answer), on: relay.connection, of: sandbox, now)
        }
        if !isOpen || stream.isEnded { end(relay: number, of: sandbox, now) }
    }

    /// It came to nothing.
    private mutating func end(relay number: UInt64, of sandbox: Sandbox, _ now: Int64) {
        guard let relay = sandbox.relays.removeValue(forKey: number) else { return }
        drop(relay.token)
        sandbox.forgetResolver()
        counters.refused += 1
        send(Stream.framed(failure(of: relay.query)), on: relay.connection, of: sandbox, now)
    }
}
