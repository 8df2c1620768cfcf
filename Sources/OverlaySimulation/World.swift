import OverlayCatalogue
public import OverlayDatapath
public import OverlayDriver
public import OverlayMembership
public import OverlayModel
public import OverlayNode

/// Several nodes in virtual time: the shipped cores, with a network, disks and kernels that are values.
///
/// A run depends on its seed alone, so it can be repeated.
public final class World {
    public typealias Host = VirtualHost

    enum Happening {
        case message(from: Int, to: Int, boot: UInt32, seal: UInt32, [UInt8], MessagePath)
        case event(Int, boot: UInt32, NodeEvent)
        case synced(Int, boot: UInt32)
        case timer(Int, boot: UInt32)
        case wake(Int, boot: UInt32)
        case action((World) -> Void)
    }

    public internal(set) var now = Instant(nanoseconds: 0)
    public var nodes: [Host] = []
    public var network = VirtualNetwork()
    /// Faults that are under way.
    var faults = FaultLedger()
    /// Messages about addresses that are held back.
    var late = LateMessages()
    var queue = EventQueue<Happening>()
    /// Number of events at the present time, and the number at which the run is given up.
    private var happeningsNow = 0
    private static let mostAtOnce = 200_000
    var random: SeededGenerator
    /// Time that a write to disk takes, on hosts that have none of their own.
    public var storeTime = Interval.microseconds(100)
    public var parameters: MembershipParameters
    private var calls = PendingCalls()
    private var journal = Journal(isWhole: World.tracesAll)
    /// True if new worlds keep the whole log, with a line for each message.
    @TaskLocal static var tracesAll = false
    /// Hash of the nodes' effects; nil unless it was asked for.
    public internal(set) var effectTrace = World.newEffectTrace
    /// Trace that new worlds begin with.
    @TaskLocal static var newEffectTrace: EffectTrace?
    /// Called with the operations that a node's kernel is given.
    public var onApply: ((Int, [KernelOperation]) -> Void)?
    /// Called when a node declares another one down.
    public var onDeclaration: ((_ observer: Int, _ subject: Int) -> Void)?
    private(set) lazy var docker = VirtualDocker(self)
    /// Servers of names by host, where a scenario asks for names.
    var nameServers: [Int: VirtualNameServer] = [:]
    let seed: UInt64
    /// Rules that the cores keep. All of them, except where a simulation shows what one is for.
    let rules: SafetyRules
    /// False if nodes do not probe one another. They then know only what they are told by hand.
    let hasMembership: Bool

    public convenience init(
        count: Int, seed: UInt64 = 1, underlayMTU: UInt32 = 1500, parameters: MembershipParameters = .init()
    ) throws {
        try self.init(count: count, seed: seed, underlayMTU: underlayMTU, parameters: parameters, rules: .all)
    }

    init(
        count: Int, seed: UInt64, underlayMTU: UInt32 = 1500, parameters: MembershipParameters, rules: SafetyRules,
        hasMembership: Bool = true
    ) throws {
        self.seed = seed
        self.parameters = parameters
        self.rules = rules
        self.hasMembership = hasMembership
        random = SeededGenerator(seed: seed)
        for index in 0..<count {
            let address = Self.address(index)
            let host = Host(
                core: try Self.core(
                    Host.identity(index, boot: 1, epoch: 1, vtep: address, underlayMTU: underlayMTU), [:], seed, parameters, rules,
                    start: 1),
                rows: [.node: [Array("boot".utf8): UInt32(1).wireBytes]], underlayMTU: underlayMTU, vtep: address, address: address)
            nodes.append(host)
        }
        for index in 0..<count { handle(index, .start) }
    }

    static let addressPool = IPPrefix(IPAddress(v4: 10, 32, 0, 0), length: 12) ?? IPAddress(v4: 0, 0, 0, 0).hostPrefix

    /// Address of a node's underlay: 192.0.2.0/24 for documentation (RFC 5737), then 198.18.0.0/15 for network tests (RFC 2544).
    public static func address(_ index: Int) -> IPAddress {
        index < 250
            ? IPAddress(v4: 192, 0, 2, UInt8(index + 1)) : IPAddress(v4: 198, 18, UInt8(index / 250), UInt8(index % 250 + 1))
    }

    public static func id(_ index: Int) -> NodeID { NodeID(bits: UInt128(index + 1)) }
    static func publicKey(_ index: Int) -> [UInt8] { [UInt8](repeating: 0, count: 30) + UInt16(index).wireBytes }

