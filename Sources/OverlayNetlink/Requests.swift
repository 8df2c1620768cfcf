import CNetlink
import Glibc
import OverlayDatapath
import OverlayModel

/// Requests that create and remove kernel objects, built without side effects.
enum Requests {
    private static let create = NLM_F_CREATE | NLM_F_EXCL

    /// `link add br0 type bridge`, up. VLAN filtering is off by default, and a kernel without it refuses the attribute.
    static func bridge(mac: MACAddress, mtu: UInt32) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_NEWLINK), flags: create, RouteSocket.upHeader())
        try request.put(IFLA_IFNAME, KernelName.bridge)
        try request.put(IFLA_MTU, mtu)
        try request.put(IFLA_ADDRESS, mac)
        try request.nest(IFLA_LINKINFO) { request throws(NetlinkError) in
            try request.put(IFLA_INFO_KIND, "bridge")
            try request.nest(IFLA_INFO_DATA) { request throws(NetlinkError) in
                try request.put(IFLA_BR_STP_STATE, UInt32(0))
            }
        }
        return request
    }

    /// `link set … type bridge stp_state 0`, and `vlan_filtering 0` where that is on: a kernel without it refuses the attribute.
    static func plainBridge(_ index: Int32, sortsVLANs: Bool) throws(NetlinkError) -> Message {
        try change(index, "bridge") { request throws(NetlinkError) in
            try request.put(IFLA_BR_STP_STATE, UInt32(0))
            if sortsVLANs { try request.put(IFLA_BR_VLAN_FILTERING, false) }
        }
    }

    /// `link set … type vxlan nolearning`
    static func learnNothing(_ index: Int32) throws(NetlinkError) -> Message {
        try change(index, "vxlan") { request throws(NetlinkError) in try request.put(IFLA_VXLAN_LEARNING, false) }
    }

    private static func change(
        _ index: Int32, _ kind: String, _ body: (inout Message) throws(NetlinkError) -> Void
    ) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_NEWLINK), RouteSocket.header(index: index))
        try request.nest(IFLA_LINKINFO) { request throws(NetlinkError) in
            try request.put(IFLA_INFO_KIND, kind)
            try request.nest(IFLA_INFO_DATA, body)
        }
        return request
    }

    /// `link add vxlan0 type vxlan`, down, in the namespace `namespace`. Its socket stays in the namespace of the requesting
    /// socket.
    static func vxlan(_ base: NetworkState.Base, name: String, namespace: Int32) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_NEWLINK), flags: create, ifinfomsg())
        try request.put(IFLA_IFNAME, name)
        try request.put(IFLA_MTU, base.mtu)
        try request.put(IFLA_NET_NS_FD, UInt32(bitPattern: namespace))
        try request.nest(IFLA_LINKINFO) { request throws(NetlinkError) in
            try request.put(IFLA_INFO_KIND, "vxlan")
            try request.nest(IFLA_INFO_DATA) { request throws(NetlinkError) in
                try request.put(IFLA_VXLAN_ID, base.vni.value)
                try request.put(base.local.family == .v4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, base.local)
                try request.put(IFLA_VXLAN_PORT, base.port.bigEndian)
                try request.put(IFLA_VXLAN_LEARNING, false)
            }
        }
        return request
    }

    /// Device group of ports.
    static let portGroup: UInt32 = 0x6F76
    /// Device group of links that are to be deleted, in a network's own namespace only. One by one, each would cost an RCU grace period.
    static let deletedGroup: UInt32 = 0x6F78

    /// `link del group …`
    static func deleteGroup() throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_DELLINK), ifinfomsg())
        try request.put(IFLA_GROUP, deletedGroup)
        return request
    }

    /// `link set NAME group …`: to be deleted.
    static func mark(_ name: String) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_SETLINK), ifinfomsg())
        try request.put(IFLA_IFNAME, name)
        try request.put(IFLA_GROUP, deletedGroup)
        return request
    }

    /// `link set NAME down nomaster group …`: out of use at once, and to be deleted.
    static func retire(_ name: String) throws(NetlinkError) -> Message {
        var header = ifinfomsg()
        header.ifi_change = UInt32(IFF_UP)
        var request = try Message(Int(RTM_SETLINK), header)
        try request.put(IFLA_IFNAME, name)
        try request.put(IFLA_MASTER, UInt32(0))
        try request.put(IFLA_GROUP, deletedGroup)
        return request
    }

    /// `link add NAME master br0 type veth peer …`, up, with the peer in the namespace `namespace`.
    static func veth(
        name: String, master: Int32?, mtu: UInt32, peer: Port, namespace: Int32
    ) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_NEWLINK), flags: create, RouteSocket.upHeader())
        try request.put(IFLA_IFNAME, name)
        try request.put(IFLA_MTU, mtu)
        try request.put(IFLA_GROUP, portGroup)
        if let master { try request.put(IFLA_MASTER, UInt32(bitPattern: master)) }
        try request.nest(IFLA_LINKINFO) { request throws(NetlinkError) in
            try request.put(IFLA_INFO_KIND, "veth")
            try request.nest(IFLA_INFO_DATA) { request throws(NetlinkError) in
                try request.nest(Int(VETH_INFO_PEER)) { request throws(NetlinkError) in
                    try request.append(ifinfomsg())
                    try request.put(IFLA_IFNAME, peer.containerLink)
                    try request.put(IFLA_MTU, mtu)
                    try request.put(IFLA_ADDRESS, peer.mac)
                    try request.put(IFLA_NET_NS_FD, UInt32(bitPattern: namespace))
                }
            }
        }
        return request
    }

    /// `addr replace` or `addr del` on a device. Duplicate address detection is off for IPv6: every host's bridge has the same
    /// address, so it would find a duplicate.
    ///
    /// - Parameter hasBroadcast: True to name the broadcast address of an IPv4 subnet, as engines do in sandboxes.
    static func address(
        _ prefix: IPPrefix, add: Bool, on link: Int32, hasBroadcast: Bool = false
    ) throws(NetlinkError) -> Message {
        var header = ifaddrmsg()
        header.ifa_family = UInt8(prefix.family == .v4 ? AF_INET : AF_INET6)
        header.ifa_prefixlen = UInt8(prefix.length)
        header.ifa_index = UInt32(bitPattern: link)
        if prefix.family == .v6 { header.ifa_flags = UInt8(IFA_F_NODAD) }
        var request = try Message(
            Int(add ? RTM_NEWADDR : RTM_DELADDR), flags: add ? NLM_F_CREATE | NLM_F_REPLACE : 0, header)
        try request.put(Int(IFA_LOCAL), prefix.address)
        try request.put(Int(IFA_ADDRESS), prefix.address)
        if hasBroadcast, prefix.family == .v4, prefix.length < 31 { try request.put(Int(IFA_BROADCAST), prefix.last) }
        return request
    }

    /// `route append … dev … scope link`: behind a route to the same destination through another link. With NLM_F_REPLACE alone, in
    /// the place of one that is there.
    static func route(
        to destination: IPPrefix, through link: Int32, flags: Int32 = NLM_F_CREATE | NLM_F_APPEND
    ) throws(NetlinkError) -> Message {
        var header = rtmsg()
        header.rtm_family = UInt8(destination.family == .v4 ? AF_INET : AF_INET6)
        header.rtm_dst_len = UInt8(destination.length)
        header.rtm_table = UInt8(RT_TABLE_MAIN.rawValue)
        header.rtm_protocol = UInt8(RTPROT_BOOT)
        header.rtm_scope = UInt8(RT_SCOPE_LINK.rawValue)
        header.rtm_type = UInt8(RTN_UNICAST)
        var request = try Message(Int(RTM_NEWROUTE), flags: flags, header)
        try request.put(Int(RTA_DST.rawValue), destination.address)
        try request.put(Int(RTA_OIF.rawValue), UInt32(bitPattern: link))
        return request
    }

    /// `neigh replace … nud permanent`, or `neigh del`.
    static func neighbour(_ address: IPAddress, _ mac: MACAddress?, on link: Int32) throws(NetlinkError) -> Message {
        var header = ndmsg()
        header.ndm_family = UInt8(address.family == .v4 ? AF_INET : AF_INET6)
        header.ndm_ifindex = link
        header.ndm_state = UInt16(NUD_PERMANENT)
        var request = try Message(
            Int(mac == nil ? RTM_DELNEIGH : RTM_NEWNEIGH), flags: mac == nil ? 0 : NLM_F_CREATE | NLM_F_REPLACE, header)
        try request.put(Int(NDA_DST), address)
        if let mac { try request.put(Int(NDA_LLADDR), mac) }
        return request
    }

    /// Tables that a forwarding row goes into.
    struct Table: OptionSet {
        let rawValue: UInt8
        /// Table of the VXLAN device: MAC → VTEP.
        static let device = Table(rawValue: UInt8(NTF_SELF))
        /// Table of the bridge: MAC → port.
        static let bridge = Table(rawValue: UInt8(NTF_MASTER))
    }

    /// `bridge fdb replace … static`. Not permanent: a permanent row of a bridge means that the MAC is its own, so frames would be
    /// taken in instead of forwarded. A VXLAN device's static row does not age either (vxlan_cleanup skips NUD_NOARP).
    static func forwarding(
        _ mac: MACAddress, to vtep: IPAddress?, on link: Int32, _ tables: Table
    ) throws(NetlinkError) -> Message {
        var request = try Message(
            Int(RTM_NEWNEIGH), flags: NLM_F_CREATE | NLM_F_REPLACE,
            forwardingHeader(link, tables, state: UInt16(NUD_NOARP | NUD_REACHABLE)))
        try request.put(Int(NDA_LLADDR), mac)
        if let vtep { try request.put(Int(NDA_DST), vtep) }
        return request
    }

    /// `bridge fdb del`. With a VTEP, only the row to that one.
    static func deleteForwarding(
        _ mac: MACAddress, to vtep: IPAddress?, on link: Int32, _ table: Table
    ) throws(NetlinkError) -> Message {
        var request = try Message(Int(RTM_DELNEIGH), forwardingHeader(link, table, state: 0))
        try request.put(Int(NDA_LLADDR), mac)
        if let vtep { try request.put(Int(NDA_DST), vtep) }
        return request
    }

    /// `bridge fdb append 00:00:00:00:00:00 dst …`: one more VTEP that gets flooded frames.
    static func flood(_ vtep: IPAddress, on link: Int32) throws(NetlinkError) -> Message {
        var request = try Message(
            Int(RTM_NEWNEIGH), flags: NLM_F_CREATE | NLM_F_APPEND,
            forwardingHeader(link, .device, state: UInt16(NUD_PERMANENT | NUD_NOARP)))
        try request.put(Int(NDA_LLADDR), MACAddress.zero)
        try request.put(Int(NDA_DST), vtep)
        return request
    }

    private static func forwardingHeader(_ link: Int32, _ tables: Table, state: UInt16) -> ndmsg {
        var header = ndmsg()
        header.ndm_family = UInt8(AF_BRIDGE)
        header.ndm_ifindex = link
        header.ndm_state = state
        header.ndm_flags = tables.rawValue
        return header
    }
}
