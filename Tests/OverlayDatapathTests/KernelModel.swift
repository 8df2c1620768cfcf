import OverlayDatapath
import OverlayModel

/// A kernel as a value, on which operations have the effect that they have on the real one.
struct KernelModel {
    var observed = ObservedState()
    private(set) var announced: [IPAddress: MACAddress] = [:]
    /// Operations that the real kernel would refuse.
    private(set) var refused: [KernelOperation] = []

    mutating func apply(_ operations: [KernelOperation]) {
        for operation in operations { apply(operation) }
    }

    private mutating func apply(_ operation: KernelOperation) {
        let vni = operation.vni
        if case .createNetwork(let base) = operation {
            // Ports, gateways and neighbours belong to the bridge and are kept. The rows of a VXLAN device that is created anew are
            // not.
            if var old = observed.networks[vni], !old.base.isFiltered {
                old.base.isFiltered = true
                observed.networks[vni] = old
            }
            if let old = observed.networks[vni], old.base != base {
                var fresh = NetworkState(base: base)
                (fresh.ports, fresh.gateways, fresh.neighbours) = (old.ports, old.gateways, old.neighbours)
                observed.networks[vni] = fresh
            } else if observed.networks[vni] == nil {
                observed.networks[vni] = NetworkState(base: base)
            }
            observed.broken.remove(vni)
            return
        }
        guard var state = observed.networks[vni] else {
            switch operation {
            case .deleteNetwork: observed.broken.remove(vni)
            case .deleteGateway, .deletePort, .reapPorts, .setPortMTU, .deleteForwarding, .deleteNeighbour, .deleteFlood: break
            default: refused.append(operation)
            }
            return
        }
        switch operation {
        case .createNetwork: break
        case .deleteNetwork:
            observed.networks[vni] = nil
            observed.unreaped.remove(vni)
            observed.broken.remove(vni)
            return
        case .addGateway(_, let gateway): state.gateways.insert(gateway)
        case .deleteGateway(_, let gateway): state.gateways.remove(gateway)
        case .createPort(_, let name, let port, _): state.ports[name] = port
        case .mendPort(_, let name, let port, _): if state.ports[name] != nil { state.ports[name] = port }
        case .deletePort(_, let name):
            if state.ports.removeValue(forKey: name) != nil { observed.unreaped.insert(vni) }
            state.forwarding = state.forwarding.filter { $0.value != .port(name) }
        case .reapPorts: observed.unreaped.remove(vni)
        case .setPortMTU(_, let name, _, _, let mtu): observed.portMTUs[vni, default: [:]][name] = mtu
        case .setForwarding(_, let mac, let destination):
            if case .port(let name) = destination, state.ports[name] == nil {
                refused.append(operation)
            } else {
                state.forwarding[mac] = destination
            }
        case .deleteForwarding(_, let mac, let destination):
            if state.forwarding[mac] == destination { state.forwarding[mac] = nil }
        case .setNeighbour(_, let address, let mac): state.neighbours[address] = mac
        case .deleteNeighbour(_, let address): state.neighbours[address] = nil
        case .announce(_, let address, let mac): announced[address] = mac
        case .addFlood(_, let vtep):
            state.flood.insert(vtep)
            state.admitted.insert(vtep)
        case .deleteFlood(_, let vtep):
            state.flood.remove(vtep)
            state.admitted.remove(vtep)
        }
        observed.networks[vni] = state
    }
}

/// Random values from small sets, so that they coincide.
struct Draw {
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &generator) }
    mutating func chance(_ percent: Int) -> Bool { number(100) < percent }
    mutating func vni() -> VNI { VNI(1_048_576 + UInt32(number(3)))! }
    mutating func mac() -> MACAddress { MACAddress(bits: 0x0242_0000_0000 + UInt64(number(12))) }
    mutating func address() -> IPAddress {
        chance(70) ? IPAddress(v4: 10, 0, 0, UInt8(number(12))) : IPAddress(family: .v6, bits: UInt128(number(6)))
    }
    mutating func vtep() -> IPAddress { IPAddress(v4: 192, 0, 2, UInt8(number(5))) }
    mutating func portName() -> String { "ve\(number(4))" }

    /// Port whose MAC follows from its name. Another MAC under a known name is another endpoint.
    static func port(_ name: String) -> Port {
        Port(containerLink: "so" + name.dropFirst(2), mac: MACAddress(bits: 0x0242_FF00_0000 + UInt64(name.utf8.last ?? 0)))
    }

    mutating func state(_ vni: VNI, ports names: Set<String>) -> NetworkState {
        var state = NetworkState(
            base: .init(vni: vni, local: IPAddress(v4: 192, 0, 2, 1), port: 4789, mtu: chance(80) ? 1450 : 1400))
        for _ in 0..<number(3) { state.gateways.insert(IPPrefix(address(), length: 24)!) }
        for name in names {
            state.ports[name] = Self.port(name)
            if chance(70) { state.forwarding[Self.port(name).mac] = .port(name) }
        }
        for _ in 0..<number(10) { state.forwarding[mac()] = .vtep(vtep()) }
        for _ in 0..<number(10) { state.neighbours[address()] = mac() }
        for _ in 0..<number(4) { state.flood.insert(vtep()) }
        for _ in 0..<number(4) { state.admitted.insert(vtep()) }
        if chance(30) { state.admitted.formUnion(state.flood) }
        return state
    }
}
