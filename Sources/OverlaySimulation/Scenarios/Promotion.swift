import OverlayDriver
import OverlayEngine
import OverlayModel

/// The catalogue gets another writer.
extension Scenario {
    static func promotion(seed: UInt64) throws -> Play {
        var random = SeededGenerator(seed: seed ^ 0xBEEF)
        let count = 3 + random.below(5)
        let play = try Play(nodes: count, seed: seed)
        let world = play.world
        for name in ["net", "small"] {
            let subnet = name == "small" ? IPPrefix("10.99.0.0/26") : nil
            play.subnets[name] = subnet
            for host in 0..<count { play.networks[host][name] = try world.createNetwork(host, name, subnet: subnet) }
        }
        for _ in 0..<5 { play.attachSomewhere() }
        // In the middle of its work.
        for host in 1..<count {
            let request = RequestPool(
                addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: "begun \(host)", family: .v4)
            _ = world.begin(host, .requestPool(request))
        }
        world.run(for: .microseconds(Int64(random.below(3000))))
        // Dead, or cut off with one that still follows it: what it grants meanwhile is lost.
        let isCutOff = random.chance(0.4)
        let follower = count > 4 && isCutOff ? count - 1 : 0
        let others = (1..<count).filter { $0 != follower }
        if isCutOff {
            world.split(Array(Set([0, follower])), others)
        } else {
            play.crashDaemon(0, for: .seconds(100_000))
        }
        let isPatient = random.chance(0.5)
        world.run(for: .seconds(isPatient ? 70 : 10))
        for _ in 0..<3 { play.attempt { try play.attach(random.pick(others) ?? 1, "net") } }
        if isCutOff {
            for host in Set([0, follower]).sorted() {
                let lost = try world.createNetwork(host, "lost")
                world.detach(host, try world.attach(host, "lost \(host)", to: lost))
            }
        }
        // Two at once, sometimes.
        let hasRival = random.chance(0.3)
        if hasRival { _ = world.beginControl(random.pick(others) ?? 1, .promote(force: true)) }
        play.promote(random.pick(others) ?? 1, force: !isPatient, isContested: hasRival)
        world.run(for: .seconds(2))
        for host in others {
            play.networks[host]["new"] = try world.createNetwork(host, "new")
            try play.attach(host, "new")
            for _ in 0..<random.below(20) { play.attempt { try play.attach(host, "small") } }
        }
        world.run(for: .milliseconds(Int64(random.below(5000))))
        // A second time, sometimes, before the first writer is back.
        if random.chance(0.3), others.count > 2, let writer = others.first(where: { world.nodes[$0].engine.isCatalogueWriter }) {
            play.crashDaemon(writer, for: .seconds(100_000))
            world.run(for: .seconds(10))
            play.promote(others.first { $0 != writer } ?? 1, force: true)
        }
        play.heal()
        world.run(for: .seconds(3))
        // What the hosts that followed the old writer have of its last networks is to be made anew.
        if isCutOff {
            for host in Set([0, follower]).sorted() {
                let id = World.networkID(host, "lost")
                _ = world.call(host, .deleteNetwork(id))
                play.networks[host]["lost"] = try world.createNetwork(host, "lost")
            }
        }
        play.settle()
        let writers = world.nodes.indices.filter { world.nodes[$0].engine.isCatalogueWriter }
        if writers.count != 1 { world.violate("L", "the catalogue is written by hosts \(writers.map { $0 + 1 })") }
        return play
    }
}
