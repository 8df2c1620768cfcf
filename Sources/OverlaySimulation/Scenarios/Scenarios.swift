import OverlayDatapath
import OverlayMembership
import OverlayModel
import OverlayNode

/// Scenarios with a fixed plot, modelled on the tests of comparable systems and on the list of faults that the control plane must
/// survive.
extension Scenario {
    static let scenarios: [Scenario] = [
        Scenario("convergence", "one change on a quiet cluster, of each kind: all see it at once (moby)", convergence),
        Scenario("churn", "hundreds of writes a second and a node that comes and goes; then all are equal (from moby)", churn),
        Scenario("islands", "all but two nodes go down and come back, called by nobody (from moby)", islands),
        Scenario(
            "failed-node-restored", "an owner is away: its rows stay, and what it did meanwhile is there when it is back (moby)"
        ) {
            try failedNodeRestored(seed: $0)
        },
        Scenario("leave-rejoin", "networks are left and joined again while messages overtake one another (moby)", leaveRejoin),
        Scenario("split", "partitions of every shape, 1 s to 10 min, with work on both sides", split),
        Scenario("one-way", "one-way cuts, flip-flop, and a node in the middle that both sides reach", oneWay),
        Scenario("loss", "1–40 % loss with duplicates and disorder", loss),
        Scenario("blocked", "UDP blocked and TCP open, and the reverse: reported, and everything arrives", blocked),
        Scenario("stalls", "processes stopped for 1–60 s, the writer's too", stalls),
        Scenario("clocks", "clocks jump by a day and run 10 % fast or slow", clocks),
        Scenario("addresses", "hosts swap their tunnel addresses", addresses),
        Scenario("restart-all", "all daemons, or all machines, die and start in any order", restartAll),
        Scenario("scarcity", "small subnets, addresses asked for by name, idle minutes, and the storm's faults") {
            try Storm.run(.init(acts: 60, nodes: 2...6, isScarce: true), seed: $0)
        },
        Scenario(
            "interrupted", "daemons die in the middle of calls, before and after their writes are durable", interrupted),
        Scenario("promotion", "the writer is gone, another node is promoted, and the old one comes back", promotion),
        Scenario(
            "rolled-back", "nodes get an old copy of their state back, with restarts, splits and work in between (Rule R4)",
            rolledBack),
        Scenario(
            "networks", "networks made, used and removed on every engine, while engines, daemons and links fail",
            NetworkScenario.run),
        Scenario("large", "10 000 endpoints on one host, one reader stopped, loss", large),
    ]

    private static func nodes(_ workload: Workload) -> [Int] { Array(workload.world.nodes.indices) }

