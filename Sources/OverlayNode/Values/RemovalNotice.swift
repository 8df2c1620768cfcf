import OverlayModel

/// Statement that the catalogue, at a position, has no such member.
struct RemovalNotice: Hashable, Sendable {
    var node: NodeID
    var position: CataloguePosition
    var signer: NodeID
    var signature: [UInt8] = []

    init(of node: NodeID, position: CataloguePosition, signer: NodeID) {
        self.node = node
        self.position = position
        self.signer = signer
    }

    /// Bytes that the signature covers.
    func signed(in cluster: ClusterID) -> [UInt8] {
        var writer = ByteWriter()
        writer.value(cluster)
        encodeSigned(to: &writer)
        return Array("swift-overlay removal v1".utf8) + writer.bytes
    }

    private func encodeSigned(to writer: inout ByteWriter) {
        writer.value(node)
        writer.value(position)
        writer.value(signer)
    }
}

extension RemovalNotice: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(of: try reader.value(), position: try reader.value(), signer: try reader.value())
        signature = try reader.sized(limit: 64)
    }

    func encode(to writer: inout ByteWriter) {
        encodeSigned(to: &writer)
        writer.sized(signature)
    }
}
