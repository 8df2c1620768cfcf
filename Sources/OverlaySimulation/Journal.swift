import OverlayModel

/// Lines about what happened in a world, and the invariants that it broke.
struct Journal {
    private(set) var lines: [String] = []
    private(set) var violations: [String] = []
    /// True if all lines are kept; else the last 5,000 to 10,000 are.
    var isWhole: Bool

    init(isWhole: Bool) { self.isWhole = isWhole }

    mutating func add(_ line: String, at now: Instant) {
        if !isWhole, lines.count >= 10_000 { lines.removeFirst(5000) }
        lines.append("\(now.nanoseconds / 1_000_000).\(String(now.nanoseconds / 1000 % 1000 + 1000).dropFirst()) ms \(line)")
    }

    mutating func add(violation: String) { violations.append(violation) }
}
