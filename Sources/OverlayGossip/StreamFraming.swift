import NIOCore
import OverlayCrypto
import OverlayModel

/// Decoder of a stream's frames: a 32-bit length, then as many bytes. A length above the limit closes the connection before anything is
/// kept. So does a long frame whose first bytes are not those of a member's packet.
struct FrameDecoder: ByteToMessageDecoder {
    typealias InboundOut = ByteBuffer

    struct TooLong: Error {}

    /// Longest frame that a stranger may send (a join), in bytes.
    static let strangersFrameBytes = JoinFrame.limit

    /// True if a long frame that begins with these bytes may come.
    var mayBeLong: ([UInt8]) -> Bool = { _ in true }

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self) else { return .needMoreData }
        guard length <= Limits.frameBytes else { throw TooLong() }
        if length > Self.strangersFrameBytes {
            guard let header = buffer.getBytes(at: buffer.readerIndex + 4, length: PacketFormat.overhead) else {
                return .needMoreData
            }
            guard mayBeLong(header) else { throw TooLong() }
        }
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

/// Handler of a stream that another node opened: packets of members, or one join.
final class InboundStreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let transport: GossipTransport
    private var isCounted = false
    private var join: GossipTransport.JoinConnection?

    init(transport: GossipTransport) { self.transport = transport }

    func channelActive(context: ChannelHandlerContext) {
        isCounted = transport.assumeIsolated { $0.admitStream() }
        if !isCounted { context.close(promise: nil) }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        if isCounted { transport.assumeIsolated { $0.endStream() } }
        isCounted = false
        if let join { transport.assumeIsolated { $0.end(join) } }
        join = nil
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = Array(unwrapInboundIn(data).readableBytesView)
        guard join != nil || JoinFrame.isFromJoiner(frame) else {
            if !transport.assumeIsolated({ $0.receive(frame: frame) }) { context.close(promise: nil) }
            return
        }
        let channel = context.channel
        guard JoinFrame.isFromJoiner(frame), let join = join ?? transport.assumeIsolated({ $0.openJoin(channel) }) else {
            return context.close(promise: nil)
        }
        self.join = join
        transport.assumeIsolated { $0.receive(frame, of: join) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
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
