import OverlayModel

/// Rate of removal notices. Both ends work for strangers, who may name any node and any source, so no bound that one of them uses up is
/// shared by all: sources are counted one by one, and nodes that are known to be removed have a share of their own.
struct RemovalNotices: Sendable {
    /// Time between two notices to one source, and between two checked notices of one signer.
    static let pause = Interval.seconds(1)
    /// Number of notices in a second: to nodes that the catalogue knows as removed, and as many to others.
    static let perSecond = 20
    /// Number of notices in a second that are checked.
    static let checksPerSecond = 100

    /// Sources and signers of the present second.
    private var sources: Set<IPAddress> = []
    private var known = 0
    private var others = 0
    private var signers: Set<NodeID> = []
    private var second: Instant?

    /// True if a notice may be sent now; counts as sent.
    ///
    /// - Parameter isKnown: True if the catalogue says that the node was removed.
    mutating func maySend(to source: IPAddress, isKnown: Bool, at now: Instant) -> Bool {
        turn(now)
        guard (isKnown ? known : others) < Self.perSecond, sources.insert(source.sourceGroup).inserted else { return false }
        if isKnown { known += 1 } else { others += 1 }
        return true
    }

    /// True if the signature of a notice may be checked now; counts as checked.
    ///
    /// - Parameter signer: Member that the notice names.
    mutating func mayCheck(of signer: NodeID, at now: Instant) -> Bool {
        turn(now)
        return signers.count < Self.checksPerSecond && signers.insert(signer).inserted
    }

    private mutating func turn(_ now: Instant) {
        guard second.map({ now - $0 >= Self.pause }) ?? true else { return }
        second = now
        sources.removeAll(keepingCapacity: true)
        signers.removeAll(keepingCapacity: true)
        (known, others) = (0, 0)
    }
}