    private static func core(
        _ identity: NodeIdentity, _ rows: StoredRows, _ seed: UInt64, _ parameters: MembershipParameters,
        _ rules: SafetyRules, start: UInt32
    ) throws -> Node {
        let own = seed &+ UInt64(truncatingIfNeeded: identity.id.bits) &* 7919 &+ UInt64(start)
        var node = try Node(
            identity: identity, rows: rows, signing: VirtualSigning(key: identity.publicKey), seed: own, parameters: parameters)
        node.rules = rules
        return node
    }

    // MARK: Events

    public func index(of node: NodeID) -> Int { Int(UInt32(truncatingIfNeeded: node.bits)) - 1 }

    func nodeID(_ index: Int) -> NodeID { nodes[index].core.identity.id }

    func schedule(_ happening: Happening, in delay: Interval) { queue.insert(happening, at: now + delay) }

    /// Schedules an action.
    public func after(_ delay: Interval, _ action: @escaping (World) -> Void) { schedule(.action(action), in: delay) }

    public func handle(_ index: Int, _ event: NodeEvent) {
        guard nodes[index].isUp else { return }
        guard nodes[index].stalledUntil == nil else {
            // Limit of a socket's buffer.
            if nodes[index].inbox.count < 4096 { nodes[index].inbox.append(event) }
            return
        }
        if traces { trace(index, event) }
        let effects = nodes[index].core.handle(event, at: nodes[index].clock.read(now))
        effectTrace?.add(node: index, at: now, effects)
        for effect in effects {
            if faults.interruptions?.strike(index, effect) == true { return }
            carryOut(index, effect)
        }
        checkDeclarations(index)
        setTimer(index)
    }

    private func setTimer(_ index: Int) {
        guard let raw = nodes[index].core.nextDeadline else { return }
        let at = max(now, nodes[index].clock.time(of: raw))
        if let timer = nodes[index].timer, timer <= at, timer >= now { return }
        nodes[index].timer = at
        queue.insert(.timer(index, boot: nodes[index].boot), at: at)
    }

    func carryOut(_ index: Int, _ effect: NodeEffect) {
        let boot = nodes[index].boot
        switch effect {
        case .respond(let id, let response):
            // The caller goes on when the other effects of the event were carried out, as in the daemon.
            if let next = calls.removeContinuation(id) {
                schedule(.action { _ in next(response) }, in: Interval(nanoseconds: 0))
            } else {
                calls.keep(response, of: id)
            }
        case .answer(let id, let response): calls.keep(response, of: id)
        case .send(let node, let bytes, let path): send(index, self.index(of: node), bytes, path)
        case .store(let id, let writes):
            nodes[index].disk.unsynced.append((id, writes))
            nodes[index].disk.syncedAt = max(now, nodes[index].disk.syncedAt) + (nodes[index].storeTime ?? storeTime)
            queue.insert(.synced(index, boot: boot), at: nodes[index].disk.syncedAt)
        case .apply(let id, let operations):
            let outcome = nodes[index].kernel.apply(operations)
            onApply?(index, operations)
            schedule(.event(index, boot: boot, .applied(id, outcome)), in: .microseconds(100))
        case .observe, .look, .restore:
            Kernels.carryOut(effect, in: self, on: index)
        case .listen(let endpoint, _, let hearing): nodes[index].ears[endpoint] = hearing
        case .notify(let target, let bytes):
            guard let other = nodes.firstIndex(where: { $0.core.identity.endpoint == target }) else { return }
            for delay in network.datagram(.init(index, other), bytes: bytes.count, &random) {
                schedule(.event(other, boot: nodes[other].boot, .notice(bytes)), in: delay)
            }
        case .raiseBoot(let boot): nodes[index].seal = max(nodes[index].seal, boot)
        case .peers(let all, _): nodes[index].peers = Dictionary(all.map { ($0.id, $0.address) }) { first, _ in first }
        case .engineCall(let id, let call): docker.answer(index, id, call)
        case .serve(let id, let path, let scope):
            serve(index, path, scope)
            schedule(.event(index, boot: nodes[index].boot, .served(id)), in: .microseconds(100))
        case .names, .subnets, .otherNames, .unsettled, .suspects: nameServers[index]?.learn(effect)
        case .publishNames: break
        case .unserve(let path): unserve(index, path)
        case .readRoutes, .readHost, .lookForRoutes, .addRoutes, .moveRoutes: docker.carryOut(index, effect)
        case .makeKey:
            let key = (0..<32).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            schedule(.event(index, boot: nodes[index].boot, .keyMade(key)), in: .milliseconds(1))
        case .contact(let id, let contact): self.contact(index, id, contact)
        case .admit(let id, let answer):
            guard let (node, original) = calls.removeContact(id) else { return }
            let event = NodeEvent.joinAnswer(original, answer)
            schedule(.event(node, boot: nodes[node].boot, event), in: network.delay)
        case .log(let level, let message, let metadata):
            if message == Node.undecodable { violate("L", "host\(index + 1) does not understand a member: \(metadata)") }
            log("host\(index + 1) \(level): \(message) \(metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })")
        }
    }

