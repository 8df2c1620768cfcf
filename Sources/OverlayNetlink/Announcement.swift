import OverlayModel

/// Frames that tell neighbours of an address's new MAC, as bytes without side effects.
enum Announcement {
    /// What makes a neighbour that knows the address put the MAC in the place of the old one.
    static func frame(_ address: IPAddress, at mac: MACAddress) -> [UInt8] {
        switch address.family {
        case .v4: arp(address, mac)
        case .v6: advertisement(address, mac)
        }
    }

    /// An ARP announcement (RFC 5227 §3): a request for the sender's own address, to all. The request form alone: RFC 5227 prefers it, as
    /// there are hosts that heed no unasked reply; and Linux, which lets either replace an entry that it has (even with arp_accept=0, even
    /// within the second in which it believes nobody else), takes both for the same.
    private static func arp(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        var frame: [UInt8] = Array(repeating: 0xFF, count: 6) + mac.bytes + [0x08, 0x06]
        frame += [0, 1, 0x08, 0x00, 6, 4, 0, 1]  // Ethernet, IPv4, lengths of their addresses, request
        frame += mac.bytes + address.networkBytes
        frame += MACAddress.zero.bytes + address.networkBytes
        return frame
    }

    /// An unsolicited neighbour advertisement (RFC 4861 §7.2.6) to all nodes.
    private static func advertisement(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        let allNodes = IPAddress(family: .v6, bits: 0xFF02 << 112 | 1)
        // Override, or the old MAC stays; not solicited, which a multicast must not be; no router.
        var message: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + address.networkBytes
        message += [2, 1] + mac.bytes  // target link-layer address, 8 bytes
        let length = UInt8(message.count)
        let pseudoHeader = address.networkBytes + allNodes.networkBytes + [0, 0, 0, length, 0, 0, 0, 58]
        let sum = checksum(pseudoHeader + message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(sum & 0xFF)
        var frame: [UInt8] = [0x33, 0x33, 0, 0, 0, 1] + mac.bytes + [0x86, 0xDD]
        // ICMPv6 with hop limit 255: proof for the receiver that no router has passed it on.
        frame += [0x60, 0, 0, 0, 0, length, 58, 255]
        frame += address.networkBytes + allNodes.networkBytes + message
        return frame
    }

    /// The Internet checksum (RFC 1071) of an even number of bytes. Never given as 0xFFFF for 0: only UDP has that rule.
    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() { sum += index.isMultiple(of: 2) ? UInt32(byte) << 8 : UInt32(byte) }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}
