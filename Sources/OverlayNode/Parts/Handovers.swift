import OverlayModel

/// Addresses that this host gives up (rule R2): they leave the free ones here first, durably; then that is proposed; and they come
/// back only when the catalogue has refused it.
struct Handovers: Sendable {
    /// Ranges that are given up for one host that waits for addresses.
    static let perPressure = 64

    private var recipients: [Handover: Handover.Recipient] = [:]
    /// Writes that are not durable yet.
    private var storing: [EffectID: Handover] = [:]

    init() {}

    /// - Parameter isUsed: True for addresses that a container has: both rows are there where a disk refused to delete one.
    init(rows: StoredRows, isUsed: (Handover) -> Bool) throws(DecodeError) {
        for bytes in (rows[.handover] ?? [:]).values {
            let handover = try Handover(wire: bytes)
            if !isUsed(handover) { recipients[handover] = .anybody }
        }
    }

    var isEmpty: Bool { recipients.isEmpty }
    var all: [Handover] { Array(recipients.keys) }

    func contains(_ handover: Handover) -> Bool { recipients[handover] != nil }
    func contains(subnet: SubnetID) -> Bool { recipients.keys.contains { $0.subnet == subnet } }
    func ranges(of subnet: SubnetID) -> [AddressRange] { recipients.keys.lazy.filter { $0.subnet == subnet }.map(\.range) }
    func recipient(of handover: Handover) -> Handover.Recipient? { recipients[handover] }

    /// Begins a handover.
    ///
    /// - Returns: The write that makes it durable.
    mutating func begin(_ handover: Handover, to recipient: Handover.Recipient) -> StoreWrite {
        recipients[handover] = recipient
        return .put(.handover, key: handover.storeKey, value: handover.wireBytes)
    }

    /// The handover is proposed when this write is durable.
    mutating func wait(for effect: EffectID, _ handover: Handover) { storing[effect] = handover }

    /// The handover that waited for this write.
    mutating func stored(_ effect: EffectID) -> Handover? { storing.removeValue(forKey: effect) }

    /// Durable handovers that are not among the proposed ones, in a fixed order.
    func undecided(except proposed: Set<Handover>) -> [Handover] {
        let busy = proposed.union(storing.values)
        return recipients.keys.filter { !busy.contains($0) }.sorted { $0.storeKey.lexicographicallyPrecedes($1.storeKey) }
    }

    /// Nobody knows what became of the proposal. To give back what went to another node meanwhile changes nothing there.
    mutating func forgetRecipient(of handover: Handover) { recipients[handover] = .anybody }

    /// The addresses are others' now, or after all this host's.
    mutating func end(_ handover: Handover) -> StoreWrite {
        recipients[handover] = nil
        return .delete(.handover, key: handover.storeKey)
    }

    /// Ends all handovers of a subnet.
    mutating func end(of subnet: SubnetID) -> [StoreWrite] {
        let ended = recipients.keys.filter { $0.subnet == subnet }
        return ended.map { end($0) }
    }

    mutating func forgetAll() {
        recipients = [:]
        storing = [:]
    }
}
