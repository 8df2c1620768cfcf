public import OverlayModel

/// Address that this host handed out.
public struct Lease: Hashable, Sendable {
    public var subnet: SubnetID
    public var address: IPAddress
    /// MAC of the endpoint, which is the idempotency key: the same MAC again is the same request again.
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

    /// Key of the lease's row in the store.
    public var storeKey: [UInt8] { subnet.wireBytes + address.wireBytes }
}

/// Addresses of one subnet that this host may hand out, and those that it has handed out. Ownership comes from the catalogue;
/// handing out is local, with no other node involved.
public struct AddressPool: Sendable {
    public enum Failure: Error, Hashable, Sendable {
        /// Every address of this host's blocks is in use or in quarantine: the host needs another block.
        case noFreeAddress
        /// The address is in use on this host.
        case inUse(Lease)
        /// The address is in none of this host's blocks, or is being handed over.
        case notOwned
    }

    /// Time for which a freed address is in quarantine before another container gets it: neighbours may still have it in their caches.
    public static let coolDown = Interval.seconds(60)

    /// Number of freed addresses above which those out of quarantine are used before addresses that were never used.
    static let listedFree = 4096

    public let subnet: SubnetID
    /// Blocks in order of address; none overlaps another.
    private var blocks: [OwnBlock] = []
    /// Index of the first block with addresses that were never handed out.
    private var firstUnused = 0
    /// Addresses on their way back to the cluster (rule R2): not handed out, though still owned.
    public private(set) var handedOver: [AddressRange] = []
    /// Freed addresses, the longest free first, so that they are reused as late as possible. An entry is valid while its ticket is
    /// that of its address: an address that was taken meanwhile, and freed again, has a later one.
    private var freed: [Freed] = []
    private var freedStart = 0
    private var tickets: [IPAddress: UInt64] = [:]
    private var nextTicket: UInt64 = 0
    public private(set) var leases: [IPAddress: Lease] = [:]
    private var leaseOfMAC: [MACAddress: IPAddress] = [:]
    private var reserved: Set<IPAddress> = []
    /// Number of addresses in the blocks without the reserved ones, and number of those that are leased.
    public private(set) var owned: UInt128 = 0
    private var leasedOfOwned: UInt128 = 0

    private struct OwnBlock: Sendable {
        var range: AddressRange
        /// First address that was not handed out since this process started; nil if there is none left.
        var next: IPAddress?
        var usedAt: Instant
    }

    private struct Freed: Sendable {
        var address: IPAddress
        var ticket: UInt64
        var at: Instant
    }

    public init(subnet: SubnetID, leases: some Sequence<Lease> = []) {
        self.subnet = subnet
        for lease in leases { insert(lease) }
    }

    private mutating func insert(_ lease: Lease) {
        if leases.updateValue(lease, forKey: lease.address) == nil, owns(lease.address), !reserved.contains(lease.address) {
            leasedOfOwned += 1
        }
        leaseOfMAC[lease.mac] = lease.address
        tickets[lease.address] = nil
    }

    /// Takes this host's blocks, in order of address, and the addresses that no endpoint may have, from the catalogue.
    ///
    /// Costs time in proportion to the number of blocks, and more only for those that changed, as a host with many containers gets
    /// one block at a time.
    public mutating func setBlocks(_ ranges: [AddressRange], reserved: Set<IPAddress>, now: Instant) {
        var start = 0
        var equalAtEnd = 0
        if reserved == self.reserved {
            let least = min(blocks.count, ranges.count)
            while start < least, blocks[start].range == ranges[start] { start += 1 }
            while equalAtEnd < least - start,
                blocks[blocks.count - 1 - equalAtEnd].range == ranges[ranges.count - 1 - equalAtEnd]
            { equalAtEnd += 1 }
        }
        // All blocks in between count as changed.
        let old = Array(blocks[start..<blocks.count - equalAtEnd])
        let new = ranges[start..<ranges.count - equalAtEnd]
        if old.isEmpty, new.isEmpty, reserved == self.reserved { return }
        for block in old { forget(block.range) }
        self.reserved = reserved
        var position = 0
        let changed = new.map { range in
            while position < old.count, old[position].range.last < range.first { position += 1 }
            guard position < old.count, old[position].range.contains(range.first), old[position].range.contains(range.last) else {
                return OwnBlock(range: range, next: range.first, usedAt: now)
            }
            let parent = old[position]
            if parent.range == range { return parent }
            // The remainder of a block that lost some addresses goes on where that block was.
            return OwnBlock(
                range: range, next: parent.next.flatMap { $0 <= range.last ? max($0, range.first) : nil }, usedAt: parent.usedAt)
        }
        blocks.replaceSubrange(start..<start + old.count, with: changed)
        firstUnused = min(firstUnused, start)
        for range in new { count(range) }
        guard !old.isEmpty else { return }
        handedOver = handedOver.filter { range in blocks.contains { $0.range.overlaps(range) } }
        for address in tickets.keys where !owns(address) { tickets[address] = nil }
        freed = freed[freedStart...].filter { tickets[$0.address] == $0.ticket }
        freedStart = 0
    }

