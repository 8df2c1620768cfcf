import Glibc
import Logging
import NIOCore
import NIOPosix
import OverlayCrypto
import OverlayDriver
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayPluginServer
import ServiceLifecycle
import Synchronization
import Testing
import UnixSignals

@testable import OverlayDaemon

/// Acts of parts, in order.
final class Diary: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
}

/// Part that writes down when it opens and closes.
struct FakePart: DaemonPart {
    struct Failed: Error, Equatable {}
    enum Fault {
        case none
        /// Throws instead of opening.
        case opening
        /// Waits for ever before it opens.
        case never
        /// Throws after it has opened.
        case serving
    }

    let name: String
    let diary: Diary
    var fault = Fault.none

    func run(opened: @escaping @Sendable () -> Void) async throws {
        diary.add("open \(name)")
        switch fault {
        case .opening: throw Failed()
        case .never: break
        case .none: opened()
        case .serving:
            opened()
            // Until the parts after it are open.
            _ = await eventually { diary.all.contains("open c") }
            throw Failed()
        }
        await shutdownBegins()
        diary.add("close \(name)")
    }
}

/// Waits for what must come; a bound, not a measure.
func eventually(_ holds: () async -> Bool) async -> Bool {
    for _ in 0..<1000 {
        if await holds() { return true }
        try? await Task.sleep(for: .milliseconds(10))
    }
    return false
}

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

@Suite struct PartsTests {
    private let diary = Diary()

    private func parts(_ fault: FakePart.Fault = .none) -> [any DaemonPart] {
        [FakePart(name: "a", diary: diary), FakePart(name: "b", diary: diary, fault: fault), FakePart(name: "c", diary: diary)]
    }

    @Test func `Parts open in order and close in reverse`() async throws {
        let group = ServiceGroup.inOrder(parts(), logger: quiet)
        let run = Task { try await group.run() }
        #expect(await eventually { diary.all.count == 3 })
        await group.triggerGracefulShutdown()
        try await run.value
        #expect(diary.all == ["open a", "open b", "open c", "close c", "close b", "close a"])
    }

    @Test func `A part that cannot open closes those before it, keeps those after it shut, and its error is thrown`() async throws {
        await #expect(throws: FakePart.Failed.self) { try await ServiceGroup.inOrder(parts(.opening), logger: quiet).run() }
        #expect(diary.all == ["open a", "open b", "close a"])
    }

    @Test func `A part that fails later closes all others in reverse`() async throws {
        await #expect(throws: FakePart.Failed.self) { try await ServiceGroup.inOrder(parts(.serving), logger: quiet).run() }
        #expect(diary.all == ["open a", "open b", "open c", "close c", "close a"])
    }

    @Test func `Shutdown does not wait for a part that is still opening`() async throws {
        let group = ServiceGroup.inOrder(parts(.never), logger: quiet)
        let run = Task { try await group.run() }
        #expect(await eventually { diary.all.count == 2 })
        await group.triggerGracefulShutdown()
        try await run.value
        #expect(diary.all == ["open a", "open b", "close b", "close a"])
    }

    @Test func `A signal stops the group`() async throws {
        let group = ServiceGroup.inOrder(parts(), stoppedBy: [.sigusr2], logger: quiet)
        let run = Task { try await group.run() }
        #expect(await eventually { diary.all.count == 3 })
        kill(getpid(), SIGUSR2)
        try await run.value
        #expect(diary.all.suffix(3) == ["close c", "close b", "close a"])
    }

    // MARK: Sockets

    private final class Deaf: GossipDelegate {
        func handle(_ event: GossipEvent) {}
    }

    private func directory() throws -> String {
        let path = "/tmp/sod-\(getpid())-\(systemRandom64() & 0xFFFF_FFFF)"
        guard mkdir(path, 0o700) == 0 else { throw StartError("mkdir \(path)") }
        return path
    }

    private func remove(_ directory: String) {
        for file in ["p.sock", "c.sock", "p.sock.lock", "c.sock.lock"] { unlink("\(directory)/\(file)") }
        rmdir(directory)
    }

