import Glibc
import NIOCore
import Synchronization

/// UDP and TCP on one port, bound before anything reads them: the port is part of the node's identity. The kernel keeps what arrives
/// until a ``GossipTransport`` takes it over. Closes its descriptors when released, if nothing took them.
public final class GossipSocket: Sendable {
    /// Port that both are bound to.
    public let port: UInt16
    let address: SocketAddress
    private let descriptors: Mutex<Descriptors?>

    struct Descriptors: Sendable {
        var listener: Int32
        var datagrams: Int32
    }

    /// Binds both.
    ///
    /// - Parameter host: Address or name of this host.
    /// - Throws: `IOError` with the errno of the call that failed, or an error of name resolution. Nothing stays open then.
    public convenience init(host: String, port: UInt16) throws {
        try self.init(try SocketAddress.makeAddressResolvingHost(host, port: Int(port)), port)
    }

    private init(_ address: SocketAddress, _ port: UInt16) throws {
        let listener = try Self.bound(address, SOCK_STREAM)
        do {
            guard listen(listener, Self.backlog) == 0 else { throw IOError(errnoCode: errno, reason: "listen") }
            let datagrams = try Self.bound(address, SOCK_DGRAM)
            descriptors = Mutex(Descriptors(listener: listener, datagrams: datagrams))
        } catch {
            Glibc.close(listener)
            throw error
        }
        self.address = address
        self.port = port
    }

    deinit { close() }

    /// Number of connections that wait to be accepted.
    static let backlog: Int32 = 256

    private static func bound(_ address: SocketAddress, _ type: __socket_type) throws -> Int32 {
        let family: Int32
        switch address {
        case .v6: family = AF_INET6
        default: family = AF_INET
        }
        let descriptor = socket(family, Int32(type.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        var isReused: Int32 = 1
        if type == SOCK_STREAM {
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &isReused, socklen_t(MemoryLayout<Int32>.size))
        }
        let result = address.withSockAddr { pointer, size in bind(descriptor, pointer, socklen_t(size)) }
        guard result == 0 else {
            let error = IOError(errnoCode: errno, reason: "bind")
            Glibc.close(descriptor)
            throw error
        }
        return descriptor
    }

    /// Hands the descriptors over, once: the caller closes them.
    func take() -> Descriptors? {
        descriptors.withLock { descriptors in
            let taken = descriptors
            descriptors = nil
            return taken
        }
    }

    /// Closes both, if no transport has taken them over.
    public func close() {
        guard let left = take() else { return }
        Glibc.close(left.listener)
        Glibc.close(left.datagrams)
    }
}
