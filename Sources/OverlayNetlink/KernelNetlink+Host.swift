import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
public import OverlayModel

/// An address of this host.
public struct HostAddress: Hashable, Sendable {
    /// Name of the link, such as `eth0`.
    public var link: String
    /// Index of the link.
    public var index: Int32
    /// MTU of the link in bytes.
    public var mtu: UInt32
    /// True if the link is administratively up.
    public var isUp: Bool
    /// True if the link is a loopback device.
    public var isLoopback: Bool
    /// Address, with the length of its subnet.
    public var prefix: IPPrefix

    /// Creates an address with its link.
    public init(link: String, index: Int32, mtu: UInt32, isUp: Bool, isLoopback: Bool, prefix: IPPrefix) {
        self.link = link
        self.index = index
        self.mtu = mtu
        self.isUp = isUp
        self.isLoopback = isLoopback
        self.prefix = prefix
    }
}

/// A unicast route of this host's main table.
public struct HostRoute: Hashable, Sendable {
    /// Destination; length 0 for the default route.
    public var destination: IPPrefix
    /// Next hop; nil for a subnet that is on the link.
    public var gateway: IPAddress?
    /// Index of the link; nil for a multipath route.
    public var link: Int32?
    /// Source address that the kernel prefers for the route.
    public var preferredSource: IPAddress?

    /// Creates a route to `destination`.
    public init(destination: IPPrefix, gateway: IPAddress?, link: Int32?, preferredSource: IPAddress?) {
        self.destination = destination
        self.gateway = gateway
        self.link = link
        self.preferredSource = preferredSource
    }
}

/// Queries about the host.
extension KernelNetlink {
    /// Addresses in the host's namespace, sorted by link and address.
    public func hostAddresses() throws(KernelFailure) -> [HostAddress] {
        try step("address show", .query) { () throws(NetlinkError) in
            var links: [Int32: Link] = [:]
            for link in try host.links() { links[link.index] = link }
            var result: [HostAddress] = []
            try host.eachAddress(begin: { result = [] }) { header, address in
                let index = Int32(bitPattern: header.ifa_index)
                guard let link = links[index], let prefix = IPPrefix(address, length: Int(header.ifa_prefixlen)) else { return }
                result.append(
                    HostAddress(
                        link: link.name, index: index, mtu: link.mtu, isUp: link.isUp, isLoopback: link.isLoopback, prefix: prefix))
            }
            return result.sorted { ($0.index, $0.prefix.address) < ($1.index, $1.prefix.address) }
        }
    }

    /// MTU, in bytes, of the link that has the address; nil if no link of the host has it.
    public func mtu(ofLinkWith address: IPAddress) throws(KernelFailure) -> UInt32? {
        try hostAddresses().first { $0.prefix.address == address }?.mtu
    }

    /// Unicast routes of the host's main table, of both families, sorted by destination.
    public func hostRoutes() throws(KernelFailure) -> [HostRoute] {
        try step("route show", .query) { () throws(NetlinkError) in
            var result: [HostRoute] = []
            for family in [AF_INET, AF_INET6] { result += try host.routes(family == AF_INET ? .v4 : .v6) }
            return result.sorted {
                ($0.destination.address, $0.destination.length) < ($1.destination.address, $1.destination.length)
            }
        }
    }

    /// Subnets that the host's main table has routes for, with the name of the link, in no order; those of loopback devices and
    /// default routes are left out.
    ///
    /// - Parameter limit: Number of routes that are looked at.
    public func hostSubnets(limit: Int) throws(KernelFailure) -> (routes: [(prefix: IPPrefix, link: String)], isWhole: Bool) {
        try step("route show", .query) { () throws(NetlinkError) in
            var links: [Int32: Link] = [:]
            for link in try host.links() { links[link.index] = link }
            var result: [(prefix: IPPrefix, link: String)] = []
            var isWhole = true
            for family in [IPAddress.Family.v4, .v6] {
                let all = try host.routes(family, limit: limit)
                if all.count == limit { isWhole = false }
                for route in all where route.destination.length > 0 {
                    let link = route.link.flatMap { links[$0] }
                    if link?.isLoopback != true { result.append((route.destination, link?.name ?? "")) }
                }
            }
            return (result, isWhole)
        }
    }

