import Foundation
import OverlayDriver
import OverlayTestSupport
import ServiceLifecycle
import Synchronization
import Testing

@testable import OverlayPluginServer

@Suite struct SocketTests {
    private func expectAnswer(_ path: String) async throws {
        let answer = try await RawConnection(path: path).call("/Plugin.Activate")
        #expect(answer.status == 200)
    }

    @Test func `The socket has mode 0660 and goes with the server`() async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/sub/dir/p.sock"
            try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {
                #expect(fileMode(path) == S_IFSOCK | 0o660)
                #expect(fileMode(directory + "/sub").map { $0 & 0o777 } == 0o755)
                #expect(fileMode(path + ".lock").map { $0 & 0o777 } == 0o600)
                try await expectAnswer(path)
            }
            #expect(fileMode(path) == nil)
            // The lock file stays, but the lock does not.
            try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {
                try await expectAnswer(path)
            }
        }
    }

    @Test func `A second server is refused and takes nothing away`() async throws {
        try await withPluginServer { path in
            let kept = try RawConnection(path: path)
            #expect(try await kept.call("/Plugin.Activate").status == 200)
            let error = await #expect(throws: SocketError.self) {
                try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {}
            }
            #expect(
                error?.description == "socket \(path): process \(getpid()) serves it and goes on serving it; stop that daemon first"
            )
            #expect(fileMode(path) == S_IFSOCK | 0o660)
            #expect(try await kept.call("/Plugin.Activate").status == 200)
            try await expectAnswer(path)
        }
    }

    @Test func `The socket file of a crashed server is replaced`() async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/p.sock"
            // A bound socket whose process is gone leaves its file.
            let stale = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
            let bound = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(stale, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            close(stale)
            #expect(bound == 0 && fileMode(path) != nil)
            #expect(throws: RawError.self) { try RawConnection(path: path) }
            try Data("99999\n".utf8).write(to: URL(fileURLWithPath: path + ".lock"))

            try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {
                try await expectAnswer(path)
                #expect(fileMode(path) == S_IFSOCK | 0o660)
            }
        }
    }

    @Test func `A file that is no socket is not removed`() async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/p.sock"
            try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
            let error = await #expect(throws: SocketError.self) {
                try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {}
            }
            #expect(error?.description.contains("cannot listen") == true)
            #expect(FileManager.default.contents(atPath: path) == Data("precious".utf8))
        }
    }

    @Test(arguments: ["/proc/nowhere/p.sock", "/tmp/\(String(repeating: "x", count: 120)).sock"])
    func `A path that cannot be used is told`(path: String) async throws {
        let error = await #expect(throws: SocketError.self) {
            try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: activated()) }) {}
        }
        #expect(error?.path == path)
        unlink(path + ".lock")
    }

    @Test func `Shutdown answers what has come and waits for no one else`() async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/p.sock"
            let (started, start) = AsyncStream.makeStream(of: Void.self)
            let body = Array(#"{"NetworkID":"\#(String(repeating: "ab", count: 32))"}"#.utf8)
            let clock = ContinuousClock()
            let (pending, silent, idle) = (Box<RawConnection>(), Box<RawConnection>(), Box<RawConnection>())
            let begin = Box<ContinuousClock.Instant>()
            try await running({
                PluginServer(
                    socketPath: path, logger: quiet, ready: $0,
                    handle: activated { _ in
                        start.yield()
                        try? await Task.sleep(for: .milliseconds(300))
                        return .done
                    })
            }) {
                idle.value = try RawConnection(path: path)
                #expect(try await idle.value?.call("/Plugin.Activate").status == 200)
                silent.value = try RawConnection(path: path)
                try await silent.value?.send("POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
                pending.value = try RawConnection(path: path)
                try await pending.value?.send(RawConnection.request("/NetworkDriver.DeleteNetwork", body: body))
                for await _ in started { break }
                begin.value = clock.now
            }
            let took = try clock.now - #require(begin.value)
            #expect(took < .seconds(5))
            #expect(try await pending.value?.receive()?.status == 200)
            #expect(try await idle.value?.receive() == nil)
            #expect(throws: RawError.self) { try RawConnection(path: path) }
        }
    }

    @Test func `Calls without state never reach the handler, and failures are status 200`() async throws {
        try await withPluginServer(handle: activated { _ in .failed(DriverError(.exhausted, "network blue: no address is left")) })
        { path in
            let connection = try RawConnection(path: path)
            for call in ["/IpamDriver.GetDefaultAddressSpaces", "/NetworkDriver.GetCapabilities", "/IpamDriver.GetCapabilities"] {
                let answer = try await connection.call(call)
                #expect(answer.status == 200 && !answer.text.contains("Err"))
                #expect(answer.headers["content-type"] == "application/vnd.docker.plugins.v1.2+json")
                #expect(answer.headers["content-length"] == String(answer.body.count))
            }
            let answer = try await connection.call(
                "/IpamDriver.RequestAddress",
                body: Array(#"{"PoolID":"pool-0000000000000001","Address":"10.0.0.1"}"#.utf8))
            #expect(answer.status == 200)
            #expect(answer.text == #"{"Err":"network blue: no address is left","Error":"network blue: no address is left"}"#)
        }
    }
}

final class Box<Value: Sendable>: Sendable {
    private let lock = NSLock()
    nonisolated(unsafe) private var stored: Value?

    var value: Value? {
        get { lock.withLock { stored } }
        set { lock.withLock { stored = newValue } }
    }
}

@Suite struct ControlServerTests {
    @Test func `Requests come with method, path, query and body`() async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/control.sock"
            try await running({ ready in
                ControlServer(socketPath: path, logger: quiet, ready: ready) { request in
                    let query = request.query.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "&")
                    return ControlHTTPResponse(
                        status: request.path == "/none" ? 404 : 200,
                        body: Array("\(request.method) \(request.path) \(query) \(request.body.count)".utf8),
                        contentType: "text/plain")
                }
            }) {
                let connection = try RawConnection(path: path)
                try await connection.send(
                    RawConnection.request("/v1/networks?a=1&b=x%20y&a=2&c", body: Array("abc".utf8), verb: "GET"))
                let answer = try await connection.receive()
                #expect(answer?.text == "GET /v1/networks a=1&b=x y&c= 3")
                #expect(answer?.headers["content-type"] == "text/plain")
                #expect(try await connection.call("/none").status == 404)
                #expect(try await connection.call("/v1", body: [UInt8](repeating: 0, count: 2 << 20)).status == 413)
                #expect(fileMode(path) == S_IFSOCK | 0o660)
            }
        }
    }
}
