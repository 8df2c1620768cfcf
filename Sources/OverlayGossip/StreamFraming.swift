import NIOCore
import OverlayCrypto
import OverlayModel

/// Decoder of a stream's frames: a 32-bit length, then as many bytes. A length above the limit closes the connection before anything is
/// kept. So does a long frame of somebody who has proven nothing: a name in its first bytes is no proof.
struct FrameDecoder: ByteToMessageDecoder {
    typealias InboundOut = ByteBuffer

    struct TooLong: Error {}

    /// Longest frame that a stranger may send (a join), in bytes.
    static let strangersFrameBytes = JoinFrame.limit

    static let lengthBytes = 4

    /// True if a long frame may come.
    var mayBeLong: () -> Bool = { true }

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self) else { return .needMoreData }
        guard length <= Limits.frameBytes else { throw TooLong() }
        guard length <= Self.strangersFrameBytes || mayBeLong() else { throw TooLong() }
        guard buffer.readableBytes >= 4 + Int(length) else { return .needMoreData }
        buffer.moveReaderIndex(forwardBy: 4)
        guard let frame = buffer.readSlice(length: Int(length)) else { return .needMoreData }
        context.fireChannelRead(wrapInboundOut(frame))
        return .continue
    }

    mutating func decodeLast(context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool) throws -> DecodingState {
        .needMoreData
    }

    static func frame(_ bytes: [UInt8], _ allocator: ByteBufferAllocator) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: 4 + bytes.count)
        buffer.writeInteger(UInt32(bytes.count))
        buffer.writeBytes(bytes)
        return buffer
    }
}

/// Handler of a stream that another node opened: packets of members, or one join. It has a deadline until the first authentic frame, and one
/// for the whole of a join.
final class InboundStreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let transport: GossipTransport
    private var number: UInt64?
    private var opened = NIODeadline.uptimeNanoseconds(0)
    private var deadline: Scheduled<Void>?
    private var join: GossipTransport.JoinConnection?
    /// True if a member has proven that the stream is its own.
    private(set) var isProven = false

    init(transport: GossipTransport) { self.transport = transport }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        opened = .now()
        let (number, limits) = transport.assumeIsolated { ($0.openStream(channel), $0.streamLimits) }
        self.number = number
        setDeadline(limits.firstFrame, channel)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        let (number, join) = (number, join)
        transport.assumeIsolated { transport in
            if let number { transport.endStream(number) }
            if let join { transport.end(join) }
        }
        self.number = nil
        self.join = nil
        context.fireChannelInactive()
    }

    private func setDeadline(_ time: Interval, _ channel: any Channel) {
        deadline?.cancel()
        deadline = channel.eventLoop.scheduleTask(deadline: opened + .nanoseconds(time.nanoseconds)) { channel.reset() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Frames may be left that were read with the one that ended the stream.
        guard let number, context.channel.isActive else { return }
        let frame = Array(unwrapInboundIn(data).readableBytesView)
        let isOfJoin = JoinFrame.isFromJoiner(frame)
        guard join != nil || isOfJoin else {
            guard transport.assumeIsolated({ $0.receive(frame: frame, on: number) }) else { return context.close(promise: nil) }
            if !isProven { deadline?.cancel() }
            isProven = true
            return
        }
        guard isOfJoin, !isProven else { return context.close(promise: nil) }
        let join = join ?? GossipTransport.JoinConnection(number: number, source: context.channel.source, channel: context.channel)
        if self.join == nil {
            self.join = join
            setDeadline(transport.assumeIsolated { $0.streamLimits.join }, context.channel)
        }
        transport.assumeIsolated { $0.receive(frame, of: join) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Handler of a stream that this node opened. Nothing comes on it: what does is not kept.
final class OutboundStreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Handler of the listener: closes connections of a source that opens too many, before anything is made for them.
final class ConnectionFilter: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let transport: GossipTransport

    init(transport: GossipTransport) { self.transport = transport }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let channel = unwrapInboundIn(data)
        guard transport.assumeIsolated({ $0.mayConnect(channel) }) else { return channel.reset() }
        context.fireChannelRead(data)
    }
}

/// Handler of the datagram channel. Each packet is opened on the spot; the end of a read cycle is one event.
final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let transport: GossipTransport

    init(transport: GossipTransport) { self.transport = transport }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        let packet = Array(envelope.data.readableBytesView)
        transport.assumeIsolated { $0.receive(datagram: packet, from: envelope.remoteAddress) }
    }

    func channelReadComplete(context: ChannelHandlerContext) { transport.assumeIsolated { $0.drained() } }

    /// Ignores the error of one datagram (such as an ICMP error): the socket goes on.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
