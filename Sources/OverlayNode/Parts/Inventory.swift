import OverlayModel

/// Networks and endpoints of this host's engine. Each change returns the row that makes it durable.
struct Inventory: Sendable {
    /// Time after which an endpoint that no Join came for is taken as gone.
    static let orphanAge = Interval.seconds(600)

    private var networks: [EngineNetworkID: LocalNetwork] = [:]
    private var endpoints: [EndpointID: LocalEndpoint] = [:]
    /// Networks that are not to be made here by themselves: a user of this host removed them, and others go on using them.
    private(set) var declined: Set<NetworkID> = []
    /// Ids that those networks had here.
    private(set) var declinedIDs: [NetworkID: EngineNetworkID] = [:]
    /// Times since which endpoints have been without a Join.
    private var unjoined: [EndpointID: Instant] = [:]
    // Indices.
    private var engineNetworks = Index<NetworkID, EngineNetworkID>()
    private var aliases: [SubnetID: SubnetID] = [:]
    private var byEngineNetwork = Index<EngineNetworkID, EndpointID>()
    private var byNetwork = Index<NetworkID, EndpointID>()
    private var byAddress = Index<Address, EndpointID>()
    private var byMAC = Index<HardwareAddress, EndpointID>()
    private var bySandbox = Index<String, EndpointID>()

    private struct Address: Hashable, Sendable {
        var network: NetworkID
        var address: IPAddress
    }

    private struct HardwareAddress: Hashable, Sendable {
        var network: NetworkID
        var mac: MACAddress
    }

    /// Draws the MACs of endpoints that the engine gives none.
    private var generator: SeededGenerator

    /// - Parameter seed: Of everything random that need not be secret.
    init(rows: StoredRows, seed: UInt64) throws(DecodeError) {
        generator = SeededGenerator(seed: seed)
        for bytes in (rows[.network] ?? [:]).values { _ = put(try LocalNetwork(wire: bytes)) }
        for bytes in (rows[.endpoint] ?? [:]).values { _ = put(try LocalEndpoint(wire: bytes)) }
        for (key, value) in rows[.declined] ?? [:] {
            let network = try NetworkID(wire: key)
            declined.insert(network)
            if !value.isEmpty { declinedIDs[network] = try EngineNetworkID(wire: value) }
        }
    }

    /// The node left its cluster.
    mutating func forgetAll() {
        for id in networks.keys { _ = remove(id) }
        for id in endpoints.keys { _ = remove(id) }
        declined = []
        declinedIDs = [:]
    }

    // MARK: Networks

    func network(_ id: EngineNetworkID) -> LocalNetwork? { networks[id] }

    /// The engine's network that is this network of the cluster.
    func network(of id: NetworkID) -> LocalNetwork? { engineNetworks.first(id).flatMap { networks[$0] } }

    /// All networks, by id.
    var allNetworks: [LocalNetwork] { networks.values.sorted { $0.id < $1.id } }

    var networkIDs: Set<EngineNetworkID> { Set(networks.keys) }

    /// The networks of the cluster that this engine has. One that is of the cluster by its subnet alone does not count.
    var present: Set<NetworkID> { Set(networks.values.lazy.filter { $0.admission != .foreign }.map(\.network)) }

    /// Subnets of the engine's networks.
    var boundSubnets: Set<SubnetID> { Set(networks.values.lazy.filter { $0.admission != .foreign }.flatMap(\.subnets)) }

    func isBound(_ subnet: SubnetID) -> Bool {
        networks.values.contains { $0.admission != .foreign && $0.subnets.contains(subnet) }
    }

    /// All engine's networks that are this network of the cluster, by id.
    func networks(of id: NetworkID) -> [LocalNetwork] { engineNetworks.all(id).compactMap { networks[$0] } }

    /// The engine's network with this subnet.
    func network(with subnet: SubnetID) -> LocalNetwork? { networks.values.first { $0.subnets.contains(subnet) } }

    /// Subnet that the engine means by a pool.
    func subnet(of pool: SubnetID) -> SubnetID { aliases[pool] ?? pool }

    mutating func put(_ network: LocalNetwork) -> StoreWrite {
        if let old = networks.updateValue(network, forKey: network.id) { engineNetworks.remove(old.id, at: old.network) }
        for alias in network.aliases { aliases[alias.pool] = alias.subnet }
        if network.admission != .foreign { engineNetworks.insert(network.id, at: network.network) }
        return .put(.network, key: network.id.wireBytes, value: network.wireBytes)
    }

    /// Sets what the engine calls a network.
    ///
    /// - Returns: nil where it is called so already, or is not here.
    mutating func setName(_ name: String?, of id: EngineNetworkID) -> StoreWrite? {
        guard var network = networks[id], network.name != name else { return nil }
        network.name = name
        return put(network)
    }

    /// Sets whether endpoints are let on a network.
    ///
    /// - Returns: nil where that is so already, or the network is not here.
    mutating func setAdmission(_ admission: Admission, of id: EngineNetworkID) -> StoreWrite? {
        guard var network = networks[id], network.admission != admission else { return nil }
        network.admission = admission
        if admission == .open { network.isAutomatic = false }
        return put(network)
    }

    mutating func remove(_ id: EngineNetworkID) -> StoreWrite? {
        guard let old = networks.removeValue(forKey: id) else { return nil }
        engineNetworks.remove(id, at: old.network)
        for alias in old.aliases { aliases[alias.pool] = nil }
        return .delete(.network, key: id.wireBytes)
    }

    /// A user of this host does not want the network here; others go on using it.
    ///
    /// - Parameter id: Id that it had here, by which containers may go on to name it.
    mutating func decline(_ network: NetworkID, as id: EngineNetworkID? = nil) -> StoreWrite {
        declined.insert(network)
        if let id { declinedIDs[network] = id }
        return .put(.declined, key: network.wireBytes, value: declinedIDs[network]?.wireBytes ?? [])
    }

