import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayNode

/// A daemon dies at a boundary of an operation: before, in the middle of, or after one of its effects. It is started again and adopts
/// what its disk and the kernel hold. A minute later nothing is left over, nothing is lost, and the hosts can be worked with.
///
/// An operation is played once without a death, which shows its boundaries; then once for each boundary that is to be visited. A
/// seed gives the operation, the surroundings, and the boundaries that it visits.
final class CrashScenario {
    enum Operation: String, CaseIterable, Sendable {
        case initialise = "init"
        case join
        case leave
        case leaveByForce = "leave --force"
        case removeNode = "node rm"
        case promote
        case rotate = "join-token --rotate"
        case create = "docker network create"
        case createByCommand = "network create"
        case remove = "docker network rm"
        case removeByCommand = "network rm"
        case run = "docker run"
        case runByAddress = "docker run --ip"
        case stop = "docker stop"
        case die = "end of a container"
        case startDaemon = "start of the daemon"
        case startEngine = "start of the engine"
        case giveBack = "block given back"
    }

    /// Number of boundaries that a seed visits.
    private static let visits = 6

    private let engines: EngineWorkload
    private var world: World { engines.world }
    private let operation: Operation
    private let interruptions: Interruptions
    private let surroundings: Surroundings
    /// Node on which the operation is called.
    private let actor: Int
    /// True once the daemon that died was started again.
    private var isRestarted = false

    /// Faults around the operation, by the seed.
    private struct Surroundings {
        var loss = 0.0
        var isDisordered = false
        var storeTime = Interval.microseconds(100)
        /// Time from a daemon's death to its start.
        var pause: Interval
        /// Node that is stopped for a while when the operation begins.
        var stalled: (node: Int, time: Interval)?
        /// Node that is cut off for a while when the operation begins.
        var cut: (node: Int, time: Interval)?
        /// True if the scenario waits for long in the end, so that late work shows.
        var isLong: Bool

        init(seed: UInt64) {
            var random = SeededGenerator(seed: seed ^ 0xC4A5)
            pause = .milliseconds(Int64([50, 300, 2000, 20_000][random.below(4)]))
            isLong = random.chance(0.1)
            guard random.chance(0.6) else { return }
            loss = [0, 0, 0.02, 0.1][random.below(4)]
            isDisordered = random.chance(0.3)
            storeTime = .microseconds(Int64([50, 100, 1000, 10_000][random.below(4)]))
            if random.chance(0.2) { stalled = (random.below(3), .milliseconds(Int64(random.below(3000)))) }
            if random.chance(0.2) { cut = (random.below(3), .milliseconds(Int64(random.below(6000)))) }
        }
    }

    // MARK: Seeds

    private static func operation(of seed: UInt64) -> Operation {
        Operation.allCases[Int(seed % UInt64(Operation.allCases.count))]
    }

    /// Plays the operation of a seed, and visits some of its boundaries.
    static func run(seed: UInt64) throws -> Workload {
        let first = try play(seed, nil)
        let all = first.interruptions.passed
        let start = Int(seed / UInt64(Operation.allCases.count)) * visits
        return try visit(seed, (0..<min(visits, all.count)).map { all[(start + $0) % all.count] }, after: first)
    }

    /// Visits boundaries that a seed shows, by their descriptions.
    static func visit(seed: UInt64, _ places: Set<String>) throws -> Workload {
        let first = try play(seed, nil)
        return try visit(seed, first.interruptions.passed.filter { places.contains($0.description) }, after: first)
    }

    private static func visit(_ seed: UInt64, _ boundaries: [Boundary], after first: CrashScenario) throws -> Workload {
        var coverage = Coverage()
        coverage.existing = Set(first.interruptions.passed.map(\.description))
        var last = first
        for boundary in boundaries where last.world.violations.isEmpty {
            last = try play(seed, boundary)
            if last.interruptions.victim != nil { coverage.visited.insert(boundary.description) }
        }
        last.engines.workload.coverage = coverage
        return last.engines.workload
    }

    /// Visits all boundaries of an operation, with a fault of the daemons.
    ///
    /// - Returns: The first violation; nil if nothing saw the fault.
    static func firstViolation(of operation: Operation, with planted: EngineWorkload.Planted) throws -> String? {
        let seed = UInt64(Operation.allCases.firstIndex(of: operation) ?? 0)
        let first = try play(seed, nil, planted)
        if let violation = first.world.violations.first { return violation }
        for boundary in first.interruptions.passed {
            if let violation = try play(seed, boundary, planted).world.violations.first { return violation }
        }
        return nil
    }

    private static func play(_ seed: UInt64, _ target: Boundary?, _ planted: EngineWorkload.Planted? = nil) throws -> CrashScenario
    {
        let scenario = try CrashScenario(seed: seed, target, planted)
        try scenario.prepare()
        scenario.surround()
        scenario.perform()
        scenario.finish()
        return scenario
    }

    private init(seed: UInt64, _ target: Boundary?, _ planted: EngineWorkload.Planted?) throws {
        operation = Self.operation(of: seed)
        engines = try EngineWorkload(
            hosts: 3, seed: seed, title: "\(operation.rawValue), \(target.map { "\($0)" } ?? "nothing dies")", planted: planted)
        surroundings = Surroundings(seed: seed)
        switch operation {
        case .initialise: actor = 0
        case .join, .leave, .leaveByForce: actor = 2
        case .removeNode, .promote: actor = 1
        default: actor = Int(seed / UInt64(Operation.allCases.count) % 2)
        }
        interruptions = Interruptions(engines.world, operation: operation.rawValue, actor: actor, target: target)
        world.faults.interruptions = interruptions
    }

    // MARK: The operation

