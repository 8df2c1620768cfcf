import OverlayModel

/// Hashes by which nodes compare what they hold. They are sums by XOR, so that a change costs the same however much there is.
enum ViewHash {
    /// Share of one log in the view of its network.
    static func position(of owner: NodeID, _ position: LogPosition) -> UInt64 {
        var hash = SplitMix()
        hash.combine(owner)
        hash.combine(position.life)
        hash.combine(position.sequence)
        return hash.value
    }

    /// Share of one network's view in the digest of all shared networks.
    static func view(_ view: UInt64, of network: NetworkID) -> UInt64 {
        var hash = SplitMix()
        hash.combine(network)
        hash.combine(view)
        return hash.value
    }
}
