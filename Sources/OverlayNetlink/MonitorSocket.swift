import CNetlink
import Glibc
import OverlayLinux

/// Socket that the kernel tells of changes in one namespace: of links, neighbours, forwarding rows and addresses, or of nf_tables.
final class MonitorSocket: Sendable {
    /// Groups of rtnetlink(7). Rows of bridges and of VXLAN devices come with neighbours.
    private static let groups: [UInt32] = [1, 3, 5, 9]  // RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV6_IFADDR
    /// NETLINK_NETFILTER, and its group NFNLGRP_NFTABLES.
    private static let netfilter: (protocol: Int32, groups: [UInt32]) = (12, [7])
    /// Size of the buffer. What it has no room for is lost, and told as such.
    private static let bufferBytes: Int32 = 1 << 18

    private let descriptor: Descriptor
    /// Port of the socket whose own changes are no news; nil for none.
    private let ownPort: UInt32?
    /// Descriptor to wait for.
    var number: Int32 { descriptor.number }

    /// Hears of links, neighbours, forwarding rows and addresses.
    /// - Parameter namespace: Namespace to hear of.
    convenience init(in namespace: borrowing Descriptor) throws(SystemError) {
        try self.init(in: namespace, NETLINK_ROUTE, Self.groups, ownPort: nil)
    }

    /// Hears of nf_tables, but for what is changed through the socket of this netlink port.
    convenience init(ofTablesIn namespace: borrowing Descriptor, ownPort: UInt32) throws(SystemError) {
        try self.init(in: namespace, Self.netfilter.protocol, Self.netfilter.groups, ownPort: ownPort)
    }

    private init(
        in namespace: borrowing Descriptor, _ number: Int32, _ groups: [UInt32], ownPort: UInt32?
    ) throws(SystemError) {
        let socket = try NetworkNamespace.openSocket(
            in: namespace, domain: AF_NETLINK, type: Int32(SOCK_RAW.rawValue), protocol: number)
        var size = Self.bufferBytes
        _ = setsockopt(socket.number, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        for group in groups { address.nl_groups |= 1 << (group - 1) }
        let result = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket.number, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
            }
        }
        guard result == 0 else { throw SystemError(operation: "bind a netlink socket", errno: Glibc.errno) }
        descriptor = socket
        self.ownPort = ownPort
    }

    /// Outcome of one reading.
    enum Reading {
        /// Messages, which were passed on.
        case some
        /// Nothing is there.
        case nothing
        /// Messages were lost, as they came faster than they were read.
        case overflow
    }

    /// Reads what came in one datagram.
    /// - Parameter each: Called with the type and the payload of each message.
    func read(into buffer: UnsafeMutableRawBufferPointer, _ each: (UInt16, Received) -> Void) throws(SystemError) -> Reading {
        let count = recv(number, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
        guard count >= 0 else {
            switch Glibc.errno {
            case EAGAIN, EINTR: return .nothing
            case ENOBUFS: return .overflow
            default: throw SystemError(operation: "read notifications", errno: Glibc.errno)
            }
        }
        let all = Received(bytes: UnsafeRawBufferPointer(start: buffer.baseAddress, count: count))
        var position = 0
        let size = MemoryLayout<nlmsghdr>.size
        while let header: nlmsghdr = all.load(at: position) {
            let end = position + Int(header.nlmsg_len)
            guard Int(header.nlmsg_len) >= size, end <= count else { break }
            defer { position = (end + 3) & ~3 }
            if header.nlmsg_pid == ownPort { continue }
            each(header.nlmsg_type, Received(bytes: UnsafeRawBufferPointer(rebasing: all.bytes[(position + size)..<end])))
        }
        return .some
    }
}
