public import OverlayModel

/// The desired state of all networks on this host, and how to get the kernel there.
///
/// Two ways lead there and agree: each change returns the operations that bring it about, and ``repair(_:keepingRowsTo:)`` compares the
/// whole with what the kernel really holds.
public struct Datapath: Sendable {
    public private(set) var networks: [VNI: NetworkState] = [:]
    /// The last MAC of addresses, also of those that are gone: what containers may have in their neighbour caches.
    private var remembered: [VNI: [IPAddress: MACAddress]] = [:]
    /// Addresses remembered per network; when there are more, all are forgotten, which costs an announcement at most.
    static let rememberedAddresses = 65_536

    /// Further MACs that have an address, in the order in which they were located. Two may have one for a while, if one endpoint takes what
    /// another gave back and the news of that is on its way. When the one with the row goes, the last of these gets it.
    private var shadowed: [VNI: [IPAddress: [MACAddress]]] = [:]

    public init() {}

    // MARK: Changes

    public mutating func raise(_ base: NetworkState.Base, gateways: Set<IPPrefix>) -> [KernelOperation] {
        if let state = networks[base.vni], state.base == base, state.gateways == gateways { return [] }
        var state = NetworkState(base: base)
        state.gateways = gateways
        networks[base.vni] = state
        shadowed[base.vni] = nil
        return [.createNetwork(base)] + gateways.sorted().map { .addGateway(base.vni, $0) }
    }

    public mutating func lower(_ vni: VNI) -> [KernelOperation] {
        remembered[vni] = nil
        shadowed[vni] = nil
        return networks.removeValue(forKey: vni) == nil ? [] : [.deleteNetwork(vni)]
    }

    public mutating func addPort(_ name: String, _ port: Port, addresses: [IPAddress], on vni: VNI) -> [KernelOperation] {
        guard let state = networks[vni] else { return [] }
        var operations: [KernelOperation] = []
        if state.ports[name] != port {
            networks[vni]?.ports[name] = port
            operations.append(.createPort(vni, name: name, port, mtu: state.base.mtu))
        }
        operations += locate(port.mac, .port(name), addresses: addresses, on: vni)
        return operations
    }

    public mutating func removePort(_ name: String, addresses: [IPAddress], on vni: VNI) -> [KernelOperation] {
        guard let port = networks[vni]?.ports.removeValue(forKey: name) else { return [] }
        return forget(port.mac, .port(name), addresses: addresses, on: vni) + [.deletePort(vni, name: name)]
    }

    /// A MAC and its addresses are at a destination. A MAC of this host is never taken to be elsewhere.
    public mutating func locate(
        _ mac: MACAddress, _ destination: Destination, addresses: [IPAddress], on vni: VNI
    ) -> [KernelOperation] {
        guard let state = networks[vni] else { return [] }
        var isElsewhere = false
        if case .vtep = destination { isElsewhere = true }
        guard !isElsewhere || !state.isLocal(mac) else { return [] }
        var operations: [KernelOperation] = []
        if networks[vni]?.forwarding.updateValue(destination, forKey: mac) != destination {
            operations.append(.setForwarding(vni, mac, destination))
        }
        for address in addresses {
            let holder = networks[vni]?.neighbours[address]
            guard holder != mac else { continue }
            endShadow(of: mac, at: address, on: vni)
            if isElsewhere, let holder, state.isLocal(holder) {
                shadowed[vni, default: [:]][address, default: []].append(mac)
                continue
            }
            if let holder { shadowed[vni, default: [:]][address, default: []].append(holder) }
            operations += setNeighbour(address, mac, on: vni)
        }
        return operations
    }

    private mutating func setNeighbour(_ address: IPAddress, _ mac: MACAddress, on vni: VNI) -> [KernelOperation] {
        networks[vni]?.neighbours[address] = mac
        if remembered[vni, default: [:]].count >= Self.rememberedAddresses { remembered[vni] = nil }
        let old = remembered[vni, default: [:]].updateValue(mac, forKey: address) ?? mac
        return [.setNeighbour(vni, address, mac)] + (old == mac ? [] : [.announce(vni, address, mac)])
    }

    private mutating func endShadow(of mac: MACAddress, at address: IPAddress, on vni: VNI) {
        guard var macs = shadowed[vni]?[address], let index = macs.lastIndex(of: mac) else { return }
        macs.remove(at: index)
        shadowed[vni]?[address] = macs.isEmpty ? nil : macs
    }

