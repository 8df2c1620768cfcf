public import OverlayDatapath
public import OverlayModel

/// A kernel as a value, on which operations have the effect that they have on the real one.
public struct VirtualKernel {
    public var state = ObservedState()
    public var failure: KernelFailure?
    /// True if rows that lead to other hosts are refused.
    public var failsForwarding = false
    public private(set) var batches = 0
    /// Number of looks at single networks.
    public internal(set) var looks = 0
    /// Announcements of an address's new MAC that were made.
    public private(set) var announcements: [(VNI, IPAddress, MACAddress)] = []

    /// Links that routes in sandboxes lead through, by path and destination, the first one in use.
    public private(set) var routes: [String: [IPPrefix: [MACAddress]]] = [:]
    /// Paths of sandboxes that do not exist yet.
    public var missingSandboxes: Set<String> = []

    public init() {}

    /// Adds routes in a sandbox, behind those that are there.
    public mutating func addRoutes(_ destinations: [IPPrefix], through mac: MACAddress, in sandbox: String) {
        for destination in destinations { routes[sandbox, default: [:]][destination, default: []].append(mac) }
    }

    /// Adds routes in a sandbox, none of which may be there (NLM_F_EXCL).
    mutating func addNewRoutes(_ destinations: [IPPrefix], through mac: MACAddress, in sandbox: String) throws(World.Failed) {
        if let taken = destinations.first(where: { routes[sandbox]?[$0] != nil }) {
            throw World.Failed("route \(taken): file exists")
        }
        addRoutes(destinations, through: mac, in: sandbox)
    }

    /// Lets routes of a sandbox lead through another link.
    mutating func moveRoutes(_ destinations: [IPPrefix], through mac: MACAddress, in sandbox: String) {
        for destination in destinations where routes[sandbox]?[destination] != nil { routes[sandbox]?[destination] = [mac] }
    }

    /// Removes a link from its sandbox, and with it its routes.
    public mutating func removeLink(_ mac: MACAddress) {
        for (sandbox, table) in routes {
            let rest = table.mapValues { $0.filter { $0 != mac } }.filter { !$0.value.isEmpty }
            routes[sandbox] = rest.isEmpty ? nil : rest
        }
    }

    /// Removes the host's filter, as reloading a firewall does.
    public mutating func removeFilter() {
        for vni in state.networks.keys {
            state.networks[vni]?.base.isFiltered = false
            state.networks[vni]?.admitted = []
        }
    }

    /// Removes a network's VXLAN device, or its bridge. Its ports stay.
    public mutating func breakNetwork(_ vni: VNI, hasBridge: Bool = true) {
        guard var network = state.networks.removeValue(forKey: vni) else { return }
        if !hasBridge {
            network.gateways = []
            network.neighbours = [:]
            network.forwarding = [:]
            // Without a bridge, none of them is as it was made.
            if !network.ports.isEmpty { state.altered[vni] = Alteration(ports: Set(network.ports.keys)) }
        }
        damaged[vni] = network
        state.broken.insert(vni)
        if !network.ports.isEmpty { state.remains[vni] = Set(network.ports.keys) }
    }

    /// Ports whose container runs, whether they are there or not.
    private var running: Set<String> = []

    /// Paths of those sandboxes that do not exist.
    public func missing(_ sandboxes: Set<String>) -> Set<String> { running.isEmpty ? sandboxes : [] }

    /// Makes a lost port again, with its other end in the sandbox.
    public mutating func restore(_ lost: LostPort) -> RestoreOutcome {
        guard running.contains(lost.name) else { return .sandboxIsGone }
        if let failure { return .failed(failure) }
        guard state.networks[lost.vni] != nil else {
            return .failed(KernelFailure(operation: "link add \(lost.name)", errno: 19, reason: "no network"))
        }
        state.networks[lost.vni]?.ports[lost.name] = lost.port
        return .restored
    }

    /// MTUs of the other ends of ports, by the port's name.
    public var containerMTUs: [String: UInt32] = [:]

    private mutating func forget(_ port: String) {
        containerMTUs[port] = nil
        for vni in state.portMTUs.keys { state.portMTUs[vni]?[port] = nil }
    }

    /// Removes a veth pair, as the end of a container does.
    public mutating func endPair(_ name: String) {
        running.remove(name)
        losePort(name)
    }

    /// Removes a veth pair while its container runs.
    public mutating func losePort(_ name: String) {
        for vni in state.remains.keys {
            state.remains[vni]?.remove(name)
            if state.remains[vni]?.isEmpty == true { state.remains[vni] = nil }
        }
        for vni in damaged.keys { damaged[vni]?.ports[name] = nil }
        for vni in state.altered.keys { mend(vni) { $0.ports.remove(name) } }
        forget(name)
        for (vni, network) in state.networks where network.ports[name] != nil {
            state.networks[vni]?.ports[name] = nil
            state.networks[vni]?.forwarding = network.forwarding.filter { $0.value != .port(name) }
        }
    }

    private var damaged: [VNI: NetworkState] = [:]
    /// Names of ports whose links are to be deleted. One that has a new port as well would take that with it.
    private var deletedPorts: [VNI: Set<String>] = [:]

