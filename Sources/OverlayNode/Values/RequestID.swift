/// Number of a call from outside. The shell chooses it, and gets exactly one answer for it.
public struct RequestID: Hashable, Sendable {
    /// Number, unique while the daemon runs.
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}
