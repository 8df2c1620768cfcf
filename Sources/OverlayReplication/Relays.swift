import OverlayModel

/// Mixes 64-bit words into one (the finaliser of SplitMix64 after each). Not against an enemy.
struct SplitMix: Sendable {
    private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

    mutating func combine(_ word: UInt64) {
        var z = (value ^ word) &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        value = z ^ (z >> 31)
    }

    mutating func combine(_ id: some Identifier128) {
        combine(UInt64(truncatingIfNeeded: id.bits >> 64))
        combine(UInt64(truncatingIfNeeded: id.bits))
    }

    static func position(of owner: NodeID, _ position: LogPosition) -> UInt64 {
        var mix = SplitMix()
        mix.combine(owner)
        mix.combine(position.life)
        mix.combine(position.sequence)
        return mix.value
    }

    static func view(_ hash: UInt64, of network: NetworkID) -> UInt64 {
        var mix = SplitMix()
        mix.combine(network)
        mix.combine(hash)
        return mix.value
    }
}

/// How a log with many subscribers is spread: √n groups, each served by a relay. Owner and relay reckon the groups for themselves,
/// from the same subscribers.
enum Relays {
    /// ⌈√n⌉.
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

    /// The relay of each group: the node with the highest rendezvous weight that serves no earlier group.
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
