import CNetlink
import Glibc
import OverlayModel

/// Network device as the kernel describes it.
struct Link {
    var index: Int32
    var name = ""
    var flags: UInt32
    var mtu: UInt32 = 0
    var mac: MACAddress?
    /// Index of the bridge that the device is a port of.
    var master: Int32?
    /// Device group, as `ip link show group` selects by it; 0 unless somebody set it.
    var group: UInt32 = 0
    /// Index of the other end of a veth pair, in the namespace `peerNamespace`.
    var peer: Int32?
    /// Id of the namespace of a veth's other end, or of a VXLAN device's socket (IFLA_LINK_NETNSID); nil if it is this one.
    var peerNamespace: Int32?
    /// Kind of the device, such as `bridge`, `vxlan` or `veth`.
    var kind = ""
    var vxlan = VXLAN()
    /// Settings of a bridge port, by attribute (IFLA_BRPORT_…), those that ``PortFlags/settings`` has; empty for another device.
    var portSettings: [Int: UInt8] = [:]
    /// State of a bridge port (linux/if_bridge.h); nil for another device.
    var portState: UInt8?
    /// True if a bridge has a spanning tree.
    var hasSpanningTree = false
    /// True if a bridge sorts frames by VLAN.
    var sortsVLANs = false

    struct VXLAN {
        var id: UInt32?
        var local: IPAddress?
        var port: UInt16?
        var learning = false
    }

    var isUp: Bool { flags & UInt32(IFF_UP) != 0 }
    var isLoopback: Bool { flags & UInt32(IFF_LOOPBACK) != 0 }
    /// True if the other end of a device is there and up.
    var hasCarrier: Bool { flags & Self.lowerUp != 0 }
    /// IFF_LOWER_UP (linux/if.h)
    private static let lowerUp: UInt32 = 1 << 16

    /// Reads the payload of an RTM_NEWLINK.
    init?(_ payload: Received) {
        guard let header: ifinfomsg = payload.load() else { return nil }
        index = header.ifi_index
        flags = header.ifi_flags
        var link = Link(index: index, flags: flags)
        payload.dropping(MemoryLayout<ifinfomsg>.size).forEachAttribute { type, value in
            switch type {
            case IFLA_IFNAME: link.name = value.text
            case IFLA_MTU: link.mtu = value.load() ?? 0
            case IFLA_ADDRESS: link.mac = value.mac
            case IFLA_MASTER: link.master = value.load()
            case IFLA_GROUP: link.group = value.load() ?? 0
            case IFLA_LINK: link.peer = value.load()
            case IFLA_LINK_NETNSID: link.peerNamespace = value.load()
            case IFLA_LINKINFO: link.readInfo(value)
            // In messages about the ports of bridges (AF_BRIDGE).
            case IFLA_PROTINFO: link.readPort(value)
            default: break
            }
        }
        self = link
    }

    private init(index: Int32, flags: UInt32) {
        self.index = index
        self.flags = flags
    }

    private mutating func readInfo(_ info: Received) {
        var isPort = false
        info.forEachAttribute { type, value in
            switch type {
            case IFLA_INFO_KIND: kind = value.text
            case IFLA_INFO_SLAVE_KIND: isPort = value.text == "bridge"
            case IFLA_INFO_SLAVE_DATA where isPort: readPort(value)
            case IFLA_INFO_DATA where kind == "bridge":
                value.forEachAttribute { type, value in
                    switch type {
                    case IFLA_BR_STP_STATE: hasSpanningTree = value.load(UInt32.self) != 0
                    case IFLA_BR_VLAN_FILTERING: sortsVLANs = value.load(UInt8.self) != 0
                    default: break
                    }
                }
            default: break
            }
        }
        guard kind == "vxlan" else { return }
        info.forEachAttribute { type, value in
            guard type == IFLA_INFO_DATA else { return }
            value.forEachAttribute { type, value in
                switch type {
                case IFLA_VXLAN_ID: vxlan.id = value.load()
                case IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6: vxlan.local = value.address
                case IFLA_VXLAN_PORT: vxlan.port = value.load(UInt16.self).map(UInt16.init(bigEndian:))
                case IFLA_VXLAN_LEARNING: vxlan.learning = value.load(UInt8.self) != 0
                default: break
                }
            }
        }
    }

