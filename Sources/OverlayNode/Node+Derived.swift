import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
public import OverlayModel
import OverlayReplication

/// What follows from the parts.
extension Node {
    /// Version of this build; told by `status`.
    public static let version = "0.1.0"

    /// An endpoint of this host that others are told of.
    public struct LocalRecord: Hashable, Sendable {
        public var vni: VNI
        public var endpoint: EndpointID
        public var mac: MACAddress
        public var addresses: [IPAddress]
        /// In lower case.
        public var names: [String]
    }

    public func state(of peer: NodeID) -> PeerState { peers.state(of: peer) }

    var clusterName: String { catalogue.cluster.map { $0.id.short } ?? "-" }

    /// VTEPs of members whose endpoints are not all known in this life, by network.
    var unknownVTEPs: [VNI: Set<IPAddress>] {
        var unknown: [VNI: Set<IPAddress>] = [:]
        for id in following.networks {
            guard let network = catalogue.networks[id] else { continue }
            for user in network.users where user != identity.id && !replication.isSynchronised(with: user, on: id) {
                if let member = catalogue.members[user] { unknown[network.vni, default: []].insert(member.vtep) }
            }
        }
        return unknown
    }

    public var localRecords: [LocalRecord] {
        inventory.allEndpoints.filter(\.isAnnounced).compactMap { endpoint in
            (catalogue.networks[endpoint.network]?.vni).map {
                LocalRecord(
                    vni: $0, endpoint: endpoint.id, mac: endpoint.mac, addresses: endpoint.addresses,
                    names: endpoint.names.names.map { $0.lowercased() })
            }
        }
    }

    var behindText: String {
        "this node writes the catalogue, but others know more of it than this node, whose state is of the past: nothing is committed; run "
            + "`swift-overlay promote` here, or stop this daemon and run it on another node"
    }

    /// Does it commit, as far as it knows?
    public var isCatalogueWriter: Bool { catalogueNode.isWriter && !catalogueNode.isBehind }

    /// How many addresses, and of which networks.
    var quarantineText: [String] {
        addresses.quarantined.sorted { $0.key < $1.key }.map { id, ranges in
            let count = ranges.reduce(UInt128(0)) { $0 + $1.count }
            return "\(count) of network \(catalogue.network(holding: id)?.title ?? "\(id)")"
        }
    }

    /// Is the state known to be an old copy?
    public var isStateOld: Bool { life.isRolledBack }

    var isWriter: Bool { catalogue.cluster?.writer == identity.id }
}
