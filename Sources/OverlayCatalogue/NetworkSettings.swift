public import OverlayModel

/// Options of `docker network create` that concern the whole network, equal on every host.
public struct NetworkSettings: Hashable, Sendable {
    /// MTU in bytes; nil follows each host's underlay.
    public var mtu: UInt32?
    public var isEncrypted: Bool
    public var isInternal: Bool
    /// True if containers get a route for multicast through the network.
    public var routesMulticast: Bool
    /// True if the user said that the subnets may overlap routes of hosts.
    public var allowsOverlap: Bool

    public init(
        mtu: UInt32? = nil, isEncrypted: Bool = false, isInternal: Bool = false, routesMulticast: Bool = true,
        allowsOverlap: Bool = false
    ) {
        self.mtu = mtu
        self.isEncrypted = isEncrypted
        self.isInternal = isInternal
        self.routesMulticast = routesMulticast
        self.allowsOverlap = allowsOverlap
    }
}

extension NetworkSettings: Wire {
    /// Options of one byte. Version 0.1 wrote a boolean there, whose values are the first two.
    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let isInternal = Flags(rawValue: 1)
        static let noMulticastRoute = Flags(rawValue: 2)
        static let allowsOverlap = Flags(rawValue: 4)
        static let all: Flags = [.isInternal, .noMulticastRoute, .allowsOverlap]
    }

    public init(from reader: inout ByteReader) throws(DecodeError) {
        mtu = try reader.optional()
        isEncrypted = try reader.bool()
        let flags = Flags(rawValue: try reader.integer())
        guard flags.isSubset(of: .all) else { throw .invalid("network settings") }
        isInternal = flags.contains(.isInternal)
        routesMulticast = !flags.contains(.noMulticastRoute)
        allowsOverlap = flags.contains(.allowsOverlap)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.optional(mtu)
        writer.bool(isEncrypted)
        var flags: Flags = []
        if isInternal { flags.insert(.isInternal) }
        if !routesMulticast { flags.insert(.noMulticastRoute) }
        if allowsOverlap { flags.insert(.allowsOverlap) }
        writer.integer(flags.rawValue)
    }
}
