import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OverlayCrypto
import OverlayModel
import Testing

@testable import OverlayGossip

/// Two transports and an outsider, on loopback.
@Suite struct TransportTests {
    /// One end, with what it received.
    final class End: Sendable {
        let transport: GossipTransport
        let node: NodeID
        let port: UInt16
        private let messages: NIOLockedValueBox<[([UInt8], MessagePath)]>
        private let streams: NIOLockedValueBox<[StreamFailure?]>
        private let joins: NIOLockedValueBox<[[UInt8]]>

        var received: [[UInt8]] { messages.withLockedValue { $0.map(\.0) } }
        var paths: [MessagePath] { messages.withLockedValue { $0.map(\.1) } }
        /// What became of streams that this end opened.
        var streamOutcomes: [StreamFailure?] { streams.withLockedValue { $0 } }
        var joinFrames: [[UInt8]] { joins.withLockedValue { $0 } }

        init(_ number: UInt128, joinAnswer: [UInt8]? = nil) async throws {
            node = NodeID(bits: number)
            let messages = NIOLockedValueBox<[([UInt8], MessagePath)]>([])
            let streams = NIOLockedValueBox<[StreamFailure?]>([])
            self.streams = streams
            let joins = NIOLockedValueBox<[[UInt8]]>([])
            self.messages = messages
            self.joins = joins
            transport = GossipTransport(
                loop: MultiThreadedEventLoopGroup.singleton.next(), node: node, boot: 1, logger: Logger(label: "test"),
                handlers: .init(
                    received: { _, bytes, path in messages.withLockedValue { $0.append((bytes, path)) } },
                    stream: { _, failure in streams.withLockedValue { $0.append(failure) } }, drained: {},
                    joinRequest: { frame, answer in
                        joins.withLockedValue { $0.append(frame) }
                        answer(joinAnswer)
                    }))
            var bound: Int?
            for _ in 0..<50 where bound == nil {
                bound = try? await transport.bind(host: "127.0.0.1", port: Int.random(in: 20_000..<60_000), mayMove: false)
            }
            port = UInt16(try #require(bound))
        }

        func send(_ message: [UInt8], to peer: End, by path: MessagePath = .datagram) async {
            await transport.send(message, to: peer.node, by: path)
            await transport.flush()
        }
    }

    static let key = [UInt8](repeating: 7, count: 32)

    func introduce(_ ends: [End], key: [UInt8] = key) async {
        for end in ends {
            let others = ends.filter { $0.node != end.node }
            await end.transport.setPeers(
                others.map { PeerAddress(node: $0.node, address: IPAddress(v4: 127, 0, 0, 1), port: $0.port) }, key: key)
        }
    }

    /// Waits for what must come; a bound, not a measure.
    func eventually(_ holds: () async -> Bool) async -> Bool {
        for _ in 0..<500 {
            if await holds() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test func smallMessagesGoAsDatagramsAndLargeOnesOverAStream() async throws {
        let a = try await End(1)
        let b = try await End(2)
        await introduce([a, b])
        let small: [UInt8] = [1, 2, 3]
        let large = [UInt8](repeating: 9, count: 300_000)
        await a.send(small, to: b)
        await a.send(large, to: b)
        #expect(await eventually { b.received.count == 2 })
        #expect(b.received.contains(small) && b.received.contains(large))
        await b.send(large, to: a)
        await b.send(large, to: a)
        #expect(await eventually { a.received.count == 2 })
        await a.transport.close()
        await b.transport.close()
    }

    @Test func aSmallMessageGoesByStreamWhereItShould() async throws {
        let a = try await End(1)
        let b = try await End(2)
        await introduce([a, b])
        await a.send([1], to: b, by: .stream)
        await a.send([2], to: b)
        #expect(await eventually { b.received.count == 2 })
        #expect(Set(b.paths) == [.datagram, .stream])
        #expect(a.streamOutcomes == [nil])
        await a.transport.close()
        await b.transport.close()
    }

    @Test func aPortWithoutAListenerIsRefused() async throws {
        let a = try await End(1)
        let b = try await End(2)
        await introduce([a, b])
        await b.transport.close()
        await a.send([1], to: b, by: .stream)
        #expect(await eventually { a.streamOutcomes == [.refused] })
        await a.transport.close()
    }

    @Test func nothingOfAStrangerIsHandedOn() async throws {
        let a = try await End(1)
        let b = try await End(2)
        let stranger = try await End(3)
        await introduce([a, b])
        // It knows where b is, but not the key; or the key, but is no member.
        await stranger.transport.setPeers(
            [PeerAddress(node: b.node, address: IPAddress(v4: 127, 0, 0, 1), port: b.port)], key: [UInt8](repeating: 8, count: 32))
        await stranger.send([1], to: b)
        await stranger.send([UInt8](repeating: 1, count: 5000), to: b)
        let pretender = try await End(1)
        await pretender.transport.setPeers(
            [PeerAddress(node: b.node, address: IPAddress(v4: 127, 0, 0, 1), port: b.port)], key: [UInt8](repeating: 8, count: 32))
        await pretender.send([2], to: b)
        #expect(await eventually { await b.transport.counters.dropped.values.reduce(0, +) >= 3 })
        let dropped = await b.transport.counters.dropped
        #expect(dropped["unknown sender"] == 2)
        #expect(dropped["not authentic"] == 1)
        await a.send([42], to: b)
        #expect(await eventually { b.received == [[42]] })
        for end in [a, b, stranger, pretender] { await end.transport.close() }
    }

    @Test func aLengthAboveTheLimitEndsTheStreamAtOnce() async throws {
        let end = try await End(1)
        let closed = NIOLockedValueBox(false)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: Int(end.port)).get()
        channel.closeFuture.whenComplete { _ in closed.withLockedValue { $0 = true } }
        var buffer = channel.allocator.buffer(capacity: 8)
        buffer.writeInteger(UInt32.max)
        buffer.writeInteger(UInt32(0))
        try await channel.writeAndFlush(buffer)
        #expect(await eventually { closed.withLockedValue { $0 } })
        await end.transport.close()
    }

    @Test func aStrangersLongFrameIsNotWaitedFor() async throws {
        let end = try await End(1)
        let other = try await End(2)
        await introduce([end, other])
        for sender in [[UInt8](repeating: 0xEE, count: 16), []] {
            let closed = NIOLockedValueBox(false)
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: Int(end.port)).get()
            channel.closeFuture.whenComplete { _ in closed.withLockedValue { $0 = true } }
            var buffer = channel.allocator.buffer(capacity: 64)
            buffer.writeInteger(UInt32(1 << 20))
            buffer.writeBytes([1, 2] + sender + [UInt8](repeating: 0, count: 60))
            try await channel.writeAndFlush(buffer)
            #expect(await eventually { closed.withLockedValue { $0 } })
        }
        await end.transport.close()
        await other.transport.close()
    }

