import Glibc
public import Logging
public import NIOCore
import NIOPosix
public import OverlayCrypto
public import OverlayModel

/// Address of a member, and its key.
public struct PeerAddress: Hashable, Sendable {
    public var node: NodeID
    public var address: IPAddress
    public var port: UInt16
    /// X25519 public key, 32 bytes.
    public var agreementKey: [UInt8]

    public init(node: NodeID, address: IPAddress, port: UInt16, agreementKey: [UInt8]) {
        self.node = node
        self.address = address
        self.port = port
        self.agreementKey = agreementKey
    }
}

/// The node's port, UDP and TCP: sealed datagrams and streams between members, and the joins of new ones.
///
/// Actor on the event loop of its channels: packets are opened and delivered where they arrive, without a hop. It knows no protocol. A
/// message that fits a datagram goes as one, a larger one over a stream that is kept open to each peer.
public actor GossipTransport {
    /// Connection of a node that wants to join.
    public struct JoinConnection: Sendable {
        public let number: UInt64
        public let source: IPAddress?
        let channel: any Channel

        /// - Parameter isLast: True if the connection is closed after this frame.
        public func answer(_ frame: [UInt8], isLast: Bool) {
            let written = channel.writeAndFlush(FrameDecoder.frame(frame, channel.allocator))
            if isLast { written.whenComplete { _ in channel.close(promise: nil) } }
        }

        public func close() { channel.close(promise: nil) }
    }

    /// Numbers of packets since start.
    public struct Counters: Hashable, Sendable, Codable {
        public var sent = 0
        public var received = 0
        /// Packets not delivered, by reason: unknown sender, unknown key, not authentic, replayed, malformed.
        public var dropped: [String: Int] = [:]
        /// Connections closed because there were too many.
        public var streamsRefused = 0

        public init() {}
    }

    static let inboundStreams = 1024
    static let joinConnections = 64
    static let queuedFrames = 256
    static let queuedBytes = 8 << 20
    static let streamIdle = TimeAmount.seconds(120)
    /// Milliseconds after which a connection with unacknowledged bytes is given up (TCP_USER_TIMEOUT, tcp(7)). Without it the kernel
    /// would wait for minutes after a partition.
    static let streamPatience = 5000

    /// Time during which datagrams go one by one, to find the address that the kernel refuses to send to.
    static let careful = TimeAmount.seconds(10)
    static let firstPause = TimeAmount.milliseconds(500)
    static let lastPause = TimeAmount.seconds(10)

    private let loop: any EventLoop
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    private let logger: Logger
    private let socket: GossipSocket
    private let delegate: any GossipDelegate
    private var datagrams: (any Channel)?
    private var listener: (any Channel)?
    private var cipher: PacketCipher
    private var peers: [NodeID: SocketAddress] = [:]
    private var streams: [NodeID: OutboundStream] = [:]
    private var inbound = 0
    private var joins = 0
    private var nextJoin: UInt64 = 1
    /// Address at which datagrams are bound again when the socket was lost; nil before ``start()`` and after ``close()``.
    private var home: SocketAddress?
    private var carefulUntil = NIODeadline.uptimeNanoseconds(0)
    /// Members to which the kernel refuses to send.
    private var paused: [NodeID: (until: NIODeadline, length: TimeAmount)] = [:]
    public private(set) var counters = Counters()

    /// - Parameters:
    ///   - socket: The bound port, taken over by ``start()``.
    ///   - delegate: Receiver of what arrives, called on `loop`.
    public init(
        loop: any EventLoop, socket: GossipSocket, cipher: PacketCipher, logger: Logger, delegate: any GossipDelegate
    ) {
        self.loop = loop
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.socket = socket
        self.cipher = cipher
        self.logger = logger
        self.delegate = delegate
    }

    /// Begins to read the port. Works once.
    ///
    /// - Throws: The error of the event loop that refuses a socket; nothing stays open then.
    public func start() async throws {
        guard let descriptors = socket.take() else { return }
        let listening = ServerBootstrap(group: loop)
            .childChannelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let self else { throw ChannelError.inappropriateOperationForState }
                    let decoder = FrameDecoder { header in self.assumeIsolated { $0.isFromMember(header) } }
                    try Self.addFraming(to: channel, decoder)
                    try channel.pipeline.syncOperations.addHandler(InboundStreamHandler(transport: self))
                }
            }
            .withBoundSocket(descriptors.listener)
        let receiving = datagramBootstrap().withBoundSocket(descriptors.datagrams)
        let outcomes = try await EventLoopFuture.whenAllComplete([listening, receiving], on: loop).get()
        for case .failure(let error) in outcomes {
            for case .success(let channel) in outcomes { try? await channel.close() }
            throw error
        }
        listener = try await listening.get()
        home = socket.address
        hold(try await receiving.get())
    }

    private func datagramBootstrap() -> DatagramBootstrap {
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
    }

    /// Keeps the datagram channel, and binds it again when it closes: NIO closes the socket when one datagram cannot be sent (no route, a
    /// firewall that rejects, an invalid address).
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
        if carefulUntil < .now() { logger.warning("UDP socket lost because a datagram could not be sent; binding it again") }
        carefulUntil = .now() + Self.careful
        bindAgain(after: .zero)
    }

    private func bindAgain(after delay: TimeAmount) {
        loop.scheduleTask(in: delay) { [weak self] in
            self?.assumeIsolated { transport in
                guard let home = transport.home else { return }
                transport.datagramBootstrap().bind(to: home).whenComplete { [weak self] result in
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
            logger.error("UDP socket cannot be bound again", metadata: [LogKey.error: "\(error)"])
            bindAgain(after: min(max(delay * 2, .milliseconds(100)), .seconds(5)))
        }
    }

    static func addFraming(to channel: any Channel, _ decoder: FrameDecoder = FrameDecoder()) throws {
        try channel.pipeline.syncOperations.addHandlers([
            IdleStateHandler(allTimeout: streamIdle),
            ByteToMessageHandler(decoder, maximumBufferSize: Limits.frameBytes + 4),
        ])
    }

    /// True if these bytes begin a packet of a known member. This proves nothing; it keeps long frames of strangers out of memory.
    func isFromMember(_ header: [UInt8]) -> Bool {
        let sender = PacketFormat.sender(of: header, on: .stream)
        if let sender, cipher.isPeer(sender) { return true }
        counters.dropped[sender == nil ? "malformed" : "unknown sender", default: 0] += 1
        return false
    }

    /// Closes the port and all connections.
    public func close() async {
        socket.close()
        for stream in streams.values { stream.channel?.close(promise: nil) }
        streams = [:]
        home = nil
        try? await datagrams?.close()
        try? await listener?.close()
        datagrams = nil
        listener = nil
    }

    /// Sets the members and the keys of packets between them, the newest first. Without a key nothing is opened and nothing sent.
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

    /// Raises the boot number. Peers have seen lower ones, and take packets of those for replays.
    public func raise(boot: UInt32) { cipher.raise(boot: boot) }

    // MARK: Sending

    /// Sends one message. Datagrams leave with the next ``flush()``; a message that does not fit one goes by stream.
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

    /// Takes the outcome of a datagram that was sent by itself.
    private func sent(to node: NodeID, _ result: Result<Void, any Error>) {
        guard case .failure(let error) = result else {
            paused[node] = nil
            return
        }
        // Other datagrams fail with the socket that this one has cost.
        guard error is IOError else { return }
        let length = paused[node].map { min($0.length * 2, Self.lastPause) } ?? Self.firstPause
        if paused[node] == nil {
            logger.warning(
                "kernel refuses datagrams to a member", metadata: [LogKey.node: "\(node.short)", LogKey.error: "\(error)"])
        }
        paused[node] = (.now() + length, length)
    }

    /// Sends an unsealed notice to a node that is no member.
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
                "message too large for a stream",
                metadata: [LogKey.bytes: "\(message.count)", LogKey.limit: "\(Limits.frameBytes)"])
            return
        }
        guard let frame = cipher.seal(message, to: node, on: .stream) else { return }
        counters.sent += 1
        var stream = streams[node] ?? OutboundStream(address: address)
        if let channel = stream.channel, channel.isActive {
            // A peer that does not read costs a bounded buffer. The cores repeat what was lost.
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
                // Later, because it may fail at once, while the sender is in the middle of an event.
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
            logger.debug("stream to a member failed", metadata: [LogKey.node: "\(node.short)", LogKey.error: "\(error)"])
        }
        stream.queue = []
        stream.queuedBytes = 0
        streams[node] = stream
        delegate.handle(.stream(to: node, result.failure))
        delegate.handle(.drained)
    }

    // MARK: Receiving

    func receive(datagram: [UInt8], from source: SocketAddress) {
        if let notice = PacketFormat.notice(in: datagram) { return delegate.handle(.notice(notice)) }
        guard let (sender, message) = open(datagram, on: .datagram, from: source) else { return }
        delegate.handle(.received(message, from: sender, by: .datagram))
    }

    func drained() { delegate.handle(.drained) }

    /// - Returns: True if the connection may go on.
    func receive(frame: [UInt8]) -> Bool {
        guard let (sender, message) = open(frame, on: .stream) else { return false }
        delegate.handle(.received(message, from: sender, by: .stream))
        delegate.handle(.drained)
        return true
    }

    /// Counts a join; nil when there are too many.
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

    func receive(_ frame: [UInt8], of join: JoinConnection) { delegate.handle(.join(join, frame)) }

    func end(_ join: JoinConnection) {
        joins -= 1
        delegate.handle(.joinEnded(join))
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
            case .earlierLife(let sender): delegate.handle(.earlierLife(of: sender))
            case .unknownSender(let sender):
                if let source = source.flatMap({ SocketEndpoint($0) }) { delegate.handle(.stranger(sender, source)) }
            default: break
            }
            counters.dropped[reason, default: 0] += 1
            return nil
        }
    }

    /// Counts a stream that another node opened; false when there are too many.
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
    /// Failure to connect, as far as it tells something about the other side.
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
    /// nil for an address that is neither IPv4 nor IPv6.
    fileprivate init?(_ address: SocketAddress) {
        guard let ip = address.ipAddress.flatMap({ IPAddress($0) }), let port = address.port else { return nil }
        self.init(address: ip, port: UInt16(truncatingIfNeeded: port))
    }
}
