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
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(network)
        writer.list(subnets)
        writer.optional(name)
        writer.byte(admission.rawValue)
    }
}
