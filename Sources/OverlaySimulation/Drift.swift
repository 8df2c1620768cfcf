public import OverlayDatapath
public import OverlayModel

/// Change of a network in the kernel by another program, of each kind that there is.
public enum Drift: Hashable, Sendable {
    /// The VXLAN device is deleted. Ports, gateways and neighbours stay.
    case tunnelIsGone
    /// The bridge is deleted. Ports stay, without a bridge.
    case bridgeIsGone
    /// The namespace is gone with all that is in it.
    case namespaceIsGone
    /// The bridge or the VXLAN device is down, without master, or has other flags or another MTU.
    case devicesAreAltered
    /// A port is down, without master, or has other flags or another MTU.
    case portIsAltered(String)
    /// A veth pair is deleted while its container runs.
    case portIsGone(String)
    /// A row is deleted, or leads elsewhere.
    case row(MACAddress, Destination?)
    /// A neighbour is deleted, or has another MAC.
    case neighbour(IPAddress, MACAddress?)
    case flood(IPAddress, Bool)
    case gateway(IPPrefix, Bool)

    /// One of each kind that is possible.
    static func kinds(_ state: NetworkState?, random: inout SeededGenerator) -> [Drift] {
        guard let state else { return [] }
        let stranger = MACAddress(bits: 0x0266_0000_0000 + UInt64(random.below(4)))
        let elsewhere = Destination.vtep(IPAddress(v4: 203, 0, 113, 9))
        var all: [Drift] = [.tunnelIsGone, .bridgeIsGone, .namespaceIsGone, .devicesAreAltered]
        if let name = random.pick(state.ports.keys.sorted()) { all += [.portIsAltered(name), .portIsGone(name)] }
        if let mac = random.pick(state.forwarding.keys.sorted(by: { $0.bits < $1.bits })) {
            all += [.row(mac, nil), .row(mac, elsewhere), .row(mac, .nowhere)]
        }
        if let address = random.pick(state.neighbours.keys.sorted()) {
            all += [.neighbour(address, nil), .neighbour(address, stranger)]
        }
        if let vtep = random.pick(state.flood.sorted()) { all.append(.flood(vtep, false)) }
        if let gateway = random.pick(state.gateways.sorted()) { all.append(.gateway(gateway, false)) }
        all += [
            .row(stranger, elsewhere), .neighbour(IPAddress(v4: 203, 0, 113, 10), stranger),
            .flood(IPAddress(v4: 203, 0, 113, 9), true),
        ]
        return all
    }
}

extension VirtualKernel {
    /// Changes a network as another program does.
    ///
    /// - Returns: False if there is nothing to change.
    mutating func suffer(_ drift: Drift, on vni: VNI) -> Bool {
        guard state.networks[vni] != nil else { return false }
        switch drift {
        case .tunnelIsGone: breakNetwork(vni)
        case .bridgeIsGone: breakNetwork(vni, hasBridge: false)
        case .namespaceIsGone:
            for name in state.networks[vni]?.ports.keys.map({ $0 }) ?? [] { losePort(name) }
            state.networks[vni] = nil
            state.altered[vni] = nil
        case .devicesAreAltered: state.altered[vni, default: Alteration()].hasDevices = true
        case .portIsAltered(let name):
            guard state.networks[vni]?.ports[name] != nil else { return false }
            state.altered[vni, default: Alteration()].ports.insert(name)
        case .portIsGone(let name): losePort(name)
        case .row(let mac, let destination): state.networks[vni]?.forwarding[mac] = destination
        case .neighbour(let address, let mac): state.networks[vni]?.neighbours[address] = mac
        case .flood(let vtep, true): state.networks[vni]?.flood.insert(vtep)
        case .flood(let vtep, false): state.networks[vni]?.flood.remove(vtep)
        case .gateway(let gateway, true): state.networks[vni]?.gateways.insert(gateway)
        case .gateway(let gateway, false): state.networks[vni]?.gateways.remove(gateway)
        }
        return true
    }

    /// Reads one network.
    mutating func look(_ vni: VNI) -> ObservedState {
        looks += 1
        var one = ObservedState()
        one.networks[vni] = state.networks[vni]
        if state.broken.contains(vni) { one.broken.insert(vni) }
        one.remains[vni] = state.remains[vni]
        one.altered[vni] = state.altered[vni]
        return one
    }
}
