import Glibc
import NIOCore
import OverlayModel
import Synchronization

/// Socket for datagrams to addresses that nobody has proven. It sends at once or not at all, reads nothing, and a refusal of the kernel changes
/// nothing: none of this touches the sockets of members.
final class NoticeSocket: Sendable {
    private let home: SocketAddress
    private let descriptors = Mutex(Descriptors())

    private struct Descriptors {
        var v4: Int32?
        var v6: Int32?
        var isClosed = false
    }

    /// - Parameter home: Address that is sent from; the port is another.
    init(from home: SocketAddress) { self.home = home }

    deinit { close() }

    /// Sends a datagram, if the kernel takes it.
    func send(_ datagram: [UInt8], to target: SocketEndpoint) {
        guard target.port != 0, let address = try? SocketAddress(ipAddress: "\(target.address)", port: Int(target.port)),
            let descriptor = descriptor(for: address)
        else { return }
        _ = address.withSockAddr { pointer, size in
            sendto(descriptor, datagram, datagram.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL), pointer, socklen_t(size))
        }
    }

    private func descriptor(for target: SocketAddress) -> Int32? {
        descriptors.withLock { descriptors in
            guard !descriptors.isClosed else { return nil }
            switch target {
            case .v4:
                if descriptors.v4 == nil { descriptors.v4 = make(AF_INET) }
                return descriptors.v4
            case .v6:
                if descriptors.v6 == nil { descriptors.v6 = make(AF_INET6) }
                return descriptors.v6
            case .unixDomainSocket: return nil
            }
        }
    }

    private func make(_ family: Int32) -> Int32? {
        let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        if var own = home.ipAddress.flatMap({ try? SocketAddress(ipAddress: $0, port: 0) }), own.protocol.rawValue == family {
            own.port = 0
            // An address that is gone by now: the kernel chooses.
            _ = own.withSockAddr { pointer, size in bind(descriptor, pointer, socklen_t(size)) }
        }
        return descriptor
    }

    func close() {
        descriptors.withLock { descriptors in
            for descriptor in [descriptors.v4, descriptors.v6] { if let descriptor { Glibc.close(descriptor) } }
            descriptors = Descriptors(isClosed: true)
        }
    }
}
