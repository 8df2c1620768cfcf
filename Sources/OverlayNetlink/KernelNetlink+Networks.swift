import CNetlink
import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Networks and ports.
extension KernelNetlink {
    func createNetwork(_ base: NetworkState.Base) throws(KernelFailure) {
        let vni = base.vni
        let path = path(vni)
        try filtering("add table inet \(TunnelFilter.table)") { [tunnels] filter throws(NetlinkError) in
            try filter.stand(port: base.port, known: tunnels)
        }
        try step("netns add \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            if !directoryIsReady {
                try system { () throws(SystemError) in try NetworkNamespace.prepareDirectory(directory) }
                directoryIsReady = true
            }
            let state = try system { () throws(SystemError) in try NetworkNamespace.state(path: path) }
            if let held = networks[vni], state != .namespace {
                // Its file is gone, and it lives on while it is held here: containers go on as if nothing had been.
                try system { () throws(SystemError) in try NetworkNamespace.pin(held.namespace, path: path) }
            } else {
                _ = try system { () throws(SystemError) in try NetworkNamespace.create(path: path) }
            }
        }
        let handle = try requireHandle(vni)
        try step("settings of \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            try handle.writeSettings()
        }
        let links = try step("link show", .query) { () throws(NetlinkError) in try handle.reload() }
        if let loopback = links.first(where: { $0.isLoopback }), !loopback.isUp {
            try step("link set lo up", .query) { () throws(NetlinkError) in try handle.socket.setLink(loopback.index) }
        }
        try createBridge(handle, base, links.first { $0.name == KernelName.bridge })
        try createVXLAN(handle, base, links.first { $0.name == KernelName.vxlan })
    }

    private func createBridge(_ handle: NetworkHandle, _ base: NetworkState.Base, _ present: Link?) throws(KernelFailure) {
        let mac = KernelName.gatewayMAC(base.vni)
        try step("link add \(KernelName.bridge) type bridge", .bridge) { () throws(NetlinkError) in
            if let present, present.kind == "bridge" {
                if present.hasSpanningTree || present.sortsVLANs {
                    try handle.socket.request(Requests.plainBridge(present.index, sortsVLANs: present.sortsVLANs))
                }
                if !present.isBridge(asMadeFor: base.vni, mtu: base.mtu) {
                    try handle.socket.setLink(present.index, mtu: base.mtu, mac: mac)
                }
                return
            }
            if present != nil { try handle.socket.deleteLink(named: KernelName.bridge) }
            try handle.socket.request(Requests.bridge(mac: mac, mtu: base.mtu))
            try handle.reload()
        }
    }

    private func createVXLAN(_ handle: NetworkHandle, _ base: NetworkState.Base, _ present: Link?) throws(KernelFailure) {
        try step("link add \(KernelName.vxlan) type vxlan id \(base.vni)", .vxlan(base)) { () throws(NetlinkError) in
            if present?.carries(base) != true {
                if present != nil { try handle.socket.deleteLink(named: KernelName.vxlan) }
                try host.request(Requests.vxlan(base, name: KernelName.vxlan, namespace: handle.namespace.number))
                try handle.reload()
            }
            let index = try handle.requireVXLAN()
            let bridge = try handle.requireBridge()
            if present?.master != bridge || present?.index != index {
                // A port's flags are reset when it changes its bridge, so they are set afterwards, and the port comes up last.
                var request = try Message(Int(RTM_SETLINK), RouteSocket.header(index: index))
                try request.put(IFLA_MASTER, UInt32(bitPattern: bridge))
                try handle.socket.request(request)
            }
            if let present, present.index == index, present.vxlan.learning {
                try handle.socket.request(Requests.learnNothing(index))
            }
            if let present, present.index == index, present.master == bridge {
                try handle.socket.mendPort(present, .tunnel)
            } else {
                try handle.socket.setPort(index, .tunnel)
            }
            try handle.socket.setLink(index, mtu: present?.mtu == base.mtu ? nil : base.mtu)
        }
    }

    func deleteNetwork(_ vni: VNI) throws(KernelFailure) {
        let path = path(vni)
        if let handle = try handle(vni, required: false) {
            try step("link del group \(Requests.deletedGroup)", .query) { () throws(NetlinkError) in
                // Ports would die with the namespace, but late, and the names of their container sides must be free now.
                for link in try handle.socket.links()
                where link.kind == "veth" || link.name == KernelName.vxlan || link.name == KernelName.bridge {
                    try handle.socket.request(Requests.mark(link.name), tolerating: ENODEV)
                }
                try handle.socket.request(Requests.deleteGroup(), tolerating: ENODEV, ENOENT, ESRCH)
            }
        }
        networks[vni] = nil
        watch?.remove(.network(vni))
        try step("netns del \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try NetworkNamespace.remove(path: path) }
        }
        let rest = try step("netns list", .namespace(path: directory)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try NetworkNamespace.names(in: directory) }
        }
        tunnels = tunnels.filter { $0.vni != vni }
        if rest.compactMap(KernelName.vni(namespace:)).isEmpty {
            // No tunnel of ours is left, and nothing to keep out.
            try filtering("delete table inet \(TunnelFilter.table)") { filter throws(NetlinkError) in try filter.remove() }
        } else {
            try filtering("delete element inet \(TunnelFilter.table)") { filter throws(NetlinkError) in
                try filter.refuseAll(of: vni)
            }
        }
    }

    // MARK: Ports

    func createPort(
        _ vni: VNI, _ name: String, _ port: Port, _ mtu: UInt32, onlyMending: Bool = false
    ) throws(KernelFailure) {
        let handle = try requireHandle(vni)
        try step("link add \(name) type veth peer name \(port.containerLink)", .port(name)) { () throws(NetlinkError) in
            let bridge = try handle.requireBridge()
            if let present = try handle.socket.link(named: name) {
                if try adopt(present, port, handle) {
                    // Its MTU is not altered here, as it tells which one its other end was given.
                    if present.master != bridge || !present.isUp { try handle.socket.setLink(present.index, master: bridge) }
                    try handle.socket.mendPort(present, handle.portFlags)
                    return
                }
                if onlyMending { return }
                try handle.socket.deleteLink(named: name)
                handle.forgetPort(name)
            }
            if onlyMending { return }
            // A leftover: its other end is not ours, or not where it belongs.
            try host.deleteLink(named: port.containerLink)
            try handle.socket.request(
                Requests.veth(name: name, master: bridge, mtu: mtu, peer: port, namespace: hostNamespace.number))
            guard let index = try handle.port(name) else { throw NetlinkError(code: ENODEV, message: "no port \(name)") }
            try handle.socket.setPort(index, handle.portFlags)
        }
    }

    /// True if an existing port is the wanted one.
    ///
    /// While its container side is in the host's namespace, name and MAC must match. Elsewhere it is in a sandbox, and replacing it
    /// would cut off a running container.
    private func adopt(_ present: Link, _ port: Port, _ handle: NetworkHandle) throws(NetlinkError) -> Bool {
        // One that is to be deleted would go with the others, and take a running container's interface along.
        guard present.kind == "veth", present.group != Requests.deletedGroup else { return false }
        guard let number = present.peerNamespace,
            number == (try handle.socket.number(ofNamespace: hostNamespace.number))
        else {
            // With the other end in the network's own namespace, the pair leads nowhere.
            return present.peerNamespace != nil
        }
        guard let peer = try host.link(named: port.containerLink) else { return false }
        return peer.kind == "veth" && peer.index == present.peer && peer.mac == port.mac
    }

    func deletePort(_ vni: VNI, _ name: String) throws(KernelFailure) {
        guard let handle = try handle(vni, required: false) else { return }
        handle.forgetPort(name)
        try step("link set \(name) down nomaster", .query) { () throws(NetlinkError) in
            try handle.socket.request(Requests.retire(name), tolerating: ENODEV, ENOENT)
        }
    }

    func reapPorts(_ vni: VNI) throws(KernelFailure) {
        guard let handle = try handle(vni, required: false) else { return }
        try step("link del group \(Requests.deletedGroup)", .query) { () throws(NetlinkError) in
            try handle.socket.request(Requests.deleteGroup(), tolerating: ENODEV, ENOENT, ESRCH)
        }
    }
}

extension Link {
    /// True if this VXLAN device is the wanted one, with its socket outside of its namespace. The MTU is not compared, as it can be
    /// changed.
    func carries(_ base: NetworkState.Base) -> Bool {
        kind == "vxlan" && peerNamespace != nil && vxlan.id == base.vni.value && vxlan.local == base.local
            && vxlan.port == base.port
    }
}

extension RouteSocket {
    /// Header that changes no flag.
    static func header(index: Int32) -> ifinfomsg {
        var header = ifinfomsg()
        header.ifi_index = index
        return header
    }
}
