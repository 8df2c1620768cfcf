import OverlayModel

/// Plays of ownership by seed.
public struct OwnershipWorkload: Sendable {
    /// A rule that can be left out (control-plane notes §3.6).
    public enum Rule: String, CaseIterable, Sendable {
        case durableAnswers = "R1"
        case durableHandovers = "R2"
        case epochs = "R3"
        case rollbackDetection = "R4"
        case fencing = "R5"
        case appliedBlocks = "R7"

        public var summary: String {
            switch self {
            case .durableAnswers: "what is answered is on the disk"
            case .durableHandovers: "given up here, durably, before it is proposed"
            case .epochs: "proposals of an earlier life count for nothing"
            case .rollbackDetection: "no address is handed out of a state of old"
            case .fencing: "a removed node forgets, and is forgotten"
            case .appliedBlocks: "given out of what the catalogue says, applied"
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
        /// The first that were broken; the play ends there.
        public var violations: [String]
        /// Steps that were made.
        public var steps: Int
        /// Addresses that containers were given.
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
    ///   - kept: Of the seed's steps these alone; nil for all.
    ///   - tells: Whether to note every step and answer.
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
            outcome.violations.append("the play failed: \(error)")
        }
        return outcome
    }

    // MARK: Shrinking

    /// The fewest steps of a seed that still break the same invariant, as far as leaving steps out finds them.
    ///
    /// - Parameter runs: The most that it may cost.
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
        // Nothing after it matters.
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
