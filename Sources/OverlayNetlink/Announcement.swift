import OverlayModel

/// Frames that tell neighbours about the new MAC of an address, built without side effects.
enum Announcement {
    /// Frame that makes a neighbour with a cache entry for the address replace its MAC.
    static func frame(_ address: IPAddress, at mac: MACAddress) -> [UInt8] {
        switch address.family {
        case .v4: arp(address, mac)
        case .v6: advertisement(address, mac)
        }
    }

    /// ARP announcement (RFC 5227 §3): a broadcast request for the sender's own address.
    ///
    /// The request form is enough. RFC 5227 prefers it, as some hosts ignore unsolicited replies. Linux treats both forms alike:
    /// either replaces an existing entry, even with arp_accept=0 and within the second in which the entry is otherwise locked.
    private static func arp(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        var frame: [UInt8] = Array(repeating: 0xFF, count: 6) + mac.bytes + [0x08, 0x06]
        frame += [0, 1, 0x08, 0x00, 6, 4, 0, 1]  // Ethernet, IPv4, lengths of their addresses, request
        frame += mac.bytes + address.networkBytes
        frame += MACAddress.zero.bytes + address.networkBytes
        return frame
    }

    /// Unsolicited neighbour advertisement (RFC 4861 §7.2.6) to all nodes.
    private static func advertisement(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        let allNodes = IPAddress(family: .v6, bits: 0xFF02 << 112 | 1)
        // Override flag, without which the old MAC stays. Not solicited, as a multicast must not be, and no router.
        var message: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + address.networkBytes
        message += [2, 1] + mac.bytes  // target link-layer address, 8 bytes
        let length = UInt8(message.count)
        let pseudoHeader = address.networkBytes + allNodes.networkBytes + [0, 0, 0, length, 0, 0, 0, 58]
        let sum = checksum(pseudoHeader + message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(sum & 0xFF)
        var frame: [UInt8] = [0x33, 0x33, 0, 0, 0, 1] + mac.bytes + [0x86, 0xDD]
        // ICMPv6 with hop limit 255, which proves that no router forwarded it (RFC 4861 §7.1.2).
        frame += [0x60, 0, 0, 0, 0, length, 58, 255]
        frame += address.networkBytes + allNodes.networkBytes + message
        return frame
    }

    /// Internet checksum (RFC 1071) of an even number of bytes. A result of 0 is not replaced by 0xFFFF; only UDP has that rule.
    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() { sum += index.isMultiple(of: 2) ? UInt32(byte) << 8 : UInt32(byte) }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}
