public import OverlayModel

/// Desired state of all networks on this host, and the operations that bring the kernel there.
///
/// There are two ways, which agree: each change returns its own operations, and ``repair(_:keepingRowsTo:)`` compares the whole
/// with what the kernel really holds.
public struct Datapath: Sendable {
    /// Rows of endpoints. Claims come on top of them (``wanted(_:)``).
    public private(set) var networks: [VNI: NetworkState] = [:]
    /// Rows of what endpoints claim by using it.
    private var claims: [VNI: ClaimedRows] = [:]
    /// Last MAC of each address, including addresses that are gone: what containers may still have in their neighbour caches.
    private var remembered: [VNI: [IPAddress: MACAddress]] = [:]
    /// Networks with containers that may know more addresses than are remembered. What is not remembered is announced there.
    private var forgetful: Set<VNI> = []
    /// Number of addresses remembered per network. When there are more, all are forgotten, which costs announcements at most.
    static let rememberedAddresses = 65_536

    /// Other MACs of an address, in the order in which they were heard.
    ///
    /// Two endpoints may have one address for a while, when one takes it and the news that the other released it is on its way.
    /// When the endpoint with the row goes, the next one gets the row.
    private var shadowed: [VNI: [IPAddress: [MACAddress]]] = [:]
    /// Networks with ports that were deleted since the last ``reap()``.
    private var unreaped: Set<VNI> = []

    public init() {}

    // MARK: Changes

    /// Takes note of what the containers of a network may know that were there before this life of the daemon: the rows that the
    /// kernel holds, and addresses that went before. Each is announced where it has another MAC from now on.
    public mutating func recall(_ observed: ObservedState) {
        for (vni, state) in observed.networks where !state.ports.isEmpty {
            remembered[vni] = state.neighbours
            forgetful.insert(vni)
        }
    }

    public mutating func raise(_ base: NetworkState.Base, gateways: Set<IPPrefix>) -> [KernelOperation] {
        if let state = networks[base.vni], state.base == base, state.gateways == gateways { return [] }
        var state = NetworkState(base: base)
        state.gateways = gateways
        networks[base.vni] = state
        shadowed[base.vni] = nil
        claims[base.vni] = nil
        return [.createNetwork(base)] + gateways.sorted().map { .addGateway(base.vni, $0) }
    }

    public mutating func lower(_ vni: VNI) -> [KernelOperation] {
        remembered[vni] = nil
        forgetful.remove(vni)
        shadowed[vni] = nil
        claims[vni] = nil
        unreaped.remove(vni)
        return networks.removeValue(forKey: vni) == nil ? [] : [.deleteNetwork(vni)]
    }

    public mutating func addPort(_ name: String, _ port: Port, addresses: [IPAddress], on vni: VNI) -> [KernelOperation] {
        guard let mtu = networks[vni]?.base.mtu else { return [] }
        var operations: [KernelOperation] = []
        if networks[vni]?.ports.updateValue(port, forKey: name) != port {
            operations.append(.createPort(vni, name: name, port, mtu: mtu))
        }
        operations += locate(port.mac, .port(name), addresses: addresses, on: vni)
        return operations
    }

    public mutating func removePort(_ name: String, addresses: [IPAddress], on vni: VNI) -> [KernelOperation] {
        guard let port = networks[vni]?.ports.removeValue(forKey: name) else { return [] }
        unreaped.insert(vni)
        return forget(port.mac, .port(name), addresses: addresses, on: vni) + [.deletePort(vni, name: name)]
    }

    /// Ends the links of all ports that were deleted since the last time.
    public mutating func reap() -> [KernelOperation] {
        defer { unreaped = [] }
        return unreaped.sorted().map { .reapPorts($0) }
    }

