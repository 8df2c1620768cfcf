import OverlayLinux

/// Rules that bring questions for Docker's resolver to our sockets.
///
/// They are stateless, so that A and AAAA of one socket do not race for an entry of connection tracking, and nothing is left of them
/// when they are gone. The table belongs to the netlink socket (`flags owner`, Linux 5.12): the kernel removes it with that socket,
/// however the process ends.
final class Redirect: Sendable {
    private let socket: NFTSocket

    /// Opens the socket. To be done before the sockets that the rules lead to are opened: when a process dies, the kernel closes the
    /// lowest numbers first, and it takes milliseconds to remove a table. Docker must get the questions by the time that nobody
    /// listens here.
    init(in namespace: borrowing Descriptor) throws(SystemError) {
        // The kernel reports what it does not know by several errors.
        socket = try NFTSocket(
            in: namespace, purpose: "nf_tables rules for 127.0.0.11 (they need Linux 5.12 with nf_tables and nft_ct)")
    }

    /// Sets the rules.
    ///
    /// - Parameters:
    ///   - udp: Our UDP port on 127.0.0.11.
    ///   - tcp: Our TCP port on 127.0.0.11.
    func begin(udp: UInt16, tcp: UInt16) throws(SystemError) { try socket.commit(RuleBatch.make(udp: udp, tcp: tcp)) }
}
