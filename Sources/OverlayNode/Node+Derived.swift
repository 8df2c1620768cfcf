import OverlayCatalogue
public import OverlayModel
public import OverlayReplication

/// Values that are derived from several parts.
extension Node {
    /// Version of this build, as `status` shows it.
    public static let version = "0.1.0"

    /// Reason why this build cannot be a member of its cluster any more; nil if it can.
    public var versionProblem: String? { VersionRules.obstacle(to: identity.versions, in: catalogue) }

    /// State of a peer by membership; unknown where it was not heard of since the start.
    public func state(of peer: NodeID) -> PeerState { peers.state(of: peer) }

    /// Short id of the cluster; `-` outside one.
    var clusterName: String { catalogue.cluster.map { $0.id.short } ?? "-" }

    /// VTEPs of members whose owner logs this node does not hold completely in this life, by network. Their rows are spared by
    /// repairs.
    var unsynchronisedVTEPs: [VNI: Set<IPAddress>] {
        var unknown: [VNI: Set<IPAddress>] = [:]
        for id in following.networks {
            guard let network = catalogue.networks[id] else { continue }
            for user in network.users where user != identity.id && !replication.isSynchronised(with: user, on: id) {
                if let member = catalogue.members[user] { unknown[network.vni, default: []].insert(member.vtep) }
            }
        }
        return unknown
    }

    /// Endpoints of this host that are announced to other nodes.
    public var localRecords: [LocalRecord] {
        inventory.allEndpoints.filter(\.isAnnounced).compactMap { endpoint in
            (catalogue.networks[endpoint.network]?.vni).map {
                LocalRecord(
                    vni: $0, endpoint: endpoint.id, engineNetwork: endpoint.engineNetwork, mac: endpoint.mac,
                    addresses: endpoint.addresses, names: endpoint.names.names.map { $0.lowercased() })
            }
        }
    }

    /// Claims of this host's endpoints, by network.
    public var localClaims: [(vni: VNI, claims: EndpointClaims)] {
        catalogue.networks.values.sorted { $0.id < $1.id }.flatMap { network in
            claims.own(on: network.id).map { (network.vni, $0) }
        }
    }

    /// Problem of a writer that others are ahead of.
    var behindText: String {
        "this node writes the catalogue, but others know more of it than this node, whose state is an old copy: nothing is "
            + "committed; run `swift-overlay promote` here, or stop this daemon and run it on another node"
    }

    /// True if this node is the writer and commits, as far as it knows.
    public var isCatalogueWriter: Bool { catalogueNode.isWriter && !catalogueNode.isBehind }

    /// Numbers of this node's own addresses in quarantine, by network, in words.
    var quarantineText: [String] {
        addresses.quarantined.sorted { $0.key < $1.key }.map { id, ranges in
            let count = ranges.reduce(UInt128(0)) { $0 + $1.count }
            return "\(count) of network \(catalogue.network(holding: id)?.title ?? "\(id)")"
        }
    }

    /// True while the state is known to be an old copy (rule R4).
    public var isRolledBack: Bool { life.isRolledBack }

    /// True if the applied catalogue names this node as its writer.
    var isWriter: Bool { catalogue.cluster?.writer == identity.id }
}
