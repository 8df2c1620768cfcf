/// The rules that keep an address from being given twice (control-plane notes §3.6). All of them hold, always; a simulation leaves one out
/// to show that it is needed, and that it would be missed.
package struct SafetyRules: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// R1: what an answer tells is on the disk before it is told.
    package static let durableAnswers = SafetyRules(rawValue: 1 << 1)
    /// R2: addresses are given up here first, durably; then it is proposed.
    package static let durableHandovers = SafetyRules(rawValue: 1 << 2)
    /// R3: proposals of an earlier life of a node count for nothing.
    package static let epochs = SafetyRules(rawValue: 1 << 3)
    /// R4: a node that lost its state gives no address out before it is known what it had.
    package static let rollbackDetection = SafetyRules(rawValue: 1 << 4)
    /// R5: a node that is removed forgets its containers, and the others forget the node.
    package static let fencing = SafetyRules(rawValue: 1 << 5)
    /// R7: addresses are given out of blocks that the applied catalogue says are this node's.
    package static let appliedBlocks = SafetyRules(rawValue: 1 << 7)

    package static let all: SafetyRules = [
        .durableAnswers, .durableHandovers, .epochs, .rollbackDetection, .fencing, .appliedBlocks,
    ]
}
