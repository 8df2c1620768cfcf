public import OverlayModel

/// What a node knows of itself before it knows anything of a cluster.
public struct NodeIdentity: Hashable, Sendable {
    public var id: NodeID
    /// Host name.
    public var name: String
    /// Ed25519, 32 bytes.
    public var publicKey: [UInt8]
    /// X25519, 32 bytes.
    public var agreementKey: [UInt8]
    /// The identity life, from the store.
    public var epoch: UInt32
    /// Starts of this daemon; stored before use.
    public var boot: UInt32
    public var address: IPAddress
    public var port: UInt16
    public var vtep: IPAddress
    /// MTU of the link that ``vtep`` is on.
    public var underlayMTU: UInt32
    /// Subnets this host has routes for.
    public var routes: [IPPrefix]

    public var endpoint: SocketEndpoint { SocketEndpoint(address: address, port: port) }

    public init(
        id: NodeID, name: String, publicKey: [UInt8], agreementKey: [UInt8], epoch: UInt32, boot: UInt32, address: IPAddress,
        port: UInt16, vtep: IPAddress, underlayMTU: UInt32, routes: [IPPrefix]
    ) {
        self.id = id
        self.name = name
        self.publicKey = publicKey
        self.agreementKey = agreementKey
        self.epoch = epoch
        self.boot = boot
        self.address = address
        self.port = port
        self.vtep = vtep
        self.underlayMTU = underlayMTU
        self.routes = routes
    }

    /// Bytes that VXLAN adds to an inner frame's payload: outer IP, UDP, VXLAN and inner Ethernet headers.
    var encapsulation: UInt32 { vtep.family == .v4 ? 50 : 70 }
    /// The largest MTU of a container's interface here.
    var fittingMTU: UInt32 { underlayMTU > encapsulation ? underlayMTU - encapsulation : 0 }
}

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