    /// Places a MAC and its addresses at a destination. An endpoint on this host is never moved elsewhere, whoever says so.
    public mutating func locate(
        _ mac: MACAddress, _ destination: Destination, addresses: [IPAddress], on vni: VNI
    ) -> [KernelOperation] {
        // No copy of the state is held: with one, each change would copy all rows.
        guard networks[vni] != nil else { return [] }
        var isElsewhere = false
        if case .vtep = destination { isElsewhere = true }
        guard !isElsewhere || !isLocal(mac, on: vni) else { return [] }
        var operations: [KernelOperation] = []
        if networks[vni]?.forwarding.updateValue(destination, forKey: mac) != destination {
            operations.append(.setForwarding(vni, mac, destination))
        }
        for address in addresses {
            let holder = networks[vni]?.neighbours[address]
            guard holder != mac else { continue }
            endShadow(of: mac, at: address, on: vni)
            if isElsewhere, let holder, isLocal(holder, on: vni) {
                shadowed[vni, default: [:]][address, default: []].append(mac)
                continue
            }
            if let holder { shadowed[vni, default: [:]][address, default: []].append(holder) }
            operations += setNeighbour(address, mac, on: vni)
        }
        return operations
    }

    /// True if the MAC belongs to a container on this host.
    private func isLocal(_ mac: MACAddress, on vni: VNI) -> Bool {
        if case .port = networks[vni]?.forwarding[mac] { true } else { false }
    }

    private mutating func setNeighbour(_ address: IPAddress, _ mac: MACAddress, on vni: VNI) -> [KernelOperation] {
        networks[vni]?.neighbours[address] = mac
        // The row is that of a claim, and stays so.
        if claims[vni]?.neighbours[address] != nil { return [] }
        let old = remember(mac, of: address, on: vni)
        let isNews = old.map { $0 != mac } ?? forgetful.contains(vni)
        return [.setNeighbour(vni, address, mac)] + (isNews ? [.announce(vni, address, mac)] : [])
    }

    private mutating func deleteNeighbour(_ address: IPAddress, on vni: VNI) -> [KernelOperation] {
        networks[vni]?.neighbours[address] = nil
        return claims[vni]?.neighbours[address] == nil ? [.deleteNeighbour(vni, address)] : []
    }

    /// Notes the MAC that containers may have of an address from now on, and returns the one before it.
    private mutating func remember(_ mac: MACAddress, of address: IPAddress, on vni: VNI) -> MACAddress? {
        if remembered[vni, default: [:]].count >= Self.rememberedAddresses {
            remembered[vni] = nil
            forgetful.insert(vni)
        }
        return remembered[vni, default: [:]].updateValue(mac, forKey: address)
    }

    private mutating func endShadow(of mac: MACAddress, at address: IPAddress, on vni: VNI) {
        guard var macs = shadowed[vni]?[address], let index = macs.lastIndex(of: mac) else { return }
        macs.remove(at: index)
        shadowed[vni]?[address] = macs.isEmpty ? nil : macs
    }

    /// Removes a MAC and its addresses from a destination. Rows that belong by now to another endpoint, or to the same one at
    /// another place, stay.
    public mutating func forget(
        _ mac: MACAddress, _ destination: Destination, addresses: [IPAddress], on vni: VNI
    ) -> [KernelOperation] {
        guard networks[vni]?.forwarding[mac] == destination else { return [] }
        var operations: [KernelOperation] = []
        for address in addresses {
            guard networks[vni]?.neighbours[address] == mac else {
                endShadow(of: mac, at: address, on: vni)
                continue
            }
            if let heir = shadowed[vni]?[address]?.last {
                endShadow(of: heir, at: address, on: vni)
                operations += setNeighbour(address, heir, on: vni)
            } else {
                operations += deleteNeighbour(address, on: vni)
            }
        }
        networks[vni]?.forwarding[mac] = nil
        if let claimed = claims[vni]?.forwarding[mac] {
            operations.append(.setForwarding(vni, mac, claimed))
        } else {
            operations.append(.deleteForwarding(vni, mac, destination))
        }
        return operations
    }

