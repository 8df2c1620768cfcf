import OverlayModel

/// Random acts and random faults, then peace: everything must be right again in five seconds.
enum Storm {
    /// Faults that one run may have.
    struct Weather {
        var acts = 30
        var nodes: ClosedRange<Int> = 2...12
        var hasFaults = true
        /// Networks of 13 addresses, some asked for by name, and minutes that pass.
        var isScarce = false
    }

    static func run(_ weather: Weather, seed: UInt64) throws -> Play {
        var random = SeededGenerator(seed: seed ^ 0xACE)
        // Small clusters most of the time: they have the sharper corners.
        let span = weather.nodes.upperBound - weather.nodes.lowerBound + 1
        let nodes = weather.nodes.lowerBound + min(random.below(span), random.below(span))
        let play = try Play(nodes: nodes, seed: seed)
        let names = (0...random.below(4)).map { "net\($0)" }
        if weather.isScarce {
            play.subnets = Dictionary(
                uniqueKeysWithValues: names.enumerated().map { ($1, IPPrefix(IPAddress(v4: 10, 9, UInt8($0), 0), length: 28)) })
        }
        for _ in 0..<3 { play.createSomewhere(names) }
        for _ in 0..<weather.acts {
            act(play, names, weather, &random)
            guard play.world.violations.isEmpty else { return play }
        }
        play.heal()
        play.settle()
        return play
    }

    private static func act(_ play: Play, _ names: [String], _ weather: Weather, _ random: inout SeededGenerator) {
        switch random.below(weather.hasFaults ? 100 : 70) {
        case 0..<12: play.createSomewhere(names)
        case 12..<20 where weather.isScarce: play.attachSomewhere(byName: true)
        case 12..<34: play.attachSomewhere()
        case 54..<56 where weather.isScarce: play.world.run(for: .seconds(Int64(60 + random.below(900))))
        case 34..<48: play.detachSomewhere()
        case 48..<54: play.removeSomewhere()
        case 54..<70: play.world.run(for: .milliseconds(Int64(10 + random.below(490))))
        default: fault(play, &random)
        }
    }

    private static func fault(_ play: Play, _ random: inout SeededGenerator) {
        let world = play.world
        let host = random.below(world.nodes.count)
        let time = Interval.milliseconds(Int64(100 + random.below(random.chance(0.2) ? 20_000 : 3000)))
        switch random.below(14) {
        case 0, 1: world.stall(host, for: time)
        case 2, 3: play.crashDaemon(host, for: time)
        case 4: play.crashHost(host, for: time)
        case 5: world.split(random.below(world.nodes.count - 1) + 1, for: time)
        case 6: world.cutOneWay(host, random.below(world.nodes.count), for: time)
        case 7: world.cutDatagrams(of: host, for: time)
        case 8: world.cutStreams(of: host, for: time)
        case 9: world.setLoss([0, 0.01, 0.05, 0.2, 0.4][random.below(5)], for: time)
        case 10: world.setDisorder(for: time)
        case 11: world.refuseWrites(host, for: time)
        case 12: world.jumpClock(host, by: .seconds(Int64(random.below(172_800)) - 86_400))
        default: world.setClockRate(host, [0.9, 1, 1.1][random.below(3)])
        }
        world.run(for: .milliseconds(Int64(random.below(1000))))
    }
}
