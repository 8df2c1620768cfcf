import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlayReplication

/// Desired state of this host's kernel, and the times at which the kernel is read and repaired.
struct Forwarding: Sendable {
    /// Pause between looks at the kernel, and before one that something asks for.
    static let repairPeriod = Interval.seconds(60)
    static let repairDelay = Interval.milliseconds(200)
    /// Time in which links of deleted ports gather: the kernel takes about as long for one as for a hundred.
    static let reapDelay = Interval.milliseconds(90)

    /// Endpoints of an owner on a network, behind its VTEP.
    struct Remote: Sendable {
        var vtep: IPAddress
        var records: [EndpointRecord]
    }

    private var datapath = Datapath()
    /// Tunnels whose rows the last repair spared, as their owner's endpoints are not all known.
    private var spared: [VNI: Set<IPAddress>] = [:]
    /// MTUs of ports that differ from that of their network, as the kernel was last read.
    private(set) var misfits: [EndpointID: UInt32] = [:]
    /// Refusals of the kernel since it was last found right.
    private var failures = 0
    /// The observation under way.
    private var observing: EffectID?
    /// False until the first observation of the kernel after the start. Until then no call is answered, and nothing is told to
    /// others: an empty log would make them drop the rows of containers that run.
    private(set) var isReady = false

    // MARK: Networks

    func isUp(_ vni: VNI) -> Bool { datapath.networks[vni] != nil }
    func base(of vni: VNI) -> NetworkState.Base? { datapath.networks[vni]?.base }
    var vnis: [VNI] { datapath.networks.keys.sorted() }
    func isUnused(_ vni: VNI) -> Bool { datapath.networks[vni]?.ports.isEmpty == true }

    /// A network's devices, and its remote rows.
    mutating func raise(_ network: Network, _ base: NetworkState.Base, _ remotes: [Remote]) -> [KernelOperation] {
        Self.raise(network, base, remotes, in: &datapath)
    }

    private static func raise(_ network: Network, _ base: NetworkState.Base, _ remotes: [Remote], in datapath: inout Datapath)
        -> [KernelOperation]
    {
        let gateways = Set(network.subnets.compactMap { IPPrefix($0.gateway, length: $0.prefix.length) })
        var operations = datapath.raise(base, gateways: gateways)
        for remote in remotes { operations += follow(remote, on: network, in: &datapath) }
        return operations
    }

    mutating func lower(_ vni: VNI) -> [KernelOperation] { datapath.lower(vni) }

    // MARK: Local endpoints

    mutating func addPort(of endpoint: LocalEndpoint, on vni: VNI) -> [KernelOperation] {
        Self.addPort(of: endpoint, on: vni, in: &datapath)
    }

    private static func addPort(of endpoint: LocalEndpoint, on vni: VNI, in datapath: inout Datapath) -> [KernelOperation] {
        datapath.addPort(
            KernelName.port(endpoint.id), Port(containerLink: KernelName.containerLink(endpoint.id), mac: endpoint.mac),
            addresses: endpoint.addresses, on: vni)
    }

    mutating func removePort(of endpoint: LocalEndpoint, on vni: VNI) -> [KernelOperation] {
        datapath.removePort(KernelName.port(endpoint.id), addresses: endpoint.addresses, on: vni)
    }

    /// Ends the links of ports that were deleted.
    mutating func reap(into outbox: inout Outbox) {
        for operation in datapath.reap() { outbox.apply([operation]) }
    }

    // MARK: Remote endpoints

    mutating func follow(_ remote: Remote, on network: Network) -> [KernelOperation] {
        Self.follow(remote, on: network, in: &datapath)
    }

    /// Static, so that the change is made in place.
    private static func follow(_ remote: Remote, on network: Network, in datapath: inout Datapath) -> [KernelOperation] {
        var operations = datapath.setFlood(remote.vtep, true, on: network.vni)
        for record in remote.records { operations += locate(record, at: remote.vtep, on: network, in: &datapath) }
        return operations
    }

    mutating func leave(_ remote: Remote, on network: Network) -> [KernelOperation] {
        var operations = datapath.setFlood(remote.vtep, false, on: network.vni)
        for record in remote.records { operations += forget(record, at: remote.vtep, on: network) }
        return operations
    }

    mutating func locate(_ record: EndpointRecord, at vtep: IPAddress, on network: Network) -> [KernelOperation] {
        Self.locate(record, at: vtep, on: network, in: &datapath)
    }

    private static func locate(
        _ record: EndpointRecord, at vtep: IPAddress, on network: Network, in datapath: inout Datapath
    ) -> [KernelOperation] {
        let addresses = record.addresses.filter { address in
            network.subnets.contains { $0.prefix.contains(address) && !$0.isReserved(address) }
        }
        return datapath.locate(record.mac, .vtep(vtep), addresses: addresses, on: network.vni)
    }

