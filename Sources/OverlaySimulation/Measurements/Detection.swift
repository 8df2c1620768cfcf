import OverlayCatalogue
import OverlayMembership
import OverlayModel
import OverlayNode

/// Measurements of membership: targets T5 to T11.
enum Detection {
    /// T5: time until all others know that a machine died.
    static func crash(nodes: Int, seeds: Range<UInt64>) throws -> Samples {
        var samples = Samples()
        for seed in seeds {
            let world = try cluster(nodes, seed)
            world.run(for: .milliseconds(Int64(1500 + world.random.below(1000))))
            let victim = world.random.below(nodes)
            let start = world.now
            world.crash(victim, hostToo: true)
            let others = world.nodes.indices.filter { $0 != victim }
            let found = world.run(atMost: .seconds(60)) {
                others.allSatisfy { world.nodes[$0].core.membership.status(of: World.id(victim))?.state == .unreachable }
            }
            guard found else { throw World.Failed("a crash is not known after 60 s, seed \(seed)") }
            samples.add(world.now - start)
        }
        return samples
    }

    static func cluster(_ nodes: Int, _ seed: UInt64) throws -> World {
        let world = try World(count: nodes, seed: seed)
        guard world.makeCluster() else { throw World.Failed("no cluster") }
        return world
    }

    /// T6: number of declarations under loss of datagrams. All of them are false.
    static func loss(nodes: Int, share: Double, length: Interval, seed: UInt64) throws -> Int {
        let world = try cluster(nodes, seed)
        var declarations = 0
        world.onDeclaration = { _, _ in declarations += 1 }
        world.network.loss = share
        world.run(for: length)
        return declarations
    }

    /// T7: number of times that a healthy node is declared down while others are stopped again and again.
    static func stalls(nodes: Int, stalled: Int, length: Interval, seed: UInt64) throws -> Int {
        let world = try cluster(nodes, seed)
        let victims = Set((1...stalled).map { $0 * (nodes / stalled) - 1 })
        var healthy = 0
        world.onDeclaration = { _, subject in if !victims.contains(subject) { healthy += 1 } }
        func next(_ host: Int) {
            world.after(.milliseconds(Int64(1000 + world.random.below(20_000)))) { world in
                let length = Interval.milliseconds(Int64(1000 + world.random.below(29_000)))
                world.stall(host, for: length)
                world.after(length) { _ in next(host) }
            }
        }
        for host in victims.sorted() { next(host) }
        world.run(for: length)
        return healthy
    }

    /// T8: time from the end of a partition until all nodes think all reachable, and until all kernels are right.
    static func heal(nodes: Int, left: Int, after length: Interval, seed: UInt64) throws -> (members: Interval, tables: Interval) {
        let workload = try Workload(nodes: nodes, seed: seed)
        let world = workload.world
        try workload.open("net", on: Array(world.nodes.indices))
        world.run(for: .seconds(1))
        world.split(left)
        world.run(for: Interval(nanoseconds: length.nanoseconds / 2))
        // Both sides go on meanwhile, with addresses that they have.
        for host in world.nodes.indices { workload.attempt { try workload.attach(host, "net") } }
        world.run(for: Interval(nanoseconds: length.nanoseconds / 2))
        world.heal()
        let start = world.now
        var members: Interval?
        var tables: Interval?
        let isHealed = world.run(atMost: .seconds(60)) {
            if members == nil, world.nodes.allSatisfy({ $0.core.membership.away.isEmpty }) { members = world.now - start }
            if tables == nil, world.difference() == nil { tables = world.now - start }
            return members != nil && tables != nil
        }
        guard isHealed, let members, let tables else {
            throw World.Failed("no heal in 60 s: \(world.difference() ?? "views differ")")
        }
        return (members, tables)
    }

    /// T9: one node loses most of what is sent to it. Measures the time until the others agree about everybody, and counts their
    /// doubts about one another.
    static func deaf(nodes: Int, share: Double, length: Interval, seed: UInt64) throws -> (
        agreed: Double, longest: Interval, doubts: Int
    ) {
        let world = try cluster(nodes, seed)
        let victim = nodes / 2
        let others = world.nodes.indices.filter { $0 != victim }
        var doubts = 0
        world.onDeclaration = { observer, subject in if observer != victim, subject != victim { doubts += 1 } }
        world.network.ingressLoss[victim] = share
        world.run(for: .seconds(10))
        var agreed = 0
        var total = 0
        var since: Instant?
        var longest = Interval(nanoseconds: 0)
        let end = world.now + length
        while world.now < end {
            world.run(for: .milliseconds(50))
            total += 1
            if world.agree(others) {
                agreed += 1
                since = nil
            } else {
                since = since ?? world.now
                if let since { longest = max(longest, world.now - since + .milliseconds(50)) }
            }
        }
        return (Double(agreed) / Double(max(total, 1)), longest, doubts)
    }

    /// T10: all nodes join at once. Measures the time until each has the same members and none is away, and counts the sizes that
    /// the first node saw.
    static func bootstrap(nodes: Int, seed: UInt64) throws -> (time: Interval, sizes: Int) {
        let world = try World(count: nodes, seed: seed)
        world.run(for: .milliseconds(2))
        guard let token = world.initialise() else { throw World.Failed("no cluster") }
        let start = world.now
        for index in world.nodes.indices.dropFirst() {
            _ = world.beginControl(index, .join(token: token, host: "192.0.2.1", port: nil))
        }
        var sizes: Set<Int> = []
        let isDone = world.run(atMost: .seconds(120), step: .milliseconds(10)) {
            sizes.insert(world.nodes[0].core.membership.count)
            guard world.nodes[0].core.membership.count == nodes, world.agree(world.nodes.indices) else { return false }
            return world.nodes.allSatisfy { host in
                host.core.catalogue.members.keys.allSatisfy {
                    $0 == host.core.identity.id || host.core.membership.status(of: $0)?.state == .alive
                }
            }
        }
        guard isDone else { throw World.Failed("\(nodes) nodes have no common view after 120 s") }
        return (world.now - start, sizes.count)
    }

    /// T11: bytes per second that a node sends when nothing happens, headers included.
    ///
    /// - Parameter endpoints: Number of endpoints in the cluster.
    static func idle(nodes: Int, endpoints: Int, seed: UInt64) throws -> (mean: Double, worst: Double) {
        let workload = try Workload(nodes: nodes, seed: seed)
        let world = workload.world
        try workload.open("net", on: Array(world.nodes.indices), subnet: IPPrefix("10.96.0.0/16"))
        for index in 0..<max(0, endpoints - nodes) { workload.attempt { try workload.attach(index % nodes, "net") } }
        world.run(for: .seconds(20))
        world.network.sentBytes = [:]
        let seconds = 120
        world.run(for: .seconds(Int64(seconds)))
        let rates = world.nodes.indices.map { Double(world.network.sentBytes[$0] ?? 0) / Double(seconds) }
        return (rates.reduce(0, +) / Double(nodes), rates.max() ?? 0)
    }
}
