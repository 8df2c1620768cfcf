public import OverlayModel

/// A range of addresses that one node may hand out. Blocks of a subnet are disjoint.
public struct Block: Hashable, Sendable {
    public var range: AddressRange
    public var owner: NodeID

    public init(range: AddressRange, owner: NodeID) {
        self.range = range
        self.owner = owner
    }
}

extension Block: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(range: try reader.value(), owner: try reader.value())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(range)
        writer.value(owner)
    }
}
