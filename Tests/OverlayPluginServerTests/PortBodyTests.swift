import Foundation
import OverlayDriver
import OverlayModel
import Synchronization
import Testing

@testable import OverlayPluginServer

/// Calls that list the ports of a container.
@Suite struct PortBodyTests {
    private static let id = String(repeating: "ab", count: 32)

    /// CreateEndpoint or Join as engines send it, with ports exposed and published.
    static func body(exposed: ClosedRange<Int>?, published: ClosedRange<Int>?, option: String = "") -> [UInt8] {
        var options: [String] = option.isEmpty ? [] : [option]
        if exposed != nil || published != nil {
            let ports = [exposed, published].compactMap { $0 }.flatMap { $0 }
            let list = ports.map { #"{"Proto":6,"Port":\#($0)}"# }.joined(separator: ",")
            options.append(#""com.docker.network.endpoint.exposedports":[\#(list)]"#)
        }
        if let published {
            let list = published.map {
                #"{"Proto":17,"IP":"","Port":\#($0),"HostIP":"","HostPort":\#($0),"HostPortEnd":\#($0)}"#
            }.joined(separator: ",")
            options.append(#""com.docker.network.portmap":[\#(list)]"#)
        }
        let text =
            #"{"NetworkID":"\#(id)","EndpointID":"\#(id)","SandboxKey":"/run/netns/x","Interface":{"Address":"10.1.0.9/24","#
            + #""AddressIPv6":"","MacAddress":"02:00:00:00:00:01"},"Options":{\#(options.joined(separator: ","))}}"#
        return Array(text.utf8) + [10]
    }

    @Test(
        arguments: [
            (1...65535, nil), (1...65535, 10000...20000), (nil, 10000...20000), (nil, 1...65535),
        ] as [(ClosedRange<Int>?, ClosedRange<Int>?)])
    func `A container with thousands of ports starts`(exposed: ClosedRange<Int>?, published: ClosedRange<Int>?) async throws {
        let seen = Mutex<[DriverRequest]>([])
        try await withPluginServer(
            handle: activated { request in
                seen.withLock { $0.append(request) }
                return .done
            }
        ) { path in
            let connection = try RawConnection(path: path)
            let body = Self.body(exposed: exposed, published: published, option: #""name":"web""#)
            for call in ["/NetworkDriver.CreateEndpoint", "/NetworkDriver.Join"] {
                let answer = try await connection.call(call, body: body)
                #expect(answer.status == 200 && answer.text == "{}", "\(call), \(body.count) bytes: \(answer.text)")
            }
            #expect(try await connection.call("/NetworkDriver.ProgramExternalConnectivity", body: body).status == 200)
        }
        guard case .createEndpoint(let endpoint) = seen.withLock({ $0.first }) else {
            Issue.record("no CreateEndpoint")
            return
        }
        // Other options are kept, the ports are not.
        #expect(endpoint.options == ["name": .string("web")] && endpoint.v4?.description == "10.1.0.9/24")
        #expect(seen.withLock { $0.count } == 2)
    }

    @Test func `A body over 8 MiB is refused with what to do, and the connection goes on`() async throws {
        try await withPluginServer { path in
            let connection = try RawConnection(path: path)
            let spare = [UInt8](repeating: UInt8(ascii: " "), count: Limits.portBodyBytes)
            let ports = Self.body(exposed: 1...10, published: nil)
            for call in ["/NetworkDriver.CreateEndpoint", "/NetworkDriver.Join", "/NetworkDriver.ProgramExternalConnectivity"] {
                #expect(try await connection.call(call, body: ports + spare.dropLast(ports.count)).status == 200)
                let answer = try await connection.call(call, body: ports + spare.dropLast(ports.count - 1))
                #expect(answer.status == 413)
                #expect(
                    answer.text.contains("the body of \\\"\(call)\\\" is longer than 8388608 bytes: publish or expose fewer ports"))
            }
            // Others have no use for that much.
            #expect(try await connection.call("/NetworkDriver.CreateNetwork", body: spare).status == 413)
            #expect(try await connection.call("/Plugin.Activate").status == 200)
        }
    }

    /// Options beside ports, and the status of the answer. Named, as a test prints its arguments, and these are megabytes.
    private static let others: [(name: String, option: String, status: Int)] = [
        ("other options", #""name":"\#(String(repeating: "x", count: 2 << 20))""#, 413),
        ("many options", String(repeating: #""a":1,"#, count: 300_000) + #""a":1"#, 413),
        ("a long name", #""\#(String(repeating: "x", count: 2 << 20))":1"#, 200),
        ("depth in the ports", #""com.docker.network.portmap":\#(String(repeating: "[", count: 2 << 20))"#, 400),
        ("ports that are no JSON", #""com.docker.network.portmap":[{"Proto":6,}]"#, 400),
        ("ports of another kind", #""com.docker.network.portmap":{"a":null}"#, 200),
        (
            "ports twice",
            #""com.docker.network.portmap":1,"com.docker.network.portmap":[\#(String(repeating: "1,", count: 1 << 20))1]"#, 200
        ),
    ]

    @Test(arguments: others.map(\.name))
    func `What is kept is bounded`(name: String) async throws {
        let (_, option, status) = try #require(Self.others.first { $0.name == name })
        try await withPluginServer(handle: activated()) { path in
            let connection = try RawConnection(path: path)
            let body = Self.body(exposed: nil, published: nil, option: option)
            let answer = try await connection.call("/NetworkDriver.CreateEndpoint", body: body)
            #expect(answer.status == status, "\(answer.text)")
            #expect(answer.body.count < 1000)
            #expect(try await connection.call("/Plugin.Activate").status == 200)
        }
    }

    @Test func `Memory stays bounded under many calls with ports, and with other things`() async throws {
        let change: (inout UnixHTTPServer) -> Void = {
            $0.limits.keptBytes = 4 << 20
            // The requests arrive one after another, which takes a while on a busy machine.
            $0.limits.arrival = 600_000_000_000
        }
        try await withPluginServer(change: change) { path in
            let before = try residentBytes()
            let ports = Self.body(exposed: nil, published: 1...50_000)
            let other = Self.body(exposed: nil, published: nil, option: #""a":"\#(String(repeating: "x", count: 1000 << 10))""#)
            var open: [RawConnection] = []
            for index in 0..<40 {
                let connection = try RawConnection(path: path)
                let body = index.isMultiple(of: 2) ? ports : other
                try await connection.send(
                    "POST /NetworkDriver.CreateEndpoint HTTP/1.1\r\nHost:\r\nContent-Length: \(body.count)\r\n\r\n")
                // All but the last byte. The server may have closed the connection of one that holds much.
                try? await connection.send(Array(body.dropLast(2)))
                open.append(connection)
            }
            let grown = try residentBytes() - before
            #expect(grown < 40 << 20)
            // Those with ports hold next to nothing, so they are all still there.
            for (index, connection) in open.enumerated() where index.isMultiple(of: 2) {
                try await connection.send(Array(ports.suffix(2)))
                #expect(try await connection.receive()?.status == 200, "\(index)")
            }
            // The latest of the others is there, the oldest is not.
            try await open[39].send(Array(other.suffix(2)))
            #expect(try await open[39].receive()?.status == 200)
            let oldest = try? await open[1].receive()
            #expect(oldest?.status == nil)
        }
    }
}

/// Memory of this process that is in use, in bytes.
func residentBytes() throws -> Int {
    let fields = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    return (Int(fields[1]) ?? 0) * 4096
}
