import OverlayDatapath
import OverlayModel
import Testing

@testable import OverlaySimulation

/// A few seeds of every scenario. `contrib/simulate` runs thousands of them in a release build.
@Suite struct ScenarioTests {
    /// `large` takes minutes in a debug build.
    static let quick = Scenario.all.filter { $0.name != "large" && $0.name != "churn" }.map(\.name)

    @Test(arguments: quick)
    func keepsTheInvariants(name: String) throws {
        let scenario = try #require(Scenario.all.first { $0.name == name })
        for seed in [11, 12] as [UInt64] {
            #expect(scenario.run(seed: seed).violations == [], "again: swift-overlay-sim --scenario \(name) --seed \(seed) --trace")
        }
    }

    /// Failures of the past, by name, with the seed that showed each.
    @Test(
        arguments: [
            ("a restarted node did not know its peers' keys, and believed none of their records", "storm", 39),
            ("the same, with the writer restarted", "storm", 40),
            ("an attach right after a start was taken for a failure of the heal", "storm", 322),
            ("the same with two networks", "storm", 495),
            ("who had heard of one life of a node alone did not tell it that its state was an old copy", "rolled-back", 6),
            ("rows to a host that left the network while this one was down stayed for a minute", "storm", 616),
            ("a writer that was silent, was gone, and was back still counted as silent", "storm", 21769),
            ("a stream that was refused once was never tried again, and told of for ever", "networks", 272),
            ("the same, with a disk that failed", "networks", 869),
            ("a network that could not be removed, or not be named, was a problem for ever", "networks", 730),
            ("who made a network of a name that it had just removed did not get the cluster's", "networks", 1609),
            ("a claim of a MAC stayed when the endpoint that has it came to be known before its host's tunnel", "claims", 121),
        ] as [(String, String, UInt64)])
    func staysMended(failure: String, name: String, seed: UInt64) throws {
        let scenario = try #require(Scenario.all.first { $0.name == name })
        #expect(scenario.run(seed: seed).violations == [], "\(failure)")
    }

    /// The same seed is the same run, to the nanosecond.
    @Test func isDeterministic() throws {
        let scenario = try #require(Scenario.all.first { $0.name == "storm" })
        let first = scenario.run(seed: 7)
        let second = scenario.run(seed: 7)
        #expect(first.trace == second.trace)
        #expect(first.length == second.length)
        #expect(scenario.run(seed: 8).trace != first.trace)
    }
}

/// Checks that the simulation detects faults: each is injected and must be found.
@Suite struct CheckTests {
    private func workload() throws -> Workload {
        let workload = try Workload(nodes: 3, seed: 1)
        try workload.open("net", on: [0, 1, 2])
        workload.world.run(for: .seconds(1))
        #expect(workload.world.difference() == nil)
        return workload
    }

    @Test func aMissingRowIsSeen() throws {
        let workload = try workload()
        let vni = try #require(workload.world.nodes[0].kernel.state.networks.keys.first)
        workload.world.nodes[0].kernel.state.networks[vni]?.forwarding = [:]
        #expect(workload.world.difference()?.contains("rows missing") == true)
        // Repaired by the comparison with the kernel once a minute.
        workload.world.run(for: .seconds(61))
        #expect(workload.world.difference() == nil)
    }

    @Test func aRowTooManyIsSeen() throws {
        let workload = try workload()
        let vni = try #require(workload.world.nodes[0].kernel.state.networks.keys.first)
        workload.world.nodes[0].kernel.state.networks[vni]?.forwarding[World.mac("nobody")] = .vtep(World.address(2))
        #expect(workload.world.difference()?.contains("too many") == true)
    }

