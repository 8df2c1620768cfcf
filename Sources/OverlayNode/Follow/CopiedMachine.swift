import OverlayCatalogue
import OverlayModel

/// A copy of a whole machine, that runs beside it. Owns nothing.
enum CopiedMachine {
    /// Sentence about another host with this node's identity; nil where nothing speaks for one. All members send to the address at
    /// which the catalogue has this node. A copy of that host, made with its machine id, is never answered at its own one.
    static func text(_ node: Node) -> String? {
        guard let known = node.catalogue.members[node.identity.id], node.catalogue.members.count > 1,
            known.address != node.identity.address || known.port != node.identity.port,
            !node.catalogue.members.keys.contains(where: { $0 != node.identity.id && node.peers.isReached($0) })
        else { return nil }
        return
            "another host runs with the identity of this node (\(known.name), \(node.identity.id.short)): the cluster has it at "
            + "\(known.address):\(known.port), and nobody answers this host at \(node.identity.address):"
            + "\(node.identity.port); if this host is a copy of that one, stop its daemon, remove its state directory and run `swift-overlay join`; if it is that host with a new "
            + "address, it is heard when the catalogue writer is"
    }
}
