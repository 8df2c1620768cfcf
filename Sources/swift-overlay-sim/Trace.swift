import ArgumentParser
import Glibc
import OverlaySimulation

/// Prints hashes of what nodes do in the scenarios, to compare two builds.
struct Trace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Print hashes of all that nodes do in the scenarios, to compare two builds.",
        discussion: "Set SWIFT_DETERMINISTIC_HASHING=1 in the environment: without it two processes do not compare.")

    @Option(name: .shortAndLong, help: "Name of the scenario. All of them if not given.") var scenario: String?
    @Option(help: "First seed.") var seed: UInt64 = 1
    @Option(name: .shortAndLong, help: "Number of seeds of storm, or of the one scenario that is given.") var count: UInt64 = 1000
    @Option(help: "Number of seeds of every other scenario.") var others: UInt64 = 5
    @Option(help: "Number of seeds that run at a time.") var jobs = 2
    @Flag(help: "Print every effect of one scenario and seed, instead of hashes.") var lines = false

    func run() async throws {
        guard getenv("SWIFT_DETERMINISTIC_HASHING") != nil else {
            throw ValidationError("set SWIFT_DETERMINISTIC_HASHING=1, or hashes of two processes do not compare")
        }
        let chosen = Scenario.all.filter { scenario == nil || $0.name == scenario }
        guard !chosen.isEmpty else { throw ValidationError("no scenario \(scenario ?? ""); `swift-overlay-sim list` shows them") }
        if lines {
            guard chosen.count == 1 else { throw ValidationError("--lines needs --scenario") }
            for line in chosen[0].trace(seed: seed, keepsLines: true)?.lines ?? [] { print(line) }
            return
        }
        var all = EffectTrace.Hash()
        var bare = EffectTrace.Hash()
        for scenario in chosen {
            let seeds = Array(seed..<seed + (scenario.name == "storm" || chosen.count == 1 ? count : others))
            let traces = await traces(of: scenario, seeds)
            var whole = EffectTrace.Hash()
            var machine = EffectTrace.Hash()
            for trace in traces {
                whole.mix(trace.whole)
                machine.mix(trace.bare)
            }
            print(
                "\(scenario.name): \(traces.count) seeds, \(traces.reduce(0) { $0 + $1.events }) events, \(machine) without texts, \(whole)"
            )
            all.mix(whole)
            bare.mix(machine)
        }
        print("all: \(bare) without texts, \(all)")
    }

    private func traces(of scenario: Scenario, _ seeds: [UInt64]) async -> [EffectTrace] {
        var traces: [UInt64: EffectTrace] = [:]
        await withTaskGroup(of: (UInt64, EffectTrace?).self) { group in
            var waiting = seeds[...]
            func add() {
                guard let seed = waiting.popFirst() else { return }
                group.addTask { @concurrent in (seed, scenario.trace(seed: seed)) }
            }
            for _ in 0..<max(jobs, 1) { add() }
            for await (seed, trace) in group {
                traces[seed] = trace
                add()
            }
        }
        return seeds.compactMap { traces[$0] }
    }
}