    private func contact(_ index: Int, _ id: RequestID, _ contact: JoinContact) {
        guard let target = nodes.firstIndex(where: { "\($0.core.identity.address)" == contact.host }), nodes[target].isUp,
            !network.cuts.contains(.init(index, target)), !network.cuts.contains(.init(target, index))
        else {
            let answer = NodeEvent.joinAnswer(id, .refused("not reached"))
            return schedule(.event(index, boot: nodes[index].boot, answer), in: .seconds(2))
        }
        let request = calls.newContact(from: index, id)
        let event = NodeEvent.joinRequest(request, contact.member)
        schedule(.event(target, boot: nodes[target].boot, event), in: network.delay)
    }

    private func send(_ from: Int, _ to: Int, _ bytes: [UInt8], _ path: MessagePath) {
        guard nodes.indices.contains(to), let address = nodes[from].peers[nodes[to].core.identity.id] else { return }
        let isThere = address == nodes[to].address
        let link = VirtualNetwork.Link(from, to)
        guard hasMembership || bytes.first != Node.MessageKind.membership.rawValue else { return }
        let kinds: [Node.MessageKind] = [.catalogue, .addresses]
        guard !late.links.contains(link) || !kinds.contains(where: { $0.rawValue == bytes.first }) else {
            return late.hold(link, bytes, path)
        }
        // A message that does not fit a datagram goes by stream.
        guard path == .datagram, bytes.count + Limits.sealBytes <= Limits.datagramBytes else { return stream(link, bytes, isThere) }
        for delay in network.datagram(link, bytes: bytes.count, &random) where isThere {
            schedule(.message(from: from, to: to, boot: nodes[to].boot, seal: nodes[from].seal, bytes, .datagram), in: delay)
        }
    }

    private func stream(_ link: VirtualNetwork.Link, _ bytes: [UInt8], _ isThere: Bool) {
        let outcome = network.stream(
            link, bytes: bytes.count, now: now, isListening: nodes[link.to].isUp && isThere,
            isHostUp: nodes[link.to].isHostUp && isThere, &random)
        let boot = nodes[link.from].boot
        switch outcome {
        case .arrives(let delay, let opened):
            let seal = nodes[link.from].seal
            schedule(.message(from: link.from, to: link.to, boot: nodes[link.to].boot, seal: seal, bytes, .stream), in: delay)
            guard opened, hasMembership else { return }
            schedule(.event(link.from, boot: boot, .stream(nodeID(link.to), nil)), in: network.delay * 2)
        case .fails(let delay, let failure):
            guard hasMembership else { return }
            schedule(.event(link.from, boot: boot, .stream(nodeID(link.to), failure)), in: delay)
        }
    }

    // MARK: Driving

    /// Lets time pass.
    public func run(for interval: Interval) { run(until: now + interval) }

    public func run(until end: Instant) {
        while let at = queue.first, at <= end, let happening = queue.removeFirst() {
            if at > now {
                now = at
                happeningsNow = 0
            }
            happeningsNow += 1
            guard happeningsNow < Self.mostAtOnce else { return giveUp(happening) }
            deliver(happening)
        }
        now = max(now, end)
    }

    /// Stops a run in which time stands still, because a core asks again and again for something that is due at once.
    private func giveUp(_ last: Happening) {
        violate("P", "no end of things to do at one moment, the last: \(String(describing: last).prefix(200))")
        queue = EventQueue()
        happeningsNow = 0
    }

    /// Lets time pass until a condition holds.
    ///
    /// - Returns: True if it came to hold within the time.
    @discardableResult
    public func run(atMost limit: Interval, step: Interval = .milliseconds(1), until isDone: () -> Bool) -> Bool {
        let end = now + limit
        while !isDone() {
            guard now < end else { return false }
            run(until: min(end, now + step))
        }
        return true
    }

