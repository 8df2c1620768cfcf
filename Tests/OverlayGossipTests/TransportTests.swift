import Glibc
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
    /// Delegate that hands every event to a closure.
    final class Receiver: GossipDelegate {
        private let body: @Sendable (GossipEvent) -> Void

        init(_ body: @escaping @Sendable (GossipEvent) -> Void) { self.body = body }

        func handle(_ event: GossipEvent) { body(event) }
    }

    /// One end, with what it received.
    final class End: Sendable {
        let transport: GossipTransport
        let node: NodeID
        let port: UInt16
        private let messages: NIOLockedValueBox<[([UInt8], MessagePath)]>
        private let streams: NIOLockedValueBox<[StreamFailure?]>
        let key: NodeKey
        private let joins: NIOLockedValueBox<[[UInt8]]>
        private let ended: NIOLockedValueBox<Int>

        var received: [[UInt8]] { messages.withLockedValue { $0.map(\.0) } }
        var paths: [MessagePath] { messages.withLockedValue { $0.map(\.1) } }
        /// Outcomes of streams that this end opened.
        var streamOutcomes: [StreamFailure?] { streams.withLockedValue { $0 } }
        var joinFrames: [[UInt8]] { joins.withLockedValue { $0 } }
        var joinsEnded: Int { ended.withLockedValue { $0 } }

        init(_ key: NodeKey = NodeKey(), joinAnswers: [[UInt8]] = []) async throws {
            self.key = key
            node = key.id
            let ended = NIOLockedValueBox(0)
            self.ended = ended
            let messages = NIOLockedValueBox<[([UInt8], MessagePath)]>([])
            let streams = NIOLockedValueBox<[StreamFailure?]>([])
            self.streams = streams
            let joins = NIOLockedValueBox<[[UInt8]]>([])
            self.messages = messages
            self.joins = joins
            let delegate = Receiver { event in
                switch event {
                case .received(let bytes, _, let path): messages.withLockedValue { $0.append((bytes, path)) }
                case .stream(_, let failure): streams.withLockedValue { $0.append(failure) }
                case .join(let connection, let frame):
                    let number = joins.withLockedValue { joins in
                        joins.append(frame)
                        return joins.count
                    }
                    guard number <= joinAnswers.count else { return connection.close() }
                    connection.answer(joinAnswers[number - 1], isLast: number == joinAnswers.count)
                case .joinEnded: ended.withLockedValue { $0 += 1 }
                case .earlierLife, .stranger, .notice, .drained: break
                }
            }
            var socket: GossipSocket?
            for _ in 0..<50 where socket == nil {
                socket = try? GossipSocket(host: "127.0.0.1", port: UInt16.random(in: 20_000..<60_000))
            }
            let bound = try #require(socket)
            port = bound.port
            transport = GossipTransport(
                loop: MultiThreadedEventLoopGroup.singleton.next(), socket: bound,
                cipher: PacketCipher(identity: key, boot: 1, salt: [1, 2, 3, 4]), logger: Logger(label: "test"), delegate: delegate)
            try await transport.start()
        }

        func send(_ message: [UInt8], to peer: End, by path: MessagePath = .datagram) async {
            await transport.send(message, to: peer.node, by: path)
            await transport.flush()
        }
    }

    static let keys = [PacketCipher.RingKey(id: 1, bytes: [UInt8](repeating: 7, count: 32))]

    func address(_ end: End) -> PeerAddress {
        PeerAddress(node: end.node, address: IPAddress(v4: 127, 0, 0, 1), port: end.port, agreementKey: end.key.agreementBytes)
    }

    func introduce(_ ends: [End]) async {
        for end in ends {
            await end.transport.setPeers(ends.filter { $0.node != end.node }.map { address($0) }, keys: Self.keys)
        }
    }

    /// Waits for something that must happen. The time is a bound, not a measurement.
    func eventually(_ holds: () async -> Bool) async -> Bool {
        for _ in 0..<500 {
            if await holds() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test func smallMessagesGoAsDatagramsAndLargeOnesOverAStream() async throws {
        let a = try await End()
        let b = try await End()
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
        let a = try await End()
        let b = try await End()
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
        let a = try await End()
        let b = try await End()
        await introduce([a, b])
        await b.transport.close()
        await a.send([1], to: b, by: .stream)
        #expect(await eventually { a.streamOutcomes == [.refused] })
        await a.transport.close()
    }

    @Test func nothingOfAStrangerIsHandedOn() async throws {
        let a = try await End()
        let b = try await End()
        let stranger = try await End()
        await introduce([a, b])
        // It knows b's address and every key of the cluster, but is no member, or claims to be one.
        await stranger.transport.setPeers([address(b)], keys: Self.keys)
        await stranger.send([1], to: b)
        await stranger.send([UInt8](repeating: 1, count: 5000), to: b)
        var forger = PacketCipher(identity: NodeKey(), boot: 9, salt: [0, 0, 0, 0])
        forger.setKeys(Self.keys)
        forger.setPeers([b.node: b.key.agreementBytes])
        let sealed = forger.seal([2], to: b.node, on: .datagram)
        var forged = try #require(sealed)
        forged.replaceSubrange(4..<20, with: a.node.bytes)
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0)
            .get()
        let target = try SocketAddress(ipAddress: "127.0.0.1", port: Int(b.port))
        try await channel.writeAndFlush(AddressedEnvelope(remoteAddress: target, data: ByteBuffer(bytes: forged)))
        #expect(await eventually { await b.transport.counters.dropped.values.reduce(0, +) >= 3 })
        let dropped = await b.transport.counters.dropped
        #expect(dropped["unknown sender"] == 2)
        #expect(dropped["not authentic"] == 1)
        await a.send([42], to: b)
        #expect(await eventually { b.received == [[42]] })
        try await channel.close()
        for end in [a, b, stranger] { await end.transport.close() }
    }

    @Test func aLengthAboveTheLimitEndsTheStreamAtOnce() async throws {
        let end = try await End()
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
        let end = try await End()
        let other = try await End()
        await introduce([end, other])
        for sender in [[UInt8](repeating: 0xEE, count: 16), []] {
            let closed = NIOLockedValueBox(false)
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: Int(end.port)).get()
            channel.closeFuture.whenComplete { _ in closed.withLockedValue { $0 = true } }
            var buffer = channel.allocator.buffer(capacity: 64)
            buffer.writeInteger(UInt32(1 << 20))
            buffer.writeBytes([2, 2, 1, 0] + sender + [UInt8](repeating: 0, count: 60))
            try await channel.writeAndFlush(buffer)
            #expect(await eventually { closed.withLockedValue { $0 } })
        }
        await end.transport.close()
        await other.transport.close()
    }

    @Test func aJoinIsAConversationOverOneConnection() async throws {
        let end = try await End(joinAnswers: [[10], [20]])
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let heard = NIOLockedValueBox<[[UInt8]]>([])
        let (hello, request): ([UInt8], [UInt8]) = ([2, 3, 1], [2, 5, 2])
        try await JoinClient.converse(host: "127.0.0.1", port: end.port, first: hello, on: loop) { frame in
            heard.withLockedValue { heard in
                heard.append(frame)
                return heard.count == 1 ? request : nil
            }
        }.get()
        #expect(heard.withLockedValue { $0 } == [[10], [20]])
        #expect(end.joinFrames == [hello, request])
        #expect(await eventually { end.joinsEnded == 1 })
        await end.transport.close()
    }

    @Test func aJoinThatIsNotAnsweredFails() async throws {
        let end = try await End()
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        // Once as a join that is not answered, and once as no join at all.
        for frame in [[2, 3, 1], [2, 99, 1]] as [[UInt8]] {
            await #expect(throws: JoinClient.Failure.noAnswer) {
                try await JoinClient.converse(host: "127.0.0.1", port: end.port, first: frame, on: loop) { _ in nil }.get()
            }
        }
        #expect(end.joinFrames == [[2, 3, 1]])
        await end.transport.close()
        await #expect(throws: JoinClient.Failure.self) {
            try await JoinClient.converse(host: "127.0.0.1", port: end.port, first: [2, 3, 1], on: loop) { _ in nil }.get()
        }
    }

    /// The kernel refuses to send to one member. A broadcast address stands for missing routes and for firewalls that reject.
    @Test func aMemberThatCannotBeSentToCostsNobodyElseAnything() async throws {
        let (first, second) = (try await End(), try await End())
        let nowhere = PeerAddress(
            node: NodeID(bits: 3), address: IPAddress(v4: 255, 255, 255, 255), port: 7947, agreementKey: NodeKey().agreementBytes)
        for (end, other) in [(first, second), (second, first)] {
            await end.transport.setPeers([address(other), nowhere], keys: Self.keys)
        }
        // A datagram that is sent together with a refused one may be lost and is repeated; the socket survives.
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
        let end = try await End()
        let nowhere = PeerAddress(
            node: NodeID(bits: 3), address: IPAddress(v4: 255, 255, 255, 255), port: 7947, agreementKey: NodeKey().agreementBytes)
        await end.transport.setPeers([nowhere], keys: Self.keys)
        for attempt in 1...3 {
            await end.transport.send([1], to: nowhere.node, by: .stream)
            #expect(await eventually { end.streamOutcomes.count == attempt })
        }
        #expect(end.streamOutcomes.allSatisfy { $0 != nil })
        await end.transport.close()
    }

    /// UDP alone being in use is enough, and TCP is not left bound then.
    @Test func aSocketThatCannotBeBoundLeavesNothingOpen() async throws {
        let end = try await End()
        await end.transport.close()
        let blocker = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: Int(end.port)).get()
        let error = #expect(throws: IOError.self) { try GossipSocket(host: "127.0.0.1", port: end.port) }
        #expect(error?.errnoCode == EADDRINUSE)
        try await blocker.close()
        let socket = try GossipSocket(host: "127.0.0.1", port: end.port)
        #expect(socket.port == end.port)
    }

    /// Messages that arrive between the bind and the start are not lost.
    @Test func aSocketKeepsWhatComesBeforeTheStart() async throws {
        let sender = try await End()
        let socket = try #require(
            (0..<50).lazy.compactMap { _ in
                try? GossipSocket(host: "127.0.0.1", port: UInt16.random(in: 20_000..<60_000))
            }.first)
        let key = NodeKey()
        let received = NIOLockedValueBox<[[UInt8]]>([])
        let transport = GossipTransport(
            loop: MultiThreadedEventLoopGroup.singleton.next(), socket: socket,
            cipher: PacketCipher(identity: key, boot: 1, salt: [1, 2, 3, 4]), logger: Logger(label: "test"),
            delegate: Receiver { event in
                if case .received(let bytes, _, _) = event { received.withLockedValue { $0.append(bytes) } }
            })
        await transport.setPeers([address(sender)], keys: Self.keys)
        let peer = PeerAddress(
            node: key.id, address: IPAddress(v4: 127, 0, 0, 1), port: socket.port, agreementKey: key.agreementBytes)
        await sender.transport.setPeers([peer], keys: Self.keys)
        await sender.transport.send([7], to: key.id)
        await sender.transport.flush()
        await sender.transport.send([8], to: key.id, by: .stream)
        #expect(await eventually { sender.streamOutcomes == [nil] })
        #expect(received.withLockedValue { $0 } == [])
        try await transport.start()
        #expect(await eventually { Set(received.withLockedValue { $0 }) == [[7], [8]] })
        await transport.close()
        await sender.transport.close()
    }

    @Test func aTransportThatWasNeverStartedGivesItsPortBack() async throws {
        let end = try await End()
        await end.transport.close()
        let transport = GossipTransport(
            loop: MultiThreadedEventLoopGroup.singleton.next(),
            socket: try GossipSocket(host: "127.0.0.1", port: end.port),
            cipher: PacketCipher(identity: NodeKey(), boot: 1, salt: [1, 2, 3, 4]), logger: Logger(label: "test"),
            delegate: Receiver { _ in })
        await transport.close()
        #expect(throws: Never.self) { try GossipSocket(host: "127.0.0.1", port: end.port) }
        withExtendedLifetime(transport) {}
    }
}
