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
    /// Subnets that its host has routes for, and those of its engine's networks. No subnet is chosen there. One of them may tell the
    /// versions that it speaks (``ProtocolVersions/init(route:)``).
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

    /// Versions of the protocol that it speaks. Of several that it tells, none counts.
    public var versions: ProtocolVersions {
        let told = routes.compactMap { ProtocolVersions(route: $0) }
        return told.count == 1 ? told[0] : .silent
    }

    /// The member as it tells its versions, with at most ``Limits/routesPerMember`` routes.
    public func telling(_ versions: ProtocolVersions) -> Member {
        var member = self
        member.routes.removeAll { ProtocolVersions.isReserved($0) }
        guard let route = versions.route else { return member }
        member.routes = Array(member.routes.prefix(Limits.routesPerMember - 1)) + [route]
        return member
    }

    /// The member with at most ``Limits/routesPerMember`` routes: first those that overlap the pool of subnets that are chosen for
    /// users, then the others, which only subnets that users name may overlap. Both are sorted.
    public func limited(to pool: IPPrefix) -> Member {
        var member = self
        let all = Set(routes).sorted()
        member.routes = Array((all.filter { $0.overlaps(pool) } + all.filter { !$0.overlaps(pool) }).prefix(Limits.routesPerMember))
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

extension Member {
    /// True if a host may have the name: at most 253 printable ASCII characters, and no space among them. A member that has another one was
    /// let in by one that does not look.
    public static func isName(_ text: String) -> Bool {
        (1...253).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}
