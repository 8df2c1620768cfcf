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

    /// What a rule is for goes wrong without it, and soon. Rules whose lack shows more rarely are missed by `contrib/simulate`.
    @Test(arguments: [.durableAnswers, .rebinding, .fencing, .appliedBlocks] as [OwnershipPlay.Rule])
    func anAbsentRuleIsMissed(rule: OwnershipPlay.Rule) throws {
        let seed = try #require(Self.firstMissing(rule), "no play of 40 breaks anything without \(rule.rawValue)")
        #expect(OwnershipPlay().run(seed: seed).violations == [])
    }

    private static func firstMissing(_ rule: OwnershipPlay.Rule) -> UInt64? {
        let play = OwnershipPlay(without: rule)
        return (1...40 as ClosedRange<UInt64>).first { play.run(seed: $0).violations.first?.hasPrefix("U") == true }
    }

    @Test func aViolationIsShrunk() throws {
        let play = OwnershipPlay(without: .appliedBlocks)
        let seed = try #require(Self.firstMissing(.appliedBlocks))
        let kept = play.shrink(seed: seed, runs: 60)
        #expect(kept.count < 250)
        #expect(play.run(seed: seed, keeping: kept).violations.first?.hasPrefix("U") == true)
    }
}
