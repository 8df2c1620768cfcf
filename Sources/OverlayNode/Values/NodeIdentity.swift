public import OverlayModel

/// Identity, addresses and keys of a node, as its store and its host give them. The addresses follow the host.
public struct NodeIdentity: Hashable, Sendable {
    /// Id of the node, from its keys.
    public var id: NodeID
    /// Host name.
    public var name: String
    /// Ed25519 public key, 32 bytes.
    public var publicKey: [UInt8]
    /// X25519 public key, 32 bytes.
    public var agreementKey: [UInt8]
    /// Number of the identity life, from the store.
    public var epoch: UInt32
    /// Number of starts of this daemon; stored before it is used.
    public var boot: UInt32
    /// Address and port at which other nodes reach the daemon.
    public var address: IPAddress
    /// UDP and TCP port of the daemon.
    public var port: UInt16
    /// Tunnel address.
    public var vtep: IPAddress
    /// MTU of the link that ``vtep`` is on.
    public var underlayMTU: UInt32
    /// Subnets that this host has routes for. Subnets of new networks avoid them.
    public var routes: [IPPrefix]
    /// True if ``address`` was chosen by the daemon, which takes another one where the host has it no more.
    public var choosesAddress: Bool
    /// True if ``vtep`` was chosen by the daemon.
    public var choosesVTEP: Bool
    /// Versions of the protocol that the node speaks. Only tests hold it back.
    public var versions: ProtocolVersions

    /// Address and port at which other nodes reach the daemon.
    public var endpoint: SocketEndpoint { SocketEndpoint(address: address, port: port) }

    public init(
        id: NodeID, name: String, publicKey: [UInt8], agreementKey: [UInt8], epoch: UInt32, boot: UInt32, address: IPAddress,
        port: UInt16, vtep: IPAddress, underlayMTU: UInt32, routes: [IPPrefix],
        choosesAddress: Bool = false, choosesVTEP: Bool = false, versions: ProtocolVersions = .present
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
        self.choosesAddress = choosesAddress
        self.choosesVTEP = choosesVTEP
        self.versions = versions
    }

    /// Bytes that VXLAN adds to an inner frame's payload: outer IP, UDP, VXLAN and inner Ethernet headers.
    var encapsulation: UInt32 { vtep.family == .v4 ? 50 : 70 }
    /// The largest MTU of a container's interface here.
    var fittingMTU: UInt32 { underlayMTU > encapsulation ? underlayMTU - encapsulation : 0 }
}
