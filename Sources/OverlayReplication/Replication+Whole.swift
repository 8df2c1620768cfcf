public import OverlayModel

/// Operations on everything at once.
extension Replication {
    /// Other owners that have the network in their kernels, in order of their ids.
    public func attachments(on network: NetworkID) -> [(owner: NodeID, attachment: Attachment)] {
        (networks[network]?.order ?? []).compactMap { owner in attachment(of: owner, on: network).map { (owner, $0) } }
    }

    /// Leaves all networks.
    public mutating func leaveAll(into effects: inout [Effect]) {
        for network in networks.keys.sorted() { unsubscribe(network, into: &effects) }
    }
}
