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
        /// Number of the stream.
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
        /// Connections of strangers that were closed because there were too many of them.
        public var streamsRefused = 0

        public init() {}
    }

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
    /// Addresses of members.
    private var homes: Set<IPAddress> = []
    private var inbound: InboundStreams
    private var inboundChannels: [UInt64: any Channel] = [:]
    private let notices: NoticeSocket
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
        loop: any EventLoop, socket: GossipSocket, cipher: PacketCipher, logger: Logger, delegate: any GossipDelegate,
        limits: StreamLimits = StreamLimits()
    ) {
        self.loop = loop
        unownedExecutor = loop.executor.asUnownedSerialExecutor()
        self.socket = socket
        self.cipher = cipher
        self.logger = logger
        self.delegate = delegate
        inbound = InboundStreams(limits)
        notices = NoticeSocket(from: socket.address)
    }

    /// Begins to read the port. Works once.
    ///
    /// - Throws: The error of the event loop that refuses a socket; nothing stays open then.
    public func start() async throws {
        guard let descriptors = socket.take() else { return }
        let listening = listenerBootstrap().withBoundSocket(descriptors.listener)
        let receiving = datagramBootstrap().withBoundSocket(descriptors.datagrams)
        let outcomes = try await EventLoopFuture.whenAllComplete([listening, receiving], on: loop).get()
        for case .failure(let error) in outcomes {
            for case .success(let channel) in outcomes { try? await channel.close() }
            throw error
        }
        home = socket.address
        hold(listener: try await listening.get())
        hold(try await receiving.get())
    }

    private func listenerBootstrap() -> ServerBootstrap {
        ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: GossipSocket.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let self else { throw ChannelError.inappropriateOperationForState }
                    try channel.pipeline.syncOperations.addHandler(ConnectionFilter(transport: self))
                }
            }
            .childChannelInitializer { [weak self] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let self else { throw ChannelError.inappropriateOperationForState }
                    let handler = InboundStreamHandler(transport: self)
                    try channel.pipeline.syncOperations.addHandlers([
                        IdleStateHandler(allTimeout: Self.streamIdle),
                        ByteToMessageHandler(
                            FrameDecoder { handler.isProven }, maximumBufferSize: Limits.frameBytes + FrameDecoder.lengthBytes),
                        handler,
                    ])
                }
            }
    }

    /// Keeps the listener, and opens it again when it is lost: NIO closes it on errors of accept(2) that it does not know, and the kernel
    /// ends it where somebody asks for that (`ss -K`).
    private func hold(listener channel: any Channel) {
        listener = channel
        channel.closeFuture.whenComplete { [weak self] _ in
            guard let self else { return }
            self.loop.execute { self.assumeIsolated { $0.lostListener() } }
        }
    }

    private func lostListener() {
        listener = nil
        guard home != nil else { return }
        logger.warning("TCP listener lost; opening it again")
        listenAgain(after: .milliseconds(100))
    }

    private func listenAgain(after delay: TimeAmount) {
        loop.scheduleTask(in: delay) { [weak self] in
            self?.assumeIsolated { transport in
                guard let home = transport.home else { return }
                transport.listenerBootstrap().bind(to: home).whenComplete { [weak self] result in
                    self?.assumeIsolated { $0.listensAgain(result, after: delay) }
                }
            }
        }
    }

    private func listensAgain(_ result: Result<any Channel, any Error>, after delay: TimeAmount) {
        switch result {
        case .success(let channel):
            guard home != nil else { return channel.close(promise: nil) }
            hold(listener: channel)
        case .failure(let error):
            logger.error("TCP listener cannot be opened again", metadata: [LogKey.error: "\(error)"])
            listenAgain(after: min(delay * 2, .seconds(5)))
        }
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

    /// Closes the port and all connections.
    public func close() async {
        socket.close()
        for stream in streams.values { stream.channel?.close(promise: nil) }
        for channel in inboundChannels.values { channel.close(promise: nil) }
        streams = [:]
        home = nil
        notices.close()
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
        homes = Set(members.map(\.address.unmapped))
        // Nothing can be sent to port 0, and trying costs the socket.
        for member in members where member.port != 0 {
            peers[member.node] = try? SocketAddress(ipAddress: "\(member.address)", port: Int(member.port))
        }
        paused = paused.filter { peers[$0.key] != nil }
        for (node, stream) in streams where stream.address != peers[node] {
            stream.channel?.close(promise: nil)
            streams[node] = nil
        }
        for number in inbound.endStreams(except: { cipher.isPeer($0) }) { inboundChannels[number]?.close(promise: nil) }
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

    /// Sends an unsealed notice to a node that is no member. Anybody can name any address there, so it goes by a socket of its own: the kernel
    /// may refuse it, and nothing else is lost.
    public func notify(_ target: SocketEndpoint, _ notice: [UInt8]) {
        notices.send(PacketFormat.packet(notice: notice), to: target)
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
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(OutboundStreamHandler()) }
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
            // A long frame is read from members only, and this is how the other side knows.
            if let first = stream.queue.first, first.count > FrameDecoder.strangersFrameBytes,
                let proof = cipher.seal([], to: node, on: .stream)
            {
                channel.write(FrameDecoder.frame(proof, channel.allocator), promise: nil)
            }
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
    func receive(frame: [UInt8], on stream: UInt64) -> Bool {
        guard let (sender, message) = open(frame, on: .stream) else { return false }
        let (isGood, evicted) = inbound.prove(stream, of: sender)
        evict(evicted)
        guard isGood else { return false }
        // An empty message says whose stream it is, and nothing else.
        guard !message.isEmpty else { return true }
        delegate.handle(.received(message, from: sender, by: .stream))
        delegate.handle(.drained)
        return true
    }

    func receive(_ frame: [UInt8], of join: JoinConnection) { delegate.handle(.join(join, frame)) }

    func end(_ join: JoinConnection) { delegate.handle(.joinEnded(join)) }

    /// Takes a join out of the strangers' budget, as it has proven to know the token.
    public func release(_ join: JoinConnection) { inbound.release(join.number) }

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

    // MARK: Streams that other nodes open

    var streamLimits: StreamLimits { inbound.limits }

    /// True if the connection may be looked at.
    func mayConnect(_ channel: any Channel) -> Bool {
        let source = channel.source
        let mayConnect = inbound.mayConnect(from: source, isHome: isHome(source), at: Instant(NIODeadline.now()))
        if !mayConnect { counters.streamsRefused += 1 }
        return mayConnect
    }

    /// Opens the account of a stream; another one may be closed for it.
    ///
    /// - Returns: Its number.
    func openStream(_ channel: any Channel) -> UInt64 {
        let source = channel.source
        let (number, evicted) = inbound.open(from: source, isHome: isHome(source))
        inboundChannels[number] = channel
        evict(evicted)
        return number
    }

    func endStream(_ number: UInt64) {
        inbound.end(number)
        inboundChannels[number] = nil
    }

    func isProven(_ number: UInt64) -> Bool { inbound.isProven(number) }

    private func isHome(_ source: IPAddress?) -> Bool { source.map { homes.contains($0.unmapped) } ?? false }

    private func evict(_ number: UInt64?) {
        guard let number, let channel = inboundChannels.removeValue(forKey: number) else { return }
        counters.streamsRefused += 1
        channel.reset()
    }

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

extension Channel {
    /// Address of the other side.
    var source: IPAddress? { remoteAddress?.ipAddress.flatMap { IPAddress($0) } }

    /// Closes a connection at once, on its event loop, and leaves nothing of it in the kernel: without this each would stay in TIME-WAIT for a minute
    /// (socket(7), SO_LINGER).
    func reset() {
        _ = (self as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
        close(promise: nil)
    }
}

extension Instant {
    init(_ time: NIODeadline) { self.init(nanoseconds: Int64(clamping: time.uptimeNanoseconds)) }
}

extension SocketEndpoint {
    /// nil for an address that is neither IPv4 nor IPv6.
    fileprivate init?(_ address: SocketAddress) {
        guard let ip = address.ipAddress.flatMap({ IPAddress($0) }), let port = address.port else { return nil }
        self.init(address: ip, port: UInt16(truncatingIfNeeded: port))
    }
}