    private mutating func readPort(_ info: Received) {
        info.forEachAttribute { type, value in
            if type == IFLA_BRPORT_STATE { portState = value.load() }
            if PortFlags.attributes.contains(type) { portSettings[type] = value.load() }
        }
    }
}

extension RouteSocket {
    /// All devices in the socket's namespace.
    func links() throws(NetlinkError) -> [Link] {
        var links: [Link] = []
        let request = try Message(Int(RTM_GETLINK), ifinfomsg())
        try dump(request, begin: { links.removeAll() }) { type, payload in
            if Int(type) == Int(RTM_NEWLINK), let link = Link(payload) { links.append(link) }
        }
        return links
    }

    /// Device with this name; nil if there is none.
    func link(named name: String) throws(NetlinkError) -> Link? {
        var request = try Message(Int(RTM_GETLINK), ifinfomsg())
        try request.put(IFLA_IFNAME, name)
        var found: Link?
        do {
            try get(request) { type, payload in
                if Int(type) == Int(RTM_NEWLINK) { found = Link(payload) }
            }
        } catch {
            guard error.code == ENODEV || error.code == ENOENT else { throw error }
        }
        return found
    }

    /// Device with this index, in the namespace with this id (IFLA_TARGET_NETNSID, Linux 5.0) or in the socket's; nil if there is
    /// none.
    func link(_ index: Int32, in namespace: Int32? = nil) throws(NetlinkError) -> Link? {
        var request = try Message(Int(RTM_GETLINK), Self.header(index: index))
        if let namespace { try request.put(IFLA_TARGET_NETNSID, UInt32(bitPattern: namespace)) }
        var found: Link?
        do {
            try get(request) { type, payload in
                if Int(type) == Int(RTM_NEWLINK) { found = Link(payload) }
            }
        } catch {
            guard [ENODEV, ENOENT, EINVAL, EOPNOTSUPP].contains(error.code) else { throw error }
        }
        return found
    }

    /// Deletes a device.
    /// - Returns: False if there was none.
    @discardableResult
    func deleteLink(named name: String) throws(NetlinkError) -> Bool {
        var request = try Message(Int(RTM_DELLINK), ifinfomsg())
        try request.put(IFLA_IFNAME, name)
        return try self.request(request, tolerating: ENODEV, ENOENT)
    }

    /// Sets those of MTU, MAC and bridge that are given, and brings the device up.
    func setLink(_ index: Int32, mtu: UInt32? = nil, mac: MACAddress? = nil, master: Int32? = nil) throws(NetlinkError) {
        var request = try Message(Int(RTM_SETLINK), Self.upHeader(index: index))
        if let mtu { try request.put(IFLA_MTU, mtu) }
        if let mac { try request.put(IFLA_ADDRESS, mac) }
        if let master { try request.put(IFLA_MASTER, UInt32(bitPattern: master)) }
        try self.request(request)
    }

    static func upHeader(index: Int32 = 0) -> ifinfomsg {
        var header = ifinfomsg()
        header.ifi_index = index
        header.ifi_flags = UInt32(IFF_UP)
        header.ifi_change = UInt32(IFF_UP)
        return header
    }

    /// Sets the flags of a bridge port.
    func setPort(_ index: Int32, _ flags: PortFlags) throws(NetlinkError) { try request(Self.portRequest(index, flags)) }

    /// Sets the flags of a bridge port, and lets it forward again where somebody stopped it.
    func mendPort(_ link: Link, _ flags: PortFlags) throws(NetlinkError) {
        try setPort(link.index, flags)
        guard link.isUp, link.hasCarrier, let state = link.portState, state != Link.forwarding else { return }
        var header = ifinfomsg()
        header.ifi_family = UInt8(AF_BRIDGE)
        header.ifi_index = link.index
        var request = try Message(Int(RTM_SETLINK), header)
        try request.nest(IFLA_PROTINFO | Int(NLA_F_NESTED)) { request throws(NetlinkError) in
            try request.put(IFLA_BRPORT_STATE, Link.forwarding)
        }
        try self.request(request, tolerating: ENETDOWN, EBUSY)
    }

