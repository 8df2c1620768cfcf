import OverlayDatapath
import OverlayModel
import OverlayReplication

/// Addresses and MACs that endpoints claim by using them, of this host and of all others on its networks; and what is listened for at
/// the ports of this host.
struct Claims: Sendable {
    /// Claimant: an endpoint and its owner.
    struct Holder: Hashable, Comparable, Sendable {
        var owner: NodeID
        var endpoint: EndpointID

        static func < (lhs: Holder, rhs: Holder) -> Bool { (lhs.owner, lhs.endpoint) < (rhs.owner, rhs.endpoint) }
    }

    /// Thing that can be claimed.
    enum Thing: Hashable, Comparable, Sendable {
        case mac(MACAddress)
        case address(IPAddress)

        static func < (lhs: Thing, rhs: Thing) -> Bool {
            switch (lhs, rhs) {
            case (.mac(let one), .mac(let other)): one.bits < other.bits
            case (.address(let one), .address(let other)): one < other
            case (.mac, .address): true
            case (.address, .mac): false
            }
        }
    }

    /// Claim of a thing.
    struct Claim: Hashable, Sendable {
        var holder: Holder
        /// MAC of the address, or the MAC that is claimed.
        var mac: MACAddress
        var number: UInt64
    }

    private struct Table: Sendable {
        var claims: [Holder: EndpointClaims] = [:]
        var holders: [Thing: Set<Holder>] = [:]
    }

    private struct Key: Hashable, Sendable {
        var network: NetworkID
        var thing: Thing
    }

    private let node: NodeID
    private var tables: [NetworkID: Table] = [:]
    /// Own endpoints, oldest claim first: what goes when there is no more room.
    private var order: [EndpointID: [IPAddress]] = [:]
    /// Rows of claims whose endpoint is gone.
    private(set) var orphans: [StoreWrite] = []
    private var ears: [EndpointID: (vni: VNI, hearing: Hearing)] = [:]
    /// Reasons why ports are not listened at that should be.
    private(set) var deafness: [EndpointID: String] = [:]
    private var things: [Key: Pace] = [:]
    private var endpoints: [EndpointID: Pace] = [:]

    init(of node: NodeID) { self.node = node }

    /// - Parameter network: Network of an endpoint of this host; nil where there is no such endpoint.
    init(of node: NodeID, rows: StoredRows, network: (EndpointID) -> NetworkID?) throws(DecodeError) {
        self.init(of: node)
        for (key, bytes) in rows[.claim] ?? [:] {
            let claims = try EndpointClaims(wire: bytes)
            if let network = network(claims.endpoint) {
                set(claims, of: Holder(owner: node, endpoint: claims.endpoint), on: network)
            } else {
                orphans.append(.delete(.claim, key: key))
            }
        }
    }

    mutating func forgetOrphans() { orphans = [] }

    // MARK: Claims

    /// Claims of an endpoint of this host.
    func own(_ endpoint: EndpointID, on network: NetworkID) -> EndpointClaims {
        tables[network]?.claims[Holder(owner: node, endpoint: endpoint)] ?? EndpointClaims(of: endpoint)
    }

    /// Claims of this host's endpoints on a network, by endpoint.
    func own(on network: NetworkID) -> [EndpointClaims] {
        (tables[network]?.claims ?? [:]).filter { $0.key.owner == node }.sorted { $0.key < $1.key }.map(\.value)
    }

    func claims(of holder: Holder, on network: NetworkID) -> EndpointClaims? { tables[network]?.claims[holder] }

    /// Networks on which anybody claims anything, by id.
    var networks: [NetworkID] { tables.keys.sorted() }

    func isEmpty(on network: NetworkID) -> Bool { tables[network] == nil }

    /// Things that anybody claims on a network.
    func things(on network: NetworkID) -> Set<Thing> { Set((tables[network]?.holders ?? [:]).keys) }

    /// All claims of a thing; the one that counts, if it is valid, comes last.
    func claims(of thing: Thing, on network: NetworkID) -> [Claim] {
        guard let table = tables[network], let holders = table.holders[thing] else { return [] }
        return holders.compactMap { holder in
            switch thing {
            case .mac(let mac):
                table.claims[holder]?[mac].map { Claim(holder: holder, mac: mac, number: $0.number) }
            case .address(let address):
                table.claims[holder]?[address].map { Claim(holder: holder, mac: $0.mac, number: $0.number) }
            }
        }.sorted { ($0.number, $0.holder) < ($1.number, $1.holder) }
    }

