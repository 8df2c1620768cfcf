import OverlayCatalogue
import OverlayIPAM
import OverlayModel

/// Addresses that this host hands out: a pool for each subnet in use here, and what is known of further blocks.
struct Addresses: Sendable {
    /// Time for which a host that was told that there is no further block does not ask for one in advance.
    static let prefetchPause = Interval.seconds(10)
    /// Time after which a block that nobody has used goes back to the cluster.
    static let idleAge = Interval.seconds(600)
    /// Time after which a subnet that no network came for is given up.
    static let orphanAge = Interval.seconds(600)
    /// Time from RequestPool to CreateNetwork that engines seldom exceed.
    static let creationTime = Interval.seconds(10)

    private var pools: [SubnetID: AddressPool] = [:]
    /// Addresses of this host's blocks that may be in use by containers of which an old copy of the state knew nothing.
    private(set) var quarantined: [SubnetID: Set<AddressRange>] = [:]
    /// Subnets for which a block is proposed in advance.
    private var claiming: Set<SubnetID> = []
    private var prefetchPaused: [SubnetID: Instant] = [:]
    /// Number of RequestPools that no CreateNetwork or ReleasePool has followed: several creates may mean one subnet at the same
    /// time.
    private var poolRequests: [SubnetID: Int] = [:]
    /// Number of those that named the network, and of those that did not. CreateNetwork does not tell.
    private var namedRequests: [SubnetID: (named: Int, other: Int)] = [:]
    /// Subnets that the cluster chose for a create.
    private var automatic: Set<SubnetID> = []
    /// Time of the last of them.
    private var requestedAt: [SubnetID: Instant] = [:]
    /// Times since which subnets of this host have had no network.
    private var unbound: [SubnetID: Instant] = [:]

    init() {}

    /// - Parameter isGivenUp: True for addresses that are being handed over; a lease of such an address is of old.
    init(rows: StoredRows, isGivenUp: (Lease) -> Bool) throws(DecodeError) {
        var leases: [SubnetID: [Lease]] = [:]
        for bytes in (rows[.lease] ?? [:]).values {
            let lease = try Lease(wire: bytes)
            if !isGivenUp(lease) { leases[lease.subnet, default: []].append(lease) }
        }
        for bytes in (rows[.quarantine] ?? [:]).values {
            let addresses = try Handover(wire: bytes)
            quarantined[addresses.subnet, default: []].insert(addresses.range)
        }
        for (subnet, leases) in leases { pools[subnet] = AddressPool(subnet: subnet, leases: leases) }
    }

    // MARK: Pools

    subscript(subnet: SubnetID) -> AddressPool? { pools[subnet] }

    /// Subnets in use here, by id.
    var subnets: [SubnetID] { pools.keys.sorted() }
    var leaseCount: Int { pools.values.reduce(0) { $0 + $1.leases.count } }

    /// Brings the pool of a subnet in line with the catalogue.
    ///
    /// - Parameters:
    ///   - blocks: This node's blocks; none while the subnet is being given up.
    ///   - handovers: Addresses that are being given up.
    mutating func follow(_ subnet: Subnet, blocks: [AddressRange], handovers: [AddressRange], now: Instant) {
        var pool = pools.removeValue(forKey: subnet.id) ?? AddressPool(subnet: subnet.id)
        var reserved = subnet.auxiliary.union([subnet.gateway])
        for edge in [subnet.prefix.first, subnet.prefix.last] where subnet.isReserved(edge) { reserved.insert(edge) }
        pool.setBlocks(blocks, reserved: reserved, now: now)
        for range in handovers { pool.handOver(range) }
        for range in quarantined[subnet.id] ?? [] { pool.handOver(range) }
        pools[subnet.id] = pool
    }

    /// Drops the pools of all other subnets.
    mutating func keepOnly(where isUsed: (SubnetID) -> Bool) {
        for id in pools.keys where !isUsed(id) { pools[id] = nil }
        prefetchPaused = prefetchPaused.filter { isUsed($0.key) }
        poolRequests = poolRequests.filter { isUsed($0.key) }
        namedRequests = namedRequests.filter { isUsed($0.key) }
        requestedAt = requestedAt.filter { isUsed($0.key) }
        automatic = automatic.filter(isUsed)
    }

