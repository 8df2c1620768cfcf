import FoundationEssentials
import Glibc
import NIOCore
import NIOPosix
import OverlayGossip
import OverlayLinux
import OverlayNetlink
import OverlayNode
import OverlayPluginServer
import OverlayStore
import ServiceLifecycle
import Testing

@testable import OverlayDaemon

/// True if a daemon can run here. With SWIFT_OVERLAY_REQUIRE_KERNEL=1 its tests run anyway, and fail where they cannot.
private let kernelIsUsable: Bool = {
    if let value = getenv("SWIFT_OVERLAY_REQUIRE_KERNEL"), String(cString: value) == "1" { return true }
    guard let capabilities = try? Capabilities.effective, capabilities.missing.isEmpty else {
        print("daemon tests skipped: CAP_NET_ADMIN and CAP_SYS_ADMIN are needed (run as root)")
        return false
    }
    return true
}()

/// A host of its own for one daemon: a network namespace that holds a loopback device only, and directories.
private final class ScratchHost {
    let directory = "/run/swd\(systemRandom64() & 0xFFFF_FFFF)"
    var configuration = Configuration()

    init() throws {
        for path in [directory, directory + "/netns"] {
            guard mkdir(path, 0o700) == 0 else { throw StartError("mkdir \(path)") }
        }
        _ = try NetworkNamespace.create(path: host)
        let namespace = try NetworkNamespace.open(path: host)
        let result = try NetworkNamespace.run(in: namespace) { system("ip link set lo up") }
        guard result == 0 else { throw StartError("ip link set lo up: \(result)") }
        configuration.stateDirectory = directory + "/state"
        configuration.pluginSocket = directory + "/p.sock"
        configuration.controlSocket = directory + "/c.sock"
        configuration.advertiseAddress = "127.0.0.1"
        configuration.listenHost = "127.0.0.1"
        configuration.engine = nil
        configuration.machineID = { String(repeating: "a", count: 32) }
        configuration.listenPort = try freePort()
    }

    private var host: String { directory + "/host" }

    private func freePort() throws -> UInt16 {
        for _ in 0..<50 {
            if let socket = try? GossipSocket(host: "127.0.0.1", port: .random(in: 20_000..<60_000)) {
                return socket.port
            }
        }
        throw StartError("no free port")
    }

    /// A daemon, which runs until the task shuts down gracefully.
    var daemon: @Sendable () async throws -> Void {
        let (configuration, directory, host) = (configuration, directory, host)
        return {
            let kernel = try KernelNetlink(namespaceDirectory: directory + "/netns", hostNamespace: host)
            let state = try await NodeState.open(configuration, quiet)
            try await Daemon.serve(
                configuration, kernel, state, on: MultiThreadedEventLoopGroup.singleton.next(), stoppedBy: [], quiet)
        }
    }

    /// True if the daemon has let go of its state, its port and its sockets.
    func isFree() async -> Bool {
        // Other threads release the last references to the store.
        await eventually { (try? StateStore(directory: self.configuration.stateDirectory, schema: StateSchema.present)) != nil }
            && (try? GossipSocket(host: "127.0.0.1", port: configuration.listenPort ?? 0)) != nil
            && access(configuration.controlSocket, F_OK) != 0 && access(configuration.pluginSocket, F_OK) != 0
    }

    deinit {
        for name in (try? NetworkNamespace.names(in: directory + "/netns")) ?? [] {
            try? NetworkNamespace.remove(path: directory + "/netns/" + name)
        }
        try? NetworkNamespace.remove(path: host)
        _ = system("umount -l \(directory)/netns 2>/dev/null; rm -rf \(directory)")
    }
}

/// One request on a control socket, on a thread of its own.
private func ask(_ socketPath: String, _ method: String, _ target: String) async throws -> String {
    let executor = ThreadExecutor(name: "client")
    return try await withCheckedThrowingContinuation { continuation in
        executor.execute { continuation.resume(with: Result { try askNow(socketPath, method, target) }) }
    }
}

private func askNow(_ socketPath: String, _ method: String, _ target: String) throws -> String {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var timeout = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(socketPath.utf8)) }
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    guard connected == 0 else { throw SystemError(operation: "connect", path: socketPath, errno: errno) }
    let request = Array("\(method) \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".utf8)
    guard write(descriptor, request, request.count) == request.count else {
        throw SystemError(operation: "write", path: socketPath, errno: errno)
    }
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else { return String(decoding: text, as: UTF8.self) }
        text += chunk.prefix(count)
    }
}

/// Whole daemons, without an engine.
@Suite(.serialized, .enabled(if: kernelIsUsable)) struct DaemonTests {
    @Test func `A daemon serves, stops without waiting for a client that watches, and leaves nothing open`() async throws {
        let host = try ScratchHost()
        let control = host.configuration.controlSocket
        let group = ServiceGroup(services: [ClosureService(host.daemon)], logger: quiet)
        let run = Task { try await group.run() }
        #expect(await eventually { access(host.configuration.pluginSocket, F_OK) == 0 })
        #expect(try await ask(control, "POST", "/init").hasPrefix("HTTP/1.1 200"))
        let changes = try await ask(control, "GET", "/nodes/changes")
        let body = try #require(changes.split(separator: "\r\n\r\n").last)
        guard case .number(let last)? = try JSONDecoder().decode([String: Field].self, from: Data(body.utf8))["last"] else {
            throw StartError(changes)
        }
        let watch = Task { try await ask(control, "GET", "/nodes/changes?after=\(UInt64(last))") }
        // Nothing changes, so the watch waits.
        try await Task.sleep(for: .milliseconds(300))
        let clock = ContinuousClock()
        let began = clock.now
        await group.triggerGracefulShutdown()
        try await run.value
        #expect(clock.now - began < .seconds(5))
        let answer = try await watch.value
        #expect(answer.hasPrefix("HTTP/1.1 409") && answer.contains("the daemon is stopping"), "\(answer)")
        #expect(await host.isFree())
    }

    /// Also where the link to an engine was made and never had its turn.
    @Test(arguments: [nil, "unix:///run/nobody-listens-here.sock"])
    func `A daemon whose plugin socket is in use fails with the cause and leaves nothing open`(engine: String?) async throws {
        let host = try ScratchHost()
        host.configuration.engine = engine
        let lock = try LockFile(path: host.configuration.pluginSocket + ".lock")
        let error = await #expect(throws: SocketError.self) { try await host.daemon() }
        withExtendedLifetime(lock) {}
        #expect(error?.path == host.configuration.pluginSocket)
        #expect(await host.isFree())
    }

    @Test func `A daemon whose port is in use fails before anything is open`() async throws {
        let host = try ScratchHost()
        let port = try #require(host.configuration.listenPort)
        let holder = try GossipSocket(host: "127.0.0.1", port: port)
        let error = await #expect(throws: StartError.self) { try await host.daemon() }
        #expect(error?.description.contains("Address already in use") == true)
        holder.close()
        #expect(await host.isFree())
    }

    @Test func `A state directory of another machine is refused`() async throws {
        let host = try ScratchHost()
        _ = try await NodeState.open(host.configuration, quiet)
        host.configuration.machineID = { String(repeating: "b", count: 32) }
        let error = await #expect(throws: StartError.self) { try await NodeState.open(host.configuration, quiet) }
        #expect(error?.description.contains("was copied from another host") == true)
        host.configuration.acceptsNewMachine = true
        let state = try await NodeState.open(host.configuration, quiet)
        #expect(state.boot == 2)
    }
}
