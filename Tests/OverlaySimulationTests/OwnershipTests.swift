import OverlayModel
import Testing

@testable import OverlaySimulation

/// A few ownership workloads. `contrib/simulate` makes millions of steps in a release build.
@Suite struct OwnershipTests {
    @Test func noAddressIsGivenTwice() {
        let workload = OwnershipWorkload(steps: 200)
        for seed in 1...24 as ClosedRange<UInt64> {
            #expect(workload.run(seed: seed).violations == [], "again: swift-overlay-sim ownership --seed \(seed) --steps 200")
        }
    }

    @Test func containersAreGivenAddresses() {
        let outcomes = (1...6 as ClosedRange<UInt64>).map { OwnershipWorkload(steps: 200).run(seed: $0) }
        #expect(outcomes.allSatisfy { $0.steps == 200 })
        #expect(outcomes.reduce(0) { $0 + $1.addresses } > 50)
    }

    /// The same seed is the same workload, with all its steps or some.
    @Test func isDeterministic() {
        let workload = OwnershipWorkload(steps: 120)
        let kept = Array(stride(from: 0, to: 120, by: 3))
        #expect(workload.run(seed: 5, tells: true).trace == workload.run(seed: 5, tells: true).trace)
        #expect(workload.run(seed: 5, keeping: kept, tells: true).trace == workload.run(seed: 5, keeping: kept, tells: true).trace)
        #expect(workload.run(seed: 5, keeping: kept).steps == kept.count)
    }

    /// Each rule is needed: without it an invariant soon breaks. Rules whose lack shows more rarely are covered by
    /// `contrib/simulate`.
    @Test(arguments: [.durableAnswers, .rollbackDetection, .fencing, .appliedBlocks] as [OwnershipWorkload.Rule])
    func anAbsentRuleIsMissed(rule: OwnershipWorkload.Rule) throws {
        let seed = try #require(Self.firstMissing(rule), "no workload of 40 breaks anything without \(rule.rawValue)")
        #expect(OwnershipWorkload().run(seed: seed).violations == [])
    }

    private static func firstMissing(_ rule: OwnershipWorkload.Rule) -> UInt64? {
        let workload = OwnershipWorkload(without: rule)
        return (1...40 as ClosedRange<UInt64>).first { workload.run(seed: $0).violations.first?.hasPrefix("U") == true }
    }

    @Test func aViolationIsShrunk() throws {
        let workload = OwnershipWorkload(without: .appliedBlocks)
        let seed = try #require(Self.firstMissing(.appliedBlocks))
        let kept = workload.shrink(seed: seed, runs: 60)
        #expect(kept.count < 250)
        #expect(workload.run(seed: seed, keeping: kept).violations.first?.hasPrefix("U") == true)
    }
}
