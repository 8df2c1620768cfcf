public import NIOCore
import NIOPosix
import OverlayModel

/// Takes one sealed join request to a member and brings back the answer.
public enum JoinClient {
    public enum Failure: Error, Hashable, Sendable {
        case unreachable(String)
        /// The other side closed without an answer: it does not know the secret.
        case noAnswer
        case timedOut
    }

    /// - Returns: The sealed answer, or a ``Failure``, on `loop`.
    public static func ask(
        host: String, port: UInt16, frame: [UInt8], timeout: TimeAmount = .seconds(7), on loop: any EventLoop
    ) -> EventLoopFuture<[UInt8]> {
        let promise = loop.makePromise(of: [UInt8].self)
        let deadline = loop.scheduleTask(in: timeout) { promise.fail(Failure.timedOut) }
        ClientBootstrap(group: loop)
            .connectTimeout(.seconds(3))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        ByteToMessageHandler(FrameDecoder(), maximumBufferSize: Limits.frameBytes + 4),
                        AnswerHandler(promise: promise),
                    ])
                }
            }
            .connect(host: host, port: Int(port))
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    channel.writeAndFlush(FrameDecoder.frame(frame, channel.allocator), promise: nil)
                    promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
                case .failure(let error): promise.fail(Failure.unreachable("\(error)"))
                }
            }
        promise.futureResult.whenComplete { _ in deadline.cancel() }
        return promise.futureResult
    }

    private final class AnswerHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let promise: EventLoopPromise<[UInt8]>

        init(promise: EventLoopPromise<[UInt8]>) { self.promise = promise }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            promise.succeed(Array(unwrapInboundIn(data).readableBytesView))
        }

        func channelInactive(context: ChannelHandlerContext) { promise.fail(Failure.noAnswer) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            promise.fail(Failure.noAnswer)
            context.close(promise: nil)
        }
    }
}