    private mutating func mend(_ vni: VNI, _ body: (inout Alteration) -> Void) {
        guard var alteration = state.altered[vni] else { return }
        body(&alteration)
        state.altered[vni] = alteration.isEmpty ? nil : alteration
    }

    public mutating func apply(_ operations: [KernelOperation]) -> KernelOutcome {
        batches += 1
        for (index, operation) in operations.enumerated() {
            if let failure, case .createPort = operation { return .failed(index: index, failure) }
            let vni = operation.vni
            if failsForwarding, case .setForwarding(_, _, .vtep) = operation {
                return .failed(
                    index: index, KernelFailure(operation: "\(operation)", errno: 97, reason: "address family not supported"))
            }
            switch operation {
            case .createNetwork(let base):
                // An adopted network keeps its ports, but not the rows of a VXLAN device that is made anew.
                let old = state.networks[vni] ?? damaged.removeValue(forKey: vni)
                state.broken.remove(vni)
                state.remains[vni] = nil
                mend(vni) { $0.hasDevices = false }
                if let old, old.base == base, state.networks[vni] != nil { continue }
                if var old, state.networks[vni] != nil, !old.base.isFiltered {
                    old.base.isFiltered = true
                    if old.base == base {
                        state.networks[vni] = old
                        continue
                    }
                }
                var fresh = NetworkState(base: base)
                fresh.ports = old?.ports ?? [:]
                fresh.gateways = old?.gateways ?? []
                fresh.neighbours = old?.neighbours ?? [:]
                state.networks[vni] = fresh
                continue
            case .deleteNetwork:
                for name in state.networks[vni]?.ports.keys.map({ $0 }) ?? [] { running.remove(name) }
                state.networks[vni] = nil
                deletedPorts[vni] = nil
                state.portMTUs[vni] = nil
                state.unreaped.remove(vni)
                state.broken.remove(vni)
                state.remains[vni] = nil
                state.altered[vni] = nil
                damaged[vni] = nil
                continue
            case .reapPorts:
                // The links are in the namespace, whatever is left of the network.
                for name in deletedPorts.removeValue(forKey: vni) ?? [] { endPair(name) }
                state.unreaped.remove(vni)
                continue
            default: break
            }
            guard state.networks[vni] != nil else {
                switch operation {
                case .deleteGateway, .deletePort, .reapPorts, .setPortMTU, .deleteForwarding, .deleteNeighbour, .announce,
                    .deleteFlood:
                    continue
                default: return .failed(index: index, KernelFailure(operation: "\(operation)", errno: 19, reason: "no network"))
                }
            }
            switch operation {
            case .createNetwork, .deleteNetwork, .reapPorts: break
            case .addGateway(_, let gateway): state.networks[vni]?.gateways.insert(gateway)
            case .deleteGateway(_, let gateway): state.networks[vni]?.gateways.remove(gateway)
            case .createPort(_, let name, let port, let mtu):
                state.portMTUs[vni, default: [:]][name] = mtu
                containerMTUs[name] = mtu
                deletedPorts[vni]?.remove(name)
                state.networks[vni]?.ports[name] = port
                running.insert(name)
                mend(vni) { $0.ports.remove(name) }
            case .mendPort(_, let name, let port, _):
                if state.networks[vni]?.ports[name] != nil { state.networks[vni]?.ports[name] = port }
                mend(vni) { $0.ports.remove(name) }
            case .deletePort(_, let name):
                running.remove(name)
                mend(vni) { $0.ports.remove(name) }
                forget(name)
                if state.networks[vni]?.ports.removeValue(forKey: name) != nil {
                    deletedPorts[vni, default: []].insert(name)
                    state.unreaped.insert(vni)
                }
                let rows = state.networks[vni]?.forwarding.filter { $0.value != .port(name) }
                state.networks[vni]?.forwarding = rows ?? [:]
            case .setPortMTU(_, let name, let sandbox, let from, let to):
                guard state.networks[vni]?.ports[name] != nil else { continue }
                guard !missingSandboxes.contains(sandbox) else {
                    return .failed(index: index, KernelFailure(operation: "\(operation)", errno: 2, reason: "no such sandbox"))
                }
                let mtu = containerMTUs[name] ?? from
                if mtu == from || mtu > to { containerMTUs[name] = to }
                state.portMTUs[vni, default: [:]][name] = to
            case .setForwarding(_, let mac, let destination): state.networks[vni]?.forwarding[mac] = destination
            case .deleteForwarding(_, let mac, let destination):
                if state.networks[vni]?.forwarding[mac] == destination { state.networks[vni]?.forwarding[mac] = nil }
            case .setNeighbour(_, let address, let mac): state.networks[vni]?.neighbours[address] = mac
            case .deleteNeighbour(_, let address): state.networks[vni]?.neighbours[address] = nil
            case .announce(_, let address, let mac): announcements.append((vni, address, mac))
            case .addFlood(_, let vtep):
                state.networks[vni]?.admitted.insert(vtep)
                state.networks[vni]?.flood.insert(vtep)
            case .deleteFlood(_, let vtep):
                state.networks[vni]?.flood.remove(vtep)
                state.networks[vni]?.admitted.remove(vtep)
            }
        }
        return .applied
    }
}