    /// Sets all claims of an endpoint.
    ///
    /// - Returns: The things whose claim is another one now.
    @discardableResult
    mutating func set(_ new: EndpointClaims, of holder: Holder, on network: NetworkID) -> Set<Thing> {
        var table = tables.removeValue(forKey: network) ?? Table()
        let old = table.claims[holder] ?? EndpointClaims(of: holder.endpoint)
        table.claims[holder] = new.isEmpty ? nil : new
        let before = old.things
        let after = new.things
        for thing in before.subtracting(after) {
            table.holders[thing]?.remove(holder)
            if table.holders[thing]?.isEmpty == true { table.holders[thing] = nil }
        }
        for thing in after.subtracting(before) { table.holders[thing, default: []].insert(holder) }
        if !table.claims.isEmpty { tables[network] = table }
        let same = Set(before.intersection(after).filter { new.has($0, as: old) })
        let touched = before.union(after).subtracting(same)
        if holder.owner == node { note(new) }
        return touched
    }

    private mutating func note(_ new: EndpointClaims) {
        let all = new.addresses.map(\.address)
        var known = (order[new.endpoint] ?? []).filter { all.contains($0) }
        known += all.filter { !known.contains($0) }
        order[new.endpoint] = known.isEmpty ? nil : known
    }

    /// Address that an endpoint of this host has claimed for the longest time.
    func oldest(of endpoint: EndpointID) -> IPAddress? { order[endpoint]?.first }

    // MARK: Pace

    /// Takes note that an endpoint of this host takes a thing.
    ///
    /// - Returns: False where things move too fast. It takes the thing when it announces it once more.
    mutating func admit(_ thing: Thing, of endpoint: EndpointID, on network: NetworkID, now: Instant) -> Bool {
        let key = Key(network: network, thing: thing)
        var own = endpoints[endpoint] ?? Pace(burst: Self.endpointBurst, interval: Self.endpointInterval)
        var all = things[key] ?? Pace(burst: Self.thingBurst, interval: Self.thingInterval)
        guard own.isFree(at: now), all.isFree(at: now) else { return false }
        own.take(at: now)
        all.take(at: now)
        endpoints[endpoint] = own
        things[key] = all
        // They say nothing any more when their time is over. There are as many as the pace of endpoints allows.
        if things.count > Self.keptPaces { things = things.filter { !$0.value.isClear(at: now) } }
        return true
    }

    /// Takeovers of one thing by endpoints of this host: so many at once, then one a second.
    private static let thingBurst: Int64 = 8
    private static let thingInterval = Interval.seconds(1)
    /// Takeovers of an endpoint of this host.
    private static let endpointBurst: Int64 = 64
    private static let endpointInterval = Interval.seconds(1)
    private static let keptPaces = 4096

    // MARK: Hearing

    /// Tells the shell what to listen for at the port of an endpoint; nil for nothing any more.
    mutating func listen(_ endpoint: EndpointID, for new: (vni: VNI, hearing: Hearing)?, into outbox: inout Outbox) {
        deafness[endpoint] = nil
        guard let new else {
            endpoints[endpoint] = nil
            guard let old = ears.removeValue(forKey: endpoint) else { return }
            return outbox.append(.listen(endpoint, old.vni, nil))
        }
        if let old = ears[endpoint], old == new { return }
        ears[endpoint] = new
        outbox.append(.listen(endpoint, new.vni, new.hearing))
    }

    /// The shell does not hear an endpoint's port any more. It is asked again with the next look at the kernel.
    mutating func deaf(_ endpoint: EndpointID, _ reason: String) {
        guard ears.removeValue(forKey: endpoint) != nil else { return }
        deafness[endpoint] = reason
    }
}

extension EndpointClaims {
    /// Things that are claimed.
    var things: Set<Claims.Thing> {
        Set(addresses.map { .address($0.address) }).union(macs.map { .mac($0.mac) })
    }

    /// True if both claim the thing in the same way.
    fileprivate func has(_ thing: Claims.Thing, as other: EndpointClaims) -> Bool {
        switch thing {
        case .mac(let mac): self[mac] == other[mac]
        case .address(let address): self[address] == other[address]
        }
    }

    mutating func remove(_ thing: Claims.Thing) {
        switch thing {
        case .mac(let mac): remove(mac)
        case .address(let address): remove(address)
        }
    }
}

/// Pace at which something may happen: a burst at once, then once per interval.
private struct Pace: Sendable {
    let burst: Int64
    let interval: Interval
    /// Time at which nothing of what happened counts any more.
    private var clearAt: Instant?

    init(burst: Int64, interval: Interval) {
        self.burst = burst
        self.interval = interval
    }

    /// True if it may happen now.
    func isFree(at now: Instant) -> Bool {
        clearAt.map { $0.nanoseconds - now.nanoseconds <= interval.nanoseconds * (burst - 1) } ?? true
    }

    /// True if nothing of what happened counts any more.
    func isClear(at now: Instant) -> Bool { clearAt.map { $0 <= now } ?? true }

    mutating func take(at now: Instant) { clearAt = max(clearAt ?? now, now) + interval }
}