    /// Proves that this process can create what a network needs: namespace, bridge, VXLAN device, veth pair and port flags.
    ///
    /// Everything is created in a namespace that is removed again; nothing of the host is touched.
    /// - Throws: The first object that cannot be created. The reason says what is missing and how to get it.
    public func preflight() throws(KernelFailure) {
        let capabilities = try step("read capabilities", .query) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try Capabilities.effective }
        }
        let missing = capabilities.missing
        guard missing.isEmpty else {
            throw KernelFailure(
                operation: "check capabilities", errno: EPERM,
                reason:
                    "\(missing.joined(separator: " and ")) missing; run the daemon as root, or give them to its container or unit")
        }
        // The name has no VNI, so an observer does not take it for a network.
        let path = directory + "/" + KernelName.namespacePrefix + "preflight-\(getpid())"
        try step("netns add", .namespace(path: path)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in
                try NetworkNamespace.prepareDirectory(directory)
                try NetworkNamespace.create(path: path)
            }
        }
        directoryIsReady = true
        defer { try? NetworkNamespace.remove(path: path) }
        guard let vni = VNI(VNI.all.upperBound) else { return }
        let base = NetworkState.Base(vni: vni, local: IPAddress(v4: 127, 0, 0, 1), port: 4789, mtu: 1450)
        let scratch = try step("netns open", .namespace(path: path)) { () throws(NetlinkError) in try NetworkHandle(path: path) }
        let socket = scratch.socket
        try step("link add type bridge", .bridge) { () throws(NetlinkError) in
            try socket.request(Requests.bridge(mac: KernelName.gatewayMAC(vni), mtu: base.mtu))
            try scratch.reload()
        }
        try step("link add type vxlan", .vxlan(base)) { () throws(NetlinkError) in
            try socket.request(Requests.vxlan(base, name: KernelName.vxlan, namespace: scratch.namespace.number))
            try scratch.reload()
            try socket.setLink(scratch.requireVXLAN(), master: scratch.requireBridge())
            try socket.setPort(scratch.requireVXLAN(), .tunnel)
        }
        try step("link add type veth", .port("ve0")) { () throws(NetlinkError) in
            try socket.request(
                Requests.veth(
                    name: "ve0", master: scratch.requireBridge(), mtu: base.mtu,
                    peer: Port(containerLink: "so0", mac: MACAddress(bits: 0x0200_0000_0001)), namespace: scratch.namespace.number))
            guard let port = try scratch.port("ve0") else { throw NetlinkError(code: ENODEV) }
            try socket.setPort(port, .v4Only)
        }
    }
}

extension RouteSocket {
    /// Unicast routes of the main table, at most as many as the limit.
    func routes(_ family: IPAddress.Family, limit: Int = .max) throws(NetlinkError) -> [HostRoute] {
        var header = rtmsg()
        header.rtm_family = UInt8(family == .v4 ? AF_INET : AF_INET6)
        var result: [HostRoute] = []
        try dump(Message(Int(RTM_GETROUTE), header), begin: { result = [] }) { type, payload in
            guard result.count < limit, Int(type) == Int(RTM_NEWROUTE), let header: rtmsg = payload.load(),
                header.rtm_type == UInt8(RTN_UNICAST), header.rtm_flags & UInt32(RTM_F_CLONED) == 0
            else { return }
            var table = UInt32(header.rtm_table)
            var destination = IPAddress(family: family, bits: 0)
            var gateway: IPAddress?
            var link: Int32?
            var source: IPAddress?
            payload.dropping(MemoryLayout<rtmsg>.size).forEachAttribute { type, value in
                switch type {
                case Int(RTA_TABLE.rawValue): table = value.load() ?? table
                case Int(RTA_DST.rawValue): destination = value.address ?? destination
                case Int(RTA_GATEWAY.rawValue): gateway = value.address
                case Int(RTA_OIF.rawValue): link = value.load()
                case Int(RTA_PREFSRC.rawValue): source = value.address
                default: break
                }
            }
            guard table == UInt32(RT_TABLE_MAIN.rawValue), let prefix = IPPrefix(destination, length: Int(header.rtm_dst_len))
            else { return }
            result.append(HostRoute(destination: prefix, gateway: gateway, link: link, preferredSource: source))
        }
        return result
    }
}
