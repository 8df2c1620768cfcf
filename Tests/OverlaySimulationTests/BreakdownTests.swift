import OverlayDriver
import OverlayModel
import Testing

@testable import OverlaySimulation

/// Deaths of daemons and engines in the middle of what they do: the scenarios see faults that are planted, and say what they visit.
@Suite struct BreakdownTests {
    /// An operation's boundaries are those of its effects: on the disk, in the kernel, and towards the engine.
    @Test func boundariesAreOfDiskKernelAndReply() throws {
        let run = try CrashScenario.run(seed: Self.seed(of: .run))
        let places = run.coverage.existing
        #expect(run.world.violations == [])
        for wanted in [
            "docker run: requestAddress / actor, writer / store 1 / committed",
            "docker run: requestAddress / actor, writer / reply 1 / after",
            "docker run: join / actor, writer / apply 1 / partly(1), earlier rows kept",
            "docker run: join / actor, writer / apply 1 / before, earlier rows kept",
            "docker run: join / actor, writer / store 1 / uncommitted",
        ] {
            #expect(places.contains(wanted), "\(places.sorted())")
        }
        #expect(run.coverage.visited.count == 6 && run.coverage.visited.isSubset(of: places))
    }

    private static func seed(of operation: CrashScenario.Operation) -> UInt64 {
        UInt64(CrashScenario.Operation.allCases.firstIndex(of: operation) ?? 0)
    }

    /// Places of a seed can be visited by name, and are the same each time.
    @Test func aPlaceIsVisitedByName() throws {
        let seed = Self.seed(of: .stop)
        let place = try #require(try CrashScenario.run(seed: seed).coverage.missing.min())
        let visit = try CrashScenario.visit(seed: seed, [place])
        #expect(visit.coverage.visited == [place] && visit.world.violations == [])
    }

    @Test(
        arguments: [
            (.run, .lostRows(.lease), "has lost the lease"), (.run, .lostRows(.endpoint), "has lost"),
            (.create, .lostRows(.network), "has lost network"), (.run, .without(.durableAnswers), "has lost"),
            (.stop, .noQuestions, "which no container has"),
        ] as [(CrashScenario.Operation, EngineWorkload.Planted, String)])
    func aFaultOfTheDaemonIsSeen(operation: CrashScenario.Operation, planted: EngineWorkload.Planted, words: String) throws {
        let violation = try #require(try CrashScenario.firstViolation(of: operation, with: planted))
        #expect(violation.contains(words), "\(violation)")
    }

    /// Things that an engine never takes back stay, if the daemon does not ask.
    @Test(arguments: ["requestAddress", "createEndpoint", "join"]) func skippedReconciliationIsSeen(call: String) throws {
        let one = CutOffScenario.Case(
            command: .run, call: call, kind: .engineDies, fate: .stays, aftermath: .forgotten)
        let (workload, isStruck) = try CutOffScenario.play(1, one, .noQuestions)
        let isSeen = workload.world.violations.contains { $0.hasPrefix("C") && $0.contains("which no container has") }
        #expect(isStruck && isSeen, "\(workload.world.violations)")
        #expect(try CutOffScenario.play(1, one).0.world.violations == [])
    }

    @Test func casesAreVisitedByTwentySeeds() {
        let cases = CutOffScenario.cases.map(\.description)
        #expect(Set(cases).count == cases.count && cases.count == 528)
    }

    /// The engine's truth is what containers have.
    @Test func leftoversAreFound() throws {
        let engines = try EngineWorkload(hosts: 2, seed: 1, title: "test")
        try engines.open(["net"])
        #expect(Leftovers(in: engines.world).first == nil)
        let entry = try #require(engines.started[1])
        engines.world.docker.engines[1]?.attached[entry.attached.endpoint] = nil
        #expect(Leftovers(in: engines.world).first?.contains("which no container has") == true)
        engines.world.docker.engines[1]?.attached[entry.attached.endpoint] = entry
        engines.world.nodes[1].rows[.lease] = [:]
        #expect(Leftovers(in: engines.world).first == "host2 has lost the lease of \(entry.attached.address)")
    }
}
