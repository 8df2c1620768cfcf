import OverlayCatalogue

/// Rank of a network among those of a container, as libnetwork's `Endpoint.Less` has it for Docker's own bridges. The least comes first.
///
/// Ours have no gateway in the container, and are ranked as if they had: by the families of their subnets.
struct NetworkRank: Comparable, Sendable {
    var name: String
    /// Priority that the user gave (`gw_priority`); the greatest comes first.
    var priority: Int
    var isInternal: Bool
    /// Number of families, 0 to 2; one with gateways of both comes first.
    var families: Int

    init(name: String, priority: Int, isInternal: Bool, families: Int) {
        self.name = name
        self.priority = priority
        self.isInternal = isInternal
        self.families = families
    }

    /// - Parameter network: nil for a network that the catalogue does not have any more.
    init(_ network: Network?, name: String, priority: Int = 0) {
        self.init(
            name: name, priority: priority, isInternal: network?.settings?.isInternal ?? false,
            families: Set((network?.subnets ?? []).map(\.prefix.family)).count)
    }

    static func < (one: NetworkRank, other: NetworkRank) -> Bool {
        (-one.priority, one.isInternal ? 1 : 0, -one.families, one.name)
            < (-other.priority, other.isInternal ? 1 : 0, -other.families, other.name)
    }
}
