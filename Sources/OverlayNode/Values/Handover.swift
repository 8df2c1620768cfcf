import OverlayModel

/// Addresses of one subnet that this host gives up, while the catalogue does not know of it yet.
struct Handover: Hashable, Sendable {
    /// Node that gets them.
    enum Recipient: Sendable {
        case anybody
        case node(NodeID, epoch: UInt32)
    }

    var subnet: SubnetID
    var range: AddressRange

    /// Key of its row in the store. The recipient is not kept: after a restart the addresses are given back to the cluster, which
    /// is always right.
    var storeKey: [UInt8] { subnet.wireBytes + range.wireBytes }
}

extension Handover: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(subnet: try reader.value(), range: try reader.value())
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(subnet)
        writer.value(range)
    }
}
