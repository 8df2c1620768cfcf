import Glibc
import OverlayLinux
import OverlayModel

/// Sockets that are open in one sandbox. They keep its namespace alive as long as they are.
final class SandboxSockets: Sendable {
    /// Most bytes of an answer by datagram.
    static let answerBytes = 65_535
    /// Address of Docker's resolver (libnetwork's resolver.go), which we answer for.
    private static let address: UInt32 = 0x7F00_000B
    private static let loopback: UInt32 = 0x7F00_0001
    private static let servicePort: UInt16 = 53

    /// Receives questions by datagram.
    let datagrams: Descriptor
    /// Receives connections.
    let listener: Descriptor
    /// Asks Docker's resolver. It is connected, so the kernel tells it when nobody listens, and gives it no datagram from
    /// elsewhere (udp(7)).
    let upstream: Descriptor
    /// /proc/net/udp and tcp of the sandbox, which tell where Docker's resolver listens.
    private let udpTable: Descriptor
    private let tcpTable: Descriptor
    /// The namespace, for further sockets in it.
    private let namespace: Descriptor
    /// Ports of ``datagrams`` and ``listener``.
    let udpPort: UInt16
    let tcpPort: UInt16

    /// Outcome of one read from Docker's resolver.
    enum Received {
        /// Number of bytes, and the port that they came from.
        case datagram(Int, port: UInt16)
        /// An earlier datagram was refused: nobody listens.
        case refused
        case nothing
    }

    /// - Parameter gateway: Address of the namespace to listen at, on the port for names; nil for that of Docker's resolver, on
    ///   ports that the kernel chooses.
    /// - Throws: ENETUNREACH while the sandbox's loopback is down, EADDRNOTAVAIL while the namespace has no such gateway.
    init(in namespace: consuming Descriptor, at gateway: IPAddress? = nil) throws(SystemError) {
        func socket(
            _ type: Int32, _ namespace: borrowing Descriptor, from address: UInt32, _ port: UInt16 = 0
        ) throws(SystemError) -> Descriptor {
            let flags = Int32(SOCK_NONBLOCK.rawValue)
            let descriptor = try NetworkNamespace.openSocket(in: namespace, domain: AF_INET, type: type | flags, protocol: 0)
            if port != 0 {
                // Connections of an earlier service that are not over yet.
                var isReused: Int32 = 1
                setsockopt(descriptor.number, SOL_SOCKET, SO_REUSEADDR, &isReused, socklen_t(MemoryLayout.size(ofValue: isReused)))
            }
            try Self.bind(descriptor.number, address, port)
            return descriptor
        }
        let address = gateway.map { UInt32(truncatingIfNeeded: $0.bits) } ?? Self.address
        let port = gateway == nil ? 0 : Self.servicePort
        if gateway == nil {
            // Before its loopback is up there is no such address: a socket that is bound then never sends from it.
            let probe = try NetworkNamespace.openSocket(
                in: namespace, domain: AF_INET, type: Int32(SOCK_DGRAM.rawValue), protocol: 0)
            guard Self.connect(probe.number, to: 53) else {
                throw SystemError(operation: "reach 127.0.0.11 in sandbox", errno: errno)
            }
        }
        datagrams = try socket(Int32(SOCK_DGRAM.rawValue), namespace, from: address, port)
        // Bursts wait here while others have their turn.
        var room: Int32 = 1 << 20
        setsockopt(datagrams.number, SOL_SOCKET, SO_RCVBUF, &room, socklen_t(MemoryLayout.size(ofValue: room)))
        listener = try socket(Int32(SOCK_STREAM.rawValue), namespace, from: address, port)
        guard listen(listener.number, 64) == 0 else { throw SystemError(operation: "listen", errno: errno) }
        upstream = try socket(Int32(SOCK_DGRAM.rawValue), namespace, from: gateway == nil ? Self.loopback : address)
        udpPort = try Self.port(datagrams.number)
        tcpPort = try Self.port(listener.number)
        udpTable = try NetworkNamespace.openFile("/proc/thread-self/net/udp", in: namespace)
        tcpTable = try NetworkNamespace.openFile("/proc/thread-self/net/tcp", in: namespace)
        self.namespace = namespace
    }

    // MARK: Addresses

    private static func endpoint(_ address: UInt32, _ port: UInt16) -> sockaddr_in {
        var endpoint = sockaddr_in()
        endpoint.sin_family = sa_family_t(AF_INET)
        endpoint.sin_addr.s_addr = address.bigEndian
        endpoint.sin_port = port.bigEndian
        return endpoint
    }

