import Glibc
import OverlayDNS
import OverlayLinux
import OverlayModel
import Synchronization

/// State of the answering thread: it turns what sockets receive into events of each sandbox's ``Responder``, and carries out its effects.
struct Answering: ~Copyable {
    /// Socket that an event of the epoll set belongs to.
    private enum Source {
        case datagrams(String)
        case upstream(String)
        case listener(String)
        case connection(String, UInt64)
        case relay(String, UInt64)
    }

    /// Datagram of the batch that is being answered, until it is.
    private struct Current {
        var index: Int
        var client: DNSClient
    }

    private let loop: AnswerLoop
    private var batch: DatagramBatch
    private var generator: SeededGenerator
    private var sources: [UInt64: Source] = [:]
    private var sandboxes: [String: Sandbox] = [:]
    /// Sandboxes with questions that wait until more is known.
    private var holding: Set<String> = []
    private var outbox = DNSOutbox()
    private var current: Current?
    private var buffer = [UInt8](repeating: 0, count: SandboxSockets.answerBytes)

    init(loop: AnswerLoop, batch: consuming DatagramBatch, seed: UInt64) {
        self.loop = loop
        self.batch = batch
        generator = SeededGenerator(seed: seed)
    }

    private mutating func token(for source: Source) -> UInt64 {
        let token = loop.newToken()
        sources[token] = source
        return token
    }

    // MARK: Sandboxes

    mutating func add(_ path: String, _ watched: WatchedSockets, _ scope: SandboxScope, _ now: Instant) {
        remove(path)
        sandboxes[path] = Sandbox(path, watched, Responder(scope, limits: loop.limits.responder, at: now))
        sources[watched.datagrams] = .datagrams(path)
        sources[watched.upstream] = .upstream(path)
        sources[watched.listener] = .listener(path)
    }

    mutating func setScope(_ path: String, _ scope: SandboxScope) { sandboxes[path]?.responder.scope = scope }

    /// Removes a sandbox. Its sockets are closed with it, and leave the epoll set by that.
    mutating func remove(_ path: String) {
        guard let sandbox = sandboxes.removeValue(forKey: path) else { return }
        holding.remove(path)
        for stream in sandbox.streams.values { drop(stream.token) }
        for stream in sandbox.relays.values { drop(stream.token) }
        for token in [sandbox.watched.datagrams, sandbox.watched.upstream, sandbox.watched.listener] { drop(token) }
    }

    private mutating func drop(_ token: UInt64) { sources[token] = nil }

    /// True if something may wait for too long.
    var isWaiting: Bool { sandboxes.values.contains(where: \.isWaiting) }

    /// True if questions wait until more is known.
    var isHolding: Bool { !holding.isEmpty }

    /// Decides again on the questions that wait until more is known.
    mutating func look(_ tables: NameTables, _ now: Instant) {
        for path in holding { if let sandbox = sandboxes[path] { handle(.look, in: sandbox, tables, now) } }
    }

    func count(into shared: borrowing Mutex<DNSCounters>) { shared.withLock { $0 = outbox.counters } }

    // MARK: Events

    mutating func handle(_ token: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Instant) {
        guard let source = sources[token] else { return }
        switch source {
        case .datagrams(let path): if let sandbox = sandboxes[path] { receiveDatagrams(sandbox, tables, now) }
        case .upstream(let path): if let sandbox = sandboxes[path] { receiveFromResolver(sandbox, tables, now) }
        case .listener(let path): if let sandbox = sandboxes[path] { accept(sandbox, now) }
        case .connection(let path, let number): if let sandbox = sandboxes[path] { serve(sandbox, number, events, tables, now) }
        case .relay(let path, let number): if let sandbox = sandboxes[path] { relay(sandbox, number, events, tables, now) }
        }
    }

    mutating func expire(_ tables: NameTables, _ now: Instant) {
        for sandbox in sandboxes.values {
            listen(sandbox, true)
            handle(.forwarding(.tick), in: sandbox, tables, now)
            for (number, stream) in sandbox.streams
            where now - stream.active >= loop.limits.idleTime && !sandbox.responder.isAwaited(by: number) {
                close(number, of: sandbox)
            }
        }
    }

