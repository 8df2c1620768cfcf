public import OverlayModel

/// A network of the cluster.
public struct Network: Hashable, Sendable {
    public var id: NetworkID
    /// Name from `--ipam-opt net=NAME`; nil until it is known. Unique.
    public var name: String?
    public var vni: VNI
    public var subnets: [Subnet]
    /// Settings from the first CreateNetwork. From then on the subnets are complete.
    public var settings: NetworkSettings?
    /// Description by which other engines create the network; nil until an engine has given it.
    public internal(set) var description: NetworkDescription?
    /// True if a user removed the network while it had no endpoints. Engines that still have it drop it.
    public internal(set) var isRemoved = false

    /// Nodes whose engine has the network.
    public var users: Set<NodeID> { subnets.reduce(into: []) { $0.formUnion($1.users) } }
    /// Name for messages.
    public var title: String { name ?? id.short }
    /// Suffix of names on the network: the name that `docker` shows.
    public var zone: String { description?.name ?? name ?? "" }
    /// Names that no other network may have.
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
