import Foundation
import OverlayDriver
import OverlayModel
import Synchronization
import Testing

@testable import OverlayPluginServer

/// Requests of a broken or hostile client. After each, the server still answers an engine.
@Suite struct HostileTests {
    private static let network = String(repeating: "ab", count: 32)
    private static let ids = ["NetworkID": OptionValue.string(network), "EndpointID": .string(network)]
    private static let pool: [String: OptionValue] = ["PoolID": .string("pool-0000000000000001")]

    /// Valid body of each call with content.
    private static let valid: [(path: String, body: [String: OptionValue])] = [
        (
            "/NetworkDriver.CreateNetwork",
            [
                "NetworkID": .string(network), "Options": .object([:]),
                "IPv4Data": .list([
                    .object([
                        "AddressSpace": .string("s"), "Pool": .string("10.1.0.0/24"), "Gateway": .string("10.1.0.1/24"),
                        "AuxAddresses": .object(["a": .string("10.1.0.2/24")]),
                    ])
                ]),
                "IPv6Data": .list([]),
            ]
        ),
        ("/NetworkDriver.DeleteNetwork", ["NetworkID": .string(network)]),
        (
            "/NetworkDriver.CreateEndpoint",
            ids.merging([
                "Interface": .object([
                    "Address": .string("10.1.0.9/24"), "AddressIPv6": .string("fd00::9/64"),
                    "MacAddress": .string("02:00:00:00:00:01"),
                ]), "Options": .object([:]),
            ]) { $1 }
        ),
        ("/NetworkDriver.DeleteEndpoint", ids),
        ("/NetworkDriver.Join", ids.merging(["SandboxKey": .string("/run/netns/x")]) { $1 }),
        ("/NetworkDriver.Leave", ids),
        (
            "/IpamDriver.RequestPool",
            [
                "AddressSpace": .string("s"), "Pool": .string("10.1.0.0/24"), "SubPool": .string("10.1.0.0/25"),
                "Options": .object([:]), "V6": .bool(false),
            ]
        ),
        ("/IpamDriver.ReleasePool", pool),
        ("/IpamDriver.RequestAddress", pool.merging(["Address": .string("10.1.0.9"), "Options": .object([:])]) { $1 }),
        ("/IpamDriver.ReleaseAddress", pool.merging(["Address": .string("10.1.0.9")]) { $1 }),
    ]

    private static let values: [OptionValue] = [
        .null, .bool(true), .number(1), .number(-1e300), .string(""), .string("x"), .string("\u{0}\n\u{202E}"),
        .string(String(repeating: "é", count: 2000)), .list([]), .list([.null]), .list([.list([])]), .object([:]),
        .object(["": .null]),
    ]

    private static func json(_ value: OptionValue) throws -> [UInt8] { try Array(JSONEncoder().encode(value)) }

    /// Every place in a body, replaced by every kind of value, and left out.
    private static func mutations(of value: OptionValue) -> [OptionValue] {
        guard case .object(let fields) = value else {
            guard case .list(let items) = value else { return values }
            return values
                + items.indices.flatMap { index in
                    mutations(of: items[index]).map { changed in
                        var copy = items
                        copy[index] = changed
                        return .list(copy)
                    }
                }
        }
        return values
            + fields.keys.sorted().flatMap { key -> [OptionValue] in
                let without = fields.filter { $0.key != key }
                return [.object(without)] + mutations(of: fields[key] ?? .null).map { .object(without.merging([key: $0]) { $1 }) }
            }
    }

    private func expectAlive(_ path: String, _ context: String = "") async throws {
        let answer = try await RawConnection(path: path).call("/Plugin.Activate")
        #expect(answer.status == 200 && answer.text.contains("NetworkDriver"), "\(context)")
    }

