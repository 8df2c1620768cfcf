import OverlayDatapath
import OverlayModel

/// Objects of networks are deleted and altered by others while containers run, and while they come and go.
enum DriftScenario {
    static func run(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xD21F7)
        let workload = try Workload(nodes: 2 + random.below(4), seed: seed)
        let world = workload.world
        let hosts = Array(world.nodes.indices)
        for name in ["a", "b"] { try workload.open(name, on: hosts) }
        for _ in 0..<random.below(6) { workload.attachSomewhere() }
        world.run(for: .seconds(1))
        for _ in 0..<30 {
            // Several at a time, as a script of an operator does; in one place or in several.
            for _ in 0...random.below(4) { Drift.happenSomewhere(in: world, on: random.below(hosts.count)) }
            switch random.below(8) {
            case 0: workload.attachSomewhere()
            case 1: workload.detachSomewhere()
            case 2: workload.crashDaemon(random.below(hosts.count), for: .milliseconds(Int64(random.below(1000))))
            case 3: world.stall(random.below(hosts.count), for: .milliseconds(Int64(random.below(1000))))
            default: break
            }
            if !world.run(atMost: .seconds(5), step: .milliseconds(10), until: { flaw(workload) == nil }) {
                world.violate("C", "5 s after a change by others: \(flaw(workload) ?? "")")
            }
            guard world.violations.isEmpty else { return workload }
            world.run(for: .milliseconds(Int64(random.below(3000))))
        }
        workload.settle()
        return workload
    }

    /// The first thing that is not as it should be; nil if all is right.
    private static func flaw(_ workload: Workload) -> String? {
        let world = workload.world
        for host in world.nodes.indices {
            guard world.nodes[host].isUp, world.nodes[host].stalledUntil == nil else { return "host\(host + 1) does not run" }
            let state = world.nodes[host].kernel.state
            if !state.broken.isEmpty || !state.altered.isEmpty { return "host\(host + 1): \(state.altered), \(state.broken)" }
        }
        for (host, _, attached) in workload.endpoints {
            let name = KernelName.port(attached.endpoint)
            if !world.nodes[host].kernel.state.networks.values.contains(where: { $0.ports[name] != nil }) {
                return "host\(host + 1): the container with \(attached.address) has no interface"
            }
        }
        return world.difference()
    }
}