    public mutating func setFlood(_ vtep: IPAddress, _ isWanted: Bool, on vni: VNI) -> [KernelOperation] {
        guard var flood = networks[vni]?.flood, flood.contains(vtep) != isWanted else { return [] }
        if isWanted { flood.insert(vtep) } else { flood.remove(vtep) }
        networks[vni]?.flood = flood
        return [isWanted ? .addFlood(vni, vtep) : .deleteFlood(vni, vtep)]
    }

    // MARK: Claims

    /// True if there are rows of claims on a network.
    public func hasClaims(on vni: VNI) -> Bool { claims[vni].map { !$0.isEmpty } ?? false }
    /// True if an endpoint has the MAC.
    public func hasEndpoint(_ mac: MACAddress, on vni: VNI) -> Bool { networks[vni]?.forwarding[mac] != nil }
    /// True if an endpoint has the address.
    public func hasEndpoint(_ address: IPAddress, on vni: VNI) -> Bool { networks[vni]?.neighbours[address] != nil }

    /// Places a MAC that is claimed, or takes its place away. The row of an endpoint with the MAC comes first.
    public mutating func claim(_ mac: MACAddress, _ destination: Destination?, on vni: VNI) -> [KernelOperation] {
        guard let state = networks[vni] else { return [] }
        let old = claims[vni]?.forwarding[mac]
        guard old != destination else { return [] }
        claims[vni, default: ClaimedRows()].forwarding[mac] = destination
        guard state.forwarding[mac] == nil else { return [] }
        if let destination { return [.setForwarding(vni, mac, destination)] }
        return old.map { [.deleteForwarding(vni, mac, $0)] } ?? []
    }

    /// Gives a claimed address the MAC of its holder, or that of the endpoint that has it leased; nil ends the claim.
    ///
    /// A change is announced always: containers may have learned the address by asking, before anything was known here.
    public mutating func claim(_ address: IPAddress, _ mac: MACAddress?, on vni: VNI) -> [KernelOperation] {
        guard let state = networks[vni], claims[vni]?.neighbours[address] != mac else { return [] }
        claims[vni, default: ClaimedRows()].neighbours[address] = mac
        guard let mac = mac ?? state.neighbours[address] else { return [.deleteNeighbour(vni, address)] }
        _ = remember(mac, of: address, on: vni)
        return [.setNeighbour(vni, address, mac), .announce(vni, address, mac)]
    }

    /// State of a network that the kernel should hold, claims included; nil if it should not have the network.
    public func wanted(_ vni: VNI) -> NetworkState? {
        guard var state = networks[vni] else { return nil }
        state.admitted = state.flood
        guard let claims = claims[vni] else { return state }
        state.forwarding.merge(claims.forwarding) { endpoint, _ in endpoint }
        state.neighbours.merge(claims.neighbours) { _, claim in claim }
        return state
    }

    // MARK: Repair

    /// Operations that bring the kernel from the observed to the desired state.
    ///
    /// - Parameters:
    ///   - observed: What the kernel holds.
    /// - unknown: VTEPs, by network, of members whose endpoints on it are not known yet in this life of the daemon. Rows that lead
    ///     to them stay: they carry the traffic of running containers, and a silent peer is no reason to cut it.
    /// - Returns: Operations, one network after the other.
    public func repair(_ observed: ObservedState, keepingRowsTo unknown: [VNI: Set<IPAddress>]) -> [KernelOperation] {
        var operations: [KernelOperation] = []
        for vni in observed.broken.sorted() where networks[vni] == nil { operations.append(.deleteNetwork(vni)) }
        for vni in observed.networks.keys.sorted() where networks[vni] == nil { operations.append(.deleteNetwork(vni)) }
        for vni in networks.keys.sorted() {
            guard let wanted = wanted(vni) else { continue }
            operations += Self.difference(
                from: observed.networks[vni], to: wanted, keepingRowsTo: unknown[vni] ?? [],
                remains: observed.remains[vni] ?? [], altered: observed.altered[vni] ?? Alteration())
            // Left by a daemon that ended before it reaped them.
            if observed.unreaped.contains(vni) { operations.append(.reapPorts(vni)) }
        }
        return operations
    }