    /// Handles an event, and what comes of its effects at once.
    ///
    /// - Parameter serving: Connection that is being served, which writes its answers when all its questions are through.
    private mutating func handle(
        _ event: Responder.Event, in sandbox: Sandbox, _ tables: NameTables, _ now: Instant, serving: UInt64? = nil
    ) {
        sandbox.responder.handle(event, at: now, tables, using: &generator, into: &outbox)
        var position = 0
        while position < outbox.effects.count {
            let effect = outbox.effects[position]
            position += 1
            guard let outcome = carryOut(effect, sandbox, now, serving) else { continue }
            sandbox.responder.handle(.forwarding(outcome), at: now, tables, using: &generator, into: &outbox)
        }
        outbox.effects.removeAll(keepingCapacity: true)
        guard sandbox.responder.isHolding != sandbox.isHolding else { return }
        sandbox.isHolding.toggle()
        if sandbox.isHolding { holding.insert(sandbox.path) } else { holding.remove(sandbox.path) }
    }

    /// - Returns: What came of it, where the core is to be told.
    private mutating func carryOut(
        _ effect: DNSEffect, _ sandbox: Sandbox, _ now: Instant, _ serving: UInt64?
    ) -> Forwarder.Event? {
        switch effect {
        case .answer(let message, .datagram(let client)):
            guard let index = current?.index, current?.client == .datagram(client) else {
                sandbox.sockets.answer(message, to: client)
                return nil
            }
            batch.answer(index, message)
            current = nil
        case .answer(let message, .connection(let number)):
            guard let stream = sandbox.streams[number] else { return nil }
            stream.queue(Stream.framed(message))
            if number != serving { flush(stream, number, sandbox, now) }
        case .endConnection(let number): close(number, of: sandbox)
        case .findResolver(.udp): return .found(.udp, port: sandbox.sockets.resolverUDPPort())
        case .findResolver(.tcp): return .found(.tcp, port: sandbox.sockets.resolverTCPPort())
        case .ask(let message, let id, let port): if !sandbox.ask(message, port: port) { return .unsent(id) }
        case .openRelay(let number, let message, let port): return open(number, message, port, sandbox, now)
        case .closeRelay(let number): if let stream = sandbox.relays.removeValue(forKey: number) { drop(stream.token) }
        }
        return nil
    }

    // MARK: Datagrams

    private mutating func receiveDatagrams(_ sandbox: Sandbox, _ tables: NameTables, _ now: Instant) {
        let socket = sandbox.sockets.datagrams.number
        guard let count = try? batch.receive(from: socket) else { return }
        for index in 0..<count {
            let source = SocketEndpoint(batch.source(at: index))
            current = Current(index: index, client: .datagram(source))
            handle(.datagram(batch.bytes(at: index), from: source), in: sandbox, tables, now)
        }
        current = nil
        _ = batch.send(to: socket)
    }

    private mutating func receiveFromResolver(_ sandbox: Sandbox, _ tables: NameTables, _ now: Instant) {
        for _ in 0..<loop.limits.datagramsPerTurn {
            switch sandbox.sockets.receiveFromResolver(in: &buffer) {
            case .datagram(let count, let port):
                handle(.forwarding(.datagram(Array(buffer[..<count]), port: port)), in: sandbox, tables, now)
            case .refused: handle(.forwarding(.refused), in: sandbox, tables, now)
            case .nothing: return
            }
        }
    }

    // MARK: Connections of clients (RFC 7766)

