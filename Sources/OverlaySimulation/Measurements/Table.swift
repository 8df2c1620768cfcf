import OverlayModel

/// Targets of the control plane that can be measured in virtual time, beside the values of comparable systems.
public enum Table {
    /// Measurements, each of which returns its lines. They are independent and may run at the same time.
    public static let measurements: [(name: String, body: @Sendable (_ effort: Double) throws -> [Measurement])] = [
        ("T1", { effort in try [10, 25, 100].map { try visible("T1", nodes: $0, loss: 0, effort) } }),
        ("T2", { effort in try [0.05, 0.2].map { try visible("T2", nodes: 25, loss: $0, effort) } }),
        ("T3", churned), ("T5", { effort in try [3, 10, 25, 100].map { try crashed(nodes: $0, effort) } }), ("T6", lossy),
        ("T7", stalled), ("T8", { effort in try [2, 10, 24].flatMap { try healed(nodes: $0, effort) } }), ("T9", deaf),
        ("T10", bootstrapped), ("T11", { effort in try [3, 25, 100].map { try idle(nodes: $0, effort) } }),
        ("T15", handedOut),
    ]

    private static func scaled(_ count: Int, _ effort: Double) -> Int { max(1, Int(Double(count) * effort)) }

    private static func visible(_ name: String, nodes: Int, loss: Double, _ effort: Double) throws -> Measurement {
        var run = try Visibility(nodes: nodes, seed: 1)
        run.workload.world.network.loss = loss
        var samples = try run.measure(scaled(1000, effort), on: Array(run.workload.world.nodes.indices))
        let (median, tail, anchor): (Interval, Interval, String) =
            switch (nodes, loss) {
            case (_, 0.05): (.milliseconds(12), .milliseconds(35), "NetworkDB p50 539 ms, max 639")
            case (_, 0.2): (.milliseconds(35), .milliseconds(170), "NetworkDB p50 665 ms, max 932")
            case (10, _): (.milliseconds(2), .milliseconds(2), "NetworkDB p50 400 ms, max 800")
            case (25, _): (.milliseconds(2), .milliseconds(2), "NetworkDB p50 600 ms, max 800")
            default: (.milliseconds(2), .milliseconds(2), "NetworkDB p50 800 ms, max 1000")
            }
        let target = loss == 0 ? "p99 ≤ \(tail.text)" : "p50 ≤ \(median.text), p99 ≤ \(tail.text)"
        return Measurement(
            name: name, what: "create seen by all, N = \(nodes), loss \(Int(loss * 100)) %", anchor: anchor, target: target,
            result: samples.summary(), passed: samples.percentile(0.5) <= median && samples.percentile(0.99) <= tail)
    }

    private static func churned(_ effort: Double) throws -> [Measurement] {
        var run = try Visibility(nodes: 25, seed: 1, without: [24])
        run.churn()
        run.workload.world.run(for: .seconds(2))
        var samples = try run.measure(scaled(300, effort), on: [0, 7, 15])
        return [
            Measurement(
                name: "T3", what: "the same under churn, N = 25: 400 writes/s, a node that leaves and joins the network",
                anchor: "NetworkDB p50 800 ms, p90 10.6 s, max 16.4", target: "p99 ≤ 10 ms, max ≤ 100 ms",
                result: samples.summary(),
                passed: samples.percentile(0.99) <= .milliseconds(10) && samples.percentile(1) <= .milliseconds(100))
        ]
    }

    private static func crashed(nodes: Int, _ effort: Double) throws -> Measurement {
        let count = UInt64(scaled(nodes >= 100 ? 40 : 200, effort))
        var samples = try Detection.crash(nodes: nodes, seeds: 1..<count + 1)
        let (target, anchor): (Interval, String) =
            switch nodes {
            case 3: (.milliseconds(2500), "memberlist p50 5.6 s, max 6.9")
            case 10: (.milliseconds(2500), "memberlist p50 6.0 s, max 7.3")
            case 25: (.seconds(3), "memberlist p50 7.2 s, max 8.4")
            default: (.seconds(4), "memberlist p50 9.8 s, max 9.9")
            }
        return Measurement(
            name: "T5", what: "crash known to all, N = \(nodes)", anchor: anchor, target: "p99 ≤ \(target.text)",
            result: samples.summary(), passed: samples.percentile(0.99) <= target)
    }

    private static func lossy(_ effort: Double) throws -> [Measurement] {
        let seconds = Int64(scaled(600, effort))
        let count = try Detection.loss(nodes: 25, share: 0.4, length: .seconds(seconds), seed: 1)
        return [
            Measurement(
                name: "T6", what: "declared down, 40 % datagram loss, N = 25, \(seconds) s", anchor: "memberlist 0", target: "0",
                result: "\(count)", passed: count == 0)
        ]
    }

