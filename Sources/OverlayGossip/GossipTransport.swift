import Glibc
public import Logging
public import NIOCore
import NIOPosix
public import OverlayCrypto
public import OverlayModel

/// Where a member is reached.
public struct PeerAddress: Hashable, Sendable {
    public var node: NodeID
    public var address: IPAddress
    public var port: UInt16
    /// X25519, 32 bytes.
    public var agreementKey: [UInt8]

    public init(node: NodeID, address: IPAddress, port: UInt16, agreementKey: [UInt8]) {
        self.node = node
        self.address = address
        self.port = port
        self.agreementKey = agreementKey
    }
}

/// Port 7946: sealed datagrams and streams between members, and the joins of new ones.
///
/// An actor on the event loop of its channels: packets are opened and handed on where they arrive, without a hop. It holds no protocol; a
/// message that fits a datagram goes as one, a larger one over a stream that is kept to each peer.
public actor GossipTransport {
    /// What arrives. Called on the event loop.
    public struct Handlers: Sendable {
        /// A message of an authenticated member, and how it came.
        public var received: @Sendable (NodeID, [UInt8], MessagePath) -> Void
        /// A member sent an authentic packet of a life that is over: as if it knew nothing of the later one.
        public var earlierLife: @Sendable (NodeID) -> Void
        /// A datagram in the name of a node that is no member, and where it came from.
        public var stranger: @Sendable (NodeID, SocketEndpoint) -> Void
        /// A notice, which is not sealed.
        public var notice: @Sendable ([UInt8]) -> Void
        /// What became of an attempt to open a stream to a member: nil when it is open.
        public var stream: @Sendable (NodeID, StreamFailure?) -> Void
        /// The messages that arrived together have been handed on.
        public var drained: @Sendable () -> Void
        /// A frame of a node that wants to join.
        public var join: @Sendable (JoinConnection, [UInt8]) -> Void
        /// Its connection is closed.
        public var joinEnded: @Sendable (JoinConnection) -> Void

        public init(
            received: @escaping @Sendable (NodeID, [UInt8], MessagePath) -> Void,
            earlierLife: @escaping @Sendable (NodeID) -> Void = { _ in },
            stranger: @escaping @Sendable (NodeID, SocketEndpoint) -> Void = { _, _ in },
            notice: @escaping @Sendable ([UInt8]) -> Void = { _ in },
            stream: @escaping @Sendable (NodeID, StreamFailure?) -> Void, drained: @escaping @Sendable () -> Void,
            join: @escaping @Sendable (JoinConnection, [UInt8]) -> Void, joinEnded: @escaping @Sendable (JoinConnection) -> Void
        ) {
            self.received = received
            self.earlierLife = earlierLife
            self.stranger = stranger
            self.notice = notice
            self.stream = stream
            self.drained = drained
            self.join = join
            self.joinEnded = joinEnded
        }
    }

    /// A connection of a node that wants to join.
    public struct JoinConnection: Sendable {
        public let number: UInt64
        public let source: IPAddress?
        let channel: any Channel

        /// - Parameter isLast: The connection is closed after it.
        public func answer(_ frame: [UInt8], isLast: Bool) {
            let written = channel.writeAndFlush(FrameDecoder.frame(frame, channel.allocator))
            if isLast { written.whenComplete { _ in channel.close(promise: nil) } }
        }

        public func close() { channel.close(promise: nil) }
    }

    /// What happened to packets since start.
    public struct Counters: Hashable, Sendable, Codable {
        public var sent = 0
        public var received = 0
        /// By reason: unknown sender, unknown key, not authentic, replayed, malformed.
        public var dropped: [String: Int] = [:]
        public var streamsRefused = 0
    }

    static let inboundStreams = 1024
    static let joinConnections = 64
    static let queuedFrames = 256
    static let queuedBytes = 8 << 20
    static let streamIdle = TimeAmount.seconds(120)
    /// A connection whose bytes stay unacknowledged for so long is given up (TCP_USER_TIMEOUT, in milliseconds): after a partition the
    /// kernel would wait for minutes before it tried again.
    static let streamPatience = 5000

    /// After an address that the kernel refuses was sent to, datagrams go one by one for so long, to find out which it is.
    static let careful = TimeAmount.seconds(10)
    static let firstPause = TimeAmount.milliseconds(500)
    static let lastPause = TimeAmount.seconds(10)

    private let loop: any EventLoop
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    private let logger: Logger
    private let handlers: Handlers
    private var datagrams: (any Channel)?
    private var listener: (any Channel)?
    private var cipher: PacketCipher
    private var peers: [NodeID: SocketAddress] = [:]
    private var streams: [NodeID: OutboundStream] = [:]
    private var inbound = 0
    private var joins = 0
    private var nextJoin: UInt64 = 1
    /// Where datagrams are bound again when the socket was lost; nil before, and after ``close()``.
    private var home: (host: String, port: Int)?
    private var carefulUntil = NIODeadline.uptimeNanoseconds(0)
    /// Members that the kernel refuses to send to.
    private var paused: [NodeID: (until: NIODeadline, length: TimeAmount)] = [:]
    public private(set) var counters = Counters()

    public init(loop: any EventLoop, cipher: PacketCipher, logger: Logger, handlers: Handlers) {
        self.loop = loop
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.cipher = cipher
        self.logger = logger
        self.handlers = handlers
    }

    /// Binds UDP and TCP on one port.
    ///
    /// - Returns: The port: the next one where `port` is taken and `mayMove` is set, as an engine in Swarm mode holds 7946.
    public func bind(host: String, port: Int, mayMove: Bool) async throws -> Int {
        do {
            try await bind(host: host, port: port)
            return port
        } catch let error as IOError where error.errnoCode == EADDRINUSE && mayMove {
            try await bind(host: host, port: port + 1)
            return port + 1
        }
    }

    private func bind(host: String, port: Int) async throws {
        let listener = try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let self else { throw ChannelError.inappropriateOperationForState }
                    let decoder = FrameDecoder { header in self.assumeIsolated { $0.isFromMember(header) } }
                    try Self.addFraming(to: channel, decoder)
                    try channel.pipeline.syncOperations.addHandler(InboundStreamHandler(transport: self))
                }
            }
            .bind(host: host, port: port).get()
        do {
            let datagrams = try await bindDatagrams(host: host, port: port).get()
            self.listener = listener
            home = (host, port)
            hold(datagrams)
        } catch {
            try? await listener.close()
            throw error
        }
    }

    private func bindDatagrams(host: String, port: Int) -> EventLoopFuture<any Channel> {
        DatagramBootstrap(group: loop)
            .channelOption(.datagramVectorReadMessageCount, value: 32)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 32 * 2048))
            .channelOption(.maxMessagesPerRead, value: 8)
            .channelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let self else { throw ChannelError.inappropriateOperationForState }
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(transport: self))
                }
            }
            .bind(host: host, port: port)
    }

    /// NIO closes the socket when one datagram cannot be sent: a host without a route for a moment, a firewall that says no, an address
    /// that is none. It is bound again at once.
    private func hold(_ datagrams: any Channel) {
        self.datagrams = datagrams
        datagrams.closeFuture.whenComplete { [weak self] _ in
            guard let self else { return }
            self.loop.execute { self.assumeIsolated { $0.lostDatagrams() } }
        }
    }

    private func lostDatagrams() {
        datagrams = nil
        guard home != nil else { return }
        if carefulUntil < .now() { logger.warning("the UDP socket was lost, as a datagram could not be sent; binding it again") }
        carefulUntil = .now() + Self.careful
        bindAgain(after: .zero)
    }

    private func bindAgain(after delay: TimeAmount) {
        loop.scheduleTask(in: delay) { [weak self] in
            self?.assumeIsolated { transport in
                guard let home = transport.home else { return }
                transport.bindDatagrams(host: home.host, port: home.port).whenComplete { [weak self] result in
                    self?.assumeIsolated { $0.boundAgain(result, after: delay) }
                }
            }
        }
    }

    private func boundAgain(_ result: Result<any Channel, any Error>, after delay: TimeAmount) {
        switch result {
        case .success(let channel):
            guard home != nil else { return channel.close(promise: nil) }
            hold(channel)
        case .failure(let error):
            logger.error("the UDP socket cannot be bound again", metadata: ["error": "\(error)"])
            bindAgain(after: min(max(delay * 2, .milliseconds(100)), .seconds(5)))
        }
    }

    static func addFraming(to channel: any Channel, _ decoder: FrameDecoder = FrameDecoder()) throws {
        try channel.pipeline.syncOperations.addHandlers([
            IdleStateHandler(allTimeout: streamIdle),
            ByteToMessageHandler(decoder, maximumBufferSize: Limits.frameBytes + 4),
        ])
    }

    /// Do these bytes begin a packet of somebody we know? No proof: it only keeps strangers from being buffered for.
    func isFromMember(_ header: [UInt8]) -> Bool {
        let sender = PacketFormat.sender(of: header, on: .stream)
        if let sender, cipher.isPeer(sender) { return true }
        counters.dropped[sender == nil ? "malformed" : "unknown sender", default: 0] += 1
        return false
    }

    public func close() async {
        for stream in streams.values { stream.channel?.close(promise: nil) }
        streams = [:]
        home = nil
        try? await datagrams?.close()
        try? await listener?.close()
        datagrams = nil
        listener = nil
    }

    /// The members, and the keys of packets between them, the newest first. Without a key nothing is opened and nothing sent.
    public func setPeers(_ members: [PeerAddress], keys: [PacketCipher.RingKey]) {
        cipher.setKeys(keys)
        cipher.setPeers(Dictionary(members.map { ($0.node, $0.agreementKey) }) { first, _ in first })
        peers = [:]
        for member in members {
            peers[member.node] = try? SocketAddress(ipAddress: "\(member.address)", port: Int(member.port))
        }
        paused = paused.filter { peers[$0.key] != nil }
        for (node, stream) in streams where stream.address != peers[node] {
            stream.channel?.close(promise: nil)
            streams[node] = nil
        }
    }

    /// Peers have seen lives of this node up to below this one: packets of lower ones are replays to them.
    public func raise(boot: UInt32) { cipher.raise(boot: boot) }

    // MARK: Sending

    /// Sends one message; datagrams leave with the next ``flush()``. What does not fit a datagram goes by stream.
    public func send(_ message: [UInt8], to node: NodeID, by path: MessagePath = .datagram) {
        guard let address = peers[node] else { return }
        guard path == .datagram, message.count + PacketFormat.overhead <= Limits.datagramBytes else {
            return sendStream(message, to: node, at: address)
        }
        guard let datagrams, let packet = cipher.seal(message, to: node, on: .datagram) else { return }
        counters.sent += 1
        let buffer = datagrams.allocator.buffer(bytes: packet)
        let envelope = AddressedEnvelope(remoteAddress: address, data: buffer)
        guard carefulUntil >= .now() else { return datagrams.write(envelope, promise: nil) }
        if let pause = paused[node], pause.until > .now() { return }
        let sent = loop.makePromise(of: Void.self)
        sent.futureResult.whenComplete { [weak self] result in self?.assumeIsolated { $0.sent(to: node, result) } }
        datagrams.writeAndFlush(envelope, promise: sent)
    }

    /// What became of a datagram that was sent by itself.
    private func sent(to node: NodeID, _ result: Result<Void, any Error>) {
        guard case .failure(let error) = result else {
            paused[node] = nil
            return
        }
        // Others fail with the socket that the one has cost.
        guard error is IOError else { return }
        let length = paused[node].map { min($0.length * 2, Self.lastPause) } ?? Self.firstPause
        if paused[node] == nil {
            logger.warning("the kernel refuses datagrams to a member", metadata: ["node": "\(node.short)", "error": "\(error)"])
        }
        paused[node] = (.now() + length, length)
    }

    /// Sends what needs no seal to somebody who is no member.
    public func notify(_ target: SocketEndpoint, _ notice: [UInt8]) {
        guard let datagrams, let address = try? SocketAddress(ipAddress: "\(target.address)", port: Int(target.port)) else {
            return
        }
        let buffer = datagrams.allocator.buffer(bytes: PacketFormat.packet(notice: notice))
        datagrams.write(AddressedEnvelope(remoteAddress: address, data: buffer), promise: nil)
    }

    public func flush() { datagrams?.flush() }

    private func sendStream(_ message: [UInt8], to node: NodeID, at address: SocketAddress) {
        guard message.count + PacketFormat.overhead <= Limits.frameBytes else {
            logger.error(
                "message is too large for a stream", metadata: ["bytes": "\(message.count)", "limit": "\(Limits.frameBytes)"])
            return
        }
        guard let frame = cipher.seal(message, to: node, on: .stream) else { return }
        counters.sent += 1
        var stream = streams[node] ?? OutboundStream(address: address)
        if let channel = stream.channel, channel.isActive {
            // A peer that does not read costs a bounded buffer; the cores repeat what was lost.
            if channel.isWritable { channel.writeAndFlush(FrameDecoder.frame(frame, channel.allocator), promise: nil) }
            return
        }
        if stream.queue.count < Self.queuedFrames, stream.queuedBytes + frame.count <= Self.queuedBytes {
            stream.queue.append(frame)
            stream.queuedBytes += frame.count
        }
        let isFirst = !stream.isConnecting
        stream.isConnecting = true
        streams[node] = stream
        if isFirst { connect(node, to: address) }
    }

    private func connect(_ node: NodeID, to address: SocketAddress) {
        ClientBootstrap(group: loop)
            .connectTimeout(.seconds(2))
            .channelOption(
                ChannelOptions.socket(SocketOptionLevel(IPPROTO_TCP), SocketOptionName(TCP_USER_TIMEOUT)),
                value: Self.streamPatience
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try Self.addFraming(to: channel) }
            }
            .connect(to: address)
            .whenComplete { [weak self] result in
                // Later, as it may fail at once: whoever sends is in the middle of something.
                guard let self else { return }
                self.loop.execute { self.assumeIsolated { $0.connected(node, to: address, result) } }
            }
    }

    private func connected(_ node: NodeID, to address: SocketAddress, _ result: Result<any Channel, any Error>) {
        guard var stream = streams[node], stream.address == address else {
            if case .success(let channel) = result { channel.close(promise: nil) }
            return
        }
        stream.isConnecting = false
        switch result {
        case .success(let channel):
            stream.channel = channel
            for frame in stream.queue { channel.write(FrameDecoder.frame(frame, channel.allocator), promise: nil) }
            channel.flush()
        case .failure(let error):
            logger.debug("stream to a member failed", metadata: ["node": "\(node.short)", "error": "\(error)"])
        }
        stream.queue = []
        stream.queuedBytes = 0
        streams[node] = stream
        handlers.stream(node, result.failure)
        handlers.drained()
    }

    // MARK: Receiving

    func receive(datagram: [UInt8], from source: SocketAddress) {
        if let notice = PacketFormat.notice(in: datagram) { return handlers.notice(notice) }
        guard let (sender, message) = open(datagram, on: .datagram, from: source) else { return }
        handlers.received(sender, message, .datagram)
    }

    func drained() { handlers.drained() }

    /// - Returns: Whether the connection may go on.
    func receive(frame: [UInt8]) -> Bool {
        guard let (sender, message) = open(frame, on: .stream) else { return false }
        handlers.received(sender, message, .stream)
        handlers.drained()
        return true
    }

    /// nil when there are too many.
    func openJoin(_ channel: any Channel) -> JoinConnection? {
        guard joins < Self.joinConnections else {
            counters.streamsRefused += 1
            return nil
        }
        joins += 1
        defer { nextJoin += 1 }
        return JoinConnection(
            number: nextJoin, source: channel.remoteAddress?.ipAddress.flatMap { IPAddress($0) }, channel: channel)
    }

    func receive(_ frame: [UInt8], of join: JoinConnection) { handlers.join(join, frame) }

    func end(_ join: JoinConnection) {
        joins -= 1
        handlers.joinEnded(join)
    }

    private func open(_ packet: [UInt8], on channel: PacketChannel, from source: SocketAddress? = nil) -> (NodeID, [UInt8])? {
        do throws(OpenError) {
            guard cipher.hasKey else { return nil }
            let opened = try cipher.open(packet, on: channel)
            counters.received += 1
            return opened
        } catch {
            let reason =
                switch error {
                case .malformed: "malformed"
                case .unknownSender: "unknown sender"
                case .unknownKey: "unknown key"
                case .notAuthentic: "not authentic"
                case .replayed: "replayed"
                case .earlierLife: "of an earlier life"
                }
            switch error {
            case .earlierLife(let sender): handlers.earlierLife(sender)
            case .unknownSender(let sender):
                if let source = source.flatMap({ SocketEndpoint($0) }) { handlers.stranger(sender, source) }
            default: break
            }
            counters.dropped[reason, default: 0] += 1
            return nil
        }
    }

    /// Counts a stream of somebody else; false when there are too many.
    func admitStream() -> Bool {
        guard inbound < Self.inboundStreams else {
            counters.streamsRefused += 1
            return false
        }
        inbound += 1
        return true
    }

    func endStream() { inbound -= 1 }

    private struct OutboundStream {
        var address: SocketAddress
        var channel: (any Channel)?
        var isConnecting = false
        var queue: [[UInt8]] = []
        var queuedBytes = 0
    }
}

extension Result<any Channel, any Error> {
    /// What a failure to connect tells of the other side.
    var failure: StreamFailure? {
        guard case .failure(let error) = self else { return nil }
        if let error = error as? NIOConnectionError {
            let causes = error.connectionErrors.map(\.error)
            if causes.contains(where: { ($0 as? IOError)?.errnoCode == ECONNREFUSED }) { return .refused }
        }
        if let error = error as? IOError {
            return error.errnoCode == ECONNREFUSED ? .refused : .failed(String(cString: strerror(error.errnoCode)))
        }
        if case ChannelError.connectTimeout? = error as? ChannelError { return .failed("no answer to a connection") }
        return .failed("\(error)")
    }
}

extension SocketEndpoint {
    /// nil for what is no address of the Internet.
    fileprivate init?(_ address: SocketAddress) {
        guard let ip = address.ipAddress.flatMap({ IPAddress($0) }), let port = address.port else { return nil }
        self.init(address: ip, port: UInt16(truncatingIfNeeded: port))
    }
}
