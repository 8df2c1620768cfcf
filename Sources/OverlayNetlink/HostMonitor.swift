import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
import OverlayModel
import Synchronization

/// Thread that hears of changes in the host's namespace: links, addresses and routes. It ends with the value.
///
/// It tells only that something changed. The kernel's notifications may be lost, and say less than a look at the whole.
public final class HostMonitor: Sendable {
    /// Groups of rtnetlink(7): RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE.
    private static let groups: [UInt32] = [1, 5, 7, 9, 11]
    /// Pause after a turn. Whoever changes the host without end costs a bounded share of one thread.
    private static let pause: UInt32 = 20_000
    private static let bufferBytes = 1 << 16

    private let executor = ThreadExecutor(name: "host")
    private let ready: ReadySet

    /// - Parameters:
    ///   - namespace: Namespace to hear of.
    ///   - report: Called on the thread; with true if only routes changed.
    init(
        in namespace: borrowing Descriptor, _ report: @escaping @Sendable (_ isRoute: Bool) -> Void
    ) throws(SystemError) {
        let socket = try NetworkNamespace.openSocket(
            in: namespace, domain: AF_NETLINK, type: Int32(SOCK_RAW.rawValue), protocol: NETLINK_ROUTE)
        let number = socket.number
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        for group in Self.groups { address.nl_groups |= 1 << (group - 1) }
        let result = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(number, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
            }
        }
        guard result == 0 else { throw SystemError(operation: "bind a netlink socket", errno: Glibc.errno) }
        let ready = try ReadySet()
        try ready.watch(number, 1, .readable)
        self.ready = ready
        let ear = Ear(socket: socket)
        executor.execute { [weak self] in
            while self != nil {
                // Without the thread, changes are found by the look of every ten seconds.
                guard (try? ready.wait(milliseconds: -1)) != nil, let news = ear.read() else { return }
                switch news {
                case .nothing: continue
                case .routes: report(true)
                case .all: report(false)
                }
                usleep(HostMonitor.pause)
            }
        }
    }

    deinit { ready.wake() }

    /// Socket, and the buffer for its messages. Only the thread uses it.
    private final class Ear: Sendable {
        enum News { case nothing, routes, all }

        private let socket: Descriptor

        init(socket: consuming Descriptor) { self.socket = socket }

        /// Reads all messages that are there, up to some hundred.
        ///
        /// - Returns: nil where the socket cannot be read any more.
        func read() -> News? {
            var news = News.nothing
            var buffer = [UInt8](repeating: 0, count: HostMonitor.bufferBytes)
            for _ in 0..<256 {
                let count = buffer.withUnsafeMutableBytes { recv(socket.number, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }
                if count < 0 {
                    switch Glibc.errno {
                    case EAGAIN: return news
                    case EINTR: continue
                    // More came than there was room for.
                    case ENOBUFS: news = .all
                    default: return nil
                    }
                    continue
                }
                guard count > 0 else { return nil }
                let isRoute = buffer.withUnsafeBytes {
                    Self.holdsOnlyRoutes(Received(bytes: UnsafeRawBufferPointer(rebasing: $0[..<count])))
                }
                if !isRoute { news = .all } else if news == .nothing { news = .routes }
            }
            return news
        }

        private static func holdsOnlyRoutes(_ all: Received) -> Bool {
            var position = 0
            while let header: nlmsghdr = all.load(at: position), Int(header.nlmsg_len) >= MemoryLayout<nlmsghdr>.size {
                guard [RTM_NEWROUTE, RTM_DELROUTE].contains(where: { Int(header.nlmsg_type) == Int($0) }) else { return false }
                position += (Int(header.nlmsg_len) + 3) & ~3
            }
            return true
        }
    }
}

extension KernelNetlink {
    /// Hears of changes of the host's links, addresses and routes, as long as the result lives.
    ///
    /// - Parameter report: Called on a thread of its own, with true if only routes changed.
    public func watchHost(_ report: @escaping @Sendable (_ isRoute: Bool) -> Void) throws(KernelFailure) -> HostMonitor {
        try step("watch the host's links", .query) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try HostMonitor(in: hostNamespace, report) }
        }
    }
}
