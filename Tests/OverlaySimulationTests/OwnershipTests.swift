import OverlayModel
import Testing

@testable import OverlaySimulation

/// A few plays of ownership. `contrib/simulate` makes millions of steps in a release build.
@Suite struct OwnershipTests {
    @Test func noAddressIsGivenTwice() {
        let play = OwnershipPlay(steps: 200)
        for seed in 1...24 as ClosedRange<UInt64> {
            #expect(play.run(seed: seed).violations == [], "again: swift-overlay-sim ownership --seed \(seed) --steps 200")
        }
    }

    @Test func containersAreGivenAddresses() {
        let outcomes = (1...6 as ClosedRange<UInt64>).map { OwnershipPlay(steps: 200).run(seed: $0) }
        #expect(outcomes.allSatisfy { $0.steps == 200 })
        #expect(outcomes.reduce(0) { $0 + $1.addresses } > 50)
    }

    /// The same seed is the same play, with all its steps or some.
    @Test func isDeterministic() {
        let play = OwnershipPlay(steps: 120)
        let kept = Array(stride(from: 0, to: 120, by: 3))
        #expect(play.run(seed: 5, tells: true).trace == play.run(seed: 5, tells: true).trace)
        #expect(play.run(seed: 5, keeping: kept, tells: true).trace == play.run(seed: 5, keeping: kept, tells: true).trace)
        #expect(play.run(seed: 5, keeping: kept).steps == kept.count)
    }

    /// Every rule is needed, and its absence is seen: a seed for each, of 500 steps.
    @Test(
        arguments: [
            (.durableAnswers, 5), (.durableCessions, 7), (.epochs, 18), (.fencing, 1), (.appliedBlocks, 2),
        ] as [(OwnershipPlay.Rule, UInt64)])
    func anAbsentRuleIsMissed(rule: OwnershipPlay.Rule, seed: UInt64) {
        let play = OwnershipPlay(without: rule)
        let outcome = play.run(seed: seed)
        #expect(outcome.violations.first?.hasPrefix("U") == true)
        #expect(OwnershipPlay().run(seed: seed).violations == [])
    }

    @Test func aViolationIsShrunk() throws {
        let play = OwnershipPlay(without: .fencing)
        let seed = 1 as UInt64
        let kept = play.shrink(seed: seed, runs: 60)
        #expect(kept.count < 250)
        #expect(play.run(seed: seed, keeping: kept).violations.first?.hasPrefix("U") == true)
    }
}
