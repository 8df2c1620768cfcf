import Foundation
import OverlayDriver
import Synchronization
import Testing

@testable import OverlayPluginServer

/// Clients that hold connections, a thousand of them. An engine and the command line are served all the same.
@Suite struct FloodTests {
    enum Half: String, CaseIterable, Sendable {
        case nothing, byte, head, body, idle

        var bytes: [UInt8] {
            switch self {
            case .nothing: []
            case .byte: [UInt8(ascii: "P")]
            case .head: Array("POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\n".utf8)
            case .body: Array("POST /NetworkDriver.CreateEndpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{".utf8)
            // A whole request, and a connection that is kept.
            case .idle: RawConnection.request("/Plugin.Activate")
            }
        }
    }

    private func flood(_ path: String, _ half: Half) async throws -> [RawConnection] {
        var held: [RawConnection] = []
        for index in 0..<1000 {
            let connection = try await offPool { try RawConnection(path: path) }
            connection.sendAtOnce(half.bytes)
            held.append(connection)
            if index.isMultiple(of: 50) { try await Task.sleep(for: .milliseconds(5)) }
        }
        return held
    }

    @Test(arguments: Half.allCases)
    func `Half requests on one socket keep neither its own clients out nor those of the other`(half: Half) async throws {
        try await withSocketDirectory { directory in
            let plugin = directory + "/p.sock"
            let control = directory + "/c.sock"
            try await running({ PluginServer(socketPath: plugin, logger: quiet, ready: $0, handle: activated()) }) {
                try await running({ ready in
                    ControlServer(socketPath: control, logger: quiet, ready: ready) { _ in
                        ControlHTTPResponse(body: Array("{}".utf8))
                    }
                }) {
                    for flooded in [plugin, control] {
                        let engine = try RawConnection(path: plugin)
                        #expect(try await engine.call("/Plugin.Activate").status == 200)
                        let held = try await flood(flooded, half)
                        let took = try await ContinuousClock().measure {
                            for _ in 0..<5 {
                                let activated = try await RawConnection(path: plugin).call("/Plugin.Activate")
                                let status = try await RawConnection(path: control).call("/status")
                                #expect(activated.status == 200 && status.status == 200)
                            }
                        }
                        #expect(took < .seconds(5), "\(half) on \(flooded)")
                        // The connection that an engine keeps stays where anybody else can go.
                        if half != .idle || flooded == control { #expect(try await engine.call("/Plugin.Activate").status == 200) }
                        withExtendedLifetime(held) {}
                    }
                }
            }
        }
    }

    @Test func `Half a head ends after a bounded time, also where it goes on byte by byte`() async throws {
        try await withPluginServer(change: { $0.limits.arrival = 300_000_000 }) { path in
            let idle = try RawConnection(path: path)
            #expect(try await idle.call("/Plugin.Activate").status == 200)
            let unused = try RawConnection(path: path)
            for half in [Half.byte, .head, .body] {
                let silent = try RawConnection(path: path)
                try await silent.send(half.bytes)
                #expect(try await silent.receive() == nil, "\(half)")
            }
            let slow = try RawConnection(path: path)
            let began = ContinuousClock().now
            for byte in RawConnection.request("/Plugin.Activate") {
                guard (try? await slow.send([byte])) != nil else { break }
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(ContinuousClock().now - began < .seconds(3))
            let answer = try? await slow.receive()
            #expect(answer?.status == nil)
            #expect(try await idle.call("/Plugin.Activate").status == 200)
            #expect(try await unused.call("/Plugin.Activate").status == 200)
        }
    }

    @Test func `Calls in work stay, and one more is served as soon as one is answered`() async throws {
        let (open, opener) = AsyncStream.makeStream(of: Void.self)
        let body = Array(#"{"NetworkID":"\#(String(repeating: "ab", count: 32))"}"#.utf8)
        let gate = Gate(open)
        try await withPluginServer(
            handle: activated { _ in
                await gate.pass()
                return .done
            }, change: { $0.limits.connections = 4 }
        ) { path in
            var working: [RawConnection] = []
            for _ in 0..<4 {
                let connection = try RawConnection(path: path)
                try await connection.send(RawConnection.request("/NetworkDriver.DeleteNetwork", body: body))
                working.append(connection)
            }
            while await gate.waiting < working.count { try await Task.sleep(for: .milliseconds(5)) }
            let next = try RawConnection(path: path)
            try await next.send(RawConnection.request("/Plugin.Activate"))
            opener.finish()
            #expect(try await next.receive()?.status == 200)
            for connection in working {
                let answer = try await connection.receive()
                #expect(answer?.status == 200)
            }
        }
    }

    @Test func `Clients that do not read their answers give way`() async throws {
        try await withPluginServer(change: { $0.limits.connections = 4 }) { path in
            let many = (0..<3000).flatMap { _ in RawConnection.request("/Plugin.Activate") }
            var unread: [RawConnection] = []
            for _ in 0..<4 {
                let connection = try RawConnection(path: path)
                connection.sendAtOnce(many)
                unread.append(connection)
            }
            try await Task.sleep(for: .milliseconds(500))
            for _ in 0..<4 {
                let activated = try await RawConnection(path: path).call("/Plugin.Activate")
                #expect(activated.status == 200)
            }
            withExtendedLifetime(unread) {}
        }
    }

    @Test func `Work on a request of the command line ends when its client is gone`() async throws {
        let ended = Atomic<Int>(0)
        try await withSocketDirectory { directory in
            let path = directory + "/c.sock"
            try await running({ ready in
                ControlServer(socketPath: path, logger: quiet, ready: ready) { request in
                    guard request.path == "/watch" else { return ControlHTTPResponse() }
                    try? await Task.sleep(for: .seconds(60))
                    if Task.isCancelled { ended.add(1, ordering: .relaxed) }
                    return ControlHTTPResponse()
                }
            }) {
                var watching: [RawConnection] = []
                for _ in 0..<10 {
                    let connection = try RawConnection(path: path)
                    try await connection.send(RawConnection.request("/watch", verb: "GET"))
                    watching.append(connection)
                }
                try await Task.sleep(for: .milliseconds(100))
                #expect(ended.load(ordering: .relaxed) == 0)
                watching.removeAll()
                for _ in 0..<100 where ended.load(ordering: .relaxed) < 10 { try await Task.sleep(for: .milliseconds(50)) }
                #expect(ended.load(ordering: .relaxed) == 10)
                let status = try await RawConnection(path: path).call("/status")
                #expect(status.status == 200)
            }
        }
    }
}

/// Gate that all pass when it has been opened.
private actor Gate {
    private let opening: Task<Void, Never>
    /// Number of those that came to it.
    private(set) var waiting = 0

    init(_ open: AsyncStream<Void>) { opening = Task { for await _ in open {} } }

    func pass() async {
        waiting += 1
        await opening.value
    }
}
