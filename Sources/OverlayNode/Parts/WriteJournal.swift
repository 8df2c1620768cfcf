import OverlayModel

/// Number of every durable change of what this node handed out, and the number last announced to peers.
///
/// Peers remember the number, so a node whose state directory was restored from an old copy is found out: its number is below what
/// they heard. A change is announced when it is durable. Changes made before peers have said what they heard of this node are not
/// announced by themselves, as they would count up to what an old copy lacks; they are announced with the next change after that.
struct WriteJournal: Sendable {
    /// Number of changes so far.
    private(set) var count: UInt64
    /// The number that peers are told with probes.
    private(set) var announced: UInt64
    /// True once peers have said what they heard of this node, or there is none to say so. Until then nothing is handed out or
    /// given up.
    private(set) var isAssured = false
    /// Numbers of the transactions under way.
    private var pending: [EffectID: UInt64] = [:]
    /// True while the store holds ``announced`` in a row of its own.
    private var storesAnnounced: Bool

    init(count: UInt64, announced: UInt64?) {
        self.count = count
        self.announced = announced ?? count
        storesAnnounced = self.announced != count
    }

    /// True if there are changes that no later transaction has announced yet.
    var hasUnannounced: Bool { count > announced }

    mutating func assure() { isAssured = true }

    /// Takes over a greater number that peers have seen.
    mutating func raise(to seen: UInt64) { count = max(count, seen) }

    /// Adds the rows of the journal to a transaction.
    mutating func number(_ rows: [StoreWrite], of id: EffectID) -> [StoreWrite] {
        guard rows.contains(where: { $0.space != .catalogueEntry && $0.space != .catalogueSnapshot }) else { return rows }
        count = min(count + 1, Limits.counter - 1)
        var rows = rows + [.put(.node, key: NodeRow.writes, value: count.wireBytes)]
        if isAssured {
            pending[id] = count
            if storesAnnounced { rows.append(.delete(.node, key: NodeRow.announcedWrites)) }
        } else {
            storesAnnounced = true
            rows.append(.put(.node, key: NodeRow.announcedWrites, value: announced.wireBytes))
        }
        return rows
    }

    /// Takes note of the end of a transaction.
    mutating func ended(_ id: EffectID, isStored: Bool) {
        guard let number = pending.removeValue(forKey: id), isStored else { return }
        announced = max(announced, number)
        storesAnnounced = false
    }
}
