import Glibc
import OverlayDNS
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Synchronization
import Testing

@testable import OverlayDNSServer

let kernelIsUsable = Privilege.allows("kernel tests") {
    guard let capabilities = try? Capabilities.effective, capabilities.missing.isEmpty else {
        return "CAP_NET_ADMIN and CAP_SYS_ADMIN are needed (run as root)"
    }
    guard shell("ip -V && nft --version").status == 0 else { return "iproute2 and nftables are needed to look from outside" }
    return nil
}

/// A container's network namespace, with what Docker puts into it: a resolver on 127.0.0.11 and rules that lead there.
final class Container {
    let directory: String
    let path: String
    private var resolver: Resolver?

    /// - Parameter exists: Whether the namespace is there from the start.
    init(exists: Bool = true, hasResolver: Bool = true) throws {
        directory = "/run/swt-dns-\(systemRandom64())"
        path = "\(directory)/sandbox"
        try NetworkNamespace.prepareDirectory(directory)
        if exists { try create(hasResolver: hasResolver) }
    }

    func create(hasResolver: Bool = true) throws {
        try NetworkNamespace.create(path: path)
        expect("ip link set lo up")
        if hasResolver { try startResolver() }
    }

    func startResolver() throws {
        let resolver = try Resolver(in: NetworkNamespace.open(path: path))
        self.resolver = resolver
        expect(
            """
            nft -f - <<'END'
            table ip docker {
                chain out {
                    type nat hook output priority -100;
                    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:\(resolver.udpPort)
                    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:\(resolver.tcpPort)
                }
            }
            END
            """)
    }

    func stopResolver() { resolver = nil }

    /// Runs words in the namespace, as from the container.
    @discardableResult
    func run(_ words: String) -> Output { shell("nsenter --net=\(path) sh <<'WORDS'\n\(words)\nWORDS") }

    @discardableResult
    func expect(_ words: String, sourceLocation: SourceLocation = #_sourceLocation) -> String {
        let result = run(words)
        if result.status != 0 { Issue.record("\(words): \(result.text)", sourceLocation: sourceLocation) }
        return result.text
    }

    var isRedirected: Bool { run("nft list tables").text.contains("swift_overlay_dns") }

    func destroy() {
        resolver = nil
        try? NetworkNamespace.remove(path: path)
    }

    deinit {
        destroy()
        umount2(directory, Int32(MNT_DETACH))
        rmdir(directory)
    }

    /// A client's socket in it.
    func socket(_ type: Int32, connected: Bool = true, to resolver: UInt32 = 0x7F00_000B) throws -> Descriptor {
        let client = try NetworkNamespace.openSocket(
            in: NetworkNamespace.open(path: path), domain: AF_INET, type: type, protocol: 0)
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(client.number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        if connected { try connect(client.number, to: resolver) }
        return client
    }

    private func connect(_ socket: Int32, to resolver: UInt32) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = resolver.bigEndian
        address.sin_port = UInt16(53).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 || errno == EINPROGRESS else { throw SystemError(operation: "connect", errno: errno) }
    }

    /// Asks by datagram; the answer, empty where none came.
    func ask(_ question: [UInt8], of resolver: UInt32 = 0x7F00_000B) throws -> [UInt8] {
        let client = try socket(Int32(SOCK_DGRAM.rawValue), to: resolver)
        guard send(client.number, question, question.count, 0) == question.count else { return [] }
        return receive(client.number)
    }

    func receive(_ socket: Int32) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_535)
        let count = recv(socket, &buffer, buffer.count, 0)
        return Array(buffer.prefix(max(0, count)))
    }

    /// The next message of a connection, empty at its end.
    func receiveMessage(_ socket: Int32) -> [UInt8] {
        func exactly(_ count: Int) -> [UInt8] {
            var all: [UInt8] = []
            while all.count < count {
                var buffer = [UInt8](repeating: 0, count: count - all.count)
                let got = recv(socket, &buffer, buffer.count, 0)
                guard got > 0 else { return [] }
                all += buffer.prefix(got)
            }
            return all
        }
        let length = exactly(2)
        return length.count == 2 ? exactly(Int(length[0]) << 8 | Int(length[1])) : []
    }
}

/// Stands for Docker's resolver: answers everything with 192.0.2.9, but names that begin with "silent", "old" or "loud".
final class Resolver: Sendable {
    let udpPort: UInt16
    let tcpPort: UInt16
    private let udp: Descriptor
    private let tcp: Descriptor
    private let threads = [ThreadExecutor(name: "fake-udp"), ThreadExecutor(name: "fake-tcp")]

    init(in namespace: consuming Descriptor) throws {
        udp = try Self.bound(Int32(SOCK_DGRAM.rawValue), namespace)
        tcp = try Self.bound(Int32(SOCK_STREAM.rawValue), namespace)
        udpPort = Self.port(udp.number)
        tcpPort = Self.port(tcp.number)
        listen(tcp.number, 16)
        let (udpNumber, tcpNumber) = (dup(udp.number), dup(tcp.number))
        threads[0].execute { Self.serveDatagrams(udpNumber) }
        threads[1].execute { Self.serveConnections(tcpNumber) }
    }