    /// A MAC and its addresses are no more at a destination. Rows that meanwhile belong to another endpoint, or to the same one at another
    /// place, stay.
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
                networks[vni]?.neighbours[address] = nil
                operations.append(.deleteNeighbour(vni, address))
            }
        }
        networks[vni]?.forwarding[mac] = nil
        operations.append(.deleteForwarding(vni, mac, destination))
        return operations
    }

    public mutating func setFlood(_ vtep: IPAddress, _ isWanted: Bool, on vni: VNI) -> [KernelOperation] {
        guard let flood = networks[vni]?.flood, flood.contains(vtep) != isWanted else { return [] }
        if isWanted { networks[vni]?.flood.insert(vtep) } else { networks[vni]?.flood.remove(vtep) }
        return [isWanted ? .addFlood(vni, vtep) : .deleteFlood(vni, vtep)]
    }

    // MARK: Repair

    /// Operations after which the kernel holds the desired state.
    ///
    /// - Parameter unknown: By network the VTEPs of members whose endpoints on it are not known yet in this life of the daemon. Rows that
    ///   lead to them stay: they carry the traffic of running containers, and a peer that is silent is no reason to cut it.
    /// - Returns: Operations of one network after those of another.
    public func repair(_ observed: ObservedState, keepingRowsTo unknown: [VNI: Set<IPAddress>]) -> [KernelOperation] {
        var operations: [KernelOperation] = []
        for vni in observed.broken.sorted() where networks[vni] == nil { operations.append(.deleteNetwork(vni)) }
        for vni in observed.networks.keys.sorted() where networks[vni] == nil { operations.append(.deleteNetwork(vni)) }
        for vni in networks.keys.sorted() {
            guard let wanted = networks[vni] else { continue }
            operations += Self.difference(from: observed.networks[vni], to: wanted, keepingRowsTo: unknown[vni] ?? [])
        }
        return operations
    }

    /// The operations that turn one network's state into another.
    static func difference(
        from observed: NetworkState?, to wanted: NetworkState, keepingRowsTo unknown: Set<IPAddress>
    ) -> [KernelOperation] {
        let vni = wanted.base.vni
        var operations: [KernelOperation] = []
        // `present` may be there and has to go; `current` is there for certain. `createNetwork` mends devices that are not as wanted and keeps
        // ports. Nothing else is known to be left after it, so everything is set again.
        let present = observed ?? NetworkState(base: wanted.base)
        var current = present
        if observed == nil || present.base != wanted.base {
            operations.append(.createNetwork(wanted.base))
            current = NetworkState(base: wanted.base)
            current.ports = present.ports
        }
        for gateway in wanted.gateways.subtracting(current.gateways).sorted() { operations.append(.addGateway(vni, gateway)) }
        for gateway in present.gateways.subtracting(wanted.gateways).sorted() {
            operations.append(.deleteGateway(vni, gateway))
        }
        // Ports are never made anew here: an endpoint whose port is gone lost its container, and that is for the node core to see.
        for name in current.ports.keys.sorted() where wanted.ports[name] == nil {
            operations.append(.deletePort(vni, name: name))
        }
        func isKept(_ mac: MACAddress) -> Bool {
            if case .vtep(let vtep) = present.forwarding[mac] { unknown.contains(vtep) } else { false }
        }
        /// Rows to a port that is not there fail; the endpoint is about to be found dead.
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
            operations.append(.setForwarding(vni, mac, destination))
        }
        for (address, mac) in wanted.neighbours.sorted(by: { $0.key < $1.key })
        where current.neighbours[address] != mac && leadsSomewhere(mac) {
            operations.append(.setNeighbour(vni, address, mac))
        }
        for vtep in wanted.flood.subtracting(current.flood).sorted() { operations.append(.addFlood(vni, vtep)) }
        for vtep in present.flood.subtracting(wanted.flood).sorted() where !unknown.contains(vtep) {
            operations.append(.deleteFlood(vni, vtep))
        }
        return operations
    }
}

extension Datapath {
    /// Takes a network's desired state as a whole; the kernel follows with the next ``repair(_:keepingRowsTo:)``.
    public mutating func adopt(_ vni: VNI, of other: Datapath) {
        networks[vni] = other.networks[vni]
        shadowed[vni] = other.shadowed[vni]
    }

    mutating func adopt(_ state: NetworkState) {
        networks[state.base.vni] = state
        shadowed[state.base.vni] = nil
    }
}

extension NetworkState {
    /// True if it is the MAC of a container on this host.
    fileprivate func isLocal(_ mac: MACAddress) -> Bool {
        if case .port = forwarding[mac] { true } else { false }
    }
}
