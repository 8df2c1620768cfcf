public import OverlayModel

/// An address that this host handed out.
public struct Lease: Hashable, Sendable {
    public var subnet: SubnetID
    public var address: IPAddress
    /// The endpoint's MAC, which is the key of the request: the same MAC again is the same request again.
    public var mac: MACAddress

    public init(subnet: SubnetID, address: IPAddress, mac: MACAddress) {
        self.subnet = subnet
        self.address = address
        self.mac = mac
    }
}

extension Lease: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(subnet: try reader.value(), address: try reader.value(), mac: try reader.value())
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(subnet)
        writer.value(address)
        writer.value(mac)
    }

    /// The key of its row in the store.
    public var storeKey: [UInt8] { subnet.wireBytes + address.wireBytes }
}

/// The addresses of one subnet that this host may hand out, and those that it did. Ownership comes from the catalogue; handing out is
/// local, with no other node involved.
public struct AddressPool: Sendable {
    public enum Failure: Error, Hashable, Sendable {
        /// Every address of this host's blocks is in use: the host needs another block.
        case noFreeAddress
        /// The address is in use on this host.
        case inUse(Lease)
        /// The address is in none of this host's blocks.
        case notOwned
    }

    public let subnet: SubnetID
    private var blocks: [Range] = []
    /// Freed addresses, the longest free first, so that reuse is as late as can be. An entry counts while its ticket is the address's:
    /// one that was taken meanwhile, and freed again, has a later one.
    private var freed: [(address: IPAddress, ticket: UInt64)] = []
    private var freedStart = 0
    private var tickets: [IPAddress: UInt64] = [:]
    private var nextTicket: UInt64 = 0
    public private(set) var leases: [IPAddress: Lease] = [:]
    private var leaseOfMAC: [MACAddress: IPAddress] = [:]
    private var reserved: Set<IPAddress> = []

    /// A block with the first address that was never handed out since this process started; nil when there is none left.
    private struct Range: Sendable {
        var range: AddressRange
        var next: IPAddress?
    }

    public init(subnet: SubnetID, leases: some Sequence<Lease> = []) {
        self.subnet = subnet
        for lease in leases { insert(lease) }
    }

    private mutating func insert(_ lease: Lease) {
        leases[lease.address] = lease
        leaseOfMAC[lease.mac] = lease.address
        tickets[lease.address] = nil
    }

    /// Takes over what the catalogue says: this host's blocks, and the addresses nobody may have.
    public mutating func setBlocks(_ ranges: [AddressRange], reserved: Set<IPAddress>) {
        self.reserved = reserved
        let old = blocks
        blocks = ranges.map { range in
            old.first { $0.range == range } ?? Range(range: range, next: range.first)
        }
        for address in tickets.keys where !owns(address) { tickets[address] = nil }
        freed = freed[freedStart...].filter { tickets[$0.address] == $0.ticket }
        freedStart = 0
    }

    public func owns(_ address: IPAddress) -> Bool { blocks.contains { $0.range.contains(address) } }
    public func lease(of mac: MACAddress) -> Lease? { leaseOfMAC[mac].flatMap { leases[$0] } }
    public func lease(at address: IPAddress) -> Lease? { leases[address] }

    /// Addresses of this host's blocks.
    public var owned: UInt128 {
        blocks.reduce(0) { $0 + $1.range.count } - UInt128(reserved.count { owns($0) })
    }

    /// Addresses that could be handed out now.
    public var free: UInt128 {
        let used = UInt128(leases.keys.count { owns($0) })
        return owned > used ? owned - used : 0
    }

    /// Takes the next address: one that was never used, else the one that has been free for longest.
    public mutating func allocate(mac: MACAddress) throws(Failure) -> Lease {
        if let lease = lease(of: mac) { return lease }
        guard let address = nextAddress() else { throw .noFreeAddress }
        let lease = Lease(subnet: subnet, address: address, mac: mac)
        insert(lease)
        return lease
    }

    /// Takes a certain address.
    public mutating func allocate(_ address: IPAddress, mac: MACAddress) throws(Failure) -> Lease {
        if let lease = leases[address] {
            guard lease.mac == mac else { throw .inUse(lease) }
            return lease
        }
        guard owns(address), !reserved.contains(address) else { throw .notOwned }
        let lease = Lease(subnet: subnet, address: address, mac: mac)
        insert(lease)
        return lease
    }

    /// Gives an address back; nil when it was not handed out.
    @discardableResult
    public mutating func release(_ address: IPAddress) -> Lease? {
        guard let lease = leases.removeValue(forKey: address) else { return nil }
        if leaseOfMAC[lease.mac] == address { leaseOfMAC[lease.mac] = nil }
        if owns(address), !reserved.contains(address) {
            nextTicket += 1
            tickets[address] = nextTicket
            freed.append((address, nextTicket))
        }
        return lease
    }

    private mutating func nextAddress() -> IPAddress? {
        for index in blocks.indices {
            while let candidate = blocks[index].next {
                let next = candidate.advanced(by: 1)
                blocks[index].next = next.flatMap { blocks[index].range.contains($0) ? $0 : nil }
                if leases[candidate] == nil, !reserved.contains(candidate), tickets[candidate] == nil { return candidate }
            }
        }
        while freedStart < freed.count {
            let (candidate, ticket) = freed[freedStart]
            freedStart += 1
            if freedStart > 1024, freedStart * 2 > freed.count {
                freed.removeFirst(freedStart)
                freedStart = 0
            }
            guard tickets[candidate] == ticket else { continue }
            tickets[candidate] = nil
            if leases[candidate] == nil, !reserved.contains(candidate) { return candidate }
        }
        return nil
    }
}