    private static func bound(_ type: Int32, _ namespace: borrowing Descriptor) throws -> Descriptor {
        let socket = try NetworkNamespace.openSocket(in: namespace, domain: AF_INET, type: type, protocol: 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_000B).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(socket.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw SystemError(operation: "bind", errno: errno) }
        return socket
    }

    private static func port(_ socket: Int32) -> UInt16 {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    deinit {
        shutdown(udp.number, Int32(SHUT_RDWR))
        shutdown(tcp.number, Int32(SHUT_RDWR))
    }

    private static func answer(_ question: [UInt8]) -> [UInt8] {
        // Old servers answer so what they do not know; others change the letters of names.
        if question.dropFirst(13).starts(with: Array("old".utf8)) {
            return question.prefix(2) + [0x81, 0x81] + [UInt8](repeating: 0, count: 8)
        }
        var question = question
        if question.dropFirst(13).starts(with: Array("loud".utf8)) {
            for index in 13..<17 { question[index] &= 0xDF }
        }
        var end = 12
        while question[end] != 0 { end += Int(question[end]) + 1 }
        return question.prefix(2) + [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + question[12..<end + 5]
            + [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]
    }

    private static func serveDatagrams(_ socket: Int32) {
        defer { close(socket) }
        while true {
            var source = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = withUnsafeMutablePointer(to: &source) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(socket, &buffer, buffer.count, 0, $0, &length)
                }
            }
            guard count > 0 else { return }
            let question = Array(buffer.prefix(count))
            if question.dropFirst(13).starts(with: Array("silent".utf8)) { continue }
            let bytes = answer(question)
            _ = withUnsafePointer(to: &source) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(socket, bytes, bytes.count, 0, $0, length) }
            }
        }
    }

    private static func serveConnections(_ socket: Int32) {
        defer { close(socket) }
        while true {
            let client = accept(socket, nil, nil)
            guard client >= 0 else { return }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = recv(client, &buffer, buffer.count, 0)
            // Messages of no length, without end.
            if buffer.dropFirst(15).starts(with: Array("rubbish".utf8)) {
                let zeros = [UInt8](repeating: 0, count: 65_536)
                while send(client, zeros, zeros.count, Int32(MSG_NOSIGNAL)) > 0 {}
            } else if count > 14 {
                let bytes = answer(Array(buffer[2..<count]))
                let message = [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
                _ = send(client, message, message.count, Int32(MSG_NOSIGNAL))
            }
            close(client)
        }
    }
}

/// A server with one network of three names, and what it has told of sandboxes.
final class Server: Sendable {
    static let network = NetworkID(bits: 1)
    let dns: DNSServer
    private let told: Told

    private final class Told: Sendable {
        let states = Mutex<[DNSServer.State]>([])
    }

    /// - Parameter ready: What stands for the epoll set; nil for a real one.
    init(_ limits: DNSServer.Limits = .init(), ready: Readiness? = nil) throws {
        let told = Told()
        self.told = told
        dns = DNSServer(limits: limits, ready: try ready ?? Readiness(ReadySet())) { _, state in
            told.states.withLock { $0.append(state) }
        }
        var tables = NameTables()
        var names = NetworkNames(title: "test-net")
        for number in 1...100 as ClosedRange<UInt8> {
            names.insert(
                NamedEndpoint(
                    endpoint: EndpointID(unchecked: "0123456789\(number)"), names: ["web-\(number)", "many"],
                    addresses: [IPAddress(v4: 10, 0, 0, number)]))
        }
        tables.networks[Self.network] = names
        dns.publish(tables)
        dns.start()
    }

    var changes: [DNSServer.State] { told.states.withLock { $0 } }

    func serve(_ container: Container, forwards: Bool = true, gateway: IPAddress? = nil) async -> DNSServer.State {
        let scope = SandboxScope(places: [.ours(Self.network)], forwards: forwards, gateway: gateway)
        return await withCheckedContinuation { continuation in
            dns.serve(container.path, scope) { continuation.resume(returning: $0) }
        }
    }

    /// Waits for what comes by itself.
    func until(_ isDone: () -> Bool) async throws -> Bool {
        for _ in 0..<1500 {
            if isDone() { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}

/// A question.
func question(_ name: String, id: UInt16 = 0x1234) -> [UInt8] {
    let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    return [UInt8(id >> 8), UInt8(id & 0xFF), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + labels + [0, 0, 1, 0, 1]
}

func framed(_ message: [UInt8]) -> [UInt8] { [UInt8(message.count >> 8), UInt8(message.count & 0xFF)] + message }

/// Summary of an answer: its code, and the addresses in it.
func summary(_ answer: [UInt8]) -> String {
    guard answer.count >= 12 else { return "none" }
    let count = Int(answer[6]) << 8 | Int(answer[7])
    let code = answer[3] & 0x0F
    guard count == 1, code == 0, answer.count >= 16 else { return "code \(code), \(count) answers" }
    return answer.suffix(4).map(String.init).joined(separator: ".")
}