    mutating func forget(_ record: EndpointRecord, at vtep: IPAddress, on network: Network) -> [KernelOperation] {
        datapath.forget(record.mac, .vtep(vtep), addresses: record.addresses, on: network.vni)
    }

    // MARK: Claims

    func hasClaims(on vni: VNI) -> Bool { datapath.hasClaims(on: vni) }
    func hasEndpoint(_ mac: MACAddress, on vni: VNI) -> Bool { datapath.hasEndpoint(mac, on: vni) }
    func hasEndpoint(_ address: IPAddress, on vni: VNI) -> Bool { datapath.hasEndpoint(address, on: vni) }

    mutating func claim(_ mac: MACAddress, _ destination: Destination?, on vni: VNI) -> [KernelOperation] {
        datapath.claim(mac, destination, on: vni)
    }

    mutating func claim(_ address: IPAddress, _ mac: MACAddress?, on vni: VNI) -> [KernelOperation] {
        datapath.claim(address, mac, on: vni)
    }

    // MARK: Repair

    func repairSoon(after delay: Interval = Self.repairDelay, into outbox: inout Outbox) {
        outbox.timers.set(.repair, noLaterThan: outbox.now + delay)
    }

    /// Asks for what the kernel holds.
    mutating func repair(into outbox: inout Outbox) {
        // One that comes due while the kernel is being read is done right after.
        guard observing == nil else { return outbox.timers.set(.repair, at: outbox.now + Self.repairDelay) }
        outbox.timers.set(.repair, at: outbox.now + Self.repairPeriod)
        let id = outbox.newEffect()
        observing = id
        outbox.append(.observe(id))
    }

    /// Takes note of an observation.
    ///
    /// - Returns: True if it is the first one; nil if it is not the one that was asked for last.
    mutating func observed(_ id: EffectID) -> Bool? {
        guard id == observing else { return nil }
        observing = nil
        defer { isReady = true }
        return !isReady
    }

    mutating func notObserved(_ id: EffectID, into outbox: inout Outbox) {
        guard observing == id else { return }
        observing = nil
        if !isReady { outbox.timers.set(.repair, at: outbox.now + .seconds(1)) }
    }

    /// Makes what a network should hold anew.
    mutating func rebuild(
        _ network: Network, _ base: NetworkState.Base, _ remotes: [Remote], _ endpoints: [LocalEndpoint]
    ) {
        var fresh = Datapath()
        _ = Self.raise(network, base, remotes, in: &fresh)
        for endpoint in endpoints { _ = Self.addPort(of: endpoint, on: network.vni, in: &fresh) }
        datapath.adopt(network.vni, of: fresh)
    }

    /// Brings the kernel in line with what it should hold.
    ///
    /// - Parameter unknown: Tunnels to spare, as their owner's endpoints are not all known.
    mutating func repair(_ observed: ObservedState, sparing unknown: [VNI: Set<IPAddress>], into outbox: inout Outbox) {
        spared = unknown
        let operations = datapath.repair(observed, keepingRowsTo: unknown)
        // Network by network: what the kernel refuses of one stops no other.
        for part in operations.chunkedByNetwork { outbox.apply(part) }
        if operations.isEmpty { failures = 0 }
        if !observed.broken.isEmpty { repairSoon(into: &outbox) }
    }

    /// The kernel refused something. What it refuses for good is tried less and less often.
    mutating func refused(into outbox: inout Outbox) {
        failures = min(failures + 1, 9)
        repairSoon(after: min(Self.repairPeriod, Self.repairDelay * (1 << (failures - 1))), into: &outbox)
    }

    /// Takes note of ports whose MTU is not that of their network, and has it looked at again soon whether they follow.
    mutating func setMisfits(_ all: [EndpointID: UInt32], into outbox: inout Outbox) {
        if all != misfits, !all.isEmpty { repairSoon(into: &outbox) }
        misfits = all
    }

    mutating func spare(_ unknown: [VNI: Set<IPAddress>]) { spared = unknown }

    /// True if rows were spared that need not be any more.
    func sparesTooMuch(_ unknown: [VNI: Set<IPAddress>]) -> Bool {
        spared.contains { !$0.value.isSubset(of: unknown[$0.key] ?? []) }
    }
}

extension [KernelOperation] {
    /// Runs of operations of one network, in their order.
    fileprivate var chunkedByNetwork: [[KernelOperation]] {
        var chunks: [[KernelOperation]] = []
        for operation in self {
            if chunks.last?.first?.vni == operation.vni {
                chunks[chunks.count - 1].append(operation)
            } else {
                chunks.append([operation])
            }
        }
        return chunks
    }
}
