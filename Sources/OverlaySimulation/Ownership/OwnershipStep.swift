import OverlayModel

/// One step of an ownership run: a call of an engine or a fault, then a pause. It is a value, so that a run can be repeated with
/// fewer steps.
struct OwnershipStep: Hashable, Sendable {
    enum Act: Hashable, Sendable {
        /// An engine asks for an address, any or by its place in the subnet, and goes on with CreateEndpoint and Join, up to this
        /// number of calls.
        case attach(Int, container: Int, address: Int?, calls: Int)
        /// Leave, DeleteEndpoint and ReleaseAddress, or the first of them. With 0 calls, ReleaseAddress alone.
        case detach(container: Int, calls: Int)
        case open(Int, network: Int)
        case close(Int, network: Int)
        /// The daemon dies; containers and kernel stay. This number of the writes under way is on the disk.
        case crash(Int, kept: Int)
        /// The daemon starts. If its state is old, it is told so after a while.
        case restart(Int, witnessDelay: Interval)
        /// The node's state is backed up.
        case copy(Int)
        /// The daemon dies and its state is rolled back to a copy, 0 being the newest, with or without the rest of the host.
        case rollBack(Int, copy: Int, hostToo: Bool)
        /// The network is split by the bits of a mask.
        case split(UInt8)
        case cut(from: Int, to: Int)
        case heal
        /// Messages that are sent from now on are held back, to arrive late.
        case hold(from: Int, to: Int)
        case holdNothing
        /// One of the messages that are held back arrives.
        case deliver(Int)
        /// Membership tells a node about the others.
        case notice(Int)
        /// All faults of the network end, all nodes know of one another, and nobody calls for a while.
        case rest
        /// A write takes this time from now on.
        case disk(Int, Interval)
        /// The disk refuses writes from now on, or accepts them again.
        case refusal(Int, Bool)
        case remove(Int, by: Int, now: Bool)
        case leave(Int)
        case join(Int)
    }

    var act: Act
    var pause: Interval
}

extension OwnershipStep: CustomStringConvertible {
    var description: String { "\(act), \(pause.nanoseconds / 1000) µs" }
}

/// A complete ownership run: the number of nodes and the steps.
struct OwnershipPlan: Sendable {
    var seed: UInt64
    var nodes: Int
    var steps: [OwnershipStep]

    /// - Parameter kept: Indices of the steps to keep; nil for all.
    init(seed: UInt64, count: Int, keeping kept: [Int]? = nil) {
        var generator = OwnershipStepGenerator(seed: seed)
        let all = (0..<count).map { _ in generator.step() }
        self.seed = seed
        nodes = generator.nodes
        steps = kept?.filter(all.indices.contains).map { all[$0] } ?? all
    }
}

/// Generator of the steps. It knows what it made before, not what became of it.
private struct OwnershipStepGenerator {
    private enum Kind: CaseIterable {
        case attach, attachByName, detach, breakOff, open, close, crash, restart, split, cut, heal, hold, holdNothing, deliver
        case notice, disk, refusal, remove, leave, join, idle, interruption, rejoining, copy, rollBack, restoration

        var weight: Double {
            switch self {
            case .attach: 18
            case .notice: 12
            case .detach: 10
            case .restart: 8
            case .deliver, .attachByName, .heal, .join, .open: 6
            case .hold, .disk: 3
            case .refusal: 1
            case .breakOff, .crash, .split: 2
            case .cut, .holdNothing, .leave, .close, .copy: 1
            case .remove, .interruption, .rejoining, .rollBack, .restoration: 0.5
            case .idle: 0.25
            }
        }
    }

