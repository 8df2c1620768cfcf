import OverlayModel
import OverlayNode

extension Scenario {
    static let upgrades: [Scenario] = [
        Scenario(
            "upgrade", "daemons of two releases in one cluster, upgraded one by one under load and faults; some are taken back",
            UpgradeScenario.run)
    ]
}

/// Hosts of the release before, which one by one become such of the present release, and at last of one that is made up.
///
/// While a member is of the earlier release nothing is sent that it does not know: it would not understand it, which is a violation.
/// When all are of the later one, its version is used.
final class UpgradeScenario {
    /// Versions of a release after the present one.
    private static let later = ProtocolVersions(oldest: 3, newest: 4)

    private let workload: Workload
    private var world: World { workload.world }
    private var random: SeededGenerator
    private let names = ["net", "other"]

    private init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed ^ 0x0DD)
        let count = 2 + random.below(4)
        workload = try VirtualHost.$versionsOfNew.withValue(.silent) { try Workload(nodes: count, seed: seed) }
    }

    static func run(seed: UInt64) throws -> Workload {
        let scenario = try UpgradeScenario(seed: seed)
        for host in scenario.world.nodes.indices { try scenario.workload.open("net", on: [host]) }
        scenario.upgradeAll(from: .silent, to: .present)
        if let later, scenario.random.chance(0.3) { scenario.upgradeAll(from: .present, to: later) }
        return scenario.workload
    }

    private func upgradeAll(from old: ProtocolVersions, to new: ProtocolVersions) {
        var left = Array(world.nodes.indices)
        while let host = random.pick(left) {
            left.removeAll { $0 == host }
            for _ in 0..<random.below(5) { act() }
            start(host, new)
            if random.chance(0.1) {
                for _ in 0..<random.below(3) { act() }
                start(host, old)
                left.append(host)
            }
            // Longer than the writer waits.
            if !left.isEmpty, random.chance(0.2) {
                workload.heal()
                world.run(for: .seconds(700))
            }
            expect(old.newest, "while a member is of the release before")
        }
        for _ in 0..<random.below(5) { act() }
        workload.heal()
        // The writer waits for ten minutes, and tells of a host that could not say what it speaks a minute later.
        if !world.run(atMost: .seconds(900), step: .seconds(1), until: { isUsed(new.newest) }) {
            world.violate("P", "protocol \(new.newest) is not in use 15 minutes after all speak it: \(inUse)")
        }
        workload.settle()
    }

    private var inUse: [UInt16] { world.nodes.map(\.core.catalogue.versionInUse) }

    private func isUsed(_ version: UInt16) -> Bool { inUse.allSatisfy { $0 == version } }

    private func expect(_ version: UInt16, _ when: String) {
        if !isUsed(version) { world.violate("L", "protocol \(inUse) in use \(when), and not \(version)") }
    }

    /// Starts a daemon of a release in place of the one that runs, or was killed.
    private func start(_ host: Int, _ versions: ProtocolVersions) {
        world.nodes[host].versions = versions
        if !world.nodes[host].isUp { workload.heal() }
        workload.crashDaemon(host, for: .milliseconds(Int64(random.below(random.chance(0.2) ? 5000 : 200))))
        world.run(for: .milliseconds(Int64(random.below(random.chance(0.3) ? 20_000 : 1000))))
        if !world.nodes[host].isUp { workload.heal() }
    }

    private func act() {
        switch random.below(100) {
        case 0..<15: workload.createSomewhere(names)
        case 15..<45: workload.attachSomewhere()
        case 45..<65: workload.detachSomewhere()
        case 65..<85: world.run(for: .milliseconds(Int64(random.below(3000))))
        default: Storm.fault(workload, &random)
        }
    }
}
