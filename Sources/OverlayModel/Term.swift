/// The node that writes the catalogue, and the number of its term.
///
/// Terms are ordered by number and then by writer. If two nodes are promoted at once, on the two sides of a partition, every node finds
/// the same one to be right, and the other's entries count for nothing.
public struct Term: Hashable, Sendable, Comparable {
    public var number: UInt64
    public var writer: NodeID

    public init(number: UInt64, writer: NodeID) {
        self.number = number
        self.writer = writer
    }

    /// Term outside a cluster, before all others.
    public static let none = Term(number: 0, writer: NodeID(bits: 0))

    public static func < (lhs: Term, rhs: Term) -> Bool { (lhs.number, lhs.writer) < (rhs.number, rhs.writer) }
}

extension Term: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(number: try reader.counter(), writer: try reader.value())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(number)
        writer.value(self.writer)
    }
}

/// Position of a node's catalogue in its history. Equal positions are equal catalogues.
public struct CataloguePosition: Hashable, Sendable, Comparable {
    public var term: Term
    public var index: UInt64

    public init(term: Term, index: UInt64) {
        self.term = term
        self.index = index
    }

    public static func < (lhs: CataloguePosition, rhs: CataloguePosition) -> Bool {
        (lhs.term, lhs.index) < (rhs.term, rhs.index)
    }
}

extension CataloguePosition: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(term: try reader.value(), index: try reader.counter())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(term)
        writer.integer(index)
    }
}