    /// Drops a pool.
    ///
    /// - Returns: The deletions of its rows.
    mutating func drop(_ subnet: SubnetID) -> (leases: [StoreWrite], quarantine: [StoreWrite]) {
        let leases = (pools[subnet]?.leases ?? [:]).values.map { StoreWrite.delete(.lease, key: $0.storeKey) }
        let quarantine = (quarantined.removeValue(forKey: subnet) ?? []).map {
            StoreWrite.delete(.quarantine, key: Handover(subnet: subnet, range: $0).storeKey)
        }
        pools[subnet] = nil
        prefetchPaused[subnet] = nil
        return (leases, quarantine)
    }

    // MARK: Leases

    /// Lease of a MAC in a pool.
    enum Held: Sendable {
        case nothing
        case own(Lease)
        /// A lease of an address that is in no block of this host (any more).
        case foreign(Lease)
    }

    /// Lease of a MAC; nil where there is no such pool.
    func lease(of mac: MACAddress, in subnet: SubnetID) -> Held? {
        guard pools[subnet] != nil else { return nil }
        guard let lease = pools[subnet]?.lease(of: mac) else { return .nothing }
        return pools[subnet]?.owns(lease.address) == false ? .foreign(lease) : .own(lease)
    }

    func isLeased(_ address: IPAddress, of subnet: SubnetID) -> Bool { pools[subnet]?.lease(at: address) != nil }

    /// Takes a free address, or the wanted one, in its place: a copy of a pool costs as much as it has leases.
    ///
    /// - Parameter early: True if an address that was freed a moment ago will do.
    /// - Returns: nil where there is no such pool.
    mutating func allocate(_ wanted: IPAddress?, mac: MACAddress, in subnet: SubnetID, now: Instant, early: Bool)
        throws(AddressPool.Failure) -> Lease?
    {
        guard let wanted else { return try pools[subnet]?.allocate(mac: mac, now: now, early: early) }
        return try pools[subnet]?.allocate(wanted, mac: mac, now: now)
    }

    /// Frees an address.
    ///
    /// - Returns: The deletion of its row; nil where it was free.
    @discardableResult
    mutating func release(_ address: IPAddress, of subnet: SubnetID, now: Instant) -> StoreWrite? {
        guard let lease = pools[subnet]?.release(address, now: now) else { return nil }
        return .delete(.lease, key: lease.storeKey)
    }

    // MARK: RequestPool

    /// - Parameters:
    ///   - isNamed: True if the create named its network.
    ///   - isChosen: True if the create named a subnet.
    mutating func requested(_ subnet: SubnetID, isNamed: Bool, isChosen: Bool = true, now: Instant) {
        if !isChosen, !isNamed { automatic.insert(subnet) }
        poolRequests[subnet, default: 0] += 1
        var counts = namedRequests[subnet] ?? (0, 0)
        if isNamed { counts.named += 1 } else { counts.other += 1 }
        namedRequests[subnet] = counts
        requestedAt[subnet] = now
    }

    /// A network was made of the subnet. One request stays, so that a ReleasePool of another create finds the subnet in use.
    mutating func bound(_ subnet: SubnetID) {
        poolRequests[subnet] = poolRequests[subnet].flatMap { $0 > 1 ? $0 - 1 : nil }
        requestedAt[subnet] = nil
        automatic.remove(subnet)
        guard var counts = namedRequests[subnet] else { return }
        if counts.other > 0 { counts.other -= 1 } else { counts.named = max(0, counts.named - 1) }
        namedRequests[subnet] = counts == (0, 0) ? nil : counts
    }

    /// True if the cluster chose the subnet for the create that asked for it.
    func isAutomatic(_ subnet: SubnetID) -> Bool { automatic.contains(subnet) }

    /// True if each create that asked for the subnet named its network.
    func isNamed(_ subnet: SubnetID) -> Bool { namedRequests[subnet].map { $0.other == 0 && $0.named > 0 } ?? false }

    /// True if a create asked for the subnet a moment ago, and its CreateNetwork has not come yet.
    func isExpected(_ subnet: SubnetID, at now: Instant) -> Bool {
        requestedAt[subnet].map { now - $0 < Self.creationTime } ?? false
    }

    /// - Returns: True if no other request for the subnet is open.
    mutating func released(_ subnet: SubnetID) -> Bool {
        let others = max(0, poolRequests[subnet, default: 0] - 1)
        poolRequests[subnet] = others == 0 ? nil : others
        if others == 0 {
            namedRequests[subnet] = nil
            requestedAt[subnet] = nil
            automatic.remove(subnet)
        }
        return others == 0
    }