    private static func withEndpoint<T>(_ endpoint: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> T) -> T {
        withUnsafePointer(to: endpoint) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    /// Calls something that fills in an endpoint.
    private static func filledEndpoint<T>(
        _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> T
    ) -> (sockaddr_in, T) {
        var endpoint = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &endpoint) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
        }
        return (endpoint, result)
    }

    private static func bind(_ socket: Int32, _ address: UInt32, _ port: UInt16) throws(SystemError) {
        guard withEndpoint(endpoint(address, port), { Glibc.bind(socket, $0, $1) }) == 0 else {
            throw SystemError(operation: "bind in sandbox", errno: errno)
        }
    }

    private static func port(_ socket: Int32) throws(SystemError) -> UInt16 {
        let (endpoint, result) = filledEndpoint { getsockname(socket, $0, $1) }
        guard result == 0 else { throw SystemError(operation: "getsockname", errno: errno) }
        return UInt16(bigEndian: endpoint.sin_port)
    }

    /// Connects a socket to a port of 127.0.0.11, or begins to.
    static func connect(_ socket: Int32, to port: UInt16) -> Bool {
        withEndpoint(endpoint(address, port)) { Glibc.connect(socket, $0, $1) } == 0 || errno == EINPROGRESS
    }

    // MARK: Datagrams

    /// Sends an answer to a client.
    func answer(_ message: [UInt8], to client: SocketEndpoint) {
        let target = Self.endpoint(UInt32(truncatingIfNeeded: client.address.bits), client.port)
        _ = Self.withEndpoint(target) { sendto(datagrams.number, message, message.count, 0, $0, $1) }
    }

    /// Reads what Docker's resolver has sent.
    ///
    /// - Parameter buffer: Room for ``answerBytes``.
    func receiveFromResolver(in buffer: inout [UInt8]) -> Received {
        let (source, count) = Self.filledEndpoint { recvfrom(upstream.number, &buffer, Self.answerBytes, 0, $0, $1) }
        if count >= 0 { return .datagram(count, port: UInt16(bigEndian: source.sin_port)) }
        return errno == ECONNREFUSED ? .refused : .nothing
    }

    // MARK: Connections

    /// Opens a socket for a connection to Docker's resolver.
    func openRelay() -> Descriptor? {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        return try? NetworkNamespace.openSocket(in: namespace, domain: AF_INET, type: kind, protocol: 0)
    }

    // MARK: Docker's resolver

    /// Port on which Docker's resolver takes datagrams; nil while there is none.
    func resolverUDPPort() -> UInt16? { Self.port(in: udpTable.number, state: nil, but: udpPort) }
    /// Port on which Docker's resolver takes connections; nil while there is none.
    func resolverTCPPort() -> UInt16? { Self.port(in: tcpTable.number, state: "0A", but: tcpPort) }

    /// Local port of the first socket of 127.0.0.11 in a table, apart from our own. Its lines are as in
    /// `  12: 0B00007F:D5A5 00000000:0000 07 …`: numbers in hexadecimal and of one length, addresses in host byte order.
    ///
    /// - Parameter state: State that the socket must be in; nil is any.
    private static func port(in table: Int32, state: String?, but own: UInt16) -> UInt16? {
        let local = String(address.bigEndian, radix: 16, uppercase: true)
        let wanted = Array((String(repeating: "0", count: 8 - local.count) + local + ":").utf8)
        let (portStart, stateStart) = (9, 28)
        var line: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16_384)
        var offset = 0
        // A container may have very many sockets.
        while offset < 1 << 20 {
            let count = pread(table, &piece, piece.count, off_t(offset))
            guard count > 0 else { return nil }
            offset += count
            for byte in piece[..<count] {
                guard byte == UInt8(ascii: "\n") else {
                    line.append(byte)
                    continue
                }
                defer { line.removeAll(keepingCapacity: true) }
                guard let colon = line.firstIndex(of: UInt8(ascii: ":")), line.count >= colon + 2 + stateStart + 2 else { continue }
                let fields = line[(colon + 2)...]
                let start = fields.startIndex
                guard fields.starts(with: wanted),
                    state == nil || fields[(start + stateStart)...].starts(with: (state ?? "").utf8),
                    let port = UInt16(
                        String(decoding: fields[(start + portStart)..<(start + portStart + 4)], as: UTF8.self), radix: 16),
                    port != own, port != 0
                else { continue }
                return port
            }
        }
        return nil
    }
}
