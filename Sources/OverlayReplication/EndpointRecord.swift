public import OverlayModel

/// An endpoint, as every node of its network knows it. Its byte form is that of a record with as many names as a datagram takes; see
/// ``NamePart``.
public struct EndpointRecord: Hashable, Sendable {
    public var endpoint: EndpointID
    public var mac: MACAddress
    public var v4: IPAddress?
    public var v6: IPAddress?
    public var names: EndpointNames

    public init(endpoint: EndpointID, mac: MACAddress, v4: IPAddress?, v6: IPAddress?, names: EndpointNames = .none) {
        self.endpoint = endpoint
        self.mac = mac
        self.v4 = v4
        self.v6 = v6
        self.names = names
    }

    public var addresses: [IPAddress] { [v4, v6].compactMap { $0 } }
}

extension EndpointRecord: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        endpoint = try reader.value()
        mac = try reader.value()
        v4 = try reader.optional()
        v6 = try reader.optional()
        names = try reader.value()
        // Those that follow come in parts.
        guard names.names.count <= Limits.namesPerRecord, names.names.nameBytes <= Limits.nameBytesPerRecord else {
            throw .invalid("names of an endpoint record")
        }
        guard !mac.isMulticast, mac != .zero else { throw .invalid("endpoint MAC") }
        guard v4?.family ?? .v4 == .v4, v6?.family ?? .v6 == .v6 else { throw .invalid("endpoint address") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(endpoint)
        writer.value(mac)
        writer.optional(v4)
        writer.optional(v6)
        writer.value(names)
    }
}

/// An owner's statement that its kernel has the network, with the address of its tunnel. Without it nothing may be sent there.
public struct Attachment: Hashable, Sendable {
    /// Address at which this owner takes the network's VXLAN packets.
    public let vtep: IPAddress
    /// MTU of the network's interfaces on this owner, in bytes.
    public let mtu: UInt32

    /// Nil for an unspecified address, and for an MTU below IPv4's least (RFC 791) or above what a length field can hold.
    public init?(vtep: IPAddress, mtu: UInt32) {
        guard vtep.bits != 0, (68...65_535).contains(mtu) else { return nil }
        self.vtep = vtep
        self.mtu = mtu
    }
}

extension Attachment: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        guard let attachment = Attachment(vtep: try reader.value(), mtu: try reader.integer()) else { throw .invalid("attachment") }
        self = attachment
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(vtep)
        writer.integer(mtu)
    }
}
