/// Number of an effect whose end the node waits for. Later effects have greater numbers.
public struct EffectID: Hashable, Comparable, Sendable {
    /// Number, from 1 on.
    public let value: UInt64
    public static func < (lhs: EffectID, rhs: EffectID) -> Bool { lhs.value < rhs.value }
}
