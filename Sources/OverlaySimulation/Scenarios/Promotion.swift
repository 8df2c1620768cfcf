import OverlayDriver
import OverlayModel
import OverlayNode

/// The catalogue gets another writer.
extension Scenario {
    static func promotion(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xBEEF)
        let count = 3 + random.below(5)
        let workload = try Workload(nodes: count, seed: seed)
        let world = workload.world
        for name in ["net", "small"] {
            let subnet = name == "small" ? IPPrefix("10.99.0.0/26") : nil
            workload.subnets[name] = subnet
            for host in 0..<count { workload.networks[host][name] = try world.createNetwork(host, name, subnet: subnet) }
        }
        for _ in 0..<5 { workload.attachSomewhere() }
        // Calls are under way when the writer fails.
        for host in 1..<count {
            let request = RequestPool(
                addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: "begun \(host)", family: .v4)
            _ = world.begin(host, .requestPool(request))
        }
        world.run(for: .microseconds(Int64(random.below(3000))))
        // The writer is dead, or cut off with one node that still follows it. Its decisions in that time are lost.
        let isCutOff = random.chance(0.4)
        let follower = count > 4 && isCutOff ? count - 1 : 0
        let others = (1..<count).filter { $0 != follower }
        if isCutOff {
            world.split(Array(Set([0, follower])), others)
        } else {
            workload.crashDaemon(0, for: .seconds(100_000))
        }
        let isPatient = random.chance(0.5)
        world.run(for: .seconds(isPatient ? 70 : 10))
        for _ in 0..<3 { workload.attempt { try workload.attach(random.pick(others) ?? 1, "net") } }
        if isCutOff {
            for host in Set([0, follower]).sorted() {
                let lost = try world.createNetwork(host, "lost")
                world.detach(host, try world.attach(host, "lost \(host)", to: lost))
            }
        }
        // Sometimes two nodes are promoted at once.
        let hasRival = random.chance(0.3)
        if hasRival { _ = world.beginControl(random.pick(others) ?? 1, .promote(force: true)) }
        workload.promote(random.pick(others) ?? 1, force: !isPatient, isContested: hasRival)
        world.run(for: .seconds(2))
        for host in others {
            workload.networks[host]["new"] = try world.createNetwork(host, "new")
            try workload.attach(host, "new")
            for _ in 0..<random.below(20) { workload.attempt { try workload.attach(host, "small") } }
        }
        world.run(for: .milliseconds(Int64(random.below(5000))))
        // Sometimes there is a second promotion before the first writer is back.
        if random.chance(0.3), others.count > 2, let writer = others.first(where: { world.nodes[$0].core.isCatalogueWriter }) {
            workload.crashDaemon(writer, for: .seconds(100_000))
            world.run(for: .seconds(10))
            workload.promote(others.first { $0 != writer } ?? 1, force: true)
        }
        workload.heal()
        world.run(for: .seconds(3))
        // The last networks of the old writer have to be created again on the hosts that followed it.
        if isCutOff {
            for host in Set([0, follower]).sorted() {
                let id = World.networkID(host, "lost")
                _ = world.call(host, .deleteNetwork(id))
                workload.networks[host]["lost"] = try world.createNetwork(host, "lost")
            }
        }
        workload.settle()
        let writers = world.nodes.indices.filter { world.nodes[$0].core.isCatalogueWriter }
        if writers.count != 1 { world.violate("L", "the catalogue is written by hosts \(writers.map { $0 + 1 })") }
        return workload
    }
}
