public import OverlayModel

/// Claims of an endpoint: addresses and MACs that it uses and that nobody leased to it, such as the virtual address of a router
/// (VRRP, RFC 9568) or the MAC of a virtual machine in the container.
///
/// Each has a number. Of two claims of one thing the one with the higher number counts, on every node; of equal numbers that of the
/// greater owner.
public struct EndpointClaims: Hashable, Sendable {
    /// Address that the endpoint answers for, with the MAC that it gives for it.
    public struct Address: Hashable, Sendable {
        public var address: IPAddress
        /// The endpoint's own MAC, or one that it claims.
        public var mac: MACAddress
        public var number: UInt64

        public init(_ address: IPAddress, at mac: MACAddress, number: UInt64) {
            self.address = address
            self.mac = mac
            self.number = number
        }
    }

    /// MAC, besides its own, from which the endpoint sends.
    public struct Hardware: Hashable, Sendable {
        public var mac: MACAddress
        public var number: UInt64

        public init(_ mac: MACAddress, number: UInt64) {
            self.mac = mac
            self.number = number
        }
    }

    public let endpoint: EndpointID
    /// Claims of addresses in order of address, each once; at most ``Limits/claimsPerEndpoint``.
    public private(set) var addresses: [Address] = []
    /// Claims of MACs in their order, each once; at most ``Limits/claimsPerEndpoint``.
    public private(set) var macs: [Hardware] = []

    public init(of endpoint: EndpointID) { self.endpoint = endpoint }

    public var isEmpty: Bool { addresses.isEmpty && macs.isEmpty }
    public var hasRoomForMAC: Bool { macs.count < Limits.claimsPerEndpoint }
    public var hasRoomForAddress: Bool { addresses.count < Limits.claimsPerEndpoint }

    public subscript(address: IPAddress) -> Address? { addresses.first { $0.address == address } }
    public subscript(mac: MACAddress) -> Hardware? { macs.first { $0.mac == mac } }

    /// Adds a claim, or replaces that of the same address. Beyond the limit nothing is added.
    public mutating func insert(_ new: Address) {
        remove(new.address)
        guard hasRoomForAddress else { return }
        addresses.insert(new, at: addresses.partitioningIndex { $0.address > new.address })
    }

    /// Adds a claim, or replaces that of the same MAC. Beyond the limit nothing is added.
    public mutating func insert(_ new: Hardware) {
        remove(new.mac)
        guard hasRoomForMAC else { return }
        macs.insert(new, at: macs.partitioningIndex { $0.mac.bits > new.mac.bits })
    }

    public mutating func remove(_ address: IPAddress) { addresses.removeAll { $0.address == address } }
    public mutating func remove(_ mac: MACAddress) { macs.removeAll { $0.mac == mac } }
}

extension EndpointClaims: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        endpoint = try reader.value()
        addresses = try reader.list(limit: Limits.claimsPerEndpoint)
        macs = try reader.list(limit: Limits.claimsPerEndpoint)
        guard zip(addresses, addresses.dropFirst()).allSatisfy({ $0.address < $1.address }),
            zip(macs, macs.dropFirst()).allSatisfy({ $0.mac.bits < $1.mac.bits })
        else { throw .invalid("order of claims") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(endpoint)
        writer.list(addresses)
        writer.list(macs)
    }
}

extension EndpointClaims.Address: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        address = try reader.value()
        mac = try reader.value()
        number = try reader.counter()
        guard address.isHost, !mac.isMulticast, mac != .zero else { throw .invalid("claimed address") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(address)
        writer.value(mac)
        writer.integer(number)
    }
}

extension EndpointClaims.Hardware: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        mac = try reader.value()
        number = try reader.counter()
        guard !mac.isMulticast, mac != .zero else { throw .invalid("claimed MAC") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(mac)
        writer.integer(number)
    }
}