    @Test func aJoinIsAnsweredOverItsConnection() async throws {
        let sealer = JoinSealer(cluster: ClusterID(bits: 5), secret: Self.key)
        let salt = [UInt8](repeating: 3, count: 16)
        let answer = try #require(sealer.sealAnswer([1, 2, 3], to: salt))
        let end = try await End(1, joinAnswer: answer)
        let frame = try #require(sealer.sealRequest([9], salt: salt))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let got = try await JoinClient.ask(host: "127.0.0.1", port: end.port, frame: frame, on: loop).get()
        #expect(sealer.openAnswer(got, to: salt) == [1, 2, 3])
        #expect(end.joinFrames == [frame])
        await end.transport.close()
    }

    @Test func aJoinThatIsNotAnsweredFails() async throws {
        let end = try await End(1)
        let sealer = JoinSealer(cluster: ClusterID(bits: 5), secret: Self.key)
        let frame = try #require(sealer.sealRequest([9], salt: [UInt8](repeating: 3, count: 16)))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        await #expect(throws: JoinClient.Failure.noAnswer) {
            try await JoinClient.ask(host: "127.0.0.1", port: end.port, frame: frame, on: loop).get()
        }
        await end.transport.close()
        await #expect(throws: JoinClient.Failure.self) {
            try await JoinClient.ask(host: "127.0.0.1", port: end.port, frame: frame, on: loop).get()
        }
    }

    /// The kernel refuses to send to it: a broadcast address stands for hosts without a route and for firewalls that say no.
    @Test func aMemberThatCannotBeSentToCostsNobodyElseAnything() async throws {
        let (first, second) = (try await End(1), try await End(2))
        let nowhere = PeerAddress(node: NodeID(bits: 3), address: IPAddress(v4: 255, 255, 255, 255), port: 7946)
        let peers = [first, second].map { PeerAddress(node: $0.node, address: IPAddress(v4: 127, 0, 0, 1), port: $0.port) }
        for end in [first, second] { await end.transport.setPeers(peers + [nowhere], key: Self.key) }
        // What goes with one that is refused may be lost, and comes again; the socket is not.
        var rounds: UInt8 = 0
        while second.received.count < 10, rounds < 200 {
            rounds += 1
            await first.transport.send([99], to: nowhere.node)
            await first.send([rounds], to: second)
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(second.received.count >= 10)
        await second.send([50], to: first)
        #expect(await eventually { first.received == [[50]] })
        for end in [first, second] { await end.transport.close() }
    }

    @Test func aStreamThatFailsAtOnceIsTriedAgain() async throws {
        let end = try await End(1)
        let nowhere = PeerAddress(node: NodeID(bits: 3), address: IPAddress(v4: 255, 255, 255, 255), port: 7946)
        await end.transport.setPeers([nowhere], key: Self.key)
        for attempt in 1...3 {
            await end.transport.send([1], to: nowhere.node, by: .stream)
            #expect(await eventually { end.streamOutcomes.count == attempt })
        }
        #expect(end.streamOutcomes.allSatisfy { $0 != nil })
        await end.transport.close()
    }

    @Test func aPortThatIsTakenIsLeftForTheNext() async throws {
        let first = try await End(1)
        let second = GossipTransport(
            loop: MultiThreadedEventLoopGroup.singleton.next(), node: NodeID(bits: 2), boot: 1, logger: Logger(label: "test"),
            handlers: .init(received: { _, _, _ in }, stream: { _, _ in }, drained: {}, joinRequest: { _, answer in answer(nil) }))
        await #expect(throws: (any Error).self) { try await second.bind(host: "127.0.0.1", port: Int(first.port), mayMove: false) }
        let moved = try? await second.bind(host: "127.0.0.1", port: Int(first.port), mayMove: true)
        #expect(moved == nil || moved == Int(first.port) + 1)
        await first.transport.close()
        await second.close()
    }
}