    /// A user of this host wants the network here.
    mutating func want(_ network: NetworkID) -> StoreWrite? {
        declinedIDs[network] = nil
        return declined.remove(network) == nil ? nil : .delete(.declined, key: network.wireBytes)
    }

    // MARK: Endpoints

    var endpointCount: Int { endpoints.count }

    func endpoint(_ id: EndpointID) -> LocalEndpoint? { endpoints[id] }

    /// All endpoints, by id.
    var allEndpoints: [LocalEndpoint] { endpoints.values.sorted { $0.id < $1.id } }

    /// Endpoints on a network of the cluster, by id.
    func endpoints(on network: NetworkID) -> [LocalEndpoint] { byNetwork.all(network).compactMap { endpoints[$0] } }

    /// Endpoints of a network of the engine, by id.
    func endpoints(of network: EngineNetworkID) -> [LocalEndpoint] { byEngineNetwork.all(network).compactMap { endpoints[$0] } }

    /// Endpoints in a network namespace, by id.
    func endpoints(in sandbox: String) -> [LocalEndpoint] { bySandbox.all(sandbox).compactMap { endpoints[$0] } }

    func endpoint(with address: IPAddress, on network: NetworkID) -> LocalEndpoint? {
        byAddress.first(Address(network: network, address: address)).flatMap { endpoints[$0] }
    }

    func endpoints(with address: IPAddress, on network: NetworkID) -> [LocalEndpoint] {
        byAddress.all(Address(network: network, address: address)).compactMap { endpoints[$0] }
    }

    func endpoint(with mac: MACAddress, on network: NetworkID) -> LocalEndpoint? {
        byMAC.first(HardwareAddress(network: network, mac: mac)).flatMap { endpoints[$0] }
    }

    /// Addresses of the endpoints on a network.
    func addresses(on network: NetworkID) -> Set<IPAddress> { Set(endpoints(on: network).flatMap(\.addresses)) }

    func hasEndpoints(on network: NetworkID) -> Bool { byNetwork.contains(network) }
    func hasEndpoints(of network: EngineNetworkID) -> Bool { byEngineNetwork.contains(network) }

    /// Paths of all sandboxes; an empty one stands for endpoints without one.
    var sandboxes: [String] { bySandbox.keys.sorted() }

    /// Paths of the sandboxes of endpoints that have a port.
    var portSandboxes: Set<String> { Set(endpoints.values.lazy.filter { $0.hasPort && !$0.sandbox.isEmpty }.map(\.sandbox)) }

    mutating func put(_ endpoint: LocalEndpoint) -> StoreWrite {
        if let old = endpoints.updateValue(endpoint, forKey: endpoint.id) { removeFromIndices(old) }
        let id = endpoint.id
        byEngineNetwork.insert(id, at: endpoint.engineNetwork)
        byNetwork.insert(id, at: endpoint.network)
        for address in endpoint.addresses { byAddress.insert(id, at: Address(network: endpoint.network, address: address)) }
        byMAC.insert(id, at: HardwareAddress(network: endpoint.network, mac: endpoint.mac))
        bySandbox.insert(id, at: endpoint.sandbox)
        return .put(.endpoint, key: id.wireBytes, value: endpoint.wireBytes)
    }

    mutating func newMAC() -> MACAddress { .random(using: &generator) }

    /// Notes which batch makes the port. That is of this life only, so nothing is stored.
    mutating func setPortEffect(_ effect: EffectID?, of id: EndpointID) { endpoints[id]?.portEffect = effect }

    mutating func remove(_ id: EndpointID) -> StoreWrite? {
        guard let old = endpoints.removeValue(forKey: id) else { return nil }
        removeFromIndices(old)
        return .delete(.endpoint, key: id.wireBytes)
    }

    private mutating func removeFromIndices(_ old: LocalEndpoint) {
        byEngineNetwork.remove(old.id, at: old.engineNetwork)
        byNetwork.remove(old.id, at: old.network)
        for address in old.addresses { byAddress.remove(old.id, at: Address(network: old.network, address: address)) }
        byMAC.remove(old.id, at: HardwareAddress(network: old.network, mac: old.mac))
        bySandbox.remove(old.id, at: old.sandbox)
    }

    /// Endpoints that an engine which was killed left behind: no Join has come for them for long.
    mutating func orphans(at now: Instant) -> [LocalEndpoint] {
        let without = endpoints.values.filter { !$0.hasPort }
        let ids = Set(without.map(\.id))
        unjoined = unjoined.filter { ids.contains($0.key) }
        for id in ids where unjoined[id] == nil { unjoined[id] = now }
        return without.filter { unjoined[$0.id].map { now - $0 >= Self.orphanAge } ?? false }.sorted { $0.id < $1.id }
    }
}

/// Sets of ids by key.
private struct Index<Key: Hashable & Sendable, ID: Hashable & Comparable & Sendable>: Sendable {
    private var ids: [Key: Set<ID>] = [:]

    var keys: some Collection<Key> { ids.keys }

    /// The least id.
    func first(_ key: Key) -> ID? { ids[key]?.min() }
    func all(_ key: Key) -> [ID] { ids[key]?.sorted() ?? [] }
    func contains(_ key: Key) -> Bool { ids[key] != nil }

    mutating func insert(_ id: ID, at key: Key) { ids[key, default: []].insert(id) }

    mutating func remove(_ id: ID, at key: Key) {
        ids[key]?.remove(id)
        if ids[key]?.isEmpty == true { ids[key] = nil }
    }
}
