/// Who writes the catalogue, and the how manieth generation of it that is.
///
/// Reigns are ordered, by generation and then by writer, so that of two nodes that were promoted at once, on the two sides of a partition,
/// every node finds the same one to be right: the other's entries count for nothing.
public struct Reign: Hashable, Sendable, Comparable {
    public var generation: UInt64
    public var writer: NodeID

    public init(generation: UInt64, writer: NodeID) {
        self.generation = generation
        self.writer = writer
    }

    /// Outside a cluster; before all others.
    public static let none = Reign(generation: 0, writer: NodeID(bits: 0))

    public static func < (lhs: Reign, rhs: Reign) -> Bool { (lhs.generation, lhs.writer) < (rhs.generation, rhs.writer) }
}

extension Reign: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(generation: try reader.counter(), writer: try reader.value())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(generation)
        writer.value(self.writer)
    }
}

/// How far a node's catalogue is: equal positions are equal catalogues.
public struct CataloguePosition: Hashable, Sendable, Comparable {
    public var reign: Reign
    public var index: UInt64

    public init(reign: Reign, index: UInt64) {
        self.reign = reign
        self.index = index
    }

    public static func < (lhs: CataloguePosition, rhs: CataloguePosition) -> Bool {
        (lhs.reign, lhs.index) < (rhs.reign, rhs.index)
    }
}

extension CataloguePosition: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(reign: try reader.value(), index: try reader.counter())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(reign)
        writer.integer(index)
    }
}