    private func prepare() throws {
        switch operation {
        case .initialise: break
        case .join: try engines.open(["net"], without: actor)
        case .leave, .giveBack: try engines.open(["net"], idle: 2)
        case .remove, .removeByCommand: try engines.open(["net", "spare"])
        default: try engines.open(["net"])
        }
        switch operation {
        case .promote:
            world.crash(0, keeping: 0)
            world.run(for: .seconds(12))
        case .startDaemon:
            // Each call of the engine finds nobody.
            world.docker.isPatient = false
            world.crash(actor, keeping: 0)
            engines.stop(actor)
            world.run(for: .seconds(1))
            world.docker.isPatient = true
        case .startEngine:
            world.docker.engines[actor]?.livesOn = false
            world.stopEngine(actor)
            world.run(for: .seconds(1))
        case .giveBack: world.run(for: .seconds(560))
        default: break
        }
    }

    private func surround() {
        if surroundings.loss > 0 { world.setLoss(surroundings.loss, for: .seconds(30)) }
        if surroundings.isDisordered { world.setDisorder(for: .seconds(30)) }
        world.storeTime = surroundings.storeTime
        if let (node, time) = surroundings.stalled { world.stall(node, for: time) }
        if let (node, time) = surroundings.cut { world.split([node], world.nodes.indices.filter { $0 != node }, for: time) }
    }

    private func perform() {
        interruptions.isOpen = true
        begin()
        wait(length)
        if operation == .promote, !world.nodes[0].isUp {
            engines.restart(0)
            wait(.seconds(3))
        }
        interruptions.isOpen = false
    }

    private func begin() {
        if let request {
            _ = world.beginControl(actor, request)
            return
        }
        switch operation {
        case .create: engines.create(actor, "fresh")
        case .remove: engines.remove(actor, "spare")
        case .run: engines.start(actor, "second")
        case .runByAddress: engines.start(actor, "second", address: addressOfAnother)
        case .stop: engines.stop(actor)
        case .die: engines.stop(actor, hasPair: false)
        case .startDaemon: engines.restart(actor)
        case .startEngine: world.startEngine(actor)
        case .initialise, .join, .leave, .leaveByForce, .removeNode, .promote, .rotate, .createByCommand, .removeByCommand,
            .giveBack:
            break
        }
    }

    /// Request of the command line that the operation is; nil for other operations.
    private var request: ControlRequest? {
        switch operation {
        case .initialise: .initialise(.ofSimulation)
        case .join: .join(token: EngineWorkload.token, host: "192.0.2.1", port: nil)
        case .leave: .leave(force: false)
        case .leaveByForce: .leave(force: true)
        case .removeNode: .removeNode("host3", force: true)
        case .promote: .promote(force: true)
        case .rotate: .joinToken(newSecret: JoinSecret(secret: [UInt8](repeating: 9, count: 16), expires: 0))
        case .createByCommand: .createNetwork(EngineNetwork(name: "fresh"))
        case .removeByCommand: .removeNetwork("spare")
        case .create, .remove, .run, .runByAddress, .stop, .die, .startDaemon, .startEngine, .giveBack: nil
        }
    }

    /// Time in which the effects of the operation are over.
    private var length: Interval {
        switch operation {
        case .giveBack: .seconds(130)
        case .startDaemon: .seconds(20)
        case .remove, .removeByCommand: .seconds(8)
        case .join, .create, .createByCommand, .startEngine: .seconds(4)
        default: .seconds(3)
        }
    }

    /// Free address in a block of another host.
    private var addressOfAnother: IPAddress? {
        let node = world.nodes[actor].core
        let used = Set(engines.started.values.map(\.attached.address))
        let free = node.catalogue.networks.values.flatMap(\.subnets).flatMap { subnet in
            subnet.blocks.filter { $0.owner != node.identity.id }.map(\.range.last).filter {
                !used.contains($0) && !subnet.isReserved($0)
            }
        }
        return free.min()
    }

    /// Lets time pass. A daemon that dies is started again after a pause.
    private func wait(_ time: Interval) {
        let end = world.now + time
        world.run(atMost: time) { !isRestarted && interruptions.victim != nil }
        guard let victim = interruptions.victim, !isRestarted else { return }
        isRestarted = true
        world.run(for: surroundings.pause)
        engines.restart(victim)
        if world.now < end { world.run(until: end) }
    }

    // MARK: After

    private func finish() {
        engines.heal()
        repeatRequest()
        engines.settle(isLong: surroundings.isLong)
    }

    /// A user who does not know what became of a command gives it again.
    private func repeatRequest() {
        guard let request else { return }
        switch operation {
        case .initialise:
            engines.insist(actor, request, unless: "is in cluster")
            for index in 1..<3 { engines.join(index) }
            engines.create(0, "net")
            world.run(for: .seconds(3))
        case .join: engines.insist(actor, request, unless: "is in cluster")
        case .leave: engines.insist(actor, request, unless: "is in no cluster")
        case .leaveByForce:
            engines.insist(actor, request, unless: "is in no cluster")
            // Where the cluster could not be told, the answer names the command that does so.
            if world.nodes[0].core.catalogue.members[world.nodeID(actor)] != nil {
                engines.insist(0, .removeNode("host\(actor + 1)", force: true), unless: "no such node")
            }
        case .removeNode: engines.insist(actor, request, unless: "is removed already")
        case .promote: engines.insist(actor, request, unless: "writes the catalogue already", "writes the catalogue and answers")
        case .createByCommand: engines.insist(actor, request, unless: "is on this host already")
        case .removeByCommand:
            // A removal that was cut off counts for this host; the answer names the others.
            engines.insist(actor, request, unless: "no such network", "is not on this host; remove it on")
        default: engines.insist(actor, request)
        }
    }
}
