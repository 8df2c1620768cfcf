public import OverlayModel

/// Reading and leaving everything at once.
extension Replication {
    /// The other owners that have the network in their kernels, in order.
    public func attachments(on network: NetworkID) -> [(owner: NodeID, attachment: Attachment)] {
        (networks[network]?.order ?? []).compactMap { owner in attachment(of: owner, on: network).map { (owner, $0) } }
    }

    /// This node has no part in any network any more.
    public mutating func leaveAll(into effects: inout [Effect]) {
        for network in networks.keys.sorted() { unsubscribe(network, into: &effects) }
    }
}
