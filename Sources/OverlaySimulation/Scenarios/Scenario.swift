public import OverlayModel

/// A named story that is played for a seed, and what it must keep.
public struct Scenario: Sendable {
    public let name: String
    public let summary: String
    private let body: @Sendable (UInt64) throws -> Workload

    init(_ name: String, _ summary: String, _ body: @escaping @Sendable (UInt64) throws -> Workload) {
        self.name = name
        self.summary = summary
        self.body = body
    }

    public struct Outcome: Sendable {
        public var violations: [String]
        /// What happened, line by line; whole where it was traced.
        public var trace: [String]
        /// Virtual time that passed.
        public var length: Interval
        public var effects: EffectTrace?
    }

    /// What a run does, as a hash.
    ///
    /// - Parameter keepsLines: Also line by line.
    public func trace(seed: UInt64, keepsLines: Bool = false) -> EffectTrace? {
        World.$newEffectTrace.withValue(EffectTrace(keepsLines: keepsLines)) { run(seed: seed).effects }
    }

    /// - Parameter traces: Whether to tell every message too.
    public func run(seed: UInt64, traces: Bool = false) -> Outcome {
        do {
            let workload = try World.$tracesAll.withValue(traces) { try body(seed) }
            return Outcome(
                violations: workload.world.violations, trace: workload.world.logs, length: workload.world.now - Instant(nanoseconds: 0),
                effects: workload.world.effectTrace)
        } catch {
            return Outcome(violations: ["the scenario failed: \(error)"], trace: [], length: Interval(nanoseconds: 0))
        }
    }

    public static let all: [Scenario] =
        [
            Scenario("storm", "random acts, crashes, stalls, partitions, loss and clock jumps; then all must be right in 5 s") {
                try Storm.run(.init(), seed: $0)
            },
            Scenario("calm", "random acts without faults, up to 25 nodes: moby's networkdb property") {
                try Storm.run(.init(acts: 30, nodes: 2...25, hasFaults: false), seed: $0)
            },
        ] + stories + names
}
