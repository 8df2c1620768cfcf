import OverlayDNS
import OverlayModel

/// Names: each host's server answers its sandboxes as the real one does, with the shipped ``Responder`` between virtual sockets.
extension World {
    /// Times between two looks of the server for what has waited too long, and at what waits until more is known.
    private static let sweep = Interval.milliseconds(500)
    private static let glance = Interval.milliseconds(5)
    /// Time after which a container gives a question up: later than its server may.
    private static let patience = Forwarder.patience + sweep + sweep
    private static let hop = Interval.microseconds(50)

    /// Has all hosts answer names. To be called before there are networks.
    func startNames() {
        for index in nodes.indices { nameServers[index] = VirtualNameServer(seed: seed &* 31 &+ UInt64(index)) }
    }

    // MARK: Effects of nodes

    func serve(_ index: Int, _ path: String, _ scope: SandboxScope) {
        guard nameServers[index] != nil else { return }
        guard nameServers[index]?.sandboxes[path] == nil else {
            nameServers[index]?.sandboxes[path]?.responder.scope = scope
            return
        }
        let life = nameServers[index]?.number() ?? 0
        nameServers[index]?.sandboxes[path] = VirtualNameServer.Sandbox(
            responder: Responder(scope, limits: .init(), at: now), life: life)
    }

    func unserve(_ index: Int, _ path: String) { nameServers[index]?.sandboxes[path] = nil }

    /// The daemon has ended, and its sockets and tables with it.
    func endNames(_ index: Int) {
        nameServers[index]?.sandboxes = [:]
        nameServers[index]?.tables = NameTables()
    }

    // MARK: Containers

    /// Asks for the addresses of a name.
    ///
    /// - Parameter answered: Called with the answer, if one comes in time.
    /// - Returns: False if the sandbox is not served: then Docker's resolver has the question to itself.
    @discardableResult
    func askName(
        _ index: Int, _ path: String, _ name: String, byConnection: Bool = false,
        answered: @escaping (NameAnswer) -> Void = { _ in }
    ) -> Bool {
        guard let life = nameServers[index]?.sandboxes[path]?.life, let number = nameServers[index]?.number() else { return false }
        // Few ids, so that questions of several clients have the same.
        let id = UInt16(number % 5)
        let message = DNSText.question(name, id: id)
        let source = SocketEndpoint(
            address: IPAddress(family: .v4, bits: 0x7F00_0000 + UInt128(number >> 16)), port: UInt16(truncatingIfNeeded: number))
        let client = byConnection ? DNSClient.connection(number) : .datagram(source)
        nameServers[index]?.questions[client, default: []].append(
            .init(number: number, path: path, life: life, name: name, message: message, asked: now, answered: answered))
        schedule(.action { $0.giveUp(index, client, number) }, in: Self.patience)
        handle(index, path, byConnection ? .message(message, connection: number) : .datagram(message, from: source))
        return true
    }

    private func giveUp(_ index: Int, _ client: DNSClient, _ number: UInt64) {
        guard let question = nameServers[index]?.questions[client]?.first(where: { $0.number == number }) else { return }
        nameServers[index]?.questions[client] = nil
        nameServers[index]?.expiries += 1
        guard let sandbox = nameServers[index]?.sandboxes[question.path], sandbox.life == question.life else { return }
        if case .connection = client {
            violate("P", "host\(index + 1): a question for \(question.name) on a connection has no answer, nor an end")
        }
        let open = nameServers[index]?.questions.values.joined().count { $0.life == question.life } ?? 0
        if sandbox.responder.forwards > open {
            violate("P", "host\(index + 1): \(sandbox.responder.forwards) questions wait for the resolver, and \(open) are open")
        }
    }

    /// An answer has come to a container: it must belong to a question that waits, and be true.
    private func receive(_ index: Int, _ message: [UInt8], _ client: DNSClient) {
        guard let question = nameServers[index]?.questions[client]?.first,
            DNSText.id(of: message) == DNSText.id(of: question.message), let code = DNSText.code(of: message),
            DNSText.section(of: message) == DNSText.section(of: question.message), let addresses = DNSText.addresses(of: message)
        else {
            return violate("C", "host\(index + 1): an answer reaches a question that it does not belong to: \(message.prefix(40))")
        }
        nameServers[index]?.questions[client] = nil
        nameServers[index]?.answers += 1
        if code == 2 { nameServers[index]?.failures += 1 }
        if addresses.contains(VirtualResolver.lie) { violate("C", "host\(index + 1): a lie is told of \(question.name)") }
        question.answered(NameAnswer(code: code, addresses: addresses.sorted()))
    }

