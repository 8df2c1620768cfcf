import OverlayModel

/// One thing that happens in a play of ownership: a call of an engine or a fault, then a pause. A value, so that a play can be had again
/// with fewer of them.
struct OwnershipStep: Hashable, Sendable {
    enum Act: Hashable, Sendable {
        /// An engine asks for an address, of its choice or by its place in the subnet, and goes on with as many of CreateEndpoint and
        /// Join as it lives for.
        case attach(Int, container: Int, address: Int?, calls: Int)
        /// Leave, DeleteEndpoint and ReleaseAddress, or the first of them; of 0 calls, ReleaseAddress alone.
        case detach(container: Int, calls: Int)
        case open(Int, network: Int)
        case close(Int, network: Int)
        /// The daemon dies; containers and kernel live on. Of what was being written as much is on the disk.
        case crash(Int, kept: Int)
        /// One whose state is of old is told so after a while.
        case restart(Int, word: Interval)
        /// Its state is backed up.
        case copy(Int)
        /// It dies, and its state is put back to a copy, 0 being the last. What its engine runs is as it is, or goes back as well.
        case rollBack(Int, copy: Int, hostToo: Bool)
        /// By the bits of a mask.
        case split(UInt8)
        case cut(from: Int, to: Int)
        case heal
        /// What is sent from now on is kept, to arrive late.
        case hold(from: Int, to: Int)
        case holdNothing
        /// One message of those that are kept, by chance.
        case deliver(Int)
        /// Membership tells a node of the others.
        case notice(Int)
        /// All faults of the network end, all nodes know of one another, and nobody calls for a while.
        case rest
        /// From now on a write takes as long.
        case disk(Int, Interval)
        /// From now on the disk refuses writes, or takes them again.
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

/// All that a play of ownership is: how many nodes, and what happens to them.
struct OwnershipPlan: Sendable {
    var seed: UInt64
    var nodes: Int
    var steps: [OwnershipStep]

    /// - Parameter kept: Of the steps these alone; nil for all.
    init(seed: UInt64, count: Int, keeping kept: [Int]? = nil) {
        var author = OwnershipAuthor(seed: seed)
        let all = (0..<count).map { _ in author.step() }
        self.seed = seed
        nodes = author.nodes
        steps = kept?.filter(all.indices.contains).map { all[$0] } ?? all
    }
}

/// Makes up what happens. It knows what it made up before, not what came of it.
private struct OwnershipAuthor {
    private enum Kind: CaseIterable {
        case attach, attachByName, detach, breakOff, open, close, crash, restart, split, cut, heal, hold, holdNothing, deliver
        case notice, disk, refusal, remove, leave, join, idle, interruption, rebirth, copy, rollBack, restoration

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
            case .remove, .interruption, .rebirth, .rollBack, .restoration: 0.5
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
    /// What most things happen to for a while: what goes wrong takes several of them at one node, or with one address.
    private var favourite = 0
    private var address = 2
    /// What is to follow, where chance alone would hardly ever do as many things in a row.
    private var script: [OwnershipStep] = []

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed ^ 0x0B)
        nodes = 2 + random.below(4)
        isUp = Array(repeating: true, count: nodes)
        // Each play has much of some things, and none of others: so all of them meet.
        var sum = 0.0
        var weights: [(kind: Kind, upTo: Double)] = []
        for kind in Kind.allCases {
            sum += kind.weight * [0, 0.5, 1, 1, 2, 4][random.below(6)]
            weights.append((kind, sum))
        }
        self.weights = weights
    }

    mutating func step() -> OwnershipStep {
        // What else happens goes on in between.
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

    /// A node dies while it gives addresses up that others ask for.
    private mutating func interrupt(_ node: Int, _ other: Int) {
        add(.disk(node, .milliseconds(20)), 0)
        for _ in 0..<3 { addAttach(other, 2 + random.below(16), 20) }
        add(.heal, 2000)
        add(.crash(node, kept: 0), 0)
        add(.restart(node, word: .microseconds(0)), 150)
        add(.disk(node, .microseconds(100)), 0)
        for _ in 0..<4 { addAttach(node, nil, 150) }
    }

    /// A node leaves while what it gives up is on its way, and joins again.
    private mutating func bearAgain(_ node: Int, _ other: Int) {
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

    /// A backup of a node is put in place of what has come since: containers that have started, and one that has ended, whose address
    /// another node has by then.
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
        add(.restart(node, word: word()), 150)
        for _ in 0..<count { addAttach(node, nil, 500) }
        add(.notice(node), 2000)
        for _ in 0..<count { addAttach(random.chance(0.5) ? node : other, random.chance(0.5) ? nil : address, 500) }
    }

    private mutating func rollBack(_ node: Int, copy: Int) -> OwnershipStep.Act {
        .rollBack(node, copy: copy, hostToo: random.chance(0.3))
    }

    /// Within the time that a node waits for it.
    private mutating func word() -> Interval { .microseconds([0, 150, 150, 1000, 20_000, 900_000][random.below(6)]) }

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
            return .restart(down, word: word())
        case .split: return .split(UInt8(truncatingIfNeeded: random.below(1 << nodes)))
        case .cut: return .cut(from: node, to: other)
        case .heal: return .heal
        case .hold:
            // What is said to the writer is what may be decided late.
            return node != 0 && random.chance(0.6) ? .hold(from: node, to: 0) : .hold(from: node, to: other)
        case .holdNothing: return .holdNothing
        case .deliver: return .deliver(random.below(256))
        case .notice: return .notice(node)
        case .disk: return .disk(node, .microseconds([20, 100, 1000, 20_000, 500_000][random.below(5)]))
        case .refusal:
            // More often well than not.
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
        case .rebirth:
            guard node != 0 else { return nil }
            bearAgain(node, other)
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
