import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
import OverlayModel

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
        var hostLinks: [Int32: Link] = [:]
        for link in try step("link show", .query, { () throws(NetlinkError) in try host.links() }) { hostLinks[link.index] = link }
        for vni in names.compactMap(KernelName.vni(namespace:)) {
            do throws(KernelFailure) {
                guard let handle = try handle(vni, required: false) else {
                    // A file that pins no namespace. The network must be created anew, or the file removed.
                    state.broken.insert(vni)
                    continue
                }
                let network = try step("show \(KernelName.namespace(vni))", .query) { () throws(NetlinkError) in
                    let links = try handle.reload()
                    if links.contains(where: { $0.group == Requests.deletedGroup }) { state.unreaped.insert(vni) }
                    let ports = links.filter { $0.kind == "veth" && $0.master != nil && $0.master == handle.bridge }
                    if !ports.isEmpty {
                        state.portMTUs[vni] = Dictionary(ports.map { ($0.name, $0.mtu) }) { first, _ in first }
                    }
                    return try observe(handle, vni, links, hostLinks)
                }
                if let network { state.networks[vni] = network } else { state.broken.insert(vni) }
            } catch {
                networks[vni] = nil
                state.broken.insert(vni)
            }
        }
        for vni in networks.keys where state.networks[vni] == nil && !state.broken.contains(vni) { networks[vni] = nil }
        return state
    }

    /// State of one network; nil if its devices are missing or unusable.
    private func observe(
        _ handle: NetworkHandle, _ vni: VNI, _ links: [Link], _ hostLinks: [Int32: Link]
    ) throws(NetlinkError) -> NetworkState? {
        guard let bridge = links.first(where: { $0.index == handle.bridge }), bridge.isUp,
            let vxlan = links.first(where: { $0.index == handle.vxlan }), vxlan.isUp, vxlan.master == bridge.index,
            vxlan.peerNamespace != nil, vxlan.vxlan.id == vni.value, !vxlan.vxlan.learning,
            let local = vxlan.vxlan.local, let port = vxlan.vxlan.port
        else { return nil }
        var state = NetworkState(base: .init(vni: vni, local: local, port: port, mtu: vxlan.mtu))
        state.gateways = try handle.socket.addresses(of: bridge.index)
        state.neighbours = try handle.socket.permanentNeighbours(of: bridge.index)

        var portNames: [Int32: String] = [:]
        for link in links where link.master == bridge.index && link.kind == "veth" && link.name.hasPrefix(KernelName.portPrefix) {
            portNames[link.index] = link.name
        }
        let rows = try handle.socket.forwarding(vxlan: vxlan.index, ports: portNames)
        state.flood = rows.flood
        state.forwarding = rows.destinations

        let hostNumber = try handle.socket.number(ofNamespace: hostNamespace.number)
        for link in links {
            guard let name = portNames[link.index] else { continue }
            if let hostNumber, link.peerNamespace == hostNumber, let index = link.peer, let peer = hostLinks[index] {
                state.ports[name] = Port(containerLink: peer.name, mac: peer.mac ?? .zero)
            } else {
                // In a sandbox the engine has renamed the link. Our name for it follows from the port's.
                let mac = rows.local.filter { $0.value == link.index }.keys.min { $0.bits < $1.bits }
                let container = KernelName.containerPrefix + name.dropFirst(KernelName.portPrefix.count)
                state.ports[name] = Port(containerLink: container, mac: mac ?? .zero)
            }
        }
        return state
    }
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
                case Int(NDA_DST): vtep = value.address
                default: break
                }
            }
            guard let mac else { return }
            if header.ndm_flags & UInt8(NTF_SELF) != 0 {
                guard header.ndm_ifindex == vxlan, let vtep else { return }
                if mac == .zero { rows.flood.insert(vtep) } else { rows.tunnel[mac] = vtep }
            } else if header.ndm_state & UInt16(NUD_NOARP) != 0 {
                // Static rows only: a bridge's permanent rows are its own MACs, the others are learned and age.
                if header.ndm_ifindex == vxlan {
                    towardsTunnel.insert(mac)
                } else if ports[header.ndm_ifindex] != nil {
                    rows.local[mac] = header.ndm_ifindex
                }
            }
        }
        let nowhere = Destination.vtep(IPAddress(v4: 0, 0, 0, 0))
        for (mac, port) in rows.local {
            // A tunnel row for the same MAC is a leftover of a move.
            rows.destinations[mac] = rows.tunnel[mac] == nil ? ports[port].map(Destination.port) ?? nowhere : nowhere
        }
        for mac in towardsTunnel { rows.destinations[mac] = rows.tunnel[mac].map(Destination.vtep) ?? nowhere }
        for mac in rows.tunnel.keys where rows.destinations[mac] == nil { rows.destinations[mac] = nowhere }
        return rows
    }
}