    /// Names of ports, by network, that should be there and are not. A repair makes none of them: the other end of a veth pair is in
    /// a sandbox, which may be gone.
    ///
    /// - Parameter observed: What the kernel holds.
    public func lostPorts(_ observed: ObservedState) -> [(vni: VNI, name: String)] {
        networks.keys.sorted().flatMap { vni in
            (networks[vni]?.ports.keys.sorted() ?? []).filter { !observed.hasPort($0, on: vni) }.map { (vni, $0) }
        }
    }

    /// Port by its name; nil if it should not be there.
    public func port(_ name: String, on vni: VNI) -> (port: Port, mtu: UInt32)? {
        guard let state = networks[vni], let port = state.ports[name] else { return nil }
        return (port, state.base.mtu)
    }

    /// Operations for the rows that lead to a port which was made again.
    public func rows(to name: String, on vni: VNI) -> [KernelOperation] {
        guard let wanted = wanted(vni) else { return [] }
        let macs = wanted.forwarding.filter { $0.value == .port(name) }.keys.sorted { $0.bits < $1.bits }
        let neighbours = wanted.neighbours.filter { macs.contains($0.value) }.sorted { $0.key < $1.key }
        return macs.map { .setForwarding(vni, $0, .port(name)) } + neighbours.map { .setNeighbour(vni, $0.key, $0.value) }
    }

    /// Operations that repair one network, and nothing else.
    public func repair(
        _ vni: VNI, _ observed: ObservedState, keepingRowsTo unknown: Set<IPAddress>
    ) -> [KernelOperation] {
        guard let wanted = wanted(vni) else { return [] }
        return Self.difference(
            from: observed.networks[vni], to: wanted, keepingRowsTo: unknown, remains: observed.remains[vni] ?? [],
            altered: observed.altered[vni] ?? Alteration())
    }

