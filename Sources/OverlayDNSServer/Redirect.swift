import Glibc
import OverlayLinux

/// Rules that bring questions for Docker's resolver to our sockets.
///
/// They are stateless, so that A and AAAA of one socket do not race for an entry of connection tracking, and nothing is left of them
/// when they are gone. The table belongs to the netlink socket (`flags owner`, Linux 5.12): the kernel removes it with that socket,
/// however the process ends.
final class Redirect: Sendable {
    private let socket: Descriptor

    /// Opens the socket. To be done before the sockets that the rules lead to are opened: when a process dies, the kernel closes the
    /// lowest numbers first, and it takes milliseconds to remove a table. Docker must get the questions by the time that nobody
    /// listens here.
    init(in namespace: borrowing Descriptor) throws(SystemError) {
        let netfilter: Int32 = 12
        socket = try NetworkNamespace.openSocket(
            in: namespace, domain: AF_NETLINK, type: Int32(SOCK_RAW.rawValue), protocol: netfilter)
        // A missing answer must not hold up all other sandboxes.
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(socket.number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    /// Sets the rules.
    ///
    /// - Parameters:
    ///   - udp: Our UDP port on 127.0.0.11.
    ///   - tcp: Our TCP port on 127.0.0.11.
    func begin(udp: UInt16, tcp: UInt16) throws(SystemError) {
        let batch = RuleBatch(udp: udp, tcp: tcp)
        guard send(socket.number, batch.bytes, batch.bytes.count, 0) == batch.bytes.count else { throw Self.failure(errno) }
        var left = batch.requests
        var buffer = [UInt8](repeating: 0, count: 8192)
        while left > 0 {
            let count = recv(socket.number, &buffer, buffer.count, 0)
            guard count > 0 else { throw Self.failure(count < 0 ? errno : EIO) }
            var position = 0
            // struct nlmsghdr, then the errno of NLMSG_ERROR; 0 acknowledges.
            while position + 20 <= count {
                let length = buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position, as: UInt32.self) }
                let code = buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position + 16, as: Int32.self) }
                guard code == 0 else { throw Self.failure(-code) }
                left -= 1
                guard length >= 20 else { break }
                position += (Int(length) + 3) & ~3
            }
        }
    }

    private static func failure(_ number: Int32) -> SystemError {
        // The kernel reports what it does not know by several errors.
        SystemError(operation: "nf_tables rules for 127.0.0.11 (they need Linux 5.12 with nf_tables and nft_ct)", errno: number)
    }
}
