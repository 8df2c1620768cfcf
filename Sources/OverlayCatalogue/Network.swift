public import OverlayModel

public struct Network: Hashable, Sendable {
    public var id: NetworkID
    /// `--ipam-opt net=NAME`; nil until it is known. Unique.
    public var name: String?
    public var vni: VNI
    public var subnets: [Subnet]
    /// Set by the first CreateNetwork, and from then on the subnets are complete.
    public var settings: NetworkSettings?
    /// What engines call it, and what it is made of on others; nil until an engine has told.
    public internal(set) var description: NetworkDescription?
    /// Somebody removed it, and nobody was on it: engines that have it still let it go.
    public internal(set) var isRemoved = false

    /// Nodes whose engine has the network.
    public var users: Set<NodeID> { subnets.reduce(into: []) { $0.formUnion($1.users) } }
    /// For messages.
    public var title: String { name ?? id.short }
    /// What its names end with: the word that `docker` knows it by.
    public var zone: String { description?.name ?? name ?? "" }
    /// No other network may have one of these.
    var names: Set<String> { Set([name, description?.name].compactMap { $0 }) }
}

extension Network: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.value()
        name = try reader.optional()
        vni = try reader.value()
        subnets = try reader.list(limit: Limits.subnetsPerNetwork)
        settings = try reader.optional()
        description = try reader.optional()
        isRemoved = try reader.bool()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(id)
        writer.optional(name)
        writer.value(vni)
        writer.list(subnets)
        writer.optional(settings)
        writer.optional(description)
        writer.bool(isRemoved)
    }
}
