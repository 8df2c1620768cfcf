import OverlayDriver
import OverlayModel

/// An engine loses a call of its plugin, repeats it, or dies with it, and the daemon may end, too: at every call of the commands, so
/// that each prefix of them is the last that is heard. A minute later the daemons hold what the engines have, and nothing else.
enum CutOffScenario {
    /// A way in which one command is cut off.
    struct Case: Sendable, CustomStringConvertible {
        var command: Command
        /// Call that is struck.
        var call: String
        var kind: CallFaults.Kind
        var fate: Fate
        /// Deeds of the engine at its start; nil where it does not die.
        var aftermath: Aftermath?

        var description: String {
            "\(command.rawValue) / \(call) / \(kind.rawValue) / daemon \(fate.rawValue)"
                + (aftermath.map { " / containers \($0.rawValue)" } ?? "")
        }
    }

    enum Command: String, CaseIterable, Sendable {
        case create = "docker network create"
        case run = "docker run"
        case stop = "docker stop"
        case remove = "docker network rm"

        /// Calls of the command, in their order.
        var calls: [String] {
            switch self {
            case .create: ["requestPool", "createNetwork"]
            case .run: ["requestAddress", "createEndpoint", "join"]
            case .stop: ["leave", "deleteEndpoint", "releaseAddress"]
            case .remove: ["releaseAddress", "releasePool", "deleteNetwork"]
            }
        }
    }

    /// Fate of the daemon.
    enum Fate: String, CaseIterable, Sendable {
        case stays
        /// It dies when it has the call.
        case dies
        /// It dies half a second later.
        case diesLater = "dies later"
        /// It is dead before the call, and comes back when the engine has lost patience.
        case isAway = "is away"
    }

    /// Fate of the containers of an engine that dies.
    enum Aftermath: String, CaseIterable, Sendable {
        case liveOn = "live on"
        case deleted
        case released
        case forgotten
    }

    static let cases: [Case] = Command.allCases.flatMap { command in
        command.calls.flatMap { call in
            CallFaults.Kind.allCases.flatMap { kind in
                Fate.allCases.flatMap { fate in
                    let ways: [Aftermath?] = kind.isDeath ? Aftermath.allCases : [nil]
                    return ways.map { Case(command: command, call: call, kind: kind, fate: fate, aftermath: $0) }
                }
            }
        }
    }

    /// Number of seeds in a row that visit all cases.
    private static let stride = 20

    /// Visits some of the cases. Twenty seeds in a row visit all.
    static func run(seed: UInt64) throws -> Workload {
        let first = Int(seed % UInt64(stride))
        return try visit(seed, cases.enumerated().filter { $0.offset % stride == first }.map(\.element))
    }

    /// Visits cases by their descriptions.
    static func visit(seed: UInt64, _ places: Set<String>) throws -> Workload {
        try visit(seed, cases.filter { places.contains($0.description) })
    }

    private static func visit(_ seed: UInt64, _ chosen: [Case]) throws -> Workload {
        var coverage = Coverage()
        coverage.existing = Set(cases.map(\.description))
        var last: Workload?
        for one in chosen where last?.world.violations.isEmpty ?? true {
            let (workload, isStruck) = try play(seed, one)
            if isStruck { coverage.visited.insert(one.description) }
            last = workload
        }
        guard let last else { throw World.Failed("no case to visit") }
        last.coverage = coverage
        return last
    }

    /// - Parameter planted: Fault of the daemons, by which a test shows that it is seen.
    static func play(_ seed: UInt64, _ one: Case, _ planted: EngineWorkload.Planted? = nil) throws -> (Workload, isStruck: Bool) {
        var random = SeededGenerator(seed: seed ^ 0xC07)
        let engines = try EngineWorkload(hosts: 2, seed: seed, title: "\(one)", planted: planted)
        let world = engines.world
        try engines.open(one.command == .remove ? ["net", "spare"] : ["net"])
        let host = random.below(2)
        world.storeTime = .microseconds(Int64([50, 100, 1000, 10_000][random.below(4)]))
        // A removal by another host's user may come from the other engine's death.
        world.docker.engines[host]?.livesOn = one.aftermath == .liveOn
        world.docker.engines[host]?.staleEndpoints = one.aftermath?.staleEndpoints ?? .deleted
        var isStruck = false
        let keepsRows = random.chance(0.5)
        world.docker.callFaults.arm(
            .init(node: host, call: one.call, kind: one.kind) {
                isStruck = true
                strike(engines, host, one.fate, keepsRows: keepsRows)
            })
        switch one.command {
        case .create: engines.create(host, "fresh")
        case .run: engines.start(host, "second")
        case .stop: engines.stop(host, hasPair: random.chance(0.5))
        case .remove: engines.remove(host, "spare")
        }
        world.run(for: .milliseconds(Int64(2000 + random.below(3000))))
        if one.kind.isDeath {
            // The answer after which it dies may take as long as the daemon is away.
            world.run(atMost: .seconds(60), step: .milliseconds(10)) { world.docker.engines[host]?.isUp == false }
        }
        if world.docker.engines[host]?.isUp == false {
            // Sometimes the daemon is back before the engine, sometimes after it.
            if random.chance(0.5) { engines.restart(host) }
            world.startEngine(host)
            world.run(for: .milliseconds(Int64(random.below(3000))))
        }
        if one.fate == .isAway { world.run(for: .seconds(60)) }
        engines.heal()
        engines.settle(isLong: random.chance(0.05))
        return (engines.workload, isStruck)
    }

    private static func strike(_ engines: EngineWorkload, _ host: Int, _ fate: Fate, keepsRows: Bool) {
        let world = engines.world
        func die(_ world: World) {
            guard world.nodes[host].isUp else { return }
            world.crash(host, keeping: keepsRows ? world.nodes[host].disk.unsynced.count : 0)
        }
        func back(_ time: Interval) { world.after(time) { _ in engines.restart(host) } }
        switch fate {
        case .stays: break
        case .dies:
            world.after(Interval(nanoseconds: 0), die)
            back(.seconds(2))
        case .diesLater:
            world.after(.milliseconds(500), die)
            back(.seconds(3))
        case .isAway:
            die(world)
            back(.seconds(50))
        }
    }
}

extension CallFaults.Kind {
    fileprivate var isDeath: Bool {
        switch self {
        case .engineDies, .engineDiesAfter: true
        case .lost, .answerLost, .again, .twice: false
        }
    }
}

extension CutOffScenario.Aftermath {
    fileprivate var staleEndpoints: StaleEndpoints {
        switch self {
        case .liveOn, .deleted: .deleted
        case .released: .released
        case .forgotten: .forgotten
        }
    }
}
