import OverlayModel

/// Subnets that this host gives up: first here, durably, then in the catalogue, however long that takes (rule R2).
struct Closings: Sendable {
    /// Pause before subnets are proposed again.
    static let retry = Interval.seconds(5)

    /// Subnets given up here that the catalogue does not know of yet.
    private var subnets: Set<SubnetID> = []
    /// Those whose network a user removed, and nobody was on it.
    private var removals: Set<SubnetID> = []
    /// Those that an earlier life of this node gave up.
    private var inherited: Set<SubnetID> = []
    /// Writes that are not durable yet.
    private var storing: Set<EffectID> = []

    init() {}

    init(rows: StoredRows) throws(DecodeError) {
        for (key, value) in rows[.closing] ?? [:] {
            let subnet = try SubnetID(wire: key)
            subnets.insert(subnet)
            if !value.isEmpty { removals.insert(subnet) }
        }
        inherited = subnets
    }

    var isEmpty: Bool { subnets.isEmpty }
    var isStored: Bool { storing.isEmpty }
    var all: Set<SubnetID> { subnets }

    func contains(_ subnet: SubnetID) -> Bool { subnets.contains(subnet) }
    func isRemoval(_ subnet: SubnetID) -> Bool { removals.contains(subnet) }

    mutating func begin(_ subnet: SubnetID, isRemoval: Bool) -> StoreWrite {
        subnets.insert(subnet)
        if isRemoval { removals.insert(subnet) }
        return .put(.closing, key: subnet.wireBytes, value: isRemoval ? [1] : [])
    }

    /// Nothing is proposed before this write is durable.
    mutating func wait(for effect: EffectID) { storing.insert(effect) }

    /// - Returns: True if subnets waited for this write.
    mutating func stored(_ effect: EffectID) -> Bool { storing.remove(effect) != nil }

    /// Ends a closing that the catalogue has decided.
    mutating func end(_ subnet: SubnetID) -> StoreWrite {
        subnets.remove(subnet)
        removals.remove(subnet)
        inherited.remove(subnet)
        return .delete(.closing, key: subnet.wireBytes)
    }

    /// Makes removals mere closings.
    ///
    /// - Returns: The rows that change.
    mutating func keep(_ subnets: some Sequence<SubnetID>) -> [StoreWrite] {
        subnets.filter { removals.remove($0) != nil }.map { .put(.closing, key: $0.wireBytes, value: []) }
    }

    /// Ends the closings of an earlier life, after a rollback: they may be over, and the subnets in use again since.
    mutating func endInherited() -> [StoreWrite] { inherited.sorted().map { end($0) } }
}
