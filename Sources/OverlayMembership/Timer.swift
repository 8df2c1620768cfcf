import OverlayModel

extension Membership {
    /// A timer of membership: what it is for, and for which probe or member.
    struct Timer: Hashable, Comparable, Sendable {
        /// Kinds of timers, in the order in which due ones fire.
        enum Kind: Int, CaseIterable, Sendable {
            /// The answer to a probe is late.
            case probe
            /// The next round of an inquiry.
            case inquiry
            /// The accused had time enough to refute.
            case suspicion
            /// The next probe of the round.
            case tick
            /// The next try to reach an unreachable member.
            case retry
            /// The next try of a stream that failed.
            case streamCheck
            /// Views that differ are compared.
            case states
            /// News of others is passed on.
            case relay
            /// Updates that were not acknowledged are repeated.
            case gossip
        }

        let kind: Kind
        /// Number of a probe, or bits of a member's id; 0 for kinds with one timer.
        private let subject: UInt128

        private init(_ kind: Kind, _ subject: UInt128 = 0) {
            self.kind = kind
            self.subject = subject
        }

        static func probe(_ number: UInt32) -> Timer { Timer(.probe, UInt128(number)) }
        static func inquiry(_ peer: NodeID) -> Timer { Timer(.inquiry, peer.bits) }
        static func suspicion(_ peer: NodeID) -> Timer { Timer(.suspicion, peer.bits) }
        static let tick = Timer(.tick)
        static func retry(_ peer: NodeID) -> Timer { Timer(.retry, peer.bits) }
        static func streamCheck(_ peer: NodeID) -> Timer { Timer(.streamCheck, peer.bits) }
        static let states = Timer(.states)
        static let relay = Timer(.relay)
        static let gossip = Timer(.gossip)

        /// Number of the probe.
        var number: UInt32 { UInt32(truncatingIfNeeded: subject) }
        /// The member.
        var peer: NodeID { NodeID(bits: subject) }

        static func < (lhs: Timer, rhs: Timer) -> Bool { (lhs.kind.rawValue, lhs.subject) < (rhs.kind.rawValue, rhs.subject) }
    }
}
