import OverlayModel

/// Random acts and random faults, then quiet. Everything must be right again within five seconds.
enum Storm {
    /// Faults that a run may have.
    struct Options {
        var acts = 30
        var nodes: ClosedRange<Int> = 2...12
        var hasFaults = true
        /// True for networks of 13 addresses, some of them asked for by name, and for pauses of minutes.
        var isScarce = false
    }

    static func run(_ options: Options, seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xACE)
        // Small clusters most of the time, as they find more.
        let span = options.nodes.upperBound - options.nodes.lowerBound + 1
        let nodes = options.nodes.lowerBound + min(random.below(span), random.below(span))
        let workload = try Workload(nodes: nodes, seed: seed)
        let names = (0...random.below(4)).map { "net\($0)" }
        if options.isScarce {
            workload.subnets = Dictionary(
                uniqueKeysWithValues: names.enumerated().map { ($1, IPPrefix(IPAddress(v4: 10, 9, UInt8($0), 0), length: 28)) })
        }
        for _ in 0..<3 { workload.createSomewhere(names) }
        for _ in 0..<options.acts {
            act(workload, names, options, &random)
            guard workload.world.violations.isEmpty else { return workload }
        }
        workload.heal()
        workload.settle()
        return workload
    }

    private static func act(_ workload: Workload, _ names: [String], _ options: Options, _ random: inout SeededGenerator) {
        switch random.below(options.hasFaults ? 100 : 70) {
        case 0..<12: workload.createSomewhere(names)
        case 12..<20 where options.isScarce: workload.attachSomewhere(byName: true)
        case 12..<34: workload.attachSomewhere()
        case 54..<56 where options.isScarce: workload.world.run(for: .seconds(Int64(60 + random.below(900))))
        case 34..<48: workload.detachSomewhere()
        case 48..<54: workload.removeSomewhere()
        case 54..<70: workload.world.run(for: .milliseconds(Int64(10 + random.below(490))))
        default: fault(workload, &random)
        }
    }

    static func fault(_ workload: Workload, _ random: inout SeededGenerator) {
        let world = workload.world
        let host = random.below(world.nodes.count)
        let time = Interval.milliseconds(Int64(100 + random.below(random.chance(0.2) ? 20_000 : 3000)))
        switch random.below(16) {
        case 0, 1: world.stall(host, for: time)
        case 2, 3: workload.crashDaemon(host, for: time)
        case 4: workload.crashHost(host, for: time)
        case 5: world.split(random.below(world.nodes.count - 1) + 1, for: time)
        case 6: world.cutOneWay(host, random.below(world.nodes.count), for: time)
        case 7: world.cutDatagrams(of: host, for: time)
        case 8: world.cutStreams(of: host, for: time)
        case 9: world.setLoss([0, 0.01, 0.05, 0.2, 0.4][random.below(5)], for: time)
        case 10: world.setDisorder(for: time)
        case 11: world.refuseWrites(host, for: time)
        case 14, 15:
            for _ in 0...random.below(3) { Drift.happenSomewhere(in: world, on: host) }
        case 12: world.jumpClock(host, by: .seconds(Int64(random.below(172_800)) - 86_400))
        default: world.setClockRate(host, [0.9, 1, 1.1][random.below(3)])
        }
        world.run(for: .milliseconds(Int64(random.below(1000))))
    }
}
