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
    /// Networks that this engine removed, and nobody is on, while it is not known whether they go from all engines.
    private(set) var holds: [NetworkID: Hold] = [:]

    /// Removal of a network whose closings wait: a user removed the network, or pruned it; and containers of other hosts that do not
    /// run may have it in their configuration.
    struct Hold: Sendable {
        var subnets: [SubnetID]
        /// Time at which the removal counts as a user's, unless the engine tells of a prune before; nil once it does.
        var until: Instant?
        /// Other hosts that were asked.
        var others: Set<NodeID>
        /// Hosts that have not said yet whether their containers need the network.
        var asked: Set<NodeID>
        /// Time at which hosts that have not answered count as some that need it.
        var answersUntil: Instant
        /// Hosts whose containers need the network, or may.
        var needing: Set<NodeID> = []
        /// True if the subnets may be taken back: nothing of them was being handed over.
        var isWhole: Bool
        /// True after a prune, while this engine's own containers are looked at.
        var isPruned = false

        init(subnets: [SubnetID], until: Instant?, others: Set<NodeID>, answersUntil: Instant, isWhole: Bool) {
            self.subnets = subnets
            self.until = until
            self.others = others
            asked = others
            self.answersUntil = answersUntil
            self.isWhole = isWhole
        }
    }

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
    func isHeld(_ subnet: SubnetID) -> Bool { !holds.isEmpty && holds.values.contains { $0.subnets.contains(subnet) } }

    mutating func hold(_ network: NetworkID, _ hold: Hold?) { holds[network] = hold }
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