    private mutating func accept(_ sandbox: Sandbox, _ now: Instant) {
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
            let number = sandbox.nextConnection()
            let token = token(for: .connection(sandbox.path, number))
            guard (try? loop.ready.watch(descriptor.number, token, .readable)) != nil else {
                drop(token)
                continue
            }
            sandbox.streams[number] = Stream(descriptor, token: token, active: now)
        }
    }

    private func listen(_ sandbox: Sandbox, _ isListening: Bool) {
        guard sandbox.isListening != isListening,
            (try? loop.ready.change(sandbox.sockets.listener.number, sandbox.watched.listener, isListening ? .readable : [])) != nil
        else { return }
        sandbox.isListening = isListening
    }

    private mutating func close(_ number: UInt64, of sandbox: Sandbox) {
        guard let stream = sandbox.streams.removeValue(forKey: number) else { return }
        drop(stream.token)
    }

    private mutating func serve(
        _ sandbox: Sandbox, _ number: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Instant
    ) {
        guard let stream = sandbox.streams[number] else { return }
        // It hears nothing any more either.
        guard !(stream.isEnded && events.contains(.ended)) else { return close(number, of: sandbox) }
        // A client that does not read its answers is not heard.
        if !stream.isFull, !events.subtracting(.writable).isEmpty {
            guard stream.read() else { return close(number, of: sandbox) }
            stream.active = now
        }
        var turns = loop.limits.datagramsPerTurn
        while turns > 0, !stream.isFull, let message = stream.nextMessage() {
            turns -= 1
            handle(.message(message, connection: number), in: sandbox, tables, now, serving: number)
            guard sandbox.streams[number] != nil else { return }
        }
        flush(stream, number, sandbox, now)
    }

    /// - Returns: False if the kernel refuses: nothing more would be heard of the stream.
    private func change(_ stream: Stream, _ events: ReadySet.Events) -> Bool {
        guard events != stream.watched else { return true }
        stream.watched = events
        return (try? loop.ready.change(stream.descriptor.number, stream.token, events)) != nil
    }

    private mutating func flush(_ stream: Stream, _ number: UInt64, _ sandbox: Sandbox, _ now: Instant) {
        guard let written = stream.write() else { return close(number, of: sandbox) }
        if written > 0 { stream.active = now }
        if stream.isEnded, !stream.hasOutput, !stream.hasMessage, !sandbox.responder.isAwaited(by: number) {
            return close(number, of: sandbox)
        }
        // Buffered questions are answered on the next writable event, so wait for that, too.
        var wanted: ReadySet.Events = stream.hasOutput || stream.hasMessage ? .writable : []
        if !stream.isFull, !stream.isEnded { wanted.insert(.readable) }
        if !change(stream, wanted) { close(number, of: sandbox) }
    }

    // MARK: Connections to Docker's resolver

    private mutating func open(
        _ number: UInt64, _ message: [UInt8], _ port: UInt16, _ sandbox: Sandbox, _ now: Instant
    ) -> Forwarder.Event? {
        guard let descriptor = sandbox.sockets.openRelay() else { return .relayFailed(number, .noSocket) }
        guard SandboxSockets.connect(descriptor.number, to: port) else { return .relayFailed(number, .refused) }
        let token = token(for: .relay(sandbox.path, number))
        guard (try? loop.ready.watch(descriptor.number, token, [.readable, .writable])) != nil else {
            drop(token)
            return .relayFailed(number, .noSocket)
        }
        let stream = Stream(descriptor, token: token, active: now)
        stream.watched = [.readable, .writable]
        stream.queue(Stream.framed(message))
        sandbox.relays[number] = stream
        return nil
    }

    private mutating func relay(
        _ sandbox: Sandbox, _ number: UInt64, _ events: ReadySet.Events, _ tables: NameTables, _ now: Instant
    ) {
        guard let stream = sandbox.relays[number] else { return }
        let end = Responder.Event.forwarding(.relayFailed(number, .ended))
        if events.contains(.writable) {
            guard stream.write() != nil else { return handle(end, in: sandbox, tables, now) }
            if !stream.hasOutput, !change(stream, .readable) { return handle(end, in: sandbox, tables, now) }
        }
        guard !events.subtracting(.writable).isEmpty else { return }
        let isOpen = stream.read()
        while let message = stream.nextMessage() {
            handle(.forwarding(.message(message, relay: number)), in: sandbox, tables, now)
            guard sandbox.relays[number] != nil else { return }
        }
        if !isOpen || stream.isEnded { handle(end, in: sandbox, tables, now) }
    }
}

extension SocketEndpoint {
    /// An IPv4 address and a port, both in network byte order.
    fileprivate init(_ source: (address: UInt32, port: UInt16)) {
        self.init(
            address: IPAddress(family: .v4, bits: UInt128(UInt32(bigEndian: source.address))), port: UInt16(bigEndian: source.port))
    }
}
