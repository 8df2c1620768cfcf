public import NIOCore
import NIOPosix
import OverlayCrypto
import OverlayModel

/// Joiner's connection to a member. Frames go out and come back in turns.
public enum JoinClient {
    public enum Failure: Error, Hashable, Sendable {
        case unreachable(String)
        /// The other side closed the connection.
        case noAnswer
        case timedOut
    }

    /// - Parameters:
    ///   - first: The first frame.
    ///   - next: Takes an answer and returns the next frame, or nil at the end. Called on `loop`.
    /// - Returns: Future on `loop`. It succeeds when `next` returned nil, and fails with what `next` threw or with a ``Failure``.
    public static func converse(
        host: String, port: UInt16, first: [UInt8], timeout: TimeAmount = .seconds(7), on loop: any EventLoop,
        next: @escaping @Sendable ([UInt8]) throws -> [UInt8]?
    ) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        let deadline = loop.scheduleTask(in: timeout) { promise.fail(Failure.timedOut) }
        ClientBootstrap(group: loop)
            .connectTimeout(.seconds(3))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        ByteToMessageHandler(FrameDecoder(), maximumBufferSize: Limits.frameBytes + 4),
                        AnswerHandler(promise: promise, next: next),
                    ])
                }
            }
            .connect(host: host, port: Int(port))
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    channel.writeAndFlush(FrameDecoder.frame(first, channel.allocator), promise: nil)
                    promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
                case .failure(let error): promise.fail(Failure.unreachable("\(error)"))
                }
            }
        promise.futureResult.whenComplete { _ in deadline.cancel() }
        return promise.futureResult
    }

    private final class AnswerHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let promise: EventLoopPromise<Void>
        private let next: @Sendable ([UInt8]) throws -> [UInt8]?

        init(promise: EventLoopPromise<Void>, next: @escaping @Sendable ([UInt8]) throws -> [UInt8]?) {
            self.promise = promise
            self.next = next
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            do {
                guard let frame = try next(Array(unwrapInboundIn(data).readableBytesView)) else { return promise.succeed() }
                context.channel.writeAndFlush(FrameDecoder.frame(frame, context.channel.allocator), promise: nil)
            } catch {
                promise.fail(error)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { promise.fail(Failure.noAnswer) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            promise.fail(Failure.noAnswer)
            context.close(promise: nil)
        }
    }
}