    @Test func anAddressGivenTwiceIsSeen() throws {
        let workload = try workload()
        workload.endpoints.append(try #require(workload.endpoints.first))
        workload.settle()
        #expect(workload.world.violations.contains { $0.hasPrefix("U") })
    }

    @Test func aFalseDeclarationIsSeen() throws {
        let workload = try workload()
        workload.world.run(for: .seconds(20))
        // Two healthy nodes that do not hear one another, without the world being told.
        for other in [1, 2] {
            workload.world.network.datagramCuts.formUnion([.init(0, other), .init(other, 0)])
            workload.world.network.streamCuts.formUnion([.init(0, other), .init(other, 0)])
        }
        workload.world.run(for: .seconds(10))
        #expect(workload.world.violations.contains { $0.hasPrefix("F") })
    }

    /// A crash loses writes under way, or they are on the disk already.
    @Test func whatIsNotSyncedIsLost() throws {
        var kept = 0
        for draws in 0..<12 {
            let workload = try workload()
            let network = try #require(workload.networks[1]["net"])
            workload.world.storeTime = .seconds(1)
            workload.uncertain.insert(World.endpointID("late"))
            workload.world.beginAttach(1, "late", to: network) { _ in }
            workload.world.run(for: .milliseconds(10))
            let rows = workload.world.nodes[1].rows
            for _ in 0..<draws { _ = workload.world.random.next() }
            workload.world.crash(1)
            kept += workload.world.nodes[1].rows == rows ? 0 : 1
            try workload.world.restart(1)
            workload.world.storeTime = .microseconds(100)
            workload.settle()
            #expect(workload.world.violations == [])
        }
        #expect((1...11).contains(kept))
    }

    @Test func aLostEndpointIsSeen() throws {
        let workload = try workload()
        let lost = try #require(workload.endpoints.first)
        workload.world.detach(lost.host, lost.attached)
        workload.settle()
        #expect(workload.world.violations.contains { $0.hasPrefix("C") && $0.contains("has lost endpoint") })
    }

    @Test func anEndpointTooManyIsSeen() throws {
        let workload = try workload()
        workload.endpoints.removeFirst()
        workload.settle()
        #expect(workload.world.violations.contains { $0.hasPrefix("C") && $0.contains("which no engine has") })
    }
}

@Suite struct MeasurementTests {
    /// With little effort, so that the table works when it is needed.
    @Test func visibility() throws {
        var quiet = try Visibility(nodes: 5, seed: 1)
        var samples = try quiet.measure(10, on: [0, 1, 2, 3, 4])
        #expect(samples.percentile(1) <= .milliseconds(2))
        quiet.workload.world.network.loss = 0.2
        var lossy = try quiet.measure(10, on: [0, 1, 2, 3, 4])
        #expect(lossy.percentile(1) <= .milliseconds(400))
    }

    @Test func detection() throws {
        var samples = try Detection.crash(nodes: 3, seeds: 1..<6)
        #expect(samples.count == 5 && samples.percentile(1) <= .milliseconds(2500))
        #expect(try Detection.loss(nodes: 5, share: 0.4, length: .seconds(30), seed: 1) == 0)
        #expect(try Detection.stalls(nodes: 8, stalled: 2, length: .seconds(60), seed: 1) == 0)
        let heal = try Detection.heal(nodes: 4, left: 1, after: .seconds(20), seed: 1)
        #expect(heal.members <= .seconds(2) && heal.tables <= .milliseconds(2500))
        let (time, _) = try Detection.bootstrap(nodes: 12, seed: 1)
        #expect(time <= .seconds(1))
        let (mean, _) = try Detection.idle(nodes: 4, endpoints: 8, seed: 1)
        #expect(mean > 50 && mean <= 600)
    }

    @Test func percentiles() {
        var samples = Samples()
        for value in (1...100).reversed() { samples.add(.milliseconds(Int64(value))) }
        #expect(samples.percentile(0.5) == .milliseconds(50))
        #expect(samples.percentile(0.99) == .milliseconds(99))
        #expect(samples.percentile(1) == .milliseconds(100))
        #expect(samples.percentile(0) == .milliseconds(1))
    }

    @Test func eventsComeInOrder() {
        var queue = EventQueue<Int>()
        var random = SeededGenerator(seed: 3)
        for value in 0..<1000 { queue.insert(value, at: Instant(nanoseconds: Int64(random.below(50)))) }
        var last: (Int64, Int) = (-1, -1)
        for _ in 0..<1000 {
            let at = queue.first?.nanoseconds ?? -2
            guard let value = queue.removeFirst() else {
                Issue.record("too few")
                return
            }
            #expect((at, value) > last || at > last.0)
            last = (at, value)
        }
        #expect(queue.removeFirst() == nil)
    }
}
