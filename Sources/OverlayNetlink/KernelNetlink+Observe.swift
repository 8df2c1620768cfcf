import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
public import OverlayModel

extension KernelNetlink {
    /// Reads the networks that the kernel holds: every namespace in the directory that is named like ours.
    ///
    /// Incomplete state is reported so that a diff sees it. A network without usable devices is in `broken`. A row that only one of the
    /// two tables has, or on which they disagree, leads to the VTEP `0.0.0.0`, which is never wanted and can be deleted.
    /// - Throws: An error if the kernel cannot be asked at all. A network that vanishes meanwhile is left out.
    public func observe() throws(KernelFailure) -> ObservedState {
        let names = try step("netns list", .namespace(path: directory)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try NetworkNamespace.names(in: directory) }
        }
        var state = ObservedState()
        // A filter that cannot be read does not stand. `createNetwork` says why.
        _ = try? filter().look()
        // One whose file was removed is still there while this process holds it.
        for vni in Set(names.compactMap(KernelName.vni(namespace:))).union(networks.keys) { look(vni, into: &state) }
        // Elements that a crash left of a network whose namespace is gone.
        state.broken.formUnion(((try? filter().vnis) ?? []).filter { state.networks[$0] == nil })
        return state
    }

    /// Reads one network.
    public func look(_ vni: VNI) -> ObservedState {
        var state = ObservedState()
        look(vni, into: &state)
        return state
    }

    /// Paths of those sandboxes that do not exist. One that cannot be looked at counts as there.
    public func missing(_ sandboxes: Set<String>) -> Set<String> {
        sandboxes.filter { path in (try? NetworkNamespace.state(path: path)).map { $0 != .namespace } ?? false }
    }

    private func look(_ vni: VNI, into state: inout ObservedState) {
        do throws(KernelFailure) {
            guard let handle = try handle(vni, required: false) else {
                // A file that pins no namespace. The network must be created anew, or the file removed.
                if try isNamed(vni) { state.broken.insert(vni) }
                return
            }
            let links = try step("link show", .query) { () throws(NetlinkError) in try handle.reload() }
            if links.contains(where: { $0.group == Requests.deletedGroup }) { state.unreaped.insert(vni) }
            let sight = try step("show \(KernelName.namespace(vni))", .query) { () throws(NetlinkError) in
                try Sight(handle, vni, links, host: host, hostNamespace: hostNamespace.number)
            }
            tunnels = tunnels.filter { $0.vni != vni }
            guard var network = sight.network, try isPinned(vni, handle) else {
                state.broken.insert(vni)
                if !sight.ports.isEmpty { state.remains[vni] = sight.ports }
                watch?.learn(.network(vni)) { $0.forget() }
                return
            }
            let filter = try? filter()
            network.base.isFiltered = filter?.port == network.base.port
            network.admitted = filter?.vteps(of: vni) ?? []
            tunnels.formUnion(network.flood.map { .init(vni: vni, vtep: $0) })
            state.networks[vni] = network
            if !sight.alteration.isEmpty { state.altered[vni] = sight.alteration }
            if !sight.mtus.isEmpty { state.portMTUs[vni] = sight.mtus }
            watch?.learn(.network(vni)) { $0.see(network, sight.indexes, handle.portFlags) }
        } catch {
            drop(vni)
            state.broken.insert(vni)
        }
    }

    private func isNamed(_ vni: VNI) throws(KernelFailure) -> Bool {
        let path = path(vni)
        return try step("netns list", .namespace(path: path)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try NetworkNamespace.state(path: path) != .missing }
        }
    }
}

/// Content of one network's namespace.
private struct Sight {
    /// State of the network; nil if its devices are missing or are other devices.
    var network: NetworkState?
    /// Ports that exist, in the bridge or not.
    var ports: Set<String> = []
    /// Their MTUs, which others follow (``KernelOperation/setPortMTU(_:name:sandbox:from:to:)``).
    var mtus: [String: UInt32] = [:]
    var alteration = Alteration()
    var indexes = Known.Indexes()

