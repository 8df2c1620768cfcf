public import OverlayModel

/// A named scenario, which runs for a seed, and the invariants that it must keep.
public struct Scenario: Sendable {
    public let name: String
    public let summary: String
    private let body: @Sendable (UInt64) throws -> Workload
    /// Visits places of a seed; nil for scenarios that have none.
    private let visitor: (@Sendable (UInt64, Set<String>) throws -> Workload)?

    init(
        _ name: String, _ summary: String, visiting visitor: (@Sendable (UInt64, Set<String>) throws -> Workload)? = nil,
        _ body: @escaping @Sendable (UInt64) throws -> Workload
    ) {
        self.name = name
        self.summary = summary
        self.visitor = visitor
        self.body = body
    }

    /// True if the scenario has places that all have to be visited (``Coverage``), if not by one seed, then by many.
    public var hasPlaces: Bool { visitor != nil }

    public struct Outcome: Sendable {
        public var violations: [String]
        /// Log lines; all of them if the run was traced.
        public var trace: [String]
        /// Virtual time that passed.
        public var length: Interval
        public var effects: EffectTrace?
        /// Places that the run had to visit.
        public var coverage = Coverage()
    }

    /// Hash of the effects of a run.
    ///
    /// - Parameter keepsLines: True to keep a line for each event.
    public func trace(seed: UInt64, keepsLines: Bool = false) -> EffectTrace? {
        World.$newEffectTrace.withValue(EffectTrace(keepsLines: keepsLines)) { run(seed: seed).effects }
    }

    /// - Parameter traces: True to log every message too.
    public func run(seed: UInt64, traces: Bool = false) -> Outcome { outcome(traces) { try body(seed) } }

    /// Visits these places of a seed, and nothing else.
    public func visit(seed: UInt64, _ places: Set<String>, traces: Bool = false) -> Outcome {
        outcome(traces) { try visitor?(seed, places) ?? body(seed) }
    }

    private func outcome(_ traces: Bool, _ body: () throws -> Workload) -> Outcome {
        do {
            let workload = try World.$tracesAll.withValue(traces) { try body() }
            return Outcome(
                violations: workload.world.violations, trace: workload.world.logs,
                length: workload.world.now - Instant(nanoseconds: 0),
                effects: workload.world.effectTrace, coverage: workload.coverage)
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
            Scenario("drift", "everything of networks in the kernels is deleted and altered; each time all is right within 5 s") {
                try DriftScenario.run(seed: $0)
            },
        ] + scenarios + names + claims + upgrades + hosts + interruptions
}
