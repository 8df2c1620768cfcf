import OverlayModel

/// Ownership runs by seed.
public struct OwnershipWorkload: Sendable {
    /// Safety rule that can be left out, to show what it is for (see Rules).
    public enum Rule: String, CaseIterable, Sendable {
        case durableAnswers = "R1"
        case durableHandovers = "R2"
        case epochs = "R3"
        case rollbackDetection = "R4"
        case fencing = "R5"
        case appliedBlocks = "R7"

        public var summary: String {
            switch self {
            case .durableAnswers: "an answer is on the disk before it is sent"
            case .durableHandovers: "a handover is durable before it is proposed"
            case .epochs: "proposals of an earlier epoch are void"
            case .rollbackDetection: "an old state hands out no address"
            case .fencing: "a removed node forgets, and is forgotten"
            case .appliedBlocks: "addresses come from applied blocks only"
            }
        }

        var safety: SafetyRules {
            switch self {
            case .durableAnswers: .durableAnswers
            case .durableHandovers: .durableHandovers
            case .epochs: .epochs
            case .rollbackDetection: .rollbackDetection
            case .fencing: .fencing
            case .appliedBlocks: .appliedBlocks
            }
        }
    }

    public struct Outcome: Sendable {
        public var seed: UInt64
        /// First broken invariants. The run ends with them.
        public var violations: [String]
        /// Number of steps that were made.
        public var steps: Int
        /// Number of addresses that containers were given.
        public var addresses: Int
        public var trace: [String]
    }

    public var steps: Int
    public var missing: Rule?

    public init(steps: Int = 500, without missing: Rule? = nil) {
        self.steps = steps
        self.missing = missing
    }

    /// - Parameters:
    ///   - kept: Indices of the steps to keep; nil for all.
    ///   - tells: True to log every step and answer.
    public func run(seed: UInt64, keeping kept: [Int]? = nil, tells: Bool = false) -> Outcome {
        run(OwnershipPlan(seed: seed, count: steps, keeping: kept), tells: tells)
    }

    private func run(_ plan: OwnershipPlan, tells: Bool = false) -> Outcome {
        var outcome = Outcome(seed: plan.seed, violations: [], steps: 0, addresses: 0, trace: [])
        do {
            let rules = SafetyRules.all.subtracting(missing?.safety ?? [])
            let ownership = try Ownership(nodes: plan.nodes, seed: plan.seed, rules: rules, tells: tells)
            for step in plan.steps where ownership.world.violations.isEmpty {
                try ownership.perform(step)
                outcome.steps += 1
            }
            outcome.violations = ownership.world.violations
            outcome.addresses = ownership.given
            outcome.trace = tells ? ownership.world.logs : []
        } catch {
            outcome.violations.append("the run failed: \(error)")
        }
        return outcome
    }

    // MARK: Shrinking

    /// Smallest set of steps of a seed that still breaks the same invariant, as far as leaving steps out finds it.
    ///
    /// - Parameter runs: Largest number of runs to try.
    public func shrink(seed: UInt64, runs: Int = 3000) -> [Int] {
        let plan = OwnershipPlan(seed: seed, count: steps)
        let first = run(plan)
        guard let letter = first.violations.first?.first else { return Array(0..<steps) }
        var left = runs
        func breaks(_ kept: [Int]) -> Bool {
            left -= 1
            var part = plan
            part.steps = kept.map { plan.steps[$0] }
            return run(part).violations.first?.first == letter
        }
        // Steps after the violation do not matter.
        var kept = Array(0..<first.steps)
        var size = max(kept.count / 2, 1)
        while left > 0 {
            var start = 0
            var hasShrunk = false
            while start < kept.count, left > 0 {
                let fewer = Array(kept[..<start] + kept[min(start + size, kept.count)...])
                if breaks(fewer) {
                    kept = fewer
                    hasShrunk = true
                } else {
                    start += size
                }
            }
            if size > 1 { size /= 2 } else if !hasShrunk { break }
        }
        return kept
    }
}
