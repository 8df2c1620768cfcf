/// Rules that keep an address from being given twice. All of them always hold. A simulation leaves one out to show that it is needed, and
/// that its absence is noticed.
package struct SafetyRules: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// R1: an answer is sent after everything it says is on the disk.
    package static let durableAnswers = SafetyRules(rawValue: 1 << 1)
    /// R2: a node gives addresses up durably before it proposes to hand them over.
    package static let durableHandovers = SafetyRules(rawValue: 1 << 2)
    /// R3: proposals from an earlier life of a node are refused.
    package static let epochs = SafetyRules(rawValue: 1 << 3)
    /// R4: a node that lost its state hands out no address before it is known which ones it had handed out.
    package static let rollbackDetection = SafetyRules(rawValue: 1 << 4)
    /// R5: a removed node forgets its containers, and the others forget the node.
    package static let fencing = SafetyRules(rawValue: 1 << 5)
    /// R7: addresses are handed out only from blocks that the applied catalogue assigns to this node.
    package static let appliedBlocks = SafetyRules(rawValue: 1 << 7)

    package static let all: SafetyRules = [
        .durableAnswers, .durableHandovers, .epochs, .rollbackDetection, .fencing, .appliedBlocks,
    ]
}
