public import OverlayModel

/// Options of `docker network create` that concern the whole network, equal on every host.
public struct NetworkSettings: Hashable, Sendable {
    /// MTU in bytes; nil follows each host's underlay.
    public var mtu: UInt32?
    public var isEncrypted: Bool
    public var isInternal: Bool

    public init(mtu: UInt32? = nil, isEncrypted: Bool = false, isInternal: Bool = false) {
        self.mtu = mtu
        self.isEncrypted = isEncrypted
        self.isInternal = isInternal
    }
}

extension NetworkSettings: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        mtu = try reader.optional()
        isEncrypted = try reader.bool()
        isInternal = try reader.bool()
    }

    public func encode(to writer: inout ByteWriter) {
        writer.optional(mtu)
        writer.bool(isEncrypted)
        writer.bool(isInternal)
    }
}
