public import OverlayModel

/// A node that belongs to the cluster.
public struct Member: Hashable, Sendable {
    public var id: NodeID
    /// Host name for users. Unique, so that errors can name a node.
    public var name: String
    /// Address and port at which the node is reached.
    public var address: IPAddress
    public var port: UInt16
    /// Tunnel address.
    public var vtep: IPAddress
    /// Ed25519 key, 32 bytes. The id is its hash.
    public var publicKey: [UInt8]
    /// X25519 key, 32 bytes. Keys of packets to and from the node derive from it.
    public var agreementKey: [UInt8]
    /// Identity life; a new one begins after lost state. Commands of another epoch are refused (rule R3).
    public var epoch: UInt32
    /// Routes of its host within the cluster's address pool. No subnet is chosen there.
    public var routes: [IPPrefix]

    public init(
        id: NodeID, name: String, address: IPAddress, port: UInt16, vtep: IPAddress, publicKey: [UInt8],
        agreementKey: [UInt8], epoch: UInt32, routes: [IPPrefix] = []
    ) {
        self.id = id
        self.name = name
        self.address = address
        self.port = port
        self.vtep = vtep
        self.publicKey = publicKey
        self.agreementKey = agreementKey
        self.epoch = epoch
        self.routes = routes
    }

    /// The member with only the routes that overlap a pool, sorted and at most ``Limits/routesPerMember``.
    public func limited(to pool: IPPrefix) -> Member {
        var member = self
        member.routes = Array(Set(routes.filter { $0.overlaps(pool) }).sorted().prefix(Limits.routesPerMember))
        return member
    }
}

extension Member: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        name = try reader.string(limit: 253)
        address = try reader.value()
        port = try reader.integer()
        vtep = try reader.value()
        publicKey = try reader.sized(limit: 32)
        agreementKey = try reader.sized(limit: 32)
        epoch = try reader.integer()
        routes = try reader.list(limit: Limits.routesPerMember)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.string(name)
        writer.value(address)
        writer.integer(port)
        writer.value(vtep)
        writer.sized(publicKey)
        writer.sized(agreementKey)
        writer.integer(epoch)
        writer.list(routes)
    }
}
