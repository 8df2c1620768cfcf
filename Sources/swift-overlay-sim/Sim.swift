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
    @Flag(help: "Print the events of each run, even without a violation.") var trace = false
    @Flag(help: "With --trace: print every message, too.") var messages = false

    func run() async throws {
        let chosen = Scenario.all.filter { scenario == nil || $0.name == scenario }
        guard !chosen.isEmpty else { throw ValidationError("no scenario \(scenario ?? ""); `swift-overlay-sim list` shows them") }
        let start = ContinuousClock.now
        let limit = seconds.map { start + .seconds($0) }
        var violations = 0
        var runs = 0
        let work = chosen.flatMap { scenario in (0..<UInt64(max(count, 0))).map { (scenario, seed + $0) } }
        await withTaskGroup(of: (Scenario, UInt64, Scenario.Outcome).self) { group in
            var next = 0
            func add() {
                guard next < work.count, limit.map({ ContinuousClock.now < $0 }) ?? true else { return }
                let (scenario, seed) = work[next]
                next += 1
                let messages = messages
                group.addTask { @concurrent in (scenario, seed, scenario.run(seed: seed, traces: messages)) }
            }
            for _ in 0..<max(jobs, 1) { add() }
            for await (scenario, seed, outcome) in group {
                runs += 1
                if !outcome.violations.isEmpty { violations += 1 }
                report(scenario, seed, outcome)
                add()
            }
        }
        let time = ContinuousClock.now - start
        print("\(runs) runs in \(time.formatted), \(violations) with violations")
        if violations > 0 { throw ExitCode(1) }
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