    init(
        _ handle: NetworkHandle, _ vni: VNI, _ links: [Link], host: RouteSocket, hostNamespace: Int32
    ) throws(NetlinkError) {
        var portNames: [Int32: String] = [:]
        for link in links where link.isPortOfPair {
            portNames[link.index] = link.name
            ports.insert(link.name)
            mtus[link.name] = link.mtu
        }
        guard let bridge = links.first(where: { $0.index == handle.bridge }),
            let vxlan = links.first(where: { $0.index == handle.vxlan }), vxlan.peerNamespace != nil,
            vxlan.vxlan.id == vni.value, let local = vxlan.vxlan.local, let port = vxlan.vxlan.port
        else { return }
        var state = NetworkState(base: .init(vni: vni, local: local, port: port, mtu: vxlan.mtu))
        state.gateways = try handle.socket.addresses(of: bridge.index)
        state.neighbours = try handle.socket.permanentNeighbours(of: bridge.index)
        let rows = try handle.socket.forwarding(vxlan: vxlan.index, ports: portNames)
        state.flood = rows.flood
        state.forwarding = rows.destinations
        alteration.hasDevices =
            !bridge.isBridge(asMadeFor: vni, mtu: vxlan.mtu) || !vxlan.isTunnel(asMadeIn: bridge.index, mtu: vxlan.mtu)

        let hostNumber = try handle.socket.number(ofNamespace: hostNamespace)
        for link in links {
            guard let name = portNames[link.index] else { continue }
            if !link.isPort(asMadeIn: bridge.index, handle.portFlags) { alteration.ports.insert(name) }
            if let hostNumber, link.peerNamespace == hostNumber, let index = link.peer, let peer = try host.link(index) {
                state.ports[name] = Port(containerLink: peer.name, mac: peer.mac ?? .zero)
            } else {
                // In a sandbox the engine has renamed the link. Our name for it follows from the port's.
                let mac = rows.local.filter { $0.value == link.index }.keys.min { $0.bits < $1.bits }
                let container = KernelName.containerPrefix + name.dropFirst(KernelName.portPrefix.count)
                state.ports[name] = Port(containerLink: container, mac: mac ?? .zero)
            }
            if handle.interface(of: name) == nil, let number = link.peerNamespace, let index = link.peer {
                handle.setInterface(try handle.socket.link(index, in: number)?.name, of: name)
            }
        }
        network = state
        indexes = Known.Indexes(bridge: bridge.index, vxlan: vxlan.index, ports: portNames)
    }
}

extension Link {
    /// True for a veth pair's end of our name whose other end is elsewhere, unless it is about to be deleted. With both ends in one
    /// namespace a pair leads nowhere.
    fileprivate var isPortOfPair: Bool {
        kind == "veth" && name.hasPrefix(KernelName.portPrefix) && peerNamespace != nil && group != Requests.deletedGroup
    }
}

extension IPAddress {
    /// VTEP of rows that are not as any is made.
    static let nowhere = IPAddress(v4: 0, 0, 0, 0)
}

/// Forwarding tables of one network.
struct ForwardingRows {
    var destinations: [MACAddress: Destination] = [:]
    var flood: Set<IPAddress> = []
    /// Rows of the VXLAN device.
    var tunnel: [MACAddress: IPAddress] = [:]
    /// Indexes of ports by the MACs that the bridge has behind them.
    var local: [MACAddress: Int32] = [:]
}

extension RouteSocket {
    /// Global addresses of a device.
    func addresses(of link: Int32) throws(NetlinkError) -> Set<IPPrefix> {
        var result: Set<IPPrefix> = []
        try eachAddress(begin: { result = [] }) { header, address in
            if header.ifa_index == UInt32(bitPattern: link), header.ifa_scope == UInt8(RT_SCOPE_UNIVERSE.rawValue) {
                if let prefix = IPPrefix(address, length: Int(header.ifa_prefixlen)) { result.insert(prefix) }
            }
        }
        return result
    }