    private static func handedOut(_ effort: Double) throws -> [Measurement] {
        let hosts = 100
        let world = try World(count: hosts, seed: 1)
        guard world.makeCluster() else { throw World.Failed("the cluster could not be formed") }
        let networks = try (0..<hosts).map { try world.createNetwork($0, "net") }
        var seen: Set<IPAddress> = []
        var last = Interval(nanoseconds: 0)
        for number in 0..<254 {
            let start = world.now
            let attached = try? world.attach(number % hosts, "c\(number)", to: networks[number % hosts])
            last = world.now - start
            guard let attached else { break }
            seen.insert(attached.address)
        }
        return [
            Measurement(
                name: "T15", what: "addresses of a /24 handed out over \(hosts) hosts, then the refusal",
                anchor: "weave waits for ever",
                target: "253, ≤ 1 s", result: "\(seen.count), \(last.text)", passed: seen.count == 253 && last <= .seconds(1))
        ]
    }

    private static func stalled(_ effort: Double) throws -> [Measurement] {
        let hours = max(0.1, 10 * effort)
        let length = Interval.seconds(Int64(hours * 3600))
        let healthy = try Detection.stalls(nodes: 32, stalled: 8, length: length, seed: 1)
        return [
            Measurement(
                name: "T7", what: "healthy nodes declared down, 8 of 32 stopped 1–30 s at random, \(hours) h",
                anchor: "Lifeguard: SWIM / 50", target: "0", result: "\(healthy)", passed: healthy == 0)
        ]
    }

    private static func healed(nodes: Int, _ effort: Double) throws -> [Measurement] {
        try [60, 600].map { length in
            var members = Samples()
            var tables = Samples()
            for seed in 1...UInt64(scaled(20, effort)) {
                for left in Set([1, nodes / 2]) {
                    let result = try Detection.heal(nodes: nodes, left: left, after: .seconds(Int64(length)), seed: seed)
                    members.add(result.members)
                    tables.add(result.tables)
                }
            }
            let anchor = nodes == 2 ? "NetworkDB 7–29 s; memberlist: never" : "NetworkDB 6–8 / 7–18 s; memberlist: never"
            return Measurement(
                name: "T8", what: "heal after \(length) s, N = \(nodes), split 1 and half: members / tables", anchor: anchor,
                target: "≤ 2 s / ≤ 2.5 s",
                result: "max \(members.percentile(1).text) / \(tables.percentile(1).text) (\(members.count) heals)",
                passed: members.percentile(1) <= .seconds(2) && tables.percentile(1) <= .milliseconds(2500))
        }
    }

    private static func deaf(_ effort: Double) throws -> [Measurement] {
        let seconds = Int64(scaled(120, effort))
        let (agreed, longest, doubts) = try Detection.deaf(nodes: 100, share: 0.8, length: .seconds(seconds), seed: 1)
        let share = (agreed * 1000).rounded() / 10
        return [
            Measurement(
                name: "T9", what: "one of 100 loses 80 % of what comes in, \(seconds) s: healthy nodes' views",
                anchor: "memberlist: differ for minutes", target: "equal within 10 s; none of them declared",
                result: "equal \(share) % of the time after 10 s, longest difference \(longest.text); \(doubts) declared",
                passed: longest <= .seconds(1) && doubts == 0)
        ]
    }

    private static func bootstrapped(_ effort: Double) throws -> [Measurement] {
        let nodes = effort < 0.5 ? 200 : 1000
        let (time, sizes) = try Detection.bootstrap(nodes: nodes, seed: 1)
        return [
            Measurement(
                name: "T10", what: "\(nodes) nodes join at once, until all are alive to all",
                anchor: "memberlist 95 s, 1858 sizes (N = 2000)",
                target: "≤ 10 s, ≤ 30 sizes", result: "\(time.text), \(sizes) sizes", passed: time <= .seconds(10) && sizes <= 30)
        ]
    }

    private static func idle(nodes: Int, _ effort: Double) throws -> Measurement {
        let (mean, worst) = try Detection.idle(nodes: nodes, endpoints: 1000, seed: 1)
        let anchor = nodes == 3 ? "NetworkDB 1.0 kB/s" : nodes == 25 ? "NetworkDB 1.8 kB/s" : "NetworkDB 3.4 kB/s"
        return Measurement(
            name: "T11", what: "sent when idle, headers included, N = \(nodes), 1000 endpoints", anchor: anchor,
            target: "≤ 0.6 kB/s",
            result: "\((mean / 10).rounded() / 100) kB/s, most \((worst / 10).rounded() / 100)", passed: worst <= 600)
    }
}
