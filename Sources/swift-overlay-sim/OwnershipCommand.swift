import ArgumentParser
import OverlaySimulation

/// Runs the rules of address ownership on one small subnet, all of them or without one.
struct OwnershipCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ownership",
        abstract: "Test the rules of address ownership on one small subnet, with a fault after every call.",
        discussion:
            "With --rules each rule is left out in turn. A rule whose absence shows no violation is not tested, and fails the run.")

    @Option(help: "Number of calls and faults in each seed.") var steps = 500
    @Option(name: .shortAndLong, help: "First seed.") var seed: UInt64 = 1
    @Option(help: "Number of seeds.") var seeds = 1
    @Option(help: "Number of seconds after which no further seed begins.") var seconds: Double?
    @Option(help: "Number of seeds that run at a time.") var jobs = 2
    @Option(help: "Rule to leave out, such as R2.", transform: rule) var without: OwnershipWorkload.Rule?
    @Option(help: "Numbers of the steps to keep, such as 3,17,40. All of them if not given.") var only: String?
    @Flag(help: "Run with all rules, then without each of them: that must show a violation within 2000 seeds.")
    var rules = false
    @Flag(help: "Print the events of each run, even without a violation.") var trace = false

    private static func rule(_ text: String) throws -> OwnershipWorkload.Rule {
        guard let rule = OwnershipWorkload.Rule(rawValue: text) else {
            throw ValidationError("no rule \(text) to leave out; there are \(OwnershipWorkload.Rule.allCases.map(\.rawValue))")
        }
        return rule
    }

    private struct Sum {
        var seeds = 0
        var steps = 0
        var addresses = 0
        var caught: [UInt64] = []
        var time = Duration.zero
    }

    func run() async throws {
        if let only {
            let kept = only.split(separator: ",").compactMap { Int($0) }
            return try report(OwnershipWorkload(steps: steps, without: without), seed, keeping: kept)
        }
        guard rules else {
            let workload = OwnershipWorkload(steps: steps, without: without)
            let sum = await sum(workload, seeds: seeds, seconds: seconds)
            print(line(workload, sum))
            guard let first = sum.caught.first else {
                if trace { try report(workload, seed, keeping: nil) }
                return
            }
            return try report(workload, first, keeping: workload.shrink(seed: first))
        }
        let workload = OwnershipWorkload(steps: steps)
        let all = await sum(workload, seeds: seeds, seconds: seconds)
        print(line(workload, all))
        if let first = all.caught.first { try? report(workload, first, keeping: workload.shrink(seed: first)) }
        var hasFailed = !all.caught.isEmpty
        for missing in OwnershipWorkload.Rule.allCases {
            let workload = OwnershipWorkload(steps: steps, without: missing)
            let sum = await sum(workload, seeds: Self.seedsOfRule, endsAtFirst: true)
            print(line(workload, sum))
            if sum.caught.isEmpty { hasFailed = true }
        }
        if hasFailed { throw ExitCode(1) }
    }

    /// Number of seeds within which the lack of a rule must show.
    private static let seedsOfRule = 2000

    private func sum(_ workload: OwnershipWorkload, seeds: Int, seconds: Double? = nil, endsAtFirst: Bool = false) async -> Sum {
        let start = ContinuousClock.now
        let limit = seconds.map { start + .seconds($0) }
        var sum = Sum()
        await withTaskGroup(of: OwnershipWorkload.Outcome.self) { group in
            var next = seed
            func add() {
                guard next < seed + UInt64(max(seeds, 0)), limit.map({ ContinuousClock.now < $0 }) ?? true,
                    !endsAtFirst || sum.caught.isEmpty
                else { return }
                let seed = next
                next += 1
                group.addTask { @concurrent in workload.run(seed: seed) }
            }
            for _ in 0..<max(jobs, 1) { add() }
            for await outcome in group {
                sum.seeds += 1
                sum.steps += outcome.steps
                sum.addresses += outcome.addresses
                if !outcome.violations.isEmpty { sum.caught.append(outcome.seed) }
                add()
            }
        }
        sum.caught.sort()
        sum.time = ContinuousClock.now - start
        return sum
    }

    private func line(_ workload: OwnershipWorkload, _ sum: Sum) -> String {
        let title = workload.missing.map { "without \($0.rawValue)" } ?? "all rules"
        let first = sum.caught.isEmpty ? "" : "seeds \(sum.caught.prefix(5).map(String.init).joined(separator: ","))"
        let counts = "\(sum.caught.count) of \(sum.seeds) seeds with a violation  \(sum.steps) steps  \(sum.addresses) addresses"
        return "\(title.padded(to: 12))  \(counts)  \(sum.time.formatted)  \(first)  \(workload.missing?.summary ?? "")"
    }

    private func report(_ workload: OwnershipWorkload, _ seed: UInt64, keeping kept: [Int]?) throws {
        let outcome = workload.run(seed: seed, keeping: kept, tells: true)
        for line in outcome.trace { print("    \(line)") }
        for violation in outcome.violations { print("VIOLATION \(violation)") }
        var again = "swift-overlay-sim ownership --seed \(seed) --steps \(workload.steps)"
        if let missing = workload.missing { again += " --without \(missing.rawValue)" }
        if let kept { again += " --only \(kept.map(String.init).joined(separator: ","))" }
        print("again: \(again)")
        if !outcome.violations.isEmpty { throw ExitCode(1) }
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(width - count, 0)) }
}
