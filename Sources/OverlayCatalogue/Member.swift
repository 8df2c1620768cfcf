public import OverlayModel

/// A node that may take part.
public struct Member: Hashable, Sendable {
    public var id: NodeID
    /// The host's name, for people. Unique, so that errors can name a node.
    public var name: String
    /// Where its port 7946 is reached.
    public var address: IPAddress
    public var port: UInt16
    /// Its tunnel address.
    public var vtep: IPAddress
    /// Ed25519, 32 bytes; the id is its hash.
    public var publicKey: [UInt8]
    /// X25519, 32 bytes: keys of packets to and from it come of this.
    public var agreementKey: [UInt8]
    /// The identity life: a new one after lost state. Commands of another epoch are ignored (rule R3).
    public var epoch: UInt32
    /// What its host has routes for, of the cluster's address pool: no subnet is chosen there.
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

    /// With those routes alone that a pool is concerned by, in an order; of very many the first.
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