    private mutating func count(_ range: AddressRange) {
        owned += range.count - reservedCount(in: range)
        leasedOfOwned += UInt128(leased(in: range).count { !reserved.contains($0) })
    }

    private mutating func forget(_ range: AddressRange) {
        owned -= range.count - reservedCount(in: range)
        leasedOfOwned -= UInt128(leased(in: range).count { !reserved.contains($0) })
    }

    private func reservedCount(in range: AddressRange) -> UInt128 { UInt128(reserved.count { range.contains($0) }) }

    /// Leased addresses of a range, in no order.
    private func leased(in range: AddressRange) -> [IPAddress] {
        guard range.count < UInt128(leases.count) else { return leases.keys.filter { range.contains($0) } }
        var found: [IPAddress] = []
        var address: IPAddress? = range.first
        while let next = address, range.contains(next) {
            if leases[next] != nil { found.append(next) }
            address = next.advanced(by: 1)
        }
        return found
    }

    /// Index of the block that contains an address.
    private func block(of address: IPAddress) -> Int? {
        // The last that starts at or before it.
        let index = blocks.partitioningIndex { $0.range.first > address } - 1
        return index >= 0 && blocks[index].range.contains(address) ? index : nil
    }

    public func owns(_ address: IPAddress) -> Bool { block(of: address) != nil }
    public func lease(of mac: MACAddress) -> Lease? { leaseOfMAC[mac].flatMap { leases[$0] } }
    public func lease(at address: IPAddress) -> Lease? { leases[address] }

    /// Number of addresses that are not in use, including those in quarantine.
    public var free: UInt128 {
        let given = handedOver.reduce(UInt128(0)) { $0 + $1.count }
        let taken = leasedOfOwned + given
        return owned > taken ? owned - taken : 0
    }

    /// Number of free addresses in quarantine, or a few more if addresses were taken by name meanwhile.
    public func quarantined(now: Instant) -> UInt128 {
        let first = freed[freedStart...].partitioningIndex { $0.at + Self.coolDown > now }
        return UInt128(freed.count - first)
    }

    // MARK: Handing out

    /// Allocates the next address: one that was never used, else the one that has been free for longest.
    ///
    /// - Parameter early: True if an address in quarantine will do.
    public mutating func allocate(mac: MACAddress, now: Instant, early: Bool = false) throws(Failure) -> Lease {
        if let lease = lease(of: mac) { return lease }
        guard let address = nextAddress(now, early) else { throw .noFreeAddress }
        return take(address, mac, now)
    }

    /// Takes a certain address, in quarantine or not.
    public mutating func allocate(_ address: IPAddress, mac: MACAddress, now: Instant) throws(Failure) -> Lease {
        if let lease = leases[address] {
            guard lease.mac == mac else { throw .inUse(lease) }
            return lease
        }
        guard isAllocatable(address) else { throw .notOwned }
        return take(address, mac, now)
    }

    private mutating func take(_ address: IPAddress, _ mac: MACAddress, _ now: Instant) -> Lease {
        let lease = Lease(subnet: subnet, address: address, mac: mac)
        insert(lease)
        touch(address, now)
        return lease
    }

    /// Gives an address back; nil if it was not handed out.
    @discardableResult
    public mutating func release(_ address: IPAddress, now: Instant) -> Lease? {
        guard let lease = leases.removeValue(forKey: address) else { return nil }
        if leaseOfMAC[lease.mac] == address { leaseOfMAC[lease.mac] = nil }
        if owns(address), !reserved.contains(address) {
            leasedOfOwned -= 1
            nextTicket += 1
            tickets[address] = nextTicket
            freed.append(Freed(address: address, ticket: nextTicket, at: now))
            touch(address, now)
        }
        return lease
    }

