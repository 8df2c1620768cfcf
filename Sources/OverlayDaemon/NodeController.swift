import Logging
import NIOCore
import OverlayCatalogue
import OverlayCrypto
import OverlayDatapath
import OverlayDriver
import OverlayEngine
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNetlink
import OverlayNode
import OverlayStore

/// Holds the node's cores and carries out their effects. It lives on the event loop of port 7946: a message goes through the cores where
/// it arrives. What blocks (disk, kernel) is done on threads of its own, in order, and comes back as events.
actor NodeController {
    private let loop: any EventLoop
    nonisolated let unownedExecutor: UnownedSerialExecutor
    private let logger: Logger
    private var node: Node
    private var transport: GossipTransport?
    private var nextRequest: UInt64 = 1
    private var calls: [RequestID: CheckedContinuation<DriverResponse, Never>] = [:]
    private var controls: [RequestID: CheckedContinuation<OverlayEngine.ControlResponse, Never>] = [:]
    private var admissions: [RequestID: (salt: [UInt8], sealer: JoinSealer, answer: @Sendable ([UInt8]?) -> Void)] = [:]
    private var timer: (at: Instant, task: Scheduled<Void>)?
    private var starters: [CheckedContinuation<Void, Never>] = []
    private let store: StateStore
    private let kernel: KernelNetlink
    private var isStopped = false

    init(loop: any EventLoop, engine: Engine, seed: UInt64, store: StateStore, kernel: KernelNetlink, logger: Logger) {
        self.loop = loop
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.logger = logger
        node = Node(engine: engine, seed: seed)
        self.store = store
        self.kernel = kernel
    }

    /// Returns when the node knows what its kernel holds, and calls may come.
    func start(_ transport: GossipTransport) async {
        self.transport = transport
        await withCheckedContinuation { continuation in
            starters.append(continuation)
            process(.start)
        }
    }

    /// Returns when what was begun is done.
    func stop() async {
        isStopped = true
        timer?.task.cancel()
        await store.drain()
        await kernel.drain()
    }

    // MARK: Calls

    func perform(_ request: DriverRequest) async -> DriverResponse {
        let id = newRequest()
        return await withCheckedContinuation { continuation in
            calls[id] = continuation
            process(.driver(id, request))
        }
    }

    func control(_ request: OverlayEngine.ControlRequest) async -> OverlayEngine.ControlResponse {
        let id = newRequest()
        return await withCheckedContinuation { continuation in
            controls[id] = continuation
            process(.control(id, request))
        }
    }

    private func newRequest() -> RequestID {
        defer { nextRequest += 1 }
        return RequestID(nextRequest)
    }

    // MARK: Messages

    func received(_ bytes: [UInt8], from peer: NodeID, _ path: MessagePath) {
        process(.message(from: peer, bytes, path), flush: false)
    }

    func earlierLife(of peer: NodeID) { process(.earlierLife(of: peer), flush: false) }

    func stream(_ peer: NodeID, _ failure: StreamFailure?) { process(.stream(peer, failure), flush: false) }

    /// The messages that arrived together are worked on.
    func drained() {
        transport?.assumeIsolated { $0.flush() }
        schedule()
    }

    /// A frame that claims to be a join. Nothing of it is looked at before its seal is found right.
    func joinRequest(_ frame: [UInt8], _ answer: @escaping @Sendable ([UInt8]?) -> Void) {
        guard let cluster = node.engine.catalogue.cluster else { return answer(nil) }
        let sealer = JoinSealer(cluster: cluster.id, secret: cluster.joinSecret)
        guard let (salt, plaintext) = sealer.openRequest(frame), let member = try? Member(wire: plaintext) else {
            logger.warning("join refused: the token is not this cluster's current one")
            return answer(nil)
        }
        let id = newRequest()
        admissions[id] = (salt, sealer, answer)
        process(.joinRequest(id, member))
    }

    private func contact(_ id: RequestID, _ contact: JoinContact) {
        let sealer = JoinSealer(cluster: contact.cluster, secret: contact.secret)
        let salt = systemRandom(count: 16)
        guard let frame = sealer.sealRequest(contact.member.wireBytes, salt: salt) else {
            return process(.joinAnswer(id, .refused("the request could not be sealed")))
        }
        let target = "\(contact.host):\(contact.port)"
        JoinClient.ask(host: contact.host, port: contact.port, frame: frame, on: loop).whenComplete { [weak self] result in
            let outcome: JoinAnswer
            switch result.mapError({ $0 as? JoinClient.Failure ?? .noAnswer }) {
            case .success(let answer):
                outcome =
                    sealer.openAnswer(answer, to: salt).flatMap { try? JoinAnswer(wire: $0) }
                    ?? .refused("\(target) gave an answer that is not the cluster's")
            case .failure(.unreachable(let reason)):
                outcome = .refused(
                    "\(target) is not reached over TCP: \(reason); is swift-overlay running there, and the port open?")
            case .failure(.noAnswer):
                outcome = .refused(
                    "\(target) refused the token: it is not of its cluster, or was rotated; `swift-overlay join-token` there prints the current one"
                )
            case .failure(.timedOut):
                outcome = .refused("\(target) did not answer in time; is its catalogue writer reachable?")
            }
            self?.assumeIsolated { $0.process(.joinAnswer(id, outcome)) }
        }
    }

    // MARK: The cores

    private func now() -> Instant { Instant(nanoseconds: MonotonicClock.now()) }

    private func process(_ event: EngineEvent) { process(.engine(event), flush: true) }

    private func process(_ event: NodeEvent, flush: Bool) {
        guard !isStopped else { return }
        let effects = node.handle(event, at: now())
        // Whoever asked goes on while the rest is done.
        for case .engine(.respond(let id, let response)) in effects { calls.removeValue(forKey: id)?.resume(returning: response) }
        for effect in effects {
            switch effect {
            case .send(let peer, let bytes, let path): transport?.assumeIsolated { $0.send(bytes, to: peer, by: path) }
            case .engine(let effect): carryOut(effect)
            }
        }
        if node.engine.isReady, !starters.isEmpty {
            for starter in starters { starter.resume() }
            starters = []
        }
        if flush { drained() }
    }

    private func carryOut(_ effect: EngineEffect) {
        switch effect {
        // Done already.
        case .respond: break
        case .answer(let id, let response): controls.removeValue(forKey: id)?.resume(returning: response)
        // Comes out of the node with its path.
        case .send: break
        case .store(let id, let writes):
            store.submit(writes) { error in self.come(.stored(id, error.map { .failed("\($0)") } ?? .stored)) }
        case .apply(let id, let operations): kernel.submit { self.come(.applied(id, $0.apply(operations))) }
        case .observe(let id):
            kernel.submit { kernel in
                do throws(KernelFailure) {
                    self.come(.observed(id, try kernel.observe()))
                } catch {
                    self.come(.notObserved(id, "\(error)"))
                }
            }
        case .peers(let members, let key):
            let addresses = members.map { PeerAddress(node: $0.id, address: $0.address, port: $0.port) }
            transport?.assumeIsolated { $0.setPeers(addresses, key: key) }
        case .raiseBoot(let boot): transport?.assumeIsolated { $0.raise(boot: boot) }
        case .contact(let id, let target): contact(id, target)
        case .admit(let id, let answer):
            guard let (salt, sealer, reply) = admissions.removeValue(forKey: id) else { return }
            reply(sealer.sealAnswer(answer.wireBytes, to: salt))
        case .log(let level, let message, let metadata):
            logger.log(level: level.level, "\(message)", metadata: metadata.mapValues { "\($0)" })
        }
    }

    /// What the store and the kernel answer comes from their threads; all queues are bounded by the calls that are open.
    private nonisolated func come(_ event: EngineEvent) {
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
