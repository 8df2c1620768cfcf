import OverlayModel

/// Endpoint of this host's engine, as the store keeps it.
struct LocalEndpoint: Hashable, Sendable, Wire {
    var id: EndpointID
    var engineNetwork: EngineNetworkID
    var network: NetworkID
    var mac: MACAddress
    var v4: IPPrefix?
    var v6: IPPrefix?
    /// True between Join and Leave.
    var isJoined = false
    /// True between Join and DeleteEndpoint: the endpoint has a veth pair.
    var hasPort = false
    /// True if the container's multicast goes through the endpoint. At most one endpoint of a sandbox has that.
    var hasMulticastRoute = false
    /// Path of the container's network namespace; empty before Join.
    var sandbox = ""
    /// Value of the driver option `name`.
    var givenName: String?
    /// Names and ports of the container, as the engine's API told them.
    var learned = EndpointNames.none
    /// True if the container is on networks of other drivers, too.
    var isElsewhere = false
    /// Time of the Join in this life.
    var joinedAt: Instant?
    /// Batch that made the port in this life. An earlier observation says nothing about the port.
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
    /// True from CreateEndpoint to Leave: other nodes are told of the endpoint.
    var isAnnounced: Bool { isJoined || !hasPort }

    /// Options of one byte. Version 0.1 wrote a boolean there, whose values are the first two.
    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let isJoined = Flags(rawValue: 1)
        static let hasMulticastRoute = Flags(rawValue: 2)
        static let all: Flags = [.isJoined, .hasMulticastRoute]
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        engineNetwork = try reader.value()
        network = try reader.value()
        mac = try reader.value()
        v4 = try reader.optional()
        v6 = try reader.optional()
        let flags = Flags(rawValue: try reader.integer())
        guard flags.isSubset(of: .all) else { throw .invalid("local endpoint") }
        isJoined = flags.contains(.isJoined)
        hasMulticastRoute = flags.contains(.hasMulticastRoute)
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
        var flags: Flags = []
        if isJoined { flags.insert(.isJoined) }
        if hasMulticastRoute { flags.insert(.hasMulticastRoute) }
        writer.integer(flags.rawValue)
        writer.bool(hasPort)
        writer.string(sandbox)
        writer.optional(givenName)
        writer.value(learned)
        writer.bool(isElsewhere)
    }
}
