public import OverlayModel

/// A secret that all members share for the packets between them.
public struct GossipKey: Hashable, Sendable {
    /// Number that each packet carries; never 0.
    public var id: UInt8
    /// 32 bytes, never logged.
    public var bytes: [UInt8]
}

extension GossipKey: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        id = try reader.byte()
        bytes = try reader.sized(limit: 32)
        guard id != 0, bytes.count == 32 else { throw .invalid("gossip key") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.byte(id)
        writer.sized(bytes)
    }
}