    /// Subnets that no network has come for in a long time: the engine died in between, or had lost patience.
    mutating func orphans(_ candidates: Set<SubnetID>, at now: Instant) -> [SubnetID] {
        // A subnet with addresses in quarantine may have a network that this node does not know of.
        let orphans = candidates.subtracting(quarantined.keys)
        unbound = unbound.filter { orphans.contains($0.key) }
        for id in orphans where unbound[id] == nil { unbound[id] = now }
        return orphans.filter { unbound[$0].map { now - $0 >= Self.orphanAge } ?? false }.sorted()
    }

    // MARK: Blocks

    /// Begins to ask for a further block in advance.
    ///
    /// - Returns: False where there are addresses enough, or it is being asked for, or was refused a moment ago.
    mutating func beginPrefetch(of subnet: SubnetID, now: Instant) -> Bool {
        guard !claiming.contains(subnet), let pool = pools[subnet], prefetchPaused[subnet].map({ $0 <= now }) ?? true else {
            return false
        }
        let free = pool.free
        guard pool.owned == 0 || (free - min(free, pool.quarantined(now: now))) * 4 < pool.owned else { return false }
        claiming.insert(subnet)
        return true
    }

    mutating func endPrefetch(of subnet: SubnetID, isRefused: Bool, now: Instant) {
        claiming.remove(subnet)
        // The subnet may have been given up meanwhile.
        if isRefused, pools[subnet] != nil { prefetchPaused[subnet] = now + Self.prefetchPause }
    }

    /// Blocks that have been idle for ``idleAge``.
    func idleBlocks(at now: Instant) -> [Handover] {
        let time = Instant(nanoseconds: now.nanoseconds - Self.idleAge.nanoseconds)
        return pools.sorted { $0.key < $1.key }.flatMap { id, pool in
            pool.idleBlocks(since: time).map { Handover(subnet: id, range: $0) }
        }
    }

    /// Takes addresses out of the free ones.
    mutating func handOver(_ handover: Handover) { pools[handover.subnet]?.handOver(handover.range) }
    /// Makes addresses of a handover free again, where this host still owns them.
    mutating func endHandover(_ handover: Handover) { pools[handover.subnet]?.endHandover(handover.range) }

    // MARK: Quarantine

    /// Puts addresses of this node's blocks that no known container has into quarantine, after a rollback.
    ///
    /// - Parameters:
    ///   - used: Addresses of known containers.
    ///   - blocks: This node's blocks.
    /// - Returns: The rows of leases that stay, and of the quarantine.
    mutating func quarantine(_ subnet: SubnetID, except used: Set<IPAddress>, of blocks: [AddressRange], now: Instant)
        -> [StoreWrite]
    {
        for lease in (pools[subnet]?.leases ?? [:]).values where !used.contains(lease.address) {
            pools[subnet]?.release(lease.address, now: now)
        }
        let leases = (pools[subnet]?.leases ?? [:]).values
        var rows = leases.map { StoreWrite.put(.lease, key: $0.storeKey, value: $0.wireBytes) }
        let leased = leases.map { AddressRange($0.address) }
        for range in blocks.flatMap({ $0.subtracting(leased) }) {
            let addresses = Handover(subnet: subnet, range: range)
            quarantined[subnet, default: []].insert(range)
            pools[subnet]?.handOver(range)
            rows.append(.put(.quarantine, key: addresses.storeKey, value: addresses.wireBytes))
        }
        return rows
    }

    mutating func forgetQuarantine() { quarantined = [:] }

    func isQuarantined(_ address: IPAddress, of subnet: SubnetID) -> Bool {
        quarantined[subnet]?.contains { $0.contains(address) } ?? false
    }

    /// Takes an address out of quarantine, as the engine has released it.
    ///
    /// - Returns: The rows that change; none where it was in none.
    mutating func endQuarantine(of address: IPAddress, in subnet: SubnetID) -> [StoreWrite] {
        guard let range = quarantined[subnet]?.first(where: { $0.contains(address) }) else { return [] }
        let rest = range.subtracting([AddressRange(address)])
        quarantined[subnet]?.remove(range)
        quarantined[subnet]?.formUnion(rest)
        if quarantined[subnet]?.isEmpty == true { quarantined[subnet] = nil }
        pools[subnet]?.endHandover(range)
        for part in rest { pools[subnet]?.handOver(part) }
        return [.delete(.quarantine, key: Handover(subnet: subnet, range: range).storeKey)]
            + rest.map { Handover(subnet: subnet, range: $0) }.map { .put(.quarantine, key: $0.storeKey, value: $0.wireBytes) }
    }
}
