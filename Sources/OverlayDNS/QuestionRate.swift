import OverlayModel

/// Token bucket that bounds the questions of one sandbox. A second's worth may come at once.
struct QuestionRate: Sendable {
    /// Questions per second; 0 is no bound.
    private let limit: Double
    private var allowance: Double
    private var counted: Instant

    init(perSecond: Int, at now: Instant) {
        limit = Double(max(0, perSecond))
        allowance = limit
        counted = now
    }

    /// Takes one question from the allowance; false if none is left.
    mutating func admit(at now: Instant) -> Bool {
        guard limit > 0 else { return true }
        allowance = min(limit, allowance + Double((now - counted).nanoseconds) * limit / 1e9)
        counted = now
        guard allowance >= 1 else { return false }
        allowance -= 1
        return true
    }
}
