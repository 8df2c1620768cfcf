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
    /// Looks at networks that others changed.
    private var looks = Looks()
    /// Operations that the last look at each network led to.
    private var lastRepairs: [VNI: [KernelOperation]] = [:]
    /// Ports that are made again as their veth pair was gone.
    var restorations = Restorations()
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

    mutating func lower(_ vni: VNI) -> [KernelOperation] {
        looks.forget(vni)
        lastRepairs[vni] = nil
        return datapath.lower(vni)
    }

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
    ///
    /// - Parameter sandboxes: Paths of the containers that have a port.
    mutating func repair(of sandboxes: Set<String> = [], into outbox: inout Outbox) {
        // One that comes due while the kernel is being read is done right after.
        guard observing == nil else { return outbox.timers.set(.repair, at: outbox.now + Self.repairDelay) }
        outbox.timers.set(.repair, at: outbox.now + Self.repairPeriod)
        let id = outbox.newEffect()
        observing = id
        outbox.append(.observe(id, sandboxes: sandboxes))
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

    /// Takes note of what containers may know that were there before this life of the daemon.
    mutating func recall(_ observed: ObservedState) { datapath.recall(observed) }

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

    // MARK: Looks

    /// Another program changed something in a network's namespace.
    mutating func changed(_ vni: VNI, into outbox: inout Outbox) {
        // The first observation comes, and finds everything.
        guard isReady, isUp(vni) else { return }
        looks.changed(vni, at: outbox.now)
        scheduleLook(into: &outbox)
    }

    /// Looks at the networks whose looks are due.
    mutating func look(into outbox: inout Outbox) {
        for vni in looks.takeDue(at: outbox.now) where isUp(vni) {
            let id = outbox.newEffect()
            looks.begin(id, at: vni)
            outbox.append(.look(id, vni))
        }
        scheduleLook(into: &outbox)
    }

    /// Looks at a network at a time of its own.
    mutating func lookAgain(_ vni: VNI, at time: Instant, into outbox: inout Outbox) {
        looks.demand(vni, at: time)
        scheduleLook(into: &outbox)
    }

    private func scheduleLook(into outbox: inout Outbox) {
        if let next = looks.next { outbox.timers.set(.look, noLaterThan: next) }
    }

    /// Takes note of the end of a look.
    ///
    /// - Returns: The network; nil if it is not up any more.
    mutating func seen(_ id: EffectID) -> VNI? { looks.end(id).flatMap { isUp($0) ? $0 : nil } }

    /// Brings one network in the kernel in line with what it should hold.
    ///
    /// - Parameters:
    ///   - unknown: Tunnels to spare, as their owner's endpoints are not all known.
    ///   - isLost: True if a port of the network is gone.
    mutating func repair(
        _ vni: VNI, _ observed: ObservedState, sparing unknown: Set<IPAddress>, isLost: Bool, into outbox: inout Outbox
    ) {
        let operations = datapath.repair(vni, observed, keepingRowsTo: unknown)
        outbox.apply(operations)
        // A repair that is found due again did not help, or is undone by somebody, who would go on for ever.
        looks.found(isLost || !operations.isEmpty && operations != lastRepairs[vni], at: vni)
        lastRepairs[vni] = operations
        if observed.broken.contains(vni) { changed(vni, into: &outbox) }
        if !operations.isEmpty {
            outbox.log(
                .info, "a network in the kernel was changed by others, and is mended",
                [LogKey.network: KernelName.namespace(vni), LogKey.operation: "\(operations.count) in all"])
        }
    }

    // MARK: Lost ports

    /// Names of ports that should be there and are not, by network.
    func lostPorts(_ observed: ObservedState) -> [(vni: VNI, name: String)] { datapath.lostPorts(observed) }

    /// Port of an endpoint; nil if it should not be there.
    func port(of endpoint: EndpointID, on vni: VNI) -> (port: Port, mtu: UInt32)? {
        datapath.port(KernelName.port(endpoint), on: vni)
    }

    /// Operations for the rows that lead to a port that was made again.
    func rows(to endpoint: EndpointID, on vni: VNI) -> [KernelOperation] { datapath.rows(to: KernelName.port(endpoint), on: vni) }

    // MARK: Refusals

    /// The kernel refused something. What it refuses for good is tried less and less often.
    mutating func refused(into outbox: inout Outbox) {
        failures = min(failures + 1, 9)
        repairSoon(after: min(Self.repairPeriod, Self.repairDelay * (1 << (failures - 1))), into: &outbox)
    }

    /// Takes note of ports whose MTU is not that of their network, and has it looked at again soon whether they follow.
    ///
    /// - Parameter seen: Endpoints whose ports were looked at.
    mutating func setMisfits(_ new: [EndpointID: UInt32], among seen: Set<EndpointID>, into outbox: inout Outbox) {
        if !new.isEmpty, new != misfits.filter({ seen.contains($0.key) }) { repairSoon(into: &outbox) }
        misfits = misfits.filter { !seen.contains($0.key) }.merging(new) { _, new in new }
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
