import Logging
import NIOCore
import OverlayCatalogue
import OverlayCrypto
import OverlayDNS
import OverlayDNSServer
import OverlayDatapath
import OverlayDocker
import OverlayDriver
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNetlink
import OverlayNode
import OverlayStore

/// Holds the node and carries out its effects. It lives on the event loop of the gossip port, so a message goes through the node where it
/// arrives. Disk and kernel have threads of their own, work in order, and answer with events.
actor NodeController: GossipDelegate {
    private let loop: any EventLoop
    nonisolated let unownedExecutor: UnownedSerialExecutor
    private let logger: Logger
    private var node: Node
    private var transport: GossipTransport?
    private var nextRequest: UInt64 = 1
    private var calls: [RequestID: CheckedContinuation<DriverResponse, Never>] = [:]
    private var controls: [RequestID: CheckedContinuation<ControlResponse, Never>] = [:]
    /// Open requests that wait for a change of a node's state, however long that takes.
    private var watches: Set<RequestID> = []
    /// Number of requests that may wait so: each holds a connection of the control socket.
    private static let watchLimit = 64
    /// True from the moment at which the daemon begins to stop: nothing waits any more.
    private var isStopping = false
    private let key: NodeKey
    private var acceptor: JoinAcceptor
    private var refusals = RefusalLog()
    private var admissions: [RequestID: GossipTransport.JoinConnection] = [:]
    private var timer: (at: Instant, task: Scheduled<Void>)?
    private var starters: [CheckedContinuation<Void, Never>] = []
    private let store: StateStore
    private let kernel: KernelNetlink
    private var link: EngineAPIClient?
    private var dns: DNSServer?
    private var tables: NameTables
    private var isStopped = false
    /// Links that routes of sandboxes are to lead through, by path.
    private var moves: [String: MACAddress] = [:]

    init(
        loop: any EventLoop, key: NodeKey, node: Node, store: StateStore, kernel: KernelNetlink,
        ttl: UInt32, logger: Logger
    ) {
        tables = NameTables(ttl: ttl)
        self.loop = loop
        self.key = key
        acceptor = JoinAcceptor(key: key)
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.logger = logger
        self.node = node
        self.store = store
        self.kernel = kernel
    }

    /// Shells that are made after the controller, as each of them tells it something.
    struct Surroundings: Sendable {
        let transport: GossipTransport
        let link: EngineAPIClient?
        let dns: DNSServer?
    }

    /// Starts the node, and waits until it knows what its kernel holds.
    ///
    /// - Returns: True if calls may come; false if ``endWaits()`` came first.
    func start(_ surroundings: Surroundings) async -> Bool {
        transport = surroundings.transport
        link = surroundings.link
        dns = surroundings.dns
        await withCheckedContinuation { continuation in
            starters.append(continuation)
            watch()
            process(.start)
            if isStopping { resumeStarters() }
        }
        return node.isReady
    }

    /// Has the kernel tell where others change something.
    private func watch() {
        kernel.submit { [logger] kernel in
            do throws(KernelFailure) {
                try kernel.watch { self.come(.changed($0)) }
            } catch {
                logger.warning(
                    "changes by others are found once a minute only, as the kernel does not tell of them",
                    metadata: [LogKey.reason: "\(error)"])
            }
        }
    }

    /// Ends every wait that may be long, as the daemon stops: that of ``start(_:)``, and requests for the next change of a node's state.
    nonisolated func endWaits() { loop.execute { self.assumeIsolated { $0.beginStop() } } }

    private func beginStop() {
        isStopping = true
        resumeStarters()
        for id in watches { controls.removeValue(forKey: id)?.resume(returning: Self.stopping) }
    }

    /// Number of attempts to move routes in a sandbox that an engine sets up, and pause between two.
    private static let mostMoves = 400
    private static let movePause = Duration.milliseconds(5)

    private static let stopping = ControlResponse.refused("the daemon is stopping")

    private func resumeStarters() {
        for starter in starters { starter.resume() }
        starters = []
    }

    /// Returns when the writes and the kernel operations that were begun are done.
    func stop() async {
        beginStop()
        isStopped = true
        timer?.task.cancel()
        await store.drain()
        await kernel.drain()
        await kernel.stopListening()
        await kernel.stopWatching()
        // They hold the controller.
        transport = nil
        link = nil
        dns = nil
    }

    // MARK: Calls

    func perform(_ request: DriverRequest) async -> DriverResponse {
        let id = newRequest()
        return await withCheckedContinuation { continuation in
            calls[id] = continuation
            process(.driver(id, request))
        }
    }

    func control(_ request: ControlRequest) async -> ControlResponse {
        let id = newRequest()
        if case .nodeChanges(after: .some) = request {
            guard !isStopping else { return Self.stopping }
            guard watches.count < Self.watchLimit else {
                return .refused("\(Self.watchLimit) clients watch the nodes already; end one of them")
            }
            watches.insert(id)
        }
        // A watch ends with its client. Everything else is carried out.
        let response = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                controls[id] = continuation
                process(.control(id, request))
            }
        } onCancel: {
            loop.execute { self.assumeIsolated { $0.endWatch(id) } }
        }
        watches.remove(id)
        return response
    }

    private func endWatch(_ id: RequestID) {
        if watches.contains(id) { controls.removeValue(forKey: id)?.resume(returning: Self.stopping) }
    }

    private func newRequest() -> RequestID {
        defer { nextRequest += 1 }
        return RequestID(nextRequest)
    }

    // MARK: Messages

    nonisolated func handle(_ event: GossipEvent) { assumeIsolated { $0.received(event) } }

    private func received(_ event: GossipEvent) {
        // Before the start there is no node to tell.
        guard transport != nil else {
            if case .join(let connection, _) = event { connection.close() }
            return
        }
        switch event {
        case .received(let bytes, let peer, let path): process(.message(from: peer, bytes, path), flush: false)
        case .earlierLife(let peer): process(.earlierLife(of: peer), flush: false)
        case .stranger(let node, let source): process(.stranger(node, source), flush: false)
        case .notice(let bytes): process(.notice(bytes), flush: false)
        case .stream(let peer, let failure): process(.stream(peer, failure), flush: false)
        case .drained: drained()
        case .join(let connection, let frame): join(connection, frame)
        case .joinEnded(let connection): acceptor.ended(connection.number)
        }
    }

    /// Sends what the messages that arrived together have caused.
    private func drained() {
        transport?.assumeIsolated { $0.flush() }
        schedule()
    }

    /// Takes a frame of a node that wants to join.
    private func join(_ connection: GossipTransport.JoinConnection, _ frame: [UInt8]) {
        do throws(JoinFailure) {
            let step = try acceptor.take(
                frame, on: connection.number, from: connection.source, cluster: node.catalogue.cluster,
                name: node.identity.name, now: now(), clock: UnixClock.now())
            switch step {
            case .answer(let frame, let isLast): connection.answer(frame, isLast: isLast)
            case .admit(let member):
                transport?.assumeIsolated { $0.release(connection) }
                let id = newRequest()
                admissions[id] = connection
                process(.joinRequest(id, member))
            }
        } catch {
            if let line = refusals.line(for: connection.source, at: now()) { log(line, error, from: connection.source) }
            connection.answer(JoinResponder.failure(error), isLast: true)
        }
    }

    private func log(_ line: RefusalLog.Line, _ failure: JoinFailure, from source: IPAddress?) {
        var metadata: Logger.Metadata = [
            LogKey.from: "\(source.map { "\($0)" } ?? "?")", LogKey.reason: "\(failure.text)",
        ]
        if line.unsaid > 0 { metadata[LogKey.unsaid] = "\(line.unsaid)" }
        if line.others > 0 { metadata[LogKey.others] = "\(line.others)" }
        logger.warning("join refused; further ones of this source are counted for a minute", metadata: metadata)
    }

    // MARK: The engine's API, and names

    func engineNews(_ news: EngineAPINews) { process(.engineNews(news)) }

    func sandbox(_ path: String, _ state: DNSServer.State) {
        switch state {
        case .failed(let reason): process(.sandbox(path, failure: reason))
        case .serving: process(.sandbox(path, failure: nil))
        case .waiting: break
        case .gone: process(.sandboxGone(path))
        }
    }

    private func serve(_ id: EffectID, _ path: String, _ scope: SandboxScope) {
        guard let dns else { return come(.served(id)) }
        dns.serve(path, scope) { state in
            if case .failed(let reason) = state { self.come(.sandbox(path, failure: reason)) }
            self.come(.served(id))
        }
    }

    private func listen(_ endpoint: EndpointID, _ vni: VNI, _ hearing: Hearing?) {
        kernel.submit { kernel in
            do throws(KernelFailure) {
                try kernel.listen(endpoint, on: vni, for: hearing) { endpoint, report in
                    switch report {
                    case .heard(let all): self.come(.heard(endpoint, all))
                    case .deaf(let reason): self.come(.deaf(endpoint, reason))
                    }
                }
            } catch {
                self.come(.deaf(endpoint, "\(error)"))
            }
        }
    }

    private func contact(_ id: RequestID, _ contact: JoinContact) {
        JoinAttempts.ask(contact, as: key, on: loop).whenSuccess { [weak self] answer in
            self?.assumeIsolated { $0.process(.joinAnswer(id, answer)) }
        }
    }

    // MARK: The node

    private func now() -> Instant { Instant(nanoseconds: MonotonicClock.now()) }

    private func process(_ event: NodeEvent, flush: Bool = true) {
        guard !isStopped else { return }
        for effect in node.handle(event, at: now()) { carryOut(effect) }
        if node.isReady, !starters.isEmpty { resumeStarters() }
        if flush { drained() }
    }

    private func carryOut(_ effect: NodeEffect) {
        switch effect {
        case .names(let network, let names): tables.networks[network] = names
        case .subnets(let subnets): tables.setSubnets(subnets)
        case .otherNames(let network, let names): tables.others[network] = names
        case .unsettled(let networks): tables.unsettled = networks
        case .suspects(let owners): tables.suspects = owners
        case .publishNames: dns?.publish(tables)
        case .serve(let id, let path, let scope): serve(id, path, scope)
        case .unserve(let path): dns?.end(path)
        case .engineCall(let id, let call):
            guard let link else { return come(.engineAnswer(id, .unavailable("there is no link to an engine"))) }
            link.call(call) { self.come(.engineAnswer(id, $0)) }
        case .respond(let id, let response): calls.removeValue(forKey: id)?.resume(returning: response)
        case .answer(let id, let response): controls.removeValue(forKey: id)?.resume(returning: response)
        case .send(let peer, let bytes, let path): transport?.assumeIsolated { $0.send(bytes, to: peer, by: path) }
        case .store(let id, let writes):
            store.submit(writes) { error in self.come(.stored(id, error.map { .failed("\($0)") } ?? .stored)) }
        case .apply(let id, let operations): kernel.submit { self.come(.applied(id, $0.apply(operations))) }
        case .look(let id, let vni): kernel.submit { self.come(.seen(id, $0.look(vni))) }
        case .restore(let id, let port): kernel.submit { self.come(.restored(id, $0.restore(port))) }
        case .observe(let id, let sandboxes):
            kernel.submit { kernel in
                do throws(KernelFailure) {
                    var state = try kernel.observe()
                    state.missingSandboxes = kernel.missing(sandboxes)
                    self.come(.observed(id, state))
                } catch {
                    self.come(.notObserved(id, "\(error)"))
                }
            }
        case .listen(let endpoint, let vni, let hearing): listen(endpoint, vni, hearing)
        case .readRoutes(let id):
            kernel.submit { kernel in
                let found = try? kernel.hostSubnets(limit: Limits.hostRoutes)
                let routes = found.map { $0.routes.map { HostSubnet(prefix: $0.prefix, link: $0.link) } }
                self.come(.hostRoutes(id, routes, isWhole: found?.isWhole ?? true))
            }
        case .readHost(let id, let isChoosing):
            kernel.submit { kernel in
                let addresses = try? kernel.hostAddresses()
                let routes = isChoosing ? try? kernel.hostRoutes() : nil
                self.come(.host(id, addresses.map { HostNetwork.view($0, choosingBy: routes) }))
            }
        case .lookForRoutes(let id, let path, let routes):
            kernel.submit { kernel in
                switch kernel.hasRoute(to: routes, in: path) {
                case nil: self.come(.routesSeen(id, .missing))
                case false?: self.come(.routesSeen(id, .free))
                case true?: self.come(.routesSeen(id, .taken))
                }
            }
        case .moveRoutes(let path, let mac, let routes):
            let isUnderWay = moves.updateValue(mac, forKey: path) != nil
            if !isUnderWay { Task { await self.move(routes, in: path) } }
        case .addRoutes(let path, let mac, let routes):
            kernel.submit { [logger] kernel in
                do throws(KernelFailure) {
                    try kernel.addRoutes(routes, through: mac, in: path)
                } catch {
                    logger.debug("routes not added in a sandbox", metadata: [LogKey.sandbox: "\(path)", LogKey.reason: "\(error)"])
                }
            }
        case .peers(let members, let keys):
            let addresses = members.map {
                PeerAddress(node: $0.id, address: $0.address, port: $0.port, agreementKey: $0.agreementKey)
            }
            let ring = keys.map { PacketCipher.RingKey(id: $0.id, bytes: $0.bytes) }
            transport?.assumeIsolated { $0.setPeers(addresses, keys: ring) }
        case .makeKey:
            let key = systemRandom(count: 32)
            loop.execute { self.assumeIsolated { $0.process(.keyMade(key)) } }
        case .notify(let target, let bytes): transport?.assumeIsolated { $0.notify(target, bytes) }
        case .raiseBoot(let boot): transport?.assumeIsolated { $0.raise(boot: boot) }
        case .contact(let id, let target): contact(id, target)
        case .admit(let id, let answer):
            guard let connection = admissions.removeValue(forKey: id) else { return }
            guard let frame = acceptor.result(answer.wireBytes, on: connection.number) else { return connection.close() }
            connection.answer(frame, isLast: true)
        case .log(let level, let message, let metadata):
            logger.log(level: level.level, "\(message)", metadata: metadata.mapValues { "\($0)" })
        }
    }

    /// Moves routes in a sandbox as soon as the engine has set it up, to the last of the links that was asked for.
    private func move(_ routes: [IPPrefix], in path: String) async {
        for _ in 0..<Self.mostMoves {
            guard let mac = moves[path] else { break }
            if await kernel.moveRoutes(routes, through: mac, in: path), moves[path] == mac { break }
            try? await Task.sleep(for: Self.movePause)
        }
        moves[path] = nil
    }

    /// Takes an event from the thread of a shell. All queues are bounded by the calls that are open.
    private nonisolated func come(_ event: NodeEvent) {
        loop.execute { self.assumeIsolated { $0.process(event) } }
    }

    private func schedule() {
        guard let next = node.nextDeadline else { return }
        if let timer, timer.at <= next, timer.at > now() { return }
        timer?.task.cancel()
        let delay = max(0, (next - now()).nanoseconds)
        let task = loop.scheduleTask(in: .nanoseconds(delay)) { [weak self] in
            guard let self else { return }
            self.assumeIsolated { $0.tick() }
        }
        timer = (next, task)
    }

    private func tick() {
        timer = nil
        process(.tick)
    }
}

extension LogLevel {
    var level: Logger.Level {
        switch self {
        case .debug: .debug
        case .info: .info
        case .warning: .warning
        case .error: .error
        }
    }
}
