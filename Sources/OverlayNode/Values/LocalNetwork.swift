import OverlayModel

/// Network of this host's engine, as the store keeps it.
struct LocalNetwork: Hashable, Sendable, Wire {
    var id: EngineNetworkID
    var network: NetworkID
    var subnets: [SubnetID]
    /// The engine's name for the network; nil until the engine's API has told it. A network with a name ends by a user's command
    /// only.
    var name: String?
    var admission: Admission
    /// True if the cluster chose its subnets, and whether it is a network of another host has not been decided.
    var isAutomatic = false
    /// Pools by which the engine knows the network, where those are not its subnets: it adopted the network of another host.
    var aliases: [PoolAlias] = []

    init(id: EngineNetworkID, network: NetworkID, subnets: [SubnetID], admission: Admission = .open) {
        self.id = id
        self.network = network
        self.subnets = subnets
        self.admission = admission
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        network = try reader.value()
        subnets = try reader.list(limit: Limits.subnetsPerNetwork)
        name = try reader.optional()
        guard let admission = Admission(rawValue: try reader.byte()) else { throw .invalid("admission") }
        self.admission = admission
        isAutomatic = try reader.bool()
        aliases = try reader.list(limit: Limits.subnetsPerNetwork)
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(network)
        writer.list(subnets)
        writer.optional(name)
        writer.byte(admission.rawValue)
        writer.bool(isAutomatic)
        writer.list(aliases)
    }
}

/// Pool of the engine that stands for a subnet of another id.
struct PoolAlias: Hashable, Sendable, Wire {
    var pool: SubnetID
    var subnet: SubnetID

    init(pool: SubnetID, subnet: SubnetID) {
        self.pool = pool
        self.subnet = subnet
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        pool = try reader.value()
        subnet = try reader.value()
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(pool)
        writer.value(subnet)
    }
}
