import OverlayModel

/// A network of this host's engine.
struct LocalNetwork: Hashable, Sendable, Wire {
    var id: EngineNetworkID
    var network: NetworkID
    var subnets: [SubnetID]
    /// What the engine calls it; nil until it has told. From then on, its end is a user's doing.
    var name: String?

    init(id: EngineNetworkID, network: NetworkID, subnets: [SubnetID]) {
        self.id = id
        self.network = network
        self.subnets = subnets
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        network = try reader.value()
        subnets = try reader.list(limit: Limits.subnetsPerNetwork)
        name = try reader.optional()
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(network)
        writer.list(subnets)
        writer.optional(name)
    }
}