    @Test func `Wrong types and missing fields in every place`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            var refused = 0
            var taken = 0
            for (call, body) in Self.valid {
                let whole = try await connection.call(call, body: Self.json(.object(body)))
                #expect(whole.status == 200, "\(call): \(whole.text)")
                for mutation in Self.mutations(of: .object(body)) {
                    let answer = try await connection.call(call, body: Self.json(mutation))
                    switch answer.status {
                    case 200: taken += 1
                    case 400:
                        refused += 1
                        let fields = try JSONDecoder().decode([String: String].self, from: Data(answer.body))
                        #expect(fields["Err"] == fields["Error"] && fields["Err"]?.hasPrefix(call.dropFirst()) == true)
                        #expect(answer.body.count < 2000)
                    default: Issue.record("\(call): status \(answer.status)")
                    }
                }
                try await expectAlive(path, call)
            }
            // `null`, "" and missing values of optional fields are accepted, as are lists and objects where options may be
            // anything.
            #expect(refused > 300 && taken > 20, "\(refused) refused, \(taken) taken")
        }
    }

    @Test(arguments: [
        "{", "}", "{]", "[", "nul", "{\"NetworkID\":}", "{\"NetworkID\":\"x\"} {}", "\u{1}", "{\"a\":\"\\ud800\"}",
        "{\"a\":1e99999}",
        "{\"a\":01}", "{'a':1}", "<xml/>", "\u{FEFF}{}",
    ])
    func `Malformed JSON`(body: String) async throws {
        try await withPluginServer(handle: activated { _ in .failed(DriverError(.system, "reached the node")) }) { path in
            let answer = try await RawConnection(path: path).call("/NetworkDriver.Join", body: Array(body.utf8))
            #expect(answer.status == 400, "\(answer.text)")
            #expect(answer.headers["content-type"] == PluginCodec.contentType)
            try await expectAlive(path)
        }
    }

    @Test func `Bytes that are no text`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            var random = SeededGenerator(seed: 7)
            let bodies: [[UInt8]] =
                [[0xFF], [0xFE, 0xFF, 0, 0x7B], Array("{\"NetworkID\":\"".utf8) + [0xC3, 0x28] + Array("\"}".utf8)]
                + (0..<200).map { _ in
                    (0..<Int.random(in: 1...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
                }
            for body in bodies {
                let answer = try await connection.call("/NetworkDriver.DeleteNetwork", body: body)
                #expect(answer.status == 400)
            }
            try await expectAlive(path)
        }
    }

    @Test func `A body of 10 MB is refused and the connection goes on`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            for _ in 0..<3 {
                let answer = try await connection.call(
                    "/NetworkDriver.Join", body: [UInt8](repeating: UInt8(ascii: " "), count: 10 << 20))
                #expect(answer.status == 413)
                #expect(answer.text.contains(#""Err":"#))
            }
            #expect(try await connection.call("/Plugin.Activate").status == 200)
            try await expectAlive(path)
        }
    }

    @Test func `Memory stays bounded under large bodies`() async throws {
        try await withPluginServer { path in
            let before = try residentBytes()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        let connection = try RawConnection(path: path)
                        let size = 64 << 20
                        try await connection.send("POST /NetworkDriver.Join HTTP/1.1\r\nHost:\r\nContent-Length: \(size)\r\n\r\n")
                        let part = [UInt8](repeating: UInt8(ascii: " "), count: 1 << 20)
                        for _ in 0..<64 { try await connection.send(part) }
                        #expect(try await connection.receive()?.status == 413)
                    }
                }
                try await group.waitForAll()
            }
            // 256 MiB went through.
            let grown = try residentBytes() - before
            #expect(grown < 64 << 20)
            try await expectAlive(path)
        }
    }

    @Test func `A body of just the limit, and chunked bodies`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            let body = Array("{}".utf8) + [UInt8](repeating: UInt8(ascii: " "), count: Limits.requestBodyBytes - 2)
            #expect(try await connection.call("/NetworkDriver.DiscoverNew", body: body).status == 200)
            #expect(try await connection.call("/NetworkDriver.DiscoverNew", body: body + [32]).status == 413)

            let chunked = "POST /NetworkDriver.DiscoverNew HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            try await connection.send(chunked + "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
            #expect(try await connection.receive()?.status == 200)
            try await connection.send(chunked)
            let part = Array("10000\r\n".utf8) + [UInt8](repeating: 32, count: 65_536) + Array("\r\n".utf8)
            for _ in 0..<40 { try await connection.send(part) }
            try await connection.send("0\r\n\r\n")
            #expect(try await connection.receive()?.status == 413)
            try await expectAlive(path)
        }
    }

    @Test func `A body of 1 MB of brackets`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            for bracket in ["[", "{", "[{\"a\":"] {
                let body = Array(String(repeating: bracket, count: Limits.requestBodyBytes / bracket.utf8.count).utf8)
                #expect(try await connection.call("/NetworkDriver.CreateNetwork", body: body).status == 400)
            }
            try await expectAlive(path)
        }
    }

    @Test func `Half a request and then silence holds only its connection`() async throws {
        try await withPluginServer { path in
            let halves = [
                "P", "POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\n",
                "POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"NetworkID\":",
                "POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            ]
            var silent: [RawConnection] = []
            for half in halves + halves + halves {
                let connection = try RawConnection(path: path)
                try await connection.send(half)
                silent.append(connection)
            }
            for _ in 0..<20 { try await expectAlive(path) }
            // Also, the shutdown that follows does not wait for these connections.
            withExtendedLifetime(silent) {}
        }
    }

    @Test func `A body that does not arrive in time costs its connection, an idle connection stays`() async throws {
        try await withPluginServer(change: { $0.limits.arrival = 200_000_000 }) { path in
            let idle = try RawConnection(path: path)
            #expect(try await idle.call("/Plugin.Activate").status == 200)
            let silent = try RawConnection(path: path)
            try await silent.send("POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            #expect(try await silent.receive() == nil)
            try await Task.sleep(for: .milliseconds(400))
            #expect(try await idle.call("/Plugin.Activate").status == 200)
        }
    }

    @Test func `A request that breaks off never reaches the node`() async throws {
        let calls = Atomic<Int>(0)
        try await withPluginServer(
            handle: activated { _ in
                calls.add(1, ordering: .relaxed)
                return .done
            }
        ) { path in
            let body = #"{"NetworkID":"\#(Self.network)"}"#
            let connection = try RawConnection(path: path)
            // The body is complete JSON, but the head announces more.
            try await connection.send("POST /NetworkDriver.DeleteNetwork HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n\(body)")
            connection.finish()
            let answer = try await connection.receive()
            #expect(answer == nil || answer?.status == 400)
            try await expectAlive(path)
        }
        #expect(calls.load(ordering: .relaxed) == 0)
    }

    @Test func `Pipelined requests are answered in order`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            var bytes: [UInt8] = []
            for index in 0..<50 {
                bytes +=
                    index.isMultiple(of: 2)
                    ? RawConnection.request("/Plugin.Activate")
                    : RawConnection.request("/NetworkDriver.EndpointOperInfo", body: [0x7B, 0x7D])
            }
            try await connection.send(bytes)
            for index in 0..<50 {
                let answer = try #require(try await connection.receive())
                #expect(answer.text.contains(index.isMultiple(of: 2) ? "Implements" : "Value"))
            }
        }
    }

    @Test func `Many connections at a time, kept alive`() async throws {
        let most = Atomic<Int>(0)
        let now = Atomic<Int>(0)
        try await withPluginServer(
            handle: activated { _ in
                let count = now.add(1, ordering: .relaxed).newValue
                most.max(count, ordering: .relaxed)
                try? await Task.sleep(for: .milliseconds(20))
                now.subtract(1, ordering: .relaxed)
                return .done
            }
        ) { path in
            let body = Array(#"{"NetworkID":"\#(Self.network)"}"#.utf8)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<64 {
                    group.addTask {
                        let connection = try RawConnection(path: path)
                        for _ in 0..<5 {
                            let answer = try await connection.call("/NetworkDriver.DeleteNetwork", body: body)
                            #expect(answer.status == 200 && answer.text == "{}")
                        }
                    }
                }
                try await group.waitForAll()
            }
            try await expectAlive(path)
        }
        #expect(most.load(ordering: .relaxed) > 8)
    }

    @Test func `Connections over the limit take the place of those that were never used`() async throws {
        try await withPluginServer(change: { $0.limits.connections = 4 }) { path in
            let used = try RawConnection(path: path)
            #expect(try await used.call("/Plugin.Activate").status == 200)
            var open: [RawConnection] = []
            for _ in 0..<20 { open.append(try RawConnection(path: path)) }
            #expect(try await open[19].call("/Plugin.Activate").status == 200)
            let first = try? await open[0].call("/Plugin.Activate")
            #expect(first == nil)
            #expect(try await used.call("/Plugin.Activate").status == 200)
            try await expectAlive(path)
        }
    }

    @Test func `Unknown paths and other verbs`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            for unknown in ["/", "/x", "/VolumeDriver.List", "/NetworkDriver.EventNotify", "/%00", "/../Plugin.Activate", "*"] {
                let answer = try await connection.call(unknown, body: [0x7B, 0x7D])
                #expect(answer.status == 404 && answer.text.contains("Err"), "\(unknown)")
            }
            for verb in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
                let connection = try RawConnection(path: path)
                try await connection.send(RawConnection.request("/Plugin.Activate", verb: verb))
                if verb == "HEAD" {
                    // No body follows, so the answer cannot be read like the others.
                    try await expectAlive(path)
                } else {
                    #expect(try await connection.receive()?.status == 405, "\(verb)")
                    #expect(try await connection.call("/Plugin.Activate").status == 200)
                }
            }
            try await expectAlive(path)
        }
    }

    @Test(arguments: [
        "", "plugin.moby.localhost", "%2Frun%2Fdocker%2Fplugins%2Frec.sock", "/run/docker/plugins/x.sock", "a b", "x:99999999", "é",
        "[::1",
    ])
    func `Any Host will do`(host: String) async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            #expect(try await connection.call("/Plugin.Activate", host: host).status == 200)
            #expect(try await connection.call("/NetworkDriver.DiscoverNew", body: [0x7B, 0x7D], host: host).status == 200)
        }
    }

    @Test func `Without Host, twice Host, HTTP 1.0`() async throws {
        try await withPluginServer { path in
            for head in [
                "POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "POST /Plugin.Activate HTTP/1.1\r\n\r\n",
                "POST /Plugin.Activate HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
                "POST /Plugin.Activate HTTP/1.0\r\n\r\n",
                "POST /Plugin.Activate HTTP/1.0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                "POST http://plugin.moby.localhost/Plugin.Activate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                "POST /Plugin.Activate?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            ] {
                let connection = try RawConnection(path: path)
                try await connection.send(head)
                #expect(try await connection.receive()?.status == 200, "\(head)")
            }
        }
    }

    /// Bytes that are no HTTP, with a name for the list of tests.
    struct Broken: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var text: String

        init(_ name: String, _ text: String) {
            testDescription = name
            self.text = text
        }

        init(_ name: String, header: String, body: String = "") {
            self.init(name, "POST /Plugin.Activate HTTP/1.1\r\n\(header)\r\n\r\n\(body)")
        }
    }

    @Test(arguments: [
        Broken("negative length", header: "Content-Length: -1"), Broken("length of letters", header: "Content-Length: x"),
        Broken("two lengths", header: "Content-Length: 1\r\nContent-Length: 2", body: "{}"),
        Broken("length above 64 bits", header: "Content-Length: 99999999999999999999999"),
        Broken("length and chunks", header: "Content-Length: 3\r\nTransfer-Encoding: chunked", body: "0\r\n\r\n"),
        Broken("bad chunk", header: "Transfer-Encoding: chunked", body: "xyz\r\n"), Broken("bad header", header: "bad header"),
        Broken("long header", header: "X: \(String(repeating: "y", count: 200_000))"),
        Broken("many headers", header: (0..<3000).map { "X\($0): y" }.joined(separator: "\r\n")),
        Broken("bad verb", "B@D /Plugin.Activate HTTP/1.1\r\n\r\n"),
        Broken("bad version", "POST /Plugin.Activate HTTP/9.9\r\n\r\n"),
        Broken("no path", "POST\r\n\r\n"), Broken("NULs", "\r\n\r\n\u{0}\u{0}\r\n\r\n"), Broken("TLS", "\u{16}\u{3}\u{1}\u{2}"),
        Broken("long verb", String(repeating: "A", count: 300_000)),
        Broken("long path", "POST /\(String(repeating: "a", count: 300_000)) HTTP/1.1\r\n\r\n"),
    ])
    func `Broken HTTP costs its connection and no more`(broken: Broken) async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            try? await connection.send(broken.text)
            connection.finish()
            // Answered with 400, closed, or read over as far as it makes sense; never a hang.
            do {
                if let answer = try await connection.receive() { #expect([200, 400, 404].contains(answer.status)) }
            } catch {
                #expect("\(error)" != "recv: \(String(cString: strerror(EAGAIN)))", "neither answered nor closed")
            }
            try await expectAlive(path)
        }
    }
}