    private var random: SeededGenerator
    let nodes: Int
    private let weights: [(kind: Kind, upTo: Double)]
    private var isUp: [Bool]
    private var containers: [Int] = []
    private var nextContainer = 0
    /// Node that most steps concern for a while. Most faults take several steps at one node, or with one address.
    private var favourite = 0
    private var address = 2
    /// Steps to come next, for sequences that chance alone would hardly ever produce.
    private var script: [OwnershipStep] = []

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed ^ 0x0B)
        nodes = 2 + random.below(4)
        isUp = Array(repeating: true, count: nodes)
        // Each run has much of some kinds and nothing of others, so that all combinations occur.
        var sum = 0.0
        var weights: [(kind: Kind, upTo: Double)] = []
        for kind in Kind.allCases {
            sum += kind.weight * [0, 0.5, 1, 1, 2, 4][random.below(6)]
            weights.append((kind, sum))
        }
        self.weights = weights
    }

    mutating func step() -> OwnershipStep {
        // Other steps come in between.
        if !script.isEmpty, random.chance(0.9) { return script.removeFirst() }
        while true {
            let kind = kind()
            guard let act = act(kind) else { continue }
            return OwnershipStep(act: act, pause: pause(after: kind))
        }
    }

    private mutating func kind() -> Kind {
        let sum = weights.last?.upTo ?? 0
        let at = Double(random.below(1 << 24)) / Double(1 << 24) * sum
        return weights.first { at < $0.upTo }?.kind ?? .attach
    }

    private mutating func pause(after kind: Kind) -> Interval {
        // Blocks are idle after ten minutes, and freed addresses rest for one.
        if kind == .idle { return .seconds([2, 7, 61, 601][random.below(4)]) }
        return .microseconds([0, 0, 20, 150, 150, 500, 500, 1000, 2000, 5000, 40_000, 300_000][random.below(12)])
    }

    private mutating func add(_ act: OwnershipStep.Act, _ microseconds: Int64) {
        script.append(OwnershipStep(act: act, pause: .microseconds(microseconds)))
    }

    private mutating func addAttach(_ node: Int, _ address: Int?, _ microseconds: Int64) {
        add(.attach(node, container: nextContainer, address: address, calls: 3), microseconds)
        containers.append(nextContainer)
        nextContainer += 1
    }

    /// A node dies while it hands over addresses that others asked for.
    private mutating func interrupt(_ node: Int, _ other: Int) {
        add(.disk(node, .milliseconds(20)), 0)
        for _ in 0..<3 { addAttach(other, 2 + random.below(16), 20) }
        add(.heal, 2000)
        add(.crash(node, kept: 0), 0)
        add(.restart(node, witnessDelay: .microseconds(0)), 150)
        add(.disk(node, .microseconds(100)), 0)
        for _ in 0..<4 { addAttach(node, nil, 150) }
    }

    /// A node leaves while its handover is on its way, and joins again.
    private mutating func rejoin(_ node: Int, _ other: Int) {
        add(.hold(from: node, to: 0), 0)
        for _ in 0..<3 { addAttach(other, 2 + random.below(16), 20) }
        add(.heal, 2000)
        add(.split(1 << UInt8(node)), 0)
        add(.notice(node), 0)
        add(.leave(node), 2000)
        add(.heal, 0)
        add(.join(node), 5000)
        add(.open(node, network: 0), 5000)
        for _ in 0..<4 { addAttach(node, nil, 500) }
        for _ in 0..<16 { add(.deliver(random.below(256)), 500) }
        for _ in 0..<3 { addAttach(other, 2 + random.below(16), 1000) }
    }

    /// A backup replaces a newer state. Since then containers have started, and one has ended, whose address another node has by
    /// now.
    private mutating func restore(_ node: Int, _ other: Int) {
        let ended = nextContainer
        addAttach(node, address, 2000)
        add(.copy(node), 20)
        let count = 1 + random.below(4)
        for _ in 0..<count { addAttach(node, nil, 500) }
        if random.chance(0.5) {
            containers.removeAll { $0 == ended }
            add(.detach(container: ended, calls: 3), 500)
            addAttach(other, address, 2000)
        }
        add(.heal, 2000)
        add(rollBack(node, copy: 0), 0)
        add(.restart(node, witnessDelay: witnessDelay()), 150)
        for _ in 0..<count { addAttach(node, nil, 500) }
        add(.notice(node), 2000)
        for _ in 0..<count { addAttach(random.chance(0.5) ? node : other, random.chance(0.5) ? nil : address, 500) }
    }

    private mutating func rollBack(_ node: Int, copy: Int) -> OwnershipStep.Act {
        .rollBack(node, copy: copy, hostToo: random.chance(0.3))
    }

    /// Time within which a node waits for a witness.
    private mutating func witnessDelay() -> Interval { .microseconds([0, 150, 150, 1000, 20_000, 900_000][random.below(6)]) }

    private mutating func act(_ kind: Kind) -> OwnershipStep.Act? {
        if random.chance(0.04) { favourite = random.below(nodes) }
        if random.chance(0.2) { address = 1 + random.below(random.chance(0.5) ? 12 : 30) }
        let node = random.chance(0.5) ? favourite : random.below(nodes)
        let other = (node + 1 + random.below(nodes - 1)) % nodes
        switch kind {
        case .attach, .attachByName:
            let address = kind == .attach ? nil : address
            containers.append(nextContainer)
            nextContainer += 1
            let calls = random.chance(0.8) ? 3 : 1 + random.below(3)
            return .attach(node, container: nextContainer - 1, address: address, calls: calls)
        case .detach:
            guard !containers.isEmpty else { return nil }
            return .detach(container: containers.remove(at: random.below(containers.count)), calls: 3)
        case .breakOff: return random.pick(containers).map { .detach(container: $0, calls: random.below(3)) }
        case .open: return .open(node, network: random.chance(0.7) ? 0 : random.below(4))
        case .close: return .close(node, network: random.below(4))
        case .crash:
            guard isUp[node], random.chance(node == 0 ? 0.5 : 1) else { return nil }
            isUp[node] = false
            return .crash(node, kept: [0, 0, 0, 1, 2, 5][random.below(6)])
        case .restart:
            guard let down = random.pick(isUp.indices.filter { !isUp[$0] }) else { return nil }
            isUp[down] = true
            return .restart(down, witnessDelay: witnessDelay())
        case .split: return .split(UInt8(truncatingIfNeeded: random.below(1 << nodes)))
        case .cut: return .cut(from: node, to: other)
        case .heal: return .heal
        case .hold:
            // Messages to the writer are those that may be decided upon late.
            return node != 0 && random.chance(0.6) ? .hold(from: node, to: 0) : .hold(from: node, to: other)
        case .holdNothing: return .holdNothing
        case .deliver: return .deliver(random.below(256))
        case .notice: return .notice(node)
        case .disk: return .disk(node, .microseconds([20, 100, 1000, 20_000, 500_000][random.below(5)]))
        case .refusal:
            // The disk works most of the time.
            return .refusal(node, random.chance(0.3))
        case .remove:
            let by = random.pick(isUp.indices.filter { $0 != node }) ?? 0
            return node == 0 ? nil : .remove(node, by: by, now: random.chance(0.7))
        case .leave: return node == 0 ? nil : .leave(node)
        case .join: return node == 0 ? nil : .join(node)
        case .idle: return .rest
        case .interruption:
            guard isUp[node] else { return nil }
            interrupt(node, other)
            return .heal
        case .rejoining:
            guard node != 0 else { return nil }
            rejoin(node, other)
            return .heal
        case .copy: return node == 0 ? nil : .copy(node)
        case .rollBack:
            guard node != 0, isUp[node] else { return nil }
            isUp[node] = false
            return rollBack(node, copy: random.below(Ownership.keptCopies))
        case .restoration:
            guard node != 0, isUp[node] else { return nil }
            restore(node, other)
            return .heal
        }
    }
}
