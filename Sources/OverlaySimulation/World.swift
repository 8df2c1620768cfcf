public import OverlayCatalogue
public import OverlayDatapath
public import OverlayDriver
public import OverlayEngine
public import OverlayMembership
public import OverlayModel

/// Several nodes in virtual time: the shipped cores, with a network, a store and a kernel that are values. One seed decides everything.
public final class World {
    public struct Node {
        public var engine: Engine
        public var membership: Membership
        /// What a crash leaves.
        public var rows: StoredRows = [:]
        public var kernel = VirtualKernel()
        public var isUp = true
        /// Whom its transport speaks with.
        var peers: Set<NodeID> = []
        public var boot: UInt32 = 1
        /// Refuse whatever is to be stored.
        public var failsStores = false
        public var underlayMTU: UInt32
        public var vtep: IPAddress
    }

    enum Happening {
        case message(from: Int, to: Int, boot: UInt32, [UInt8])
        case event(Int, boot: UInt32, EngineEvent)
    }

    public private(set) var now = Instant(nanoseconds: 0)
    public var nodes: [Node] = []
    private var queue: [(at: Instant, order: Int, happening: Happening)] = []
    private var order = 0
    private var random: SeededGenerator
    public var loss = 0.0
    public var delay = Interval.microseconds(200)
    /// Pairs that cannot hear one another.
    public var cuts: Set<[Int]> = []
    public private(set) var responses: [RequestID: DriverResponse] = [:]
    public private(set) var answers: [RequestID: ControlResponse] = [:]
    public private(set) var logs: [String] = []
    private var contacts: [RequestID: (node: Int, from: Int)] = [:]
    private var nextRequest: UInt64 = 1
    private let seed: UInt64

    public init(count: Int, seed: UInt64 = 1, underlayMTU: UInt32 = 1500) throws {
        self.seed = seed
        random = SeededGenerator(seed: seed)
        for index in 0..<count {
            let address = IPAddress(v4: 192, 0, 2, UInt8(index + 1))
            let identity = Self.identity(index, boot: 1, epoch: 1, vtep: address, underlayMTU: underlayMTU)
            nodes.append(
                Node(
                    engine: try Engine(identity: identity, rows: [:], seed: seed &+ UInt64(index)),
                    membership: Membership(node: identity.id, boot: 1, seed: seed &+ UInt64(index)), underlayMTU: underlayMTU,
                    vtep: address))
        }
        for index in 0..<count { handle(index, .start) }
    }

    static let addressPool = IPPrefix(IPAddress(v4: 10, 32, 0, 0), length: 12) ?? IPAddress(v4: 0, 0, 0, 0).hostPrefix

    static func identity(_ index: Int, boot: UInt32, epoch: UInt32, vtep: IPAddress, underlayMTU: UInt32) -> NodeIdentity {
        let address = IPAddress(v4: 192, 0, 2, UInt8(index + 1))
        return NodeIdentity(
            id: NodeID(bits: UInt128(index + 1)), name: "host\(index + 1)", publicKey: [UInt8](repeating: UInt8(index), count: 32),
            epoch: epoch, boot: boot, address: address, port: 7946, vtep: vtep, underlayMTU: underlayMTU, routes: [])
    }

    // MARK: Driving

    func schedule(_ happening: Happening, in delay: Interval) {
        order += 1
        let item = (at: now + delay, order: order, happening: happening)
        let position = queue.firstIndex { ($0.at, $0.order) > (item.at, item.order) } ?? queue.endIndex
        queue.insert(item, at: position)
    }

    public func handle(_ index: Int, _ event: EngineEvent) {
        guard nodes[index].isUp else { return }
        for effect in nodes[index].engine.handle(event, now: now) { carryOut(index, effect) }
    }

    private func carryOut(_ index: Int, _ effect: EngineEffect) {
        let boot = nodes[index].boot
        switch effect {
        case .respond(let id, let response): responses[id] = response
        case .answer(let id, let response): answers[id] = response
        case .send(let node, let bytes): send(index, Int(node.bits) - 1, bytes)
        case .store(let id, let writes):
            let outcome: StoreOutcome = nodes[index].failsStores ? .failed("disk full") : .stored
            if case .stored = outcome { nodes[index].rows.apply(writes) }
            schedule(.event(index, boot: boot, .stored(id, outcome)), in: .microseconds(100))
        case .apply(let id, let operations):
            let outcome = nodes[index].kernel.apply(operations)
            schedule(.event(index, boot: boot, .applied(id, outcome)), in: .microseconds(100))
        case .observe(let id):
            schedule(.event(index, boot: boot, .observed(id, nodes[index].kernel.state)), in: .microseconds(100))
        case .peers(let members, _):
            nodes[index].peers = Set(members.map(\.id))
            nodes[index].membership.setMembers(members.map(\.id), now: now)
        case .contact(let id, let contact):
            guard let target = nodes.firstIndex(where: { "\($0.engine.identity.address)" == contact.host }) else { return }
            let request = newRequest()
            contacts[request] = (index, Int(id.value))
            schedule(.event(target, boot: nodes[target].boot, .joinRequest(request, contact.member)), in: delay)
        case .admit(let id, let answer):
            guard let (node, original) = contacts.removeValue(forKey: id) else { return }
            schedule(.event(node, boot: nodes[node].boot, .joinAnswer(RequestID(UInt64(original)), answer)), in: delay)
        case .log(_, let message, _): logs.append("\(index + 1): \(message)")
        }
    }

