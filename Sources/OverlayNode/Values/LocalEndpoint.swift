import OverlayModel

/// An endpoint of this host's engine.
struct LocalEndpoint: Hashable, Sendable, Wire {
    var id: EndpointID
    var engineNetwork: EngineNetworkID
    var network: NetworkID
    var mac: MACAddress
    var v4: IPPrefix?
    var v6: IPPrefix?
    /// Between Join and Leave: others are told of it.
    var isJoined = false
    /// Between Join and DeleteEndpoint: it has a veth pair.
    var hasPort = false
    /// Path of the container's network namespace; empty before Join.
    var sandbox = ""
    /// The driver-opt `name`.
    var givenName: String?
    /// What the engine has told of the container's names.
    var learned = EndpointNames.none
    /// Is the container on networks of other drivers, too?
    var isElsewhere = false
    /// The batch that made the port; an observation from before it says nothing of the port. Of this life only.
    var portEffect: EffectID?

    init(
        id: EndpointID, engineNetwork: EngineNetworkID, network: NetworkID, mac: MACAddress, v4: IPPrefix?, v6: IPPrefix?
    ) {
        self.id = id
        self.engineNetwork = engineNetwork
        self.network = network
        self.mac = mac
        self.v4 = v4
        self.v6 = v6
    }

    var addresses: [IPAddress] { [v4?.address, v6?.address].compactMap { $0 } }
    var names: EndpointNames {
        EndpointNames(names: [givenName].compactMap { $0 } + learned.names, ports: learned.ports)
    }
    /// From CreateEndpoint to Leave.
    var isAnnounced: Bool { isJoined || !hasPort }

    init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        engineNetwork = try reader.value()
        network = try reader.value()
        mac = try reader.value()
        v4 = try reader.optional()
        v6 = try reader.optional()
        isJoined = try reader.bool()
        hasPort = try reader.bool()
        sandbox = try reader.string(limit: Limits.stringBytes)
        givenName = try reader.optional()
        learned = try reader.value()
        isElsewhere = try reader.bool()
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.value(engineNetwork)
        writer.value(network)
        writer.value(mac)
        writer.optional(v4)
        writer.optional(v6)
        writer.bool(isJoined)
        writer.bool(hasPort)
        writer.string(sandbox)
        writer.optional(givenName)
        writer.value(learned)
        writer.bool(isElsewhere)
    }
}