    private mutating func touch(_ address: IPAddress, _ now: Instant) {
        if let index = block(of: address) { blocks[index].usedAt = now }
    }

    /// True if this host may hand the address out.
    private func isAllocatable(_ address: IPAddress) -> Bool {
        owns(address) && !reserved.contains(address) && !handedOver.contains { $0.contains(address) }
    }

    private mutating func nextAddress(_ now: Instant, _ early: Bool) -> IPAddress? {
        // In a huge block the list of freed addresses must not become huge, too.
        if freed.count - freedStart > Self.listedFree, let address = nextFreed(now, early: false) { return address }
        for index in firstUnused..<blocks.count {
            firstUnused = index
            while let candidate = blocks[index].next {
                let next = candidate.advanced(by: 1)
                blocks[index].next = next.flatMap { blocks[index].range.contains($0) ? $0 : nil }
                if leases[candidate] == nil, tickets[candidate] == nil, isAllocatable(candidate) { return candidate }
            }
        }
        return nextFreed(now, early: early)
    }

    private mutating func nextFreed(_ now: Instant, early: Bool) -> IPAddress? {
        // Addresses on their way back may be refused, and are free again then.
        var kept: [Freed] = []
        defer { if !kept.isEmpty { freed.insert(contentsOf: kept, at: freedStart) } }
        while freedStart < freed.count {
            let entry = freed[freedStart]
            guard tickets[entry.address] == entry.ticket else {
                drop()
                continue
            }
            guard early || entry.at + Self.coolDown <= now else { return nil }
            drop()
            if isAllocatable(entry.address) {
                tickets[entry.address] = nil
                return entry.address
            }
            kept.append(entry)
        }
        return nil
    }

    private mutating func drop() {
        freedStart += 1
        if freedStart > 1024, freedStart * 2 > freed.count {
            freed.removeFirst(freedStart)
            freedStart = 0
        }
    }

    // MARK: Giving up

    /// Stops handing out free addresses, because they go back to the cluster.
    public mutating func handOver(_ range: AddressRange) {
        if !handedOver.contains(range) { handedOver.append(range) }
    }

    /// Ends a handover. Addresses of the range that are still this host's are handed out again.
    public mutating func endHandover(_ range: AddressRange) {
        handedOver.removeAll { $0 == range }
        // Addresses that were never used were passed over.
        firstUnused = 0
        for index in blocks.indices where blocks[index].range.overlaps(range) {
            let first = max(blocks[index].range.first, range.first)
            blocks[index].next = blocks[index].next.map { min($0, first) } ?? first
        }
    }

    /// True if this address can be given up.
    public func isFree(_ address: IPAddress) -> Bool { leases[address] == nil && isAllocatable(address) }

    /// Blocks without an address in use since a time, except one that is kept so that the next container need not wait.
    public func idleBlocks(since time: Instant) -> [AddressRange] {
        let usable = blocks.filter { block in !handedOver.contains { $0.overlaps(block.range) } }
        var idle = usable.filter { block in
            block.usedAt <= time && leased(in: block.range).isEmpty
        }
        // One block with free addresses is enough.
        let isIdle = Set(idle.map(\.range))
        let others = usable.filter { !isIdle.contains($0.range) }
        let hasOther = others.contains { block in
            UInt128(leased(in: block.range).count) + reservedCount(in: block.range) < block.range.count
        }
        if !hasOther, !idle.isEmpty { idle.removeFirst() }
        return idle.map(\.range)
    }

    /// Free addresses as the fewest ranges, at most `limit` of them.
    public func freeRanges(limit: Int) -> [AddressRange] {
        var ranges: [AddressRange] = []
        for block in blocks where ranges.count < limit {
            let staying = leased(in: block.range).map { AddressRange($0) } + handedOver
            ranges += block.range.subtracting(staying).filter { !isReserved($0) }
        }
        return Array(ranges.prefix(limit))
    }

    /// True if all addresses of a range are reserved.
    private func isReserved(_ range: AddressRange) -> Bool {
        range.count <= UInt128(reserved.count) && reservedCount(in: range) == range.count
    }
}