    private func deliver(_ happening: Happening) {
        switch happening {
        case .action(let action): action(self)
        case .event(let index, let boot, let event):
            guard nodes[index].boot == boot else { return }
            handle(index, event)
        case .synced(let index, let boot):
            guard nodes[index].boot == boot, let (id, writes) = nodes[index].disk.unsynced.first else { return }
            guard faults.interruptions?.strike(index, endOf: id) != true else { return }
            nodes[index].disk.unsynced.removeFirst()
            let outcome: StoreOutcome = nodes[index].failsStores ? .failed("disk full") : .stored
            if case .stored = outcome { nodes[index].rows.apply(faults.kept(writes)) }
            handle(index, .stored(id, outcome))
        case .message(let from, let to, let boot, let seal, let bytes, let path):
            guard nodes[to].isUp, nodes[to].boot == boot else { return }
            guard nodes[to].peers[nodeID(from)] != nil else {
                return handle(to, .stranger(nodeID(from), nodes[from].core.identity.endpoint))
            }
            guard seal >= nodes[to].opened[from, default: 0] else { return handle(to, .earlierLife(of: nodeID(from))) }
            nodes[to].opened[from] = seal
            handle(to, .message(from: nodeID(from), bytes, path))
        case .timer(let index, let boot):
            // A timer that was replaced is void. Otherwise each of them would be set again for ever.
            guard nodes[index].boot == boot, nodes[index].isUp, nodes[index].stalledUntil == nil, nodes[index].timer == now
            else { return }
            nodes[index].timer = nil
            guard let raw = nodes[index].core.nextDeadline else { return }
            if nodes[index].clock.time(of: raw) <= now { handle(index, .tick) } else { setTimer(index) }
        case .wake(let index, let boot): wake(index, boot)
        }
    }

    // MARK: Faults

    /// Ends the process of a node. Its disk and its kernel stay; of the writes under way, the first few may be on the disk.
    ///
    /// - Parameter kept: Number of those writes that are on the disk; nil leaves it to chance.
    public func crash(_ index: Int, hostToo: Bool = false, keeping kept: Int? = nil) {
        for (_, writes) in nodes[index].disk.unsynced.prefix(kept ?? random.below(nodes[index].disk.unsynced.count + 1))
        where !nodes[index].failsStores {
            nodes[index].rows.apply(faults.kept(writes))
        }
        nodes[index].end(hostToo: hostToo)
        network.forgetStreams(of: index)
        trouble(index, until: now)
        log("host\(index + 1) crashes")
        docker.endCalls(index)
        endNames(index)
    }

    /// Starts the process of a node with what its disk holds.
    ///
    /// - Precondition: The node is down.
    public func restart(_ index: Int) throws {
        precondition(!nodes[index].isUp, "host\(index + 1) runs")
        func number(_ name: String) -> UInt32? {
            nodes[index].rows[.node]?[Array(name.utf8)].flatMap { try? UInt32(wire: $0) }
        }
        let epoch = number("epoch") ?? 1
        let boot = (number("boot") ?? 0) + 1
        nodes[index].rows[.node, default: [:]][Array("boot".utf8)] = boot.wireBytes
        nodes[index].seal = boot
        nodes[index].opened = [:]
        var identity = Host.identity(
            index, boot: boot, epoch: epoch, vtep: nodes[index].vtep, underlayMTU: nodes[index].underlayMTU,
            lostKeys: nodes[index].lostKeys, versions: nodes[index].versions)
        identity.address = nodes[index].address
        nodes[index].core = try Self.core(identity, nodes[index].rows, seed, parameters, rules, start: nodes[index].boot)
        nodes[index].isUp = true
        nodes[index].isHostUp = true
        // A start that cannot be counted durably is no start.
        nodes[index].failsStores = false
        nodes[index].disk.syncedAt = now
        nodes[index].declared = 0
        nodes[index].peers = [:]
        trouble(index, until: now)
        log("host\(index + 1) starts")
        handle(index, .start)
        docker.nodeStarted(index)
    }

    /// Replaces a node's rows by an earlier copy. Its kernel and its engine stay as they are.
    /// - Precondition: The node is down.
    public func rollBack(_ index: Int, to rows: StoredRows) {
        precondition(!nodes[index].isUp, "host\(index + 1) runs")
        nodes[index].rows = rows
        log("host\(index + 1) has its state of earlier back")
    }

    /// Removes a node's rows and its key. Its kernel and its engine stay as they are.
    /// - Precondition: The node is down.
    public func loseState(_ index: Int) {
        rollBack(index, to: [:])
        nodes[index].lostKeys += 1
        for other in nodes.indices { nodes[other].opened[index] = nil }
    }

    /// Stops the process for a while, as SIGSTOP or a starved machine does.
    public func stall(_ index: Int, for interval: Interval) {
        guard nodes[index].isUp, nodes[index].stalledUntil == nil else { return }
        nodes[index].stalledUntil = now + interval
        trouble(index, until: now + interval)
        schedule(.wake(index, boot: nodes[index].boot), in: interval)
        log("host\(index + 1) is stopped")
    }

