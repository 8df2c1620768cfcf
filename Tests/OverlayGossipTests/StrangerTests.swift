import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OverlayCrypto
import OverlayModel
import Testing

@testable import OverlayGossip

/// Attacks on the port by somebody who has no key and no token, on loopback. Sources differ by their address of 127.0.0.0/8.
@Suite(.serialized) struct StrangerTests {
    typealias End = TransportTests.End

    /// Connection of a stranger.
    final class Connection: Sendable {
        let channel: any Channel
        private let closed = NIOLockedValueBox(false)
        var isClosed: Bool { closed.withLockedValue { $0 } }

        init(to end: End, from source: String = "127.0.0.9") async throws {
            channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .bind(to: try SocketAddress(ipAddress: source, port: 0))
                .connect(host: "127.0.0.1", port: Int(end.port)).get()
            let closed = closed
            channel.closeFuture.whenComplete { _ in closed.withLockedValue { $0 = true } }
        }

        func send(length: Int, _ bytes: [UInt8]) async {
            var buffer = channel.allocator.buffer(capacity: bytes.count + 4)
            buffer.writeInteger(UInt32(length))
            buffer.writeBytes(bytes)
            try? await channel.writeAndFlush(buffer)
        }

        func send(_ frame: [UInt8]) async { await send(length: frame.count, frame) }
    }

    static let hello: [UInt8] = [2, 3, 1]

    init() {
        // Each connection takes two descriptors of this process.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    func pair() async throws -> (End, End) {
        let ends = (try await End(), try await End())
        await TransportTests().introduce([ends.0, ends.1])
        return ends
    }

    func eventually(_ holds: () async -> Bool) async -> Bool { await TransportTests().eventually(holds) }

    /// True if a join from an address of its own is answered within five seconds.
    func joins(_ end: End, from source: String = "127.0.0.77") async throws -> Bool {
        let before = end.joinFrames.count
        let connection = try await Connection(to: end, from: source)
        await connection.send(Self.hello)
        let isHeard = await eventually { end.joinFrames.count > before }
        try? await connection.channel.close()
        return isHeard
    }

    /// The id of a member is no secret.
    @Test func nothingIsKeptForAClaimedName() async throws {
        let (end, member) = try await pair()
        let connections = [try await Connection(to: end), try await Connection(to: end), try await Connection(to: end)]
        for connection in connections {
            await connection.send(length: 4 << 20, [2, 2, 1, 1] + member.node.bytes + [UInt8](repeating: 0, count: 1 << 20))
        }
        #expect(await eventually { connections.allSatisfy { $0.isClosed } })
        // The member's own large messages come, on a stream that it proved to be its own.
        await member.send([UInt8](repeating: 1, count: 1 << 20), to: end)
        #expect(await eventually { end.received.count == 1 })
        for end in [end, member] { await end.transport.close() }
    }

    @Test func silentConnectionsShutNobodyOut() async throws {
        let (end, member) = try await pair()
        var connections: [Connection] = []
        // Some are closed before they are open.
        for _ in 0..<1100 { if let connection = try? await Connection(to: end) { connections.append(connection) } }
        await member.send([1], to: end, by: .stream)
        #expect(await eventually { end.received == [[1]] })
        #expect(try await joins(end))
        // The member's host has containers, whose connections come from its address.
        for _ in 0..<40 { connections.append(try await Connection(to: end, from: "127.0.0.1")) }
        await end.send([2], to: member, by: .stream)
        #expect(await eventually { member.received == [[2]] })
        for connection in connections { try? await connection.channel.close() }
        for end in [end, member] { await end.transport.close() }
    }

    @Test func silentHellosShutNobodyOut() async throws {
        let end = try await End(joinAnswers: [[UInt8]](repeating: [1], count: 1000))
        var connections: [Connection] = []
        for number in 0..<100 {
            connections.append(try await Connection(to: end, from: "127.0.1.\(number + 1)"))
            await connections[number].send(Self.hello)
        }
        #expect(await eventually { end.joinFrames.count == 100 })
        #expect(try await joins(end))
        for connection in connections { try? await connection.channel.close() }
        await end.transport.close()
    }

    @Test func aStreamThatProvesNothingIsClosed() async throws {
        let end = try await End(joinAnswers: [[UInt8]](repeating: [1], count: 1000))
        let silent = try await Connection(to: end)
        let dripping = try await Connection(to: end)
        let joining = try await Connection(to: end)
        await joining.send(Self.hello)
        let start = NIODeadline.now()
        await dripping.send(length: 4000, [2, 2])
        var (first, last): (TimeAmount?, TimeAmount?)
        while last == nil, NIODeadline.now() - start < .seconds(13) {
            try await Task.sleep(for: .milliseconds(50))
            // A byte now and then is no sign of life.
            if !dripping.isClosed { try? await dripping.channel.writeAndFlush(ByteBuffer(bytes: [0])) }
            if first == nil, silent.isClosed, dripping.isClosed { first = NIODeadline.now() - start }
            if joining.isClosed { last = NIODeadline.now() - start }
        }
        #expect(try #require(first) < .seconds(7))
        #expect(try #require(last) > .seconds(8))
        await end.transport.close()
    }

    /// The answer to a source that cannot be sent to ends no socket that others need.
    @Test func aNoticeThatCannotBeSentCostsNothing() async throws {
        let (end, member) = try await pair()
        let nowhere = [
            SocketEndpoint(address: IPAddress(v4: 127, 0, 0, 1), port: 0),
            SocketEndpoint(address: IPAddress(v4: 255, 255, 255, 255), port: 9),
        ]
        for number in 1...20 as ClosedRange<UInt8> {
            await end.transport.notify(nowhere[Int(number) % 2], [1, 2, 3])
            await end.send([number], to: member)
        }
        #expect(await eventually { member.received.count == 20 })
        for end in [end, member] { await end.transport.close() }
    }

    /// The kernel ends the listener, as `ss -K` does.
    @Test func aListenerThatIsLostIsOpenedAgain() async throws {
        let end = try await End()
        #expect(try await joins(end))
        let listener = try #require((3..<4096).first { Self.isListener($0, at: end.port) })
        shutdown(listener, Int32(SHUT_RDWR))
        let isBack = await eventually { (try? await joins(end)) == true }
        #expect(isBack)
        await end.transport.close()
    }

    private static func isListener(_ descriptor: Int32, at port: UInt16) -> Bool {
        var isListening: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &size) == 0, isListening == 1 else { return false }
        // Family, then the port in network order.
        var address = [UInt8](repeating: 0, count: 128)
        size = socklen_t(address.count)
        let result = address.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { $0.baseAddress.map { getsockname(descriptor, $0, &size) } ?? -1 }
        }
        return result == 0 && UInt16(address[2]) << 8 | UInt16(address[3]) == port
    }
}
