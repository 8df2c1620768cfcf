import OverlayCatalogue
public import OverlayModel

/// Choice of the TCP and UDP port by which nodes reach one another.
public enum NodePort {
    /// Ports on which a node may listen, the best first.
    ///
    /// A member keeps the port by which its cluster knows it: its peers, and the firewalls between the hosts, have that one. Where
    /// another program holds it, the default is what is left. A privileged port is taken from the user alone: other members have a say
    /// in the catalogue.
    ///
    /// - Parameters:
    ///   - given: Port that the user named; it is the only one then.
    ///   - node: This node.
    ///   - rows: Rows of its store.
    /// - Throws: ``DecodeError`` for rows that do not decode.
    public static func listening(given: UInt16?, node: NodeID, rows: StoredRows) throws(DecodeError) -> [UInt16] {
        if let given { return [given] }
        let catalogue = try CatalogueNode(node: node, epoch: 0, boot: 0, rows: rows).catalogue
        guard let known = catalogue.members[node]?.port, known >= Self.firstUnprivileged, known != DefaultPort.nodes else {
            return [DefaultPort.nodes]
        }
        return [known, DefaultPort.nodes]
    }

    private static let firstUnprivileged: UInt16 = 1024

    /// Ports on which a member of the cluster to join may listen, to be tried in this order.
    ///
    /// Join commands of 0.1 name no port where the member is on that version's default.
    ///
    /// - Parameter given: Port that the user named; it is the only one then.
    static func joining(given: UInt16?) -> [UInt16] { given.map { [$0] } ?? [DefaultPort.nodes, DefaultPort.nodesBefore] }
}