    private static func make(_ seed: UInt64, _ sizes: ClosedRange<Int>, networks: [String] = ["net"]) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xBEEF)
        let workload = try Workload(nodes: sizes.lowerBound + random.below(sizes.count), seed: seed)
        for name in networks { try workload.open(name, on: nodes(workload)) }
        workload.world.run(for: .milliseconds(500))
        return workload
    }

    // MARK: moby's

    private static func convergence(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed)
        let size = [2, 3, 5, 10, 25][random.below(5)]
        let workload = try Workload(nodes: size, seed: seed)
        let world = workload.world
        let last = size - 1
        try workload.open("net", on: 0..<last)
        workload.world.run(for: .seconds(1))
        // One network hop, with the time of the disk and the kernel.
        let bound = Interval.milliseconds(5)
        let host = random.below(last)
        try workload.attach(host, "net")
        world.expectConvergence(within: bound, "create")
        workload.detach(at: random.below(workload.endpoints.count))
        world.expectConvergence(within: bound, "delete")
        // The last node joins and writes at the same time.
        workload.networks[last]["net"] = try world.createNetwork(last, "net")
        try workload.attach(last, "net")
        world.expectConvergence(within: .milliseconds(50), "write after join")
        while let index = workload.endpoints.firstIndex(where: { $0.host == last }) { workload.detach(at: index) }
        world.expectConvergence(within: bound, "leave")
        if let created = workload.networks[last].removeValue(forKey: "net") { world.removeNetwork(last, created) }
        world.expectConvergence(within: .milliseconds(50), "removal")
        return workload
    }

    private static func churn(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed)
        let size = [3, 5, 10, 25][random.below(4)]
        let run = try Visibility(nodes: size, seed: seed, without: [size - 1])
        let churn = run.churn()
        run.workload.world.network.loss = [0, 0.02][random.below(2)]
        run.workload.world.run(for: .seconds(10))
        churn.stop()
        run.workload.world.heal()
        run.workload.world.run(for: .milliseconds(100))
        run.workload.settle(within: .seconds(2))
        return run.workload
    }

    private static func islands(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 3...8)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let down = Array(nodes(workload).prefix(nodes(workload).count - 2))
        for host in down {
            if random.chance(0.5) {
                workload.crashDaemon(host, for: .seconds(100_000))
            } else {
                workload.crashHost(host, for: .seconds(100_000))
            }
            world.run(for: .milliseconds(Int64(random.below(2000))))
        }
        world.run(for: .seconds(Int64(10 + random.below(600))))
        for host in down {
            try world.restart(host)
            world.run(for: .milliseconds(Int64(random.below(300))))
        }
        workload.settle(within: .seconds(5))
        return workload
    }

    private static func failedNodeRestored(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...8)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let owner = random.below(nodes(workload).count)
        for _ in 0..<5 { try workload.attach(owner, "net") }
        world.expectConvergence(within: .milliseconds(50), "before")
        let rows = nodes(workload).map { world.kernel($0)?.forwarding }
        world.split([owner], nodes(workload).filter { $0 != owner })
        world.run(for: .seconds(Int64(5 + random.below(600))))
        // Time passes, and no row is withdrawn.
        for host in nodes(workload) where world.kernel(host)?.forwarding != rows[host] {
            world.violate("C", "host\(host + 1) lost rows while host\(owner + 1) was away")
        }
        for _ in 0..<random.below(5) { workload.attempt { try workload.attach(owner, "net") } }
        if let index = workload.endpoints.firstIndex(where: { $0.host == owner }) { workload.detach(at: index) }
        world.heal()
        workload.settle(within: .milliseconds(2500))
        return workload
    }

    private static func leaveRejoin(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 3...10, networks: ["a", "b"])
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        world.network.jitter = .milliseconds(Int64(1 + random.below(100)))
        world.network.duplication = 0.1
        world.network.loss = [0, 0.05, 0.2][random.below(3)]
        for _ in 0..<15 {
            let host = random.below(nodes(workload).count)
            let name = ["a", "b"][random.below(2)]
            while let index = workload.endpoints.firstIndex(where: { $0.host == host && $0.network == name }) {
                workload.detach(at: index)
            }
            if let created = workload.networks[host].removeValue(forKey: name) { world.removeNetwork(host, created) }
            if random.chance(0.5) { world.run(for: .milliseconds(Int64(random.below(100)))) }
            workload.attempt {
                workload.networks[host][name] = try world.createNetwork(host, name)
                try workload.attach(host, name)
            }
        }
        workload.heal()
        workload.settle()
        return workload
    }

    // MARK: The fault list

    private static func split(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...12)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let count = nodes(workload).count
        let length = Interval.seconds([1, 3, 10, 60, 600][random.below(5)])
        switch random.below(3) {
        case 0: world.split(1)
        case 1: world.split(max(1, count / 2))
        default: world.split([count - 1], Array(0..<count - 1))
        }
        let end = world.now + length
        for _ in 0..<8 where world.now < end {
            switch random.below(4) {
            case 0, 1: workload.attachSomewhere()
            case 2: workload.detachSomewhere()
            default: workload.createSomewhere(["other", "third"])
            }
            world.run(for: .milliseconds(Int64(random.below(300))))
        }
        if world.now < end { world.run(until: end) }
        world.heal()
        workload.settle()
        return workload
    }

    private static func oneWay(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 3...8)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let count = nodes(workload).count
        switch random.below(3) {
        case 0:
            world.cutOneWay(random.below(count), random.below(count))
            world.run(for: .seconds(30))
        case 1:
            let host = random.below(count)
            for _ in 0..<3 {
                for other in nodes(workload) where other != host { world.cutOneWay(other, host, for: .seconds(20)) }
                world.run(for: .seconds(40))
            }
        default:
            // Two nodes that do not hear one another, and others that hear both.
            world.split([0], [1])
            world.run(for: .seconds(5))
            for _ in 0..<6 {
                workload.attachSomewhere()
                world.run(for: .milliseconds(500))
            }
            // Changes of one node reach the other through the rest.
            world.expectConvergence(within: .seconds(5), letter: "C", "with a node in the middle")
            if !world.agree(nodes(workload)) { world.violate("F", "views differ although each is reached by somebody") }
        }
        world.heal()
        workload.settle()
        return workload
    }

    private static func loss(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...12)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        world.network.loss = 0.01 + 0.39 * Double(random.below(100)) / 100
        world.network.streamLoss = world.network.loss / 10
        world.network.duplication = 0.1
        world.network.jitter = .milliseconds(100)
        for _ in 0..<20 {
            if random.chance(0.6) { workload.attachSomewhere() } else { workload.detachSomewhere() }
            world.run(for: .milliseconds(Int64(random.below(500))))
        }
        // All changes arrive despite the loss.
        world.expectConvergence(within: .seconds(5), letter: "C", "under loss")
        world.heal()
        workload.settle()
        return workload
    }

    private static func blocked(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...8)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let host = random.below(nodes(workload).count)
        let isUDP = random.chance(0.5)
        if isUDP {
            world.cutDatagrams(of: host, for: .seconds(100_000))
        } else {
            world.cutStreams(of: host, for: .seconds(100_000))
        }
        world.run(for: .seconds(20))
        for other in nodes(workload) where other != host {
            let state = world.nodes[other].core.membership.status(of: World.id(host))?.state
            if state != (isUDP ? .udpBlocked : .alive) {
                world.violate(
                    "F", "host\(other + 1) says host\(host + 1) is \(state?.word ?? "?") with \(isUDP ? "UDP" : "TCP") blocked")
            }
        }
        for _ in 0..<10 {
            workload.attachSomewhere()
            world.run(for: .milliseconds(200))
        }
        world.expectConvergence(within: .seconds(2), letter: "C", "blocked")
        world.heal()
        world.run(for: .seconds(5))
        for other in nodes(workload) where other != host {
            let state = world.nodes[other].core.membership.status(of: World.id(host))?.state
            if state != .alive { world.violate("F", "host\(other + 1) says host\(host + 1) is \(state?.word ?? "?") afterwards") }
        }
        workload.settle()
        return workload
    }

    private static func stalls(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 3...12)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        for _ in 0..<6 {
            let host = random.chance(0.3) ? 0 : random.below(nodes(workload).count)
            world.stall(host, for: .milliseconds(Int64(1000 + random.below(random.chance(0.2) ? 59_000 : 8000))))
            workload.attachSomewhere()
            world.run(for: .milliseconds(Int64(random.below(4000))))
            if random.chance(0.4) { workload.detachSomewhere() }
        }
        workload.settle()
        return workload
    }

    private static func clocks(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...8)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        for _ in 0..<12 {
            let host = random.below(nodes(workload).count)
            switch random.below(3) {
            case 0: world.jumpClock(host, by: .seconds(Int64(random.below(172_800)) - 86_400))
            case 1: world.setClockRate(host, [0.9, 1.1][random.below(2)])
            default: workload.attachSomewhere()
            }
            world.run(for: .milliseconds(Int64(random.below(2000))))
        }
        let away = nodes(workload).filter { !world.nodes[$0].core.membership.away.isEmpty }
        if !away.isEmpty { world.violate("F", "after jumps of clocks hosts \(away.map { $0 + 1 }) miss others") }
        world.expectConvergence(within: .seconds(1), "clocks")
        world.heal()
        workload.settle()
        return workload
    }

    private static func addresses(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 3...6)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        let first = random.below(nodes(workload).count)
        let second = (first + 1 + random.below(nodes(workload).count - 1)) % nodes(workload).count
        // The machines start with each other's address; their containers are gone.
        for host in [first, second] { workload.crashHost(host, for: .seconds(100_000)) }
        let old = world.nodes[first].vtep
        world.nodes[first].vtep = world.nodes[second].vtep
        world.nodes[second].vtep = old
        world.run(for: .milliseconds(Int64(random.below(5000))))
        for host in [first, second] {
            try world.restart(host)
            world.run(for: .milliseconds(Int64(random.below(1500))))
        }
        workload.settle()
        return workload
    }

    private static func interrupted(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...6)
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        for round in 0..<40 {
            world.storeTime = .microseconds(Int64(50 + random.below(random.chance(0.3) ? 20_000 : 500)))
            let host = random.below(world.nodes.count)
            if world.nodes[host].isUp, let network = workload.networks[host]["net"] {
                let name = "call \(round)"
                workload.uncertain.insert(World.endpointID(name))
                world.beginAttach(host, name, to: network) { attached in
                    guard let attached else { return }
                    workload.endpoints.append((host, "net", attached))
                    workload.uncertain.remove(attached.endpoint)
                }
            }
            world.run(for: .microseconds(Int64(random.below(random.chance(0.5) ? 1000 : 20_000))))
            if random.chance(0.4) { workload.crashDaemon(host, for: .milliseconds(Int64(random.below(500)))) }
            if random.chance(0.2) { world.run(for: .milliseconds(Int64(random.below(300)))) }
        }
        world.storeTime = .microseconds(100)
        workload.heal()
        workload.settle()
        return workload
    }

    /// A node's state is rolled back. Never the writer's: it alone has the history.
    private static func rolledBack(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xBAC)
        let workload = try Workload(nodes: 3 + random.below(2), seed: seed)
        let world = workload.world
        // Each rollback puts all free addresses of a node's blocks in quarantine.
        try workload.open("net", on: nodes(workload), subnet: IPPrefix("10.96.0.0/16"))
        var copies: [Workload.Copy] = []
        for _ in 0..<60 {
            switch random.below(14) {
            case 0..<5: workload.attachSomewhere()
            case 5..<7: workload.detachSomewhere()
            case 7: workload.endStranger()
            case 8: copies.append(workload.copy(of: 1 + random.below(nodes(workload).count - 1)))
            case 9: workload.crashDaemon(random.below(nodes(workload).count), for: .milliseconds(Int64(random.below(2000))))
            case 10: world.split(1, for: .milliseconds(Int64(100 + random.below(8000))))
            default:
                guard let copy = random.pick(copies) else { continue }
                // A peer that heard nothing of the lost changes cannot report them.
                workload.heal()
                world.run(for: .seconds(3))
                if random.chance(0.5) { world.split(1, for: .milliseconds(Int64(100 + random.below(8000)))) }
                let delay = Int64(random.below(1000))
                workload.restore(copy, after: .milliseconds(delay))
                // The witnesses still run when the node starts.
                world.run(for: .milliseconds(delay + 20 + Int64(random.below(1000))))
            }
            world.run(for: .milliseconds(Int64(random.below(400))))
            world.checkCatalogues()
        }
        workload.heal()
        // A node that has just started must be told first.
        world.run(for: .seconds(1))
        if !world.run(atMost: .seconds(10), step: .milliseconds(10), until: { !world.nodes.contains(where: \.core.isRolledBack) }) {
            world.violate("P", "a node has an old copy of its state 10 s after the heal")
        }
        workload.settle()
        return workload
    }

    private static func restartAll(seed: UInt64) throws -> Workload {
        let workload = try make(seed, 2...8, networks: ["net", "other"])
        let world = workload.world
        var random = SeededGenerator(seed: seed)
        for _ in 0..<5 { workload.attachSomewhere() }
        let hostsToo = random.chance(0.5)
        for host in nodes(workload) {
            if hostsToo {
                workload.crashHost(host, for: .seconds(100_000))
            } else {
                workload.crashDaemon(host, for: .seconds(100_000))
            }
        }
        world.run(for: .seconds(Int64(random.below(60))))
        var order = nodes(workload)
        while let host = random.pick(order) {
            order.removeAll { $0 == host }
            try world.restart(host)
            world.run(for: .milliseconds(Int64(random.below(random.chance(0.3) ? 10_000 : 200))))
        }
        workload.settle()
        return workload
    }

    private static func large(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed)
        let workload = try Workload(nodes: 4, seed: seed)
        let world = workload.world
        let subnet = IPPrefix("10.64.0.0/15")
        for host in nodes(workload) { workload.networks[host]["large"] = try world.createNetwork(host, "large", subnet: subnet) }
        for host in nodes(workload) { try workload.attach(host, "large") }
        world.stall(3, for: .seconds(20))
        world.network.loss = [0, 0.05][random.below(2)]
        guard let created = workload.networks[0]["large"] else { return workload }
        var done = 0
        for index in 0..<10_000 {
            world.beginAttach(0, "one of many \(index)", to: created) { attached in
                done += 1
                if let attached { workload.endpoints.append((0, "large", attached)) }
            }
            if index % 50 == 49 { world.run(for: .milliseconds(20)) }
        }
        world.run(atMost: .seconds(30)) { done == 10_000 }
        if done < 10_000 { world.violate("P", "\(done) of 10 000 endpoints after 30 s") }
        world.heal()
        workload.settle(within: .seconds(30))
        return workload
    }
}