    static func portRequest(_ index: Int32, _ flags: PortFlags) throws(NetlinkError) -> Message {
        var header = ifinfomsg()
        header.ifi_family = UInt8(AF_BRIDGE)
        header.ifi_index = index
        var request = try Message(Int(RTM_SETLINK), header)
        try request.nest(IFLA_PROTINFO | Int(NLA_F_NESTED)) { request throws(NetlinkError) in
            for (attribute, value) in flags.settings { try request.put(attribute, value) }
        }
        return request
    }

    /// Id that this namespace has for the namespace of `descriptor`; nil if it has none, and so no device with its other end there.
    func number(ofNamespace descriptor: Int32) throws(NetlinkError) -> Int32? {
        var request = try Message(Int(RTM_GETNSID), rtgenmsg(rtgen_family: UInt8(AF_UNSPEC)))
        try request.put(Int(NETNSA_FD), UInt32(bitPattern: descriptor))
        var number: Int32?
        try get(request) { type, payload in
            guard Int(type) == Int(RTM_NEWNSID) else { return }
            payload.dropping(4).forEachAttribute { type, value in
                if type == Int(NETNSA_NSID) { number = value.load() }
            }
        }
        return number.flatMap { $0 < 0 ? nil : $0 }
    }
}

/// Flags of a bridge port that decide how it treats ARP and ND. No port learns.
///
/// The kernel's rules (net/bridge/br_arp_nd_proxy.c), each with a test: a request is answered from the bridge's neighbours if the
/// *target's* port has neighbour suppression (ARP and ND) or Wi-Fi proxying (ARP only), and the *asker's* port has no suppression.
/// So suppression on every port would answer nothing. A request for a known target is not sent out of ports with either flag, whether
/// it was answered or not: with Wi-Fi proxying, a neighbour solicitation for a local target would be neither answered nor delivered.
struct PortFlags: Equatable {
    var suppressNeighbours: Bool
    var answerARP: Bool

    /// Flags of the VXLAN device: requests for remote endpoints are answered here and do not enter the tunnel.
    static let tunnel = PortFlags(suppressNeighbours: true, answerARP: false)
    /// Flags of a container's port on a network without IPv6: ARP for local endpoints is answered too and reaches no other
    /// container.
    static let v4Only = PortFlags(suppressNeighbours: false, answerARP: true)
    /// Flags of a container's port on a network with IPv6: requests for local endpoints go to the local ports, whose containers
    /// answer.
    static let dualStack = PortFlags(suppressNeighbours: false, answerARP: false)

    /// Settings of the port, by attribute. Those that do not depend on the flags have the kernel's defaults, but for learning:
    /// somebody may have changed them. Kernels pass over attributes that they do not know.
    var settings: [(attribute: Int, value: UInt8)] {
        [
            (IFLA_BRPORT_MODE, 0), (IFLA_BRPORT_GUARD, 0), (IFLA_BRPORT_PROTECT, 0), (IFLA_BRPORT_LEARNING, 0),
            (IFLA_BRPORT_UNICAST_FLOOD, 1), (IFLA_BRPORT_PROXYARP, 0), (IFLA_BRPORT_PROXYARP_WIFI, answerARP ? 1 : 0),
            (IFLA_BRPORT_MCAST_FLOOD, 1), (IFLA_BRPORT_MCAST_TO_UCAST, 0), (IFLA_BRPORT_BCAST_FLOOD, 1),
            (IFLA_BRPORT_VLAN_TUNNEL, 0), (IFLA_BRPORT_NEIGH_SUPPRESS, suppressNeighbours ? 1 : 0), (IFLA_BRPORT_ISOLATED, 0),
            (IFLA_BRPORT_LOCKED, 0),
        ]
    }

    /// Attributes of ``settings``.
    static let attributes = Set(PortFlags.v4Only.settings.map(\.attribute))
}