    private func wake(_ index: Int, _ boot: UInt32) {
        guard nodes[index].boot == boot, nodes[index].stalledUntil != nil else { return }
        nodes[index].stalledUntil = nil
        nodes[index].timer = nil
        log("host\(index + 1) goes on")
        // A process that goes on may look at its timers before or after its sockets.
        if random.chance(0.5) { handle(index, .tick) }
        for event in nodes[index].takeInbox() { handle(index, event) }
        handle(index, .tick)
    }

    public func jumpClock(_ index: Int, by interval: Interval) { nodes[index].clock.jump(by: interval, now: now) }
    public func setClockRate(_ index: Int, _ rate: Double) { nodes[index].clock.setRate(rate, now: now) }

    /// Notes that something is wrong with the node. What others say of it until shortly after that is no error.
    func trouble(_ index: Int, until: Instant) { nodes[index].trouble = max(nodes[index].trouble, until) }

    /// Last lines about what happened; all of them if `traces`.
    public var logs: [String] { journal.lines }

    /// True if the log is kept whole and has a line for each message.
    public var traces: Bool {
        get { journal.isWhole }
        set { journal.isWhole = newValue }
    }

    /// Broken invariants, each with its letter.
    public var violations: [String] { journal.violations }

    func log(_ line: @autoclosure () -> String) {
        let text = line()
        journal.add(text, at: now)
    }

    public func violate(_ letter: String, _ text: String) {
        log("VIOLATION of \(letter): \(text)")
        journal.add(violation: "\(letter): \(text)")
    }

    private func trace(_ index: Int, _ event: NodeEvent) {
        if case .message(let from, let bytes, let path) = event {
            log("host\(index + 1) ← host\(self.index(of: from) + 1) \(path) \(bytes.first ?? 0) (\(bytes.count) bytes)")
        }
    }

    // MARK: Calls

    /// Answers to calls of engines that nobody has taken.
    public var responses: [RequestID: DriverResponse] { calls.responses }
    /// Answers to calls of command lines that nobody has taken.
    public var answers: [RequestID: ControlResponse] { calls.answers }

    func newRequest() -> RequestID { calls.newID() }

    /// Starts a call of a node's engine.
    public func begin(_ index: Int, _ request: DriverRequest) -> RequestID {
        let id = newRequest()
        handle(index, .driver(id, request))
        return id
    }

    /// Starts a call, and runs `next` with its answer.
    public func begin(_ index: Int, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void) {
        begin(index, newRequest(), request, then: next)
    }

    func begin(_ index: Int, _ id: RequestID, _ request: DriverRequest, then next: @escaping (DriverResponse) -> Void) {
        calls.expect(id, then: next)
        handle(index, .driver(id, request))
    }

    /// Starts a call of a node's command line.
    public func beginControl(_ index: Int, _ request: ControlRequest) -> RequestID {
        let id = newRequest()
        handle(index, .control(id, request))
        return id
    }

    /// Calls, and lets time pass until the answer is there.
    public func call(_ index: Int, _ request: DriverRequest) -> DriverResponse {
        let id = begin(index, request)
        run(atMost: .seconds(10), step: .microseconds(100)) { responses[id] != nil }
        return calls.removeResponse(id) ?? .failed(DriverError(.system, "never answered"))
    }

    public func control(_ index: Int, _ request: ControlRequest) -> ControlResponse {
        let id = beginControl(index, request)
        run(atMost: .seconds(10), step: .microseconds(100)) { answers[id] != nil }
        return calls.removeAnswer(id) ?? .refused("never answered")
    }

    /// Runs `init` on the first node.
    ///
    /// - Returns: The join token; nil if it was refused.
    func initialise() -> String? {
        guard case .token(let report) = control(0, .initialise(.ofSimulation)) else { return nil }
        return report.token
    }

    /// Runs `init` on the first node and `join` on all others.
    ///
    /// - Returns: True if all have joined.
    public func makeCluster() -> Bool {
        run(for: .milliseconds(2))
        guard let token = initialise() else { return false }
        let joins = nodes.indices.dropFirst().map { beginControl($0, .join(token: token, host: "192.0.2.1", port: nil)) }
        let haveJoined = run(atMost: .seconds(30)) { joins.allSatisfy { answers[$0] != nil } }
        for join in joins {
            guard case .done? = calls.removeAnswer(join) else { return false }
        }
        run(for: .seconds(2))
        return haveJoined
    }
}
