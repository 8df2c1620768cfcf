import Logging
import NIOCore
import OverlayCatalogue
import OverlayCrypto
import OverlayDatapath
import OverlayDriver
import OverlayEngine
import OverlayGossip
import OverlayLinux
import OverlayMembership
import OverlayModel
import OverlayNetlink
import OverlayStore

/// Holds the node's cores and carries out their effects. It lives on the event loop of port 7946: a message goes through the cores where
/// it arrives. What blocks (disk, kernel) is done on threads of its own, in order, and comes back as events.
actor NodeController {
    private let loop: any EventLoop
    nonisolated let unownedExecutor: UnownedSerialExecutor
    private let logger: Logger
    private var engine: Engine
    private var membership: Membership
    private var transport: GossipTransport?
    private var nextRequest: UInt64 = 1
    private var calls: [RequestID: CheckedContinuation<DriverResponse, Never>] = [:]
    private var controls: [RequestID: CheckedContinuation<OverlayEngine.ControlResponse, Never>] = [:]
    private var admissions: [RequestID: (salt: [UInt8], sealer: JoinSealer, answer: @Sendable ([UInt8]?) -> Void)] = [:]
    private var timer: (at: Instant, task: Scheduled<Void>)?
    private var starters: [CheckedContinuation<Void, Never>] = []
    private let storeJobs: AsyncStream<(EffectID, [StoreWrite])>.Continuation
    private let kernelJobs: AsyncStream<KernelJob>.Continuation
    private var workers: [Task<Void, Never>] = []

    private enum KernelJob: Sendable {
        case apply(EffectID, [KernelOperation])
        case observe(EffectID)
    }

    init(loop: any EventLoop, engine: Engine, seed: UInt64, store: StateStore, kernel: KernelNetlink, logger: Logger) {
        self.loop = loop
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.logger = logger
        self.engine = engine
        membership = Membership(node: engine.identity.id, boot: engine.identity.boot, seed: seed)
        let (storeStream, storeJobs) = AsyncStream.makeStream(of: (EffectID, [StoreWrite]).self)
        let (kernelStream, kernelJobs) = AsyncStream.makeStream(of: KernelJob.self)
        self.storeJobs = storeJobs
        self.kernelJobs = kernelJobs
        // Both queues are bounded by the calls that are open: the core takes no more than so many.
        Task { await self.work(storeStream, store, kernelStream, kernel) }
    }

    private func work(
        _ storeStream: AsyncStream<(EffectID, [StoreWrite])>, _ store: StateStore, _ kernelStream: AsyncStream<KernelJob>,
        _ kernel: KernelNetlink
    ) {
        workers.append(
            Task { [weak self] in
                for await (id, writes) in storeStream {
                    let outcome: StoreOutcome
                    do {
                        if !writes.isEmpty { try await store.commit([writes]) }
                        outcome = .stored
                    } catch {
                        outcome = .failed("\(error)")
                    }
                    await self?.process(.stored(id, outcome))
                }
            })
        workers.append(
            Task { [weak self] in
                for await job in kernelStream {
                    switch job {
                    case .apply(let id, let operations):
                        let outcome = await kernel.apply(operations)
                        await self?.process(.applied(id, outcome))
                    case .observe(let id):
                        do {
                            let state = try await kernel.observe()
                            await self?.process(.observed(id, state))
                        } catch {
                            await self?.process(.notObserved(id, "\(error)"))
                        }
                    }
                }
            })
    }

    /// Returns when the node knows what its kernel holds, and calls may come.
    func start(_ transport: GossipTransport) async {
        self.transport = transport
        await withCheckedContinuation { continuation in
            starters.append(continuation)
            process(.start)
        }
    }

    func stop() {
        storeJobs.finish()
        kernelJobs.finish()
        timer?.task.cancel()
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

    func received(_ bytes: [UInt8], from peer: NodeID) {
        guard bytes.first == Engine.MessageKind.membership.rawValue else {
            return process(.received(from: peer, bytes), flush: false)
        }
        var effects: [Membership.Effect] = []
        do {
            try membership.receive(Array(bytes.dropFirst()), from: peer, now: now(), facts: facts(), into: &effects)
        } catch {
            logger.warning("probe of a member does not decode", metadata: ["peer": "\(peer.short)", "error": "\(error)"])
        }
        run(effects)
    }

    /// The messages that arrived together are worked on.
    func drained() {
        transport?.assumeIsolated { $0.flush() }
        schedule()
    }

    /// A frame that claims to be a join. Nothing of it is looked at before its seal is found right.
    func joinRequest(_ frame: [UInt8], _ answer: @escaping @Sendable ([UInt8]?) -> Void) {
        guard let cluster = engine.catalogue.cluster else { return answer(nil) }
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

    private func facts() -> (NodeID) -> Membership.Facts {
        { [engine] node in
            let facts = engine.facts(for: node)
            return Membership.Facts(catalogueIndex: facts.catalogueIndex, digest: facts.digest)
        }
    }

    private func process(_ event: EngineEvent, flush: Bool = true) {
        let effects = engine.handle(event, now: now())
        for effect in effects { carryOut(effect) }
        if engine.isReady, !starters.isEmpty {
            for starter in starters { starter.resume() }
            starters = []
        }
        if flush { drained() }
    }

    private func carryOut(_ effect: EngineEffect) {
        switch effect {
        case .respond(let id, let response): calls.removeValue(forKey: id)?.resume(returning: response)
        case .answer(let id, let response): controls.removeValue(forKey: id)?.resume(returning: response)
        case .send(let node, let bytes): transport?.assumeIsolated { $0.send(bytes, to: node) }
        case .store(let id, let writes): storeJobs.yield((id, writes))
        case .apply(let id, let operations): kernelJobs.yield(.apply(id, operations))
        case .observe(let id): kernelJobs.yield(.observe(id))
        case .peers(let members, let key):
            let addresses = members.map { PeerAddress(node: $0.id, address: $0.address, port: $0.port) }
            transport?.assumeIsolated { $0.setPeers(addresses, key: key) }
            membership.setMembers(members.map(\.id), now: now())
        case .contact(let id, let target): contact(id, target)
        case .admit(let id, let answer):
            guard let (salt, sealer, reply) = admissions.removeValue(forKey: id) else { return }
            reply(sealer.sealAnswer(answer.wireBytes, to: salt))
        case .log(let level, let message, let metadata):
            logger.log(level: level.level, "\(message)", metadata: metadata.mapValues { "\($0)" })
        }
    }

    private func run(_ effects: [Membership.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let node, let bytes):
                transport?.assumeIsolated { $0.send([Engine.MessageKind.membership.rawValue] + bytes, to: node) }
            case .reachable(let node): process(.reachable(node), flush: false)
            case .unreachable(let node): process(.unreachable(node), flush: false)
            case .restarted(let node): process(.restarted(node), flush: false)
            case .heard(let node, let facts):
                process(
                    .heard(
                        node, catalogueIndex: facts.catalogueIndex, digest: facts.digest,
                        roundTrip: membership.status(of: node)?.roundTrip),
                    flush: false)
            }
        }
    }

    private func schedule() {
        let next = [engine.nextDeadline, membership.nextDeadline].compactMap { $0 }.min()
        guard let next else { return }
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
        var effects: [Membership.Effect] = []
        membership.advance(to: now(), facts: facts(), into: &effects)
        run(effects)
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