    private func freeSocket() throws -> GossipSocket {
        for _ in 0..<50 {
            if let socket = try? GossipSocket(host: "127.0.0.1", port: .random(in: 20_000..<60_000)) {
                return socket
            }
        }
        throw StartError("no free port")
    }

    private func socketParts(_ socket: GossipSocket, _ directory: String) -> [any DaemonPart] {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let transport = GossipTransport(
            loop: loop, socket: socket, cipher: PacketCipher(identity: NodeKey(), boot: 1, salt: [1, 2, 3, 4]), logger: quiet,
            delegate: Deaf())
        let diary = diary
        return [
            GossipPart(transport: transport), FakePart(name: "node", diary: diary),
            ControlPart(path: directory + "/c.sock", logger: quiet) { _ in ControlHTTPResponse() },
            PluginPart(path: directory + "/p.sock", scope: .local, logger: quiet, ready: { diary.add("ready") }) { _ in .done },
            FakePart(name: "link", diary: diary),
        ]
    }

    @Test func `Sockets are open until shutdown, and gone after it`() async throws {
        let directory = try directory()
        let socket = try freeSocket()
        let port = socket.port
        let group = ServiceGroup.inOrder(socketParts(socket, directory), logger: quiet)
        let run = Task { try await group.run() }
        #expect(await eventually { diary.all.count == 3 })
        #expect(diary.all == ["open node", "ready", "open link"])
        #expect(access(directory + "/c.sock", F_OK) == 0 && access(directory + "/p.sock", F_OK) == 0)
        #expect(throws: IOError.self) { try GossipSocket(host: "127.0.0.1", port: port) }
        await group.triggerGracefulShutdown()
        try await run.value
        #expect(diary.all.suffix(2) == ["close link", "close node"])
        #expect(access(directory + "/c.sock", F_OK) != 0 && access(directory + "/p.sock", F_OK) != 0)
        #expect(throws: Never.self) { try GossipSocket(host: "127.0.0.1", port: port) }
        remove(directory)
    }

    @Test(arguments: ["p.sock", "c.sock"])
    func `A socket that is in use ends the start with its cause and leaves nothing open`(held: String) async throws {
        let directory = try directory()
        let socket = try freeSocket()
        let port = socket.port
        let lock = try LockFile(path: "\(directory)/\(held).lock")
        let group = ServiceGroup.inOrder(socketParts(socket, directory), logger: quiet)
        let error = await #expect(throws: SocketError.self) { try await group.run() }
        withExtendedLifetime(lock) {}
        #expect(
            error?.description
                == "socket \(directory)/\(held): process \(getpid()) serves it and goes on serving it; stop that daemon first")
        #expect(diary.all == ["open node", "close node"])
        #expect(access(directory + "/c.sock", F_OK) != 0 && access(directory + "/p.sock", F_OK) != 0)
        #expect(throws: Never.self) { try GossipSocket(host: "127.0.0.1", port: port) }
        remove(directory)
    }

    @Test func `A port that is in use is told with the way out`() throws {
        let socket = try freeSocket()
        let error = #expect(throws: StartError.self) { try Daemon.bind("127.0.0.1", [socket.port], quiet) }
        #expect(
            error?.description
                == "cannot listen on 127.0.0.1:\(socket.port), UDP and TCP: Address already in use; give another --listen-addr")
    }

    @Test func `Where the port of a member is in use the next one that it may have is bound`() throws {
        let (held, other) = (try freeSocket(), try freeSocket())
        let free = try freeSocket()
        let port = free.port
        free.close()
        #expect(try Daemon.bind("127.0.0.1", [held.port, port], quiet).port == port)
        #expect(try Daemon.bind("127.0.0.1", [port, held.port], quiet).port == port)
        let error = #expect(throws: StartError.self) { try Daemon.bind("127.0.0.1", [held.port, other.port], quiet) }
        #expect(
            error?.description
                == "cannot listen on 127.0.0.1:\(held.port), UDP and TCP: Address already in use, nor on "
                + "127.0.0.1:\(other.port), UDP and TCP: Address already in use; give another --listen-addr")
    }
}
