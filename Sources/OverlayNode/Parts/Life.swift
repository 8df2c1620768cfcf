import OverlayModel

/// Identity lives of this node, and the detection of a state that is an old copy: its directory was restored from a backup, or its
/// machine from a snapshot (rule R4).
///
/// Such a node does not know what it has handed out since, so it hands out nothing until the catalogue has given it a new epoch.
struct Life: Sendable {
    /// Greatest differences to this node's own numbers that are believed. A member that tells more has made it up.
    static let plausibleBoots: UInt32 = 1 << 16
    static let plausibleEpochs: UInt32 = 1 << 8
    static let plausibleWrites: UInt64 = 1 << 40
    /// The greatest boot counter that the daemon starts with.
    static let lastBoot: UInt32 = 0xFF_FFFE
    /// Pause before a new epoch is proposed again.
    static let retry = Interval.seconds(1)
    static let interrupted = "it was found so before the last start"

    /// Epoch that the catalogue has given this node.
    private(set) var epoch: UInt32
    /// Epoch in which membership and replication speak: above ``epoch`` while the catalogue has not given the next one yet.
    private(set) var spokenEpoch: UInt32
    /// Boot counter: above the identity's where peers have seen a later life of this node.
    private(set) var boot: UInt32
    /// Set while the state is known to be an old copy.
    private(set) var rollback: Rollback?

    /// Way of a rolled-back node to a new epoch.
    struct Rollback: Sendable {
        /// The epoch and the boot counter to come.
        var epoch: UInt32
        var boot: UInt32 = 0
        var why: String
        var since: Instant?
        /// True once both are durable, and that the state is old.
        var isStored = false
        var storing: EffectID?
        var isAdmitted = false
        /// The write that ends it.
        var finishing: EffectID?
    }

    /// Meaning of the end of a write for a rollback.
    enum StoreEnd {
        case other
        /// The new life is durable.
        case begun
        /// The rollback is over, durably.
        case finished
        case failed
    }

    init(epoch: UInt32, boot: UInt32, isRolledBack: Bool) {
        self.epoch = epoch
        self.boot = boot
        spokenEpoch = epoch
        if isRolledBack { rollback = Rollback(epoch: epoch, why: Self.interrupted) }
    }

    var isRolledBack: Bool { rollback != nil }
    /// The life in which this node speaks.
    var spoken: Incarnation { Incarnation(epoch: spokenEpoch, boot: boot) }

    // MARK: Joining

    /// A join begins a new epoch. It is durable before anybody hears of it.
    mutating func beginEpoch() { epoch += 1 }

    /// This node is a member in its present epoch.
    mutating func joined() { spokenEpoch = epoch }

    var row: StoreWrite { .put(.node, key: NodeRow.epoch, value: epoch.wireBytes) }

    // MARK: Rollback

    /// True if the catalogue knows a later life than this node.
    func isBehind(_ known: UInt32) -> Bool { rollback.map { !$0.isAdmitted && known >= $0.epoch } ?? (known > epoch) }

    /// Somebody has seen more of this node than it knows.
    ///
    /// - Parameters:
    ///   - seen: What was seen.
    ///   - admitted: This node's epoch by the catalogue.
    ///   - sessionBoot: Boot counter of the node's proposals that the catalogue has, where it did not make them.
    /// - Returns: False where that is not plausible, or covered already.
    mutating func rollBack(
        _ why: String, seen: StateMark, admitted: UInt32, sessionBoot: UInt32, writes: UInt64, now: Instant
    ) -> Bool {
        guard seen.boot <= boot + Self.plausibleBoots, seen.epoch <= max(epoch, admitted) + Self.plausibleEpochs,
            seen.writes <= writes + Self.plausibleWrites
        else { return false }
        let seenBoot = max(boot, seen.boot, sessionBoot)
        let seenEpoch = max(epoch, admitted, seen.epoch)
        if let rollback {
            let isCovered = seenBoot < rollback.boot && seenEpoch < rollback.epoch && seen.writes <= writes
            // Peers may repeat it often, so the new life is raised at most once per pause.
            guard !isCovered, rollback.since.map({ now - $0 >= Self.retry }) ?? true else { return false }
        }
        rollback = Rollback(epoch: seenEpoch + 1, boot: min(seenBoot, Self.lastBoot - 1) + 1, why: why, since: now)
        return true
    }

    /// Raises the life to come above what the catalogue has by now.
    mutating func raise(above known: UInt32, now: Instant) {
        guard let old = rollback else { return }
        rollback?.epoch = max(old.epoch, known + 1)
        rollback?.boot = max(old.boot, min(boot, Self.lastBoot - 1) + 1)
        rollback?.since = now
    }

    /// Makes the life to come durable, first of all: whatever happens, no life below it begins any more.
    mutating func store(into outbox: inout Outbox) {
        guard let new = rollback else { return }
        rollback?.isStored = false
        rollback?.storing = outbox.store([
            .put(.node, key: NodeRow.epoch, value: new.epoch.wireBytes),
            .put(.node, key: NodeRow.boot, value: new.boot.wireBytes),
            .put(.node, key: NodeRow.rollback, value: []),
        ])
    }

    mutating func stored(_ effect: EffectID, isStored: Bool, into outbox: inout Outbox) -> StoreEnd {
        guard let new = rollback else { return .other }
        if new.storing == effect {
            rollback?.storing = nil
            guard isStored else {
                retry(into: &outbox)
                return .failed
            }
            rollback?.isStored = true
            boot = max(boot, new.boot)
            // Peers would not listen to a lower one.
            spokenEpoch = max(spokenEpoch, new.epoch)
            outbox.append(.raiseBoot(boot))
            return .begun
        }
        guard new.finishing == effect else { return .other }
        rollback?.finishing = nil
        guard isStored else {
            retry(into: &outbox)
            return .failed
        }
        return .finished
    }

    func retry(into outbox: inout Outbox) { outbox.timers[.newEpoch] = outbox.now + Self.retry }

    mutating func admitted() { rollback?.isAdmitted = true }
    mutating func finish(with effect: EffectID) { rollback?.finishing = effect }

    /// The node goes on in the new epoch.
    mutating func end(into outbox: inout Outbox) {
        guard let new = rollback else { return }
        rollback = nil
        outbox.timers.clear(.newEpoch)
        epoch = new.epoch
    }

    /// The node left its cluster, and with it whatever happened there.
    mutating func forgetRollback(into outbox: inout Outbox) {
        rollback = nil
        outbox.timers.clear(.newEpoch)
    }
}
