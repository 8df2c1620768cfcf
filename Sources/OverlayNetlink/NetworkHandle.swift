import CNetlink
import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Open namespace of one network, with the indexes of its devices. Not Sendable, as only the actor uses it.
final class NetworkHandle {
    /// Identity of the namespace, as another one may be pinned at the same path by now.
    let identity: UInt64
    let namespace: Descriptor
    let socket: RouteSocket
    private(set) var bridge: Int32?
    private(set) var vxlan: Int32?
    /// True if the network uses IPv6, which decides how its ports treat ARP (``PortFlags``).
    private(set) var hasIPv6 = false
    private var indexes: [String: Int32] = [:]
    private var packets: PacketSocket?
    /// Names of the container sides of ports, as they were first seen in their sandboxes. A name stays while its port is away.
    private var interfaces: [String: String] = [:]

    /// Opens the namespace at `path` and reads its devices.
    init(path: String) throws(NetlinkError) {
        do {
            namespace = try NetworkNamespace.open(path: path)
            identity = try NetworkNamespace.identity(of: namespace)
        } catch {
            throw NetlinkError(error)
        }
        socket = try RouteSocket(in: namespace)
        try reload()
    }

    /// Reads the devices again.
    @discardableResult
    func reload() throws(NetlinkError) -> [Link] {
        let links = try socket.links()
        indexes = [:]
        for link in links { indexes[link.name] = link.index }
        bridge = links.first { $0.name == KernelName.bridge && $0.kind == "bridge" }?.index
        vxlan = links.first { $0.name == KernelName.vxlan && $0.kind == "vxlan" }?.index
        // The setting of br0 remembers this across restarts of the daemon.
        if bridge != nil { hasIPv6 = (try? NetworkNamespace.read(Self.bridgeSwitch, in: namespace)) == "0" }
        return links
    }

    func requireBridge() throws(NetlinkError) -> Int32 {
        guard let bridge else { throw NetlinkError(code: ENODEV, message: "no bridge \(KernelName.bridge)") }
        return bridge
    }

    func requireVXLAN() throws(NetlinkError) -> Int32 {
        guard let vxlan else { throw NetlinkError(code: ENODEV, message: "no VXLAN device \(KernelName.vxlan)") }
        return vxlan
    }

    /// Index of a port; nil if there is none of that name.
    func port(_ name: String) throws(NetlinkError) -> Int32? {
        if let index = indexes[name] { return index }
        guard let link = try socket.link(named: name) else { return nil }
        indexes[name] = link.index
        return link.index
    }

    func forgetIndex(of port: String) { indexes[port] = nil }

    func forgetPort(_ name: String) {
        indexes[name] = nil
        interfaces[name] = nil
    }

    /// Name that the container side of a port has in its sandbox; nil if it was not seen there.
    func interface(of port: String) -> String? { interfaces[port] }
    func setInterface(_ interface: String?, of port: String) {
        if let interface, !interface.hasPrefix(KernelName.containerPrefix) { interfaces[port] = interface }
    }

    /// Socket for frames to the ports. Opened when first needed, as most networks never need it, and closed with the handle.
    func packetSocket() throws(SystemError) -> PacketSocket {
        if let packets { return packets }
        let socket = try PacketSocket(in: namespace)
        packets = socket
        return socket
    }

    var portFlags: PortFlags { hasIPv6 ? .dualStack : .v4Only }

    // MARK: Settings

    private static let bridgeSwitch = "/proc/sys/net/ipv6/conf/\(KernelName.bridge)/disable_ipv6"

    /// Settings that a new namespace must not inherit. A missing file means that this kernel lacks the feature.
    private static let settings: [(path: String, value: String)] = [
        // No device speaks IPv6 by itself, as ports of a bridge would send solicitations into the network. Not "all", which would
        // change existing devices: the bridge of an adopted network may use IPv6.
        ("ipv6/conf/default/disable_ipv6", "1"),
        // Router advertisements of a container must not change this namespace (CVE-2020-13401), which is no router either.
        ("ipv6/conf/all/accept_ra", "0"), ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/all/autoconf", "0"), ("ipv6/conf/default/autoconf", "0"),
        ("ipv6/conf/all/accept_redirects", "0"), ("ipv6/conf/default/accept_redirects", "0"),
        ("ipv6/conf/all/forwarding", "0"), ("ipv6/conf/default/forwarding", "0"),
        ("ipv6/conf/default/accept_dad", "0"), ("ipv6/conf/default/dad_transmits", "0"),
        // No link-local address, as it would be derived from the MAC, which is the same on every host's bridge.
        ("ipv6/conf/default/addr_gen_mode", "1"),
        // A new namespace copies IPv4 settings from the host, where an engine has enabled forwarding.
        ("ipv4/ip_forward", "0"), ("ipv4/conf/all/accept_redirects", "0"), ("ipv4/conf/default/accept_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"), ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/conf/all/proxy_arp", "0"), ("ipv4/conf/default/proxy_arp", "0"),
        // A datagram to the gateway's address in a broadcast frame reaches every host: all would answer whom it names as its sender.
        ("ipv4/conf/all/drop_unicast_in_l2_multicast", "1"),
        // With br_netfilter loaded, as engines do, bridged frames would pass an empty netfilter for nothing.
        ("bridge/bridge-nf-call-iptables", "0"), ("bridge/bridge-nf-call-ip6tables", "0"), ("bridge/bridge-nf-call-arptables", "0"),
    ]

    /// Writes the settings of a network's namespace.
    func writeSettings() throws(NetlinkError) {
        for (path, value) in Self.settings { try write(value, to: "/proc/sys/net/" + path) }
    }

    private func write(_ value: String, to path: String, required: Bool = false) throws(NetlinkError) {
        do {
            try NetworkNamespace.write(value, to: path, in: namespace)
        } catch {
            if required || error.errno != ENOENT { throw NetlinkError(error) }
        }
    }

    /// Enables IPv6 on the bridge, and stops the ports from dropping neighbour solicitations for local endpoints.
    func enableIPv6() throws(NetlinkError) {
        guard !hasIPv6 else { return }
        let bridge = try requireBridge()
        try write("0", to: Self.bridgeSwitch, required: true)
        hasIPv6 = true
        for link in try socket.links() where link.master == bridge && link.kind == "veth" {
            try socket.setPort(link.index, .dualStack)
        }
    }
}