    private func send(_ from: Int, _ to: Int, _ bytes: [UInt8]) {
        guard nodes.indices.contains(to), nodes[from].peers.contains(nodes[to].engine.identity.id),
            !cuts.contains([min(from, to), max(from, to)])
        else { return }
        guard loss == 0 || Double(random.next(upperBound: UInt64(1_000_000))) / 1_000_000 >= loss else { return }
        schedule(.message(from: from, to: to, boot: nodes[to].boot, bytes), in: delay)
    }

    private func facts(_ index: Int) -> (NodeID) -> Membership.Facts {
        let engine = nodes[index].engine
        return { node in
            let facts = engine.facts(for: node)
            return Membership.Facts(catalogueIndex: facts.catalogueIndex, digest: facts.digest)
        }
    }

    private func run(_ index: Int, _ effects: [Membership.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let node, let bytes): send(index, Int(node.bits) - 1, [1] + bytes)
            case .reachable(let node): handle(index, .reachable(node))
            case .unreachable(let node): handle(index, .unreachable(node))
            case .restarted(let node): handle(index, .restarted(node))
            case .heard(let node, let facts):
                handle(index, .heard(node, catalogueIndex: facts.catalogueIndex, digest: facts.digest, roundTrip: nil))
            }
        }
    }

    /// Lets time pass.
    public func run(for interval: Interval) {
        let end = now + interval
        while true {
            var next = queue.first?.at
            for node in nodes where node.isUp {
                for deadline in [node.engine.nextDeadline, node.membership.nextDeadline] {
                    if let deadline, next.map({ deadline < $0 }) ?? true { next = deadline }
                }
            }
            guard let next, next <= end else { break }
            now = max(now, next)
            while let first = queue.first, first.at <= now {
                queue.removeFirst()
                deliver(first.happening)
            }
            for index in nodes.indices where nodes[index].isUp {
                if let deadline = nodes[index].membership.nextDeadline, deadline <= now {
                    var effects: [Membership.Effect] = []
                    let facts = facts(index)
                    nodes[index].membership.advance(to: now, facts: facts, into: &effects)
                    run(index, effects)
                }
                if let deadline = nodes[index].engine.nextDeadline, deadline <= now { handle(index, .tick) }
            }
        }
        now = end
    }

    private func deliver(_ happening: Happening) {
        switch happening {
        case .event(let index, let boot, let event):
            guard nodes[index].boot == boot else { return }
            handle(index, event)
        case .message(let from, let to, let boot, let bytes):
            guard nodes[to].isUp, nodes[to].boot == boot else { return }
            let peer = nodes[from].engine.identity.id
            guard nodes[to].peers.contains(peer) else { return }
            guard bytes.first == 1 else { return handle(to, .received(from: peer, bytes)) }
            var effects: [Membership.Effect] = []
            let facts = facts(to)
            try? nodes[to].membership.receive(Array(bytes.dropFirst()), from: peer, now: now, facts: facts, into: &effects)
            run(to, effects)
        }
    }

    /// Ends the process of a node: what is not in its store or kernel is gone.
    public func crash(_ index: Int) {
        nodes[index].isUp = false
        nodes[index].boot += 1
    }

    public func restart(_ index: Int) throws {
        let epoch = nodes[index].rows[.node]?[Array("epoch".utf8)].flatMap { try? UInt32(wire: $0) } ?? 1
        let identity = Self.identity(
            index, boot: nodes[index].boot, epoch: epoch, vtep: nodes[index].vtep, underlayMTU: nodes[index].underlayMTU)
        nodes[index].engine = try Engine(identity: identity, rows: nodes[index].rows, seed: seed &+ UInt64(index) &+ 77)
        nodes[index].membership = Membership(node: identity.id, boot: identity.boot, seed: seed &+ UInt64(index))
        nodes[index].isUp = true
        handle(index, .start)
        run(for: .milliseconds(5))
    }

    // MARK: Calls

    private func newRequest() -> RequestID {
        defer { nextRequest += 1 }
        return RequestID(nextRequest)
    }

    /// Starts a call of a node's engine.
    public func begin(_ index: Int, _ request: DriverRequest) -> RequestID {
        let id = newRequest()
        handle(index, .driver(id, request))
        return id
    }

    /// Calls, and lets time pass until there is an answer.
    public func call(_ index: Int, _ request: DriverRequest) -> DriverResponse {
        let id = begin(index, request)
        for _ in 0..<10_000 {
            if let response = responses[id] { return response }
            run(for: .milliseconds(1))
        }
        return .failed(DriverError(.system, "never answered"))
    }

    public func control(_ index: Int, _ request: ControlRequest) -> ControlResponse {
        let id = newRequest()
        handle(index, .control(id, request))
        for _ in 0..<10_000 {
            if let response = answers[id] { return response }
            run(for: .milliseconds(1))
        }
        return .refused("never answered")
    }

    /// `init` on the first node, `join` on all others.
    public func makeCluster() -> Bool {
        run(for: .milliseconds(2))
        let initialise = Initialise(
            cluster: ClusterID(bits: 42), addressPool: Self.addressPool, subnetLength: 24, dataPathPort: 4789,
            gossipKey: [UInt8](repeating: 1, count: 32), joinSecret: [UInt8](repeating: 2, count: 32))
        guard case .token(let report) = control(0, .initialise(initialise)) else { return false }
        for index in nodes.indices.dropFirst() {
            guard case .done = control(index, .join(token: report.token, host: "192.0.2.1", port: 7946)) else { return false }
        }
        run(for: .seconds(2))
        return true
    }
}