    /// Calls `each` with every address in the namespace.
    func eachAddress(begin: () -> Void, _ each: (ifaddrmsg, IPAddress) -> Void) throws(NetlinkError) {
        try dump(Message(Int(RTM_GETADDR), ifaddrmsg()), begin: begin) { type, payload in
            guard Int(type) == Int(RTM_NEWADDR), let header: ifaddrmsg = payload.load() else { return }
            var local: IPAddress?
            var address: IPAddress?
            payload.dropping(MemoryLayout<ifaddrmsg>.size).forEachAttribute { type, value in
                switch type {
                case Int(IFA_LOCAL): local = value.address
                case Int(IFA_ADDRESS): address = value.address
                default: break
                }
            }
            // On a point-to-point link IFA_ADDRESS is the address of the other end.
            if let address = local ?? address { each(header, address) }
        }
    }

    /// Permanent neighbours of a device, of both families.
    func permanentNeighbours(of link: Int32) throws(NetlinkError) -> [IPAddress: MACAddress] {
        var result: [IPAddress: MACAddress] = [:]
        try dump(Message(Int(RTM_GETNEIGH), ndmsg()), begin: { result.removeAll() }) { type, payload in
            guard Int(type) == Int(RTM_NEWNEIGH), let header: ndmsg = payload.load(), header.ndm_ifindex == link,
                header.ndm_state & UInt16(NUD_PERMANENT) != 0,
                Int32(header.ndm_family) == AF_INET || Int32(header.ndm_family) == AF_INET6
            else { return }
            var address: IPAddress?
            var mac: MACAddress?
            payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
                switch type {
                case Int(NDA_DST): address = value.address
                case Int(NDA_LLADDR): mac = value.mac
                default: break
                }
            }
            if let address, let mac { result[address] = mac }
        }
        return result
    }

    /// Forwarding rows of the bridge and the VXLAN device, merged.
    func forwarding(vxlan: Int32, ports: [Int32: String]) throws(NetlinkError) -> ForwardingRows {
        var rows = ForwardingRows()
        var towardsTunnel: Set<MACAddress> = []
        var header = ndmsg()
        header.ndm_family = UInt8(AF_BRIDGE)
        try dump(
            Message(Int(RTM_GETNEIGH), header),
            begin: {
                rows = ForwardingRows()
                towardsTunnel = []
            }
        ) { type, payload in
            guard Int(type) == Int(RTM_NEWNEIGH), let header: ndmsg = payload.load(), Int32(header.ndm_family) == AF_BRIDGE
            else { return }
            var mac: MACAddress?
            var vtep: IPAddress?
            payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
                switch type {
                case Int(NDA_LLADDR): mac = value.mac
                case Int(NDA_DST): vtep = vtep ?? value.address
                // Rows that lead to another port, VNI or link than the device's lead nowhere.
                case Int(NDA_PORT), Int(NDA_VNI), Int(NDA_IFINDEX), Int(NDA_NH_ID): vtep = .nowhere
                default: break
                }
            }
            guard let mac else { return }
            if header.ndm_flags & UInt8(NTF_SELF) != 0 {
                guard header.ndm_ifindex == vxlan, let vtep else { return }
                if mac == .zero {
                    rows.flood.insert(vtep)
                } else if rows.tunnel.updateValue(vtep, forKey: mac) != nil {
                    // Two destinations of one MAC.
                    rows.tunnel[mac] = .nowhere
                }
            } else if header.ndm_state & UInt16(NUD_NOARP) != 0 {
                // Static rows only: a bridge's permanent rows are its own MACs, the others are learned and age.
                if header.ndm_ifindex == vxlan {
                    towardsTunnel.insert(mac)
                } else if ports[header.ndm_ifindex] != nil {
                    rows.local[mac] = header.ndm_ifindex
                }
            }
        }
        let nowhere = Destination.nowhere
        for (mac, port) in rows.local {
            // A tunnel row for the same MAC is a leftover of a move.
            rows.destinations[mac] = rows.tunnel[mac] == nil ? ports[port].map(Destination.port) ?? nowhere : nowhere
        }
        for mac in towardsTunnel { rows.destinations[mac] = rows.tunnel[mac].map(Destination.vtep) ?? nowhere }
        for mac in rows.tunnel.keys where rows.destinations[mac] == nil { rows.destinations[mac] = nowhere }
        return rows
    }
}