    // MARK: The server

    private func handle(_ index: Int, _ path: String, _ event: Responder.Event) {
        guard var server = nameServers[index], var sandbox = server.sandboxes[path] else { return }
        var outbox = DNSOutbox()
        sandbox.responder.handle(event, at: now, server.tables, using: &server.generator, into: &outbox)
        server.sandboxes[path] = sandbox
        nameServers[index] = server
        for effect in outbox.effects { carryOut(index, path, effect) }
        startTicking(index, path)
    }

    /// Looks at what waits, as long as anything does.
    private func startTicking(_ index: Int, _ path: String) {
        guard let sandbox = nameServers[index]?.sandboxes[path] else { return }
        if sandbox.responder.isWaiting, !sandbox.isTicking { tick(index, path, \.isTicking, Self.sweep, .forwarding(.tick)) }
        if sandbox.responder.isHolding, !sandbox.isLooking { tick(index, path, \.isLooking, Self.glance, .look) }
    }

    private func tick(_ index: Int, _ path: String, _ flag: VirtualNameServer.Flag, _ pause: Interval, _ event: Responder.Event) {
        nameServers[index]?.sandboxes[path]?[keyPath: flag] = true
        later(index, path, pause) { world in
            world.nameServers[index]?.sandboxes[path]?[keyPath: flag] = false
            world.handle(index, path, event)
        }
    }

    /// Does something for a sandbox, if it is served without a break until then.
    private func later(_ index: Int, _ path: String, _ delay: Interval, _ action: @escaping (World) -> Void) {
        guard let life = nameServers[index]?.sandboxes[path]?.life else { return }
        schedule(
            .action { if $0.nameServers[index]?.sandboxes[path]?.life == life { action($0) } }, in: delay)
    }

    private func later(_ index: Int, _ path: String, _ delay: Interval, _ event: Forwarder.Event) {
        later(index, path, delay) { $0.handle(index, path, .forwarding(event)) }
    }

    private func carryOut(_ index: Int, _ path: String, _ effect: DNSEffect) {
        guard let resolver = nameServers[index]?.resolver else { return }
        switch effect {
        case .answer(let message, let client): receive(index, message, client)
        case .endConnection(let number): nameServers[index]?.questions[.connection(number)] = nil
        case .findResolver(let transport):
            let port = resolver.isListening ? resolver.port(transport) : nil
            // The real server knows at once.
            handle(index, path, .forwarding(.found(transport, port: port)))
        case .ask(let message, let id, let port):
            if nameServers[index]?.sandboxes[path]?.isRefused == true {
                nameServers[index]?.sandboxes[path]?.isRefused = false
                return handle(index, path, .forwarding(.unsent(id)))
            }
            guard resolver.isListening, resolver.port(.udp) == port else { return refuse(index, path) }
            for reply in replies(index, message, port) {
                later(index, path, reply.delay, .datagram(reply.message, port: reply.port))
            }
        case .openRelay(let number, let message, let port):
            guard resolver.isListening, resolver.port(.tcp) == port else {
                return later(index, path, Self.hop, .relayFailed(number, .ended))
            }
            // On a connection nothing comes from elsewhere.
            let replies = replies(index, message, port).filter { $0.port == port }
            for reply in replies { later(index, path, reply.delay, .message(reply.message, relay: number)) }
            // The connection ends when all is said.
            guard let last = replies.map(\.delay).max() else { return }
            later(index, path, last + Self.hop, .relayFailed(number, .ended))
        case .closeRelay: break
        }
    }

    /// The socket learns that nobody listens, now or with the next datagram.
    private func refuse(_ index: Int, _ path: String) {
        nameServers[index]?.sandboxes[path]?.isRefused = true
        later(index, path, Self.hop) { world in
            guard world.nameServers[index]?.sandboxes[path]?.isRefused == true else { return }
            world.nameServers[index]?.sandboxes[path]?.isRefused = false
            world.handle(index, path, .forwarding(.refused))
        }
    }

    private func replies(_ index: Int, _ message: [UInt8], _ port: UInt16) -> [VirtualResolver.Reply] {
        guard var server = nameServers[index] else { return [] }
        defer { nameServers[index] = server }
        return server.resolver.replies(to: message, port: port, &server.random)
    }
}

extension World {
    /// Changes what Docker's resolver of a host does.
    func changeResolver(_ index: Int, _ mode: VirtualResolver.Mode) {
        guard var server = nameServers[index] else { return }
        server.resolver.become(mode, &server.random)
        nameServers[index] = server
    }
}
