import ArgumentParser
import OverlayModel
import OverlaySimulation

/// Runs the shipped cores in virtual time: scenarios by seed, and the table of targets.
@main
struct Sim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swift-overlay-sim", abstract: "Run whole clusters of nodes in virtual time.",
        discussion: """
            The nodes are those of the daemon; kernel, disk, engine and network are models that fail as a seed tells them to. A seed gives the \
            same run every time. Exit status 1 means that an invariant was violated, or that a target was missed.
            """,
        subcommands: [Run.self, List.self, Measure.self, OwnershipCommand.self, Trace.self], defaultSubcommand: Run.self)
}

/// Runs scenarios.
struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "run", abstract: "Run scenarios, each for one seed or many.")

    @Option(name: .shortAndLong, help: "Name of the scenario; `list` shows them. All of them if not given.") var scenario: String?
    @Option(help: "First seed.") var seed: UInt64 = 1
    @Option(name: .shortAndLong, help: "Number of seeds.") var count: Int = 1
    @Option(help: "Number of seconds after which no further seed begins.") var seconds: Double?
    @Option(help: "Number of seeds that run at a time.") var jobs = 2
    @Flag(help: "Count places that no seed has visited, such as boundaries at which a daemon can die, instead of visiting them.")
    var sample = false
    @Flag(help: "Print the events of each run, even without a violation.") var trace = false
    @Flag(help: "With --trace: print every message, too.") var messages = false

    func run() async throws {
        let chosen = Scenario.all.filter { scenario == nil || $0.name == scenario }
        guard !chosen.isEmpty else { throw ValidationError("no scenario \(scenario ?? ""); `swift-overlay-sim list` shows them") }
        let start = ContinuousClock.now
        var sum = Sum()
        let work = chosen.flatMap { scenario in (0..<UInt64(max(count, 0))).map { Work(scenario: scenario, seed: seed + $0) } }
        await play(work, until: seconds.map { start + .seconds($0) }, &sum)
        // Places that no seed has visited are visited now, each by a seed that showed it.
        if !sample { await play(sum.places.flatMap { $0.value.rest($0.key, in: chosen) }, until: nil, &sum) }
        for (name, places) in sum.places.sorted(by: { $0.key < $1.key }) {
            let (visited, existing) = (places.coverage.visited.count, places.coverage.existing.count)
            print("\(name): \(visited) of \(existing) places visited")
            guard !sample else { continue }
            for place in places.coverage.missing.sorted() { print("VIOLATION never visited: \(place)") }
            if visited < existing { sum.violations += 1 }
        }
        let time = ContinuousClock.now - start
        print("\(sum.runs) runs in \(time.formatted), \(sum.violations) with violations")
        if sum.violations > 0 { throw ExitCode(1) }
    }

    /// A scenario with a seed, to be played as it is, or to visit places.
    private struct Work: Sendable {
        var scenario: Scenario
        var seed: UInt64
        var places: Set<String>?
    }

    /// Places of a scenario, with a seed that shows each.
    private struct Places {
        var coverage = Coverage()
        private var seeds: [String: UInt64] = [:]

        mutating func add(_ other: Coverage, of seed: UInt64) {
            coverage.formUnion(other)
            for place in other.existing where seeds[place] == nil { seeds[place] = seed }
        }

        func rest(_ name: String, in scenarios: [Scenario]) -> [Work] {
            guard let scenario = scenarios.first(where: { $0.name == name }) else { return [] }
            let bySeed = Dictionary(grouping: coverage.missing) { seeds[$0] ?? 0 }
            return bySeed.sorted { $0.key < $1.key }.map { Work(scenario: scenario, seed: $0, places: Set($1)) }
        }
    }

    private struct Sum {
        var runs = 0
        var violations = 0
        var places: [String: Places] = [:]
    }

    private func play(_ work: [Work], until limit: ContinuousClock.Instant?, _ sum: inout Sum) async {
        await withTaskGroup(of: (Work, Scenario.Outcome).self) { group in
            var next = 0
            func add() {
                guard next < work.count, limit.map({ ContinuousClock.now < $0 }) ?? true else { return }
                let one = work[next]
                next += 1
                let messages = messages
                group.addTask { @concurrent in
                    guard let places = one.places else { return (one, one.scenario.run(seed: one.seed, traces: messages)) }
                    return (one, one.scenario.visit(seed: one.seed, places, traces: messages))
                }
            }
            for _ in 0..<max(jobs, 1) { add() }
            for await (one, outcome) in group {
                sum.runs += 1
                if !outcome.violations.isEmpty { sum.violations += 1 }
                if one.scenario.hasPlaces {
                    sum.places[one.scenario.name, default: Places()].add(outcome.coverage, of: one.seed)
                }
                report(one.scenario, one.seed, outcome)
                add()
            }
        }
    }

    private func report(_ scenario: Scenario, _ seed: UInt64, _ outcome: Scenario.Outcome) {
        guard trace || !outcome.violations.isEmpty else { return }
        // The cause is near the end.
        for line in outcome.trace.suffix(trace ? .max : 40) { print("    \(line)") }
        for violation in outcome.violations { print("VIOLATION \(violation)") }
        if !outcome.violations.isEmpty { print("again: swift-overlay-sim --scenario \(scenario.name) --seed \(seed) --trace") }
    }
}

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the scenarios.")

    func run() { for scenario in Scenario.all { print("\(scenario.name): \(scenario.summary)") } }
}

/// Measures the control plane in virtual time.
struct Measure: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "table", abstract: "Measure the control plane against its targets, beside figures of other systems.")

    @Option(help: "Share of the samples to take; 1 is all.") var effort = 1.0
    @Option(help: "Measurements to run, such as T1,T5. All of them if not given.") var only: String?
    @Option(help: "Number of measurements that run at a time.") var jobs = 2

    func run() async throws {
        let names = only?.split(separator: ",").map(String.init)
        let chosen = Table.measurements.filter { names?.contains($0.name) ?? true }
        var failed = 0
        await withTaskGroup(of: (String, Result<[Measurement], any Error>).self) { group in
            var next = 0
            func add() {
                guard next < chosen.count else { return }
                let (name, body) = chosen[next]
                next += 1
                group.addTask { @concurrent [effort] in (name, Result { try body(effort) }) }
            }
            for _ in 0..<max(jobs, 1) { add() }
            for await (name, result) in group {
                switch result {
                case .success(let lines):
                    for line in lines {
                        if !line.passed { failed += 1 }
                        print("\(line.passed ? "PASS" : "FAIL")  \(line.name)  \(line.what)")
                        print("        anchor: \(line.anchor); target: \(line.target)")
                        print("        here:   \(line.result)")
                    }
                case .failure(let error):
                    failed += 1
                    print("FAIL  \(name)  \(error)")
                }
                add()
            }
        }
        if failed > 0 { throw ExitCode(1) }
    }
}

extension Duration {
    /// Seconds with one decimal.
    var formatted: String {
        let tenths = components.seconds * 10 + components.attoseconds / 100_000_000_000_000_000
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
