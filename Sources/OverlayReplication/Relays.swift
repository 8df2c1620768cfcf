import OverlayModel

/// Distribution of a log with many subscribers: √n groups, each served by a relay. Owner and relays compute the groups on their own
/// from the same subscribers.
enum Relays {
    /// Number of groups: ⌈√n⌉.
    static func groups(of subscribers: Int) -> Int {
        var root = 0
        while root * root < subscribers { root += 1 }
        return root
    }

    static func group(of target: NodeID, _ log: LogKey, of groups: Int) -> Int {
        var mix = SplitMix()
        mix.combine(target)
        mix.combine(log.owner)
        mix.combine(log.network)
        return Int(truncatingIfNeeded: mix.value % UInt64(max(1, groups)))
    }

    /// Relay of each group: the node with the highest rendezvous weight that serves no earlier group.
    static func plan(_ log: LogKey, subscribers: [NodeID], groups: Int) -> [NodeID] {
        var taken: Set<NodeID> = []
        return (0..<groups).compactMap { group in
            let free = subscribers.lazy.filter { !taken.contains($0) }
            guard let relay = free.max(by: { (weight($0, group, log), $0) < (weight($1, group, log), $1) }) else { return nil }
            taken.insert(relay)
            return relay
        }
    }

    private static func weight(_ node: NodeID, _ group: Int, _ log: LogKey) -> UInt64 {
        var mix = SplitMix()
        mix.combine(node)
        mix.combine(UInt64(group))
        mix.combine(log.owner)
        mix.combine(log.network)
        return mix.value
    }
}