    /// Operations that turn one network's state into another.
    ///
    /// - Parameters:
    ///   - remains: Ports that are left of a network without usable devices.
    ///   - altered: Things that exist and differ from what they were made as.
    static func difference(
        from observed: NetworkState?, to wanted: NetworkState, keepingRowsTo unknown: Set<IPAddress>,
        remains: Set<String> = [], altered: Alteration = Alteration()
    ) -> [KernelOperation] {
        let vni = wanted.base.vni
        var operations: [KernelOperation] = []
        // `present` is what may exist and has to go; `current` is what certainly exists. Devices that differ are mended by
        // `createNetwork`, which keeps ports. What else survives that is unknown, so everything is set again.
        let present = observed ?? NetworkState(base: wanted.base)
        var current = present
        // Ports to set anew, as they exist and are not as they should be.
        var ports = altered.ports
        if observed == nil || present.base != wanted.base {
            operations.append(.createNetwork(wanted.base))
            if observed == nil || !present.base.hasDevices(of: wanted.base) {
                current = NetworkState(base: wanted.base)
                current.ports = present.ports
                for name in remains { current.ports[name] = wanted.ports[name] }
                if observed == nil || present.base.mtu != wanted.base.mtu { ports = Set(current.ports.keys) }
            }
        } else if altered.hasDevices {
            operations.append(.createNetwork(wanted.base))
        }
        for gateway in wanted.gateways.subtracting(current.gateways).sorted() { operations.append(.addGateway(vni, gateway)) }
        for gateway in present.gateways.subtracting(wanted.gateways).sorted() {
            operations.append(.deleteGateway(vni, gateway))
        }
        // Ports are adopted, never made here: one that is gone has an other end in a sandbox (``lostPorts(_:)``).
        let strange = Set(current.ports.keys).union(remains).filter { wanted.ports[$0] == nil }.sorted()
        operations += strange.map { .deletePort(vni, name: $0) }
        if !strange.isEmpty { operations.append(.reapPorts(vni)) }
        for name in ports.sorted() where current.ports[name] != nil {
            guard let port = wanted.ports[name] else { continue }
            operations.append(.mendPort(vni, name: name, port, mtu: wanted.base.mtu))
        }
        func isKept(_ mac: MACAddress) -> Bool {
            if case .vtep(let vtep) = present.forwarding[mac] { unknown.contains(vtep) } else { false }
        }
        /// True unless the row leads to a port that does not exist. Such a row fails, and its endpoint is about to be found dead.
        func leadsSomewhere(_ mac: MACAddress) -> Bool {
            if case .port(let name) = wanted.forwarding[mac] { current.ports[name] != nil } else { true }
        }
        for (address, mac) in present.neighbours.sorted(by: { $0.key < $1.key })
        where wanted.neighbours[address] == nil && !isKept(mac) {
            operations.append(.deleteNeighbour(vni, address))
        }
        for (mac, destination) in present.forwarding.sorted(by: { $0.key.bits < $1.key.bits })
        where wanted.forwarding[mac] == nil && !isKept(mac) {
            operations.append(.deleteForwarding(vni, mac, destination))
        }
        for (mac, destination) in wanted.forwarding.sorted(by: { $0.key.bits < $1.key.bits })
        where current.forwarding[mac] != destination && leadsSomewhere(mac) {
            // A part that somebody added to a row stays when it is set, so it goes first.
            if current.forwarding[mac] == .nowhere { operations.append(.deleteForwarding(vni, mac, .nowhere)) }
            operations.append(.setForwarding(vni, mac, destination))
        }
        for (address, mac) in wanted.neighbours.sorted(by: { $0.key < $1.key })
        where current.neighbours[address] != mac && leadsSomewhere(mac) {
            operations.append(.setNeighbour(vni, address, mac))
            // Containers may have asked for it meanwhile.
            if current.neighbours[address] != nil { operations.append(.announce(vni, address, mac)) }
        }
        var stale = present.flood.union(present.admitted).subtracting(wanted.flood)
        if case .vtep(let nowhere) = Destination.nowhere, current.flood.contains(nowhere) {
            // The row of all tunnels has a part that cannot be named: it is made anew.
            operations.append(.deleteFlood(vni, nowhere))
            stale.remove(nowhere)
            current.flood = []
            let kept = present.flood.intersection(unknown).subtracting(wanted.flood)
            operations += kept.sorted().map { .addFlood(vni, $0) }
        }
        for vtep in wanted.flood.subtracting(current.flood.intersection(current.admitted)).sorted() {
            operations.append(.addFlood(vni, vtep))
        }
        for vtep in stale.sorted() where !unknown.contains(vtep) { operations.append(.deleteFlood(vni, vtep)) }
        return operations
    }
}

extension Datapath {
    /// Takes over a network's desired state from another value. The kernel follows with the next ``repair(_:keepingRowsTo:)``.
    public mutating func adopt(_ vni: VNI, of other: Datapath) {
        networks[vni] = other.networks[vni]
        shadowed[vni] = other.shadowed[vni]
        claims[vni] = other.claims[vni]
    }

    mutating func adopt(_ state: NetworkState) {
        networks[state.base.vni] = state
        shadowed[state.base.vni] = nil
        claims[state.base.vni] = nil
    }
}

/// Rows of what endpoints of a network claim.
private struct ClaimedRows: Hashable, Sendable {
    var forwarding: [MACAddress: Destination] = [:]
    var neighbours: [IPAddress: MACAddress] = [:]

    var isEmpty: Bool { forwarding.isEmpty && neighbours.isEmpty }
}
