import OverlayDNS
import OverlayModel

/// Names of all endpoints, by network: the tables that the DNS shell answers from, for those networks that this node takes part in.
struct Names: Sendable {
    /// Tables by network.
    private(set) var tables: [NetworkID: NetworkNames] = [:]
    /// Networks whose table the shell does not have as it is now.
    private var changed: Set<NetworkID> = []
    /// Names of this host's endpoints, as peers were told.
    private var own: [EndpointID: NamedEndpoint] = [:]
    /// All subnets of the cluster, as the shell was told.
    private var subnets: [IPPrefix] = []
    /// Endpoints of this host of which more is to come.
    var settling = Settling()
    /// Networks of those, as the shell was told.
    private var unsettled: Set<NetworkID> = []
    /// Owners that may be away, and the same as the shell was told.
    private var suspects: Set<NodeID> = []
    private var toldSuspects: Set<NodeID> = []
    /// Names of containers that the engine told with the request for an address, until their endpoints come.
    private var expected: [Expected: String] = [:]
    private static let mostExpected = 1024

    private struct Expected: Hashable, Sendable {
        var network: NetworkID
        var mac: MACAddress
    }

    /// Problems of this host's endpoints that have more names than there is room for.
    private(set) var cuts: [EndpointID: String] = [:]

    // MARK: Endpoints

    /// Sets the names of an endpoint for which there is no room.
    mutating func setCut(
        _ names: [String], of endpoint: EndpointID, container: String, network: String, into outbox: inout Outbox
    ) {
        let problem = names.first.map { first in
            "container \(container) has \(names.count) names too many on network \(network), from \(first) on, which are not "
                + "answered: \(Limits.namesPerEndpoint) names of together \(Limits.nameBytesPerEndpoint) bytes are; give it fewer aliases"
        }
        guard cuts[endpoint] != problem else { return }
        cuts[endpoint] = problem
        guard problem != nil else { return }
        outbox.log(
            .warning, "a container has more names than are answered",
            [LogKey.name: container, LogKey.network: network, LogKey.endpoint: endpoint.short])
    }

    /// An endpoint of this host is announced, or is announced with other names.
    mutating func setOwn(_ new: NamedEndpoint, on network: NetworkID) {
        let old = own[new.endpoint]
        own[new.endpoint] = new
        change(network, from: old, to: new)
    }

    mutating func dropOwn(_ endpoint: EndpointID, on network: NetworkID) {
        cuts[endpoint] = nil
        settling.end(endpoint)
        guard let old = own.removeValue(forKey: endpoint) else { return }
        change(network, from: old, to: nil)
    }

    /// Names of an endpoint of this host; nil where it is not announced.
    func own(_ endpoint: EndpointID) -> NamedEndpoint? { own[endpoint] }

    /// An endpoint appears, changes or goes.
    mutating func change(_ network: NetworkID, from old: NamedEndpoint?, to new: NamedEndpoint?) {
        guard old != new, tables[network] != nil else { return }
        if let old { tables[network]?.remove(old) }
        if let new { tables[network]?.insert(new) }
        changed.insert(network)
    }

    /// The engine told the name of the container that an address is for.
    mutating func expect(_ name: String, of mac: MACAddress, on network: NetworkID) {
        if expected.count >= Self.mostExpected { expected = [:] }
        expected[Expected(network: network, mac: mac)] = name
    }

    mutating func takeExpected(_ mac: MACAddress, on network: NetworkID) -> String? {
        expected.removeValue(forKey: Expected(network: network, mac: mac))
    }

    mutating func setSuspect(_ owner: NodeID, _ isSuspect: Bool) {
        if isSuspect { suspects.insert(owner) } else { suspects.remove(owner) }
    }

    // MARK: Tables

    /// Drops the tables of all other networks.
    mutating func keepOnly(_ networks: Set<NetworkID>) {
        for id in tables.keys where !networks.contains(id) {
            tables[id] = nil
            changed.insert(id)
        }
    }

    /// Makes a table anew.
    mutating func rebuild(_ network: NetworkID, title: String, from endpoints: [NamedEndpoint]) {
        var table = NetworkNames(title: title)
        for endpoint in endpoints { table.insert(endpoint) }
        tables[network] = table
        changed.insert(network)
    }

    /// True if a table holds these endpoints and no others.
    func holds(_ endpoints: [NamedEndpoint], on network: NetworkID) -> Bool {
        tables[network]?.checksum == endpoints.reduce(0) { $0 &+ NetworkNames.checksum(of: $1) }
    }

    mutating func setSubnets(_ all: [IPPrefix], into outbox: inout Outbox) {
        guard all != subnets else { return }
        subnets = all
        outbox.append(.subnets(all))
    }

    /// Tells the shell what has changed, before whatever asks for it.
    mutating func tell(into outbox: inout Outbox) {
        let networks = settling.networks
        if networks != unsettled {
            unsettled = networks
            outbox.prepend([.unsettled(networks)])
        }
        if suspects != toldSuspects {
            toldSuspects = suspects
            outbox.prepend([.suspects(suspects)])
        }
        guard !changed.isEmpty else { return }
        outbox.prepend(changed.sorted().map { .names($0, tables[$0]) })
        changed = []
    }
}
