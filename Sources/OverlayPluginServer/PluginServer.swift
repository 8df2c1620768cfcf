public import Logging
public import NIOCore
import NIOPosix
public import OverlayDriver
import OverlayModel
public import ServiceLifecycle

/// Plugin socket: calls of engines in, answers out. It holds no state of its own.
///
/// Start it when the node can answer: engines ask for the capabilities once in their life, and drop the driver for good when that fails.
///
/// Two daemons never share a socket: `<socket>.lock` is locked before a socket file that is there is removed, and kept locked until ours
/// is removed. The socket has mode 0660; its directory is created with 0755 if need be.
public struct PluginServer: Service {
    private let server: UnixHTTPServer

    /// - Parameters:
    ///   - loop: Event loop that reads, decodes and answers calls: best one of its own, so that a client that floods the socket is felt by
    ///     nobody else. nil takes one of the process's.
    ///   - ready: Called when engines can connect.
    ///   - handle: Answers Activate and the calls that need state (all but `DriverRequest.constantResponse`). It is called for several
    ///     requests at a time, and has a time limit of its own, because engines wait without one.
    public init(
        socketPath: String,
        loop: (any EventLoop)? = nil,
        scope: PluginCodec.Scope = .local,
        logger: Logger,
        ready: @escaping @Sendable () async -> Void = {},
        handle: @escaping @Sendable (DriverRequest) async -> DriverResponse
    ) {
        self.init(
            server: UnixHTTPServer(
                socketPath: socketPath,
                loop: loop ?? MultiThreadedEventLoopGroup.singleton.any(),
                answersOnLoop: true,
                logger: logger,
                ready: ready,
                respond: { call in await Self.answer(call, scope: scope, logger: logger, handle: handle) },
                refuse: { error in
                    Self.log(error, to: logger)
                    return Self.answer(to: error)
                },
                collect: { PluginCodec.collector(for: $0) }
            ))
    }

    /// Server with other limits, for tests.
    init(server: UnixHTTPServer) { self.server = server }

    /// Serves until graceful shutdown, then answers the calls that have arrived, and removes the socket file.
    ///
    /// - Throws: ``SocketError``.
    public func run() async throws { try await server.run() }

    static func answer(
        _ call: UnixHTTPServer.Call, scope: PluginCodec.Scope, logger: Logger,
        handle: @Sendable (DriverRequest) async -> DriverResponse
    ) async -> UnixHTTPServer.Answer {
        guard call.method == "POST" else {
            return answer(to: ProtocolError(.wrongVerb, "the verb \(excerpt(call.method)) is not POST"))
        }
        let request: DriverRequest
        switch PluginCodec.decode(path: call.path, body: call.body) {
        case .success(let decoded): request = decoded
        case .failure(let error):
            log(error, to: logger)
            return answer(to: error)
        }

        let response: DriverResponse
        if let constant = request.constantResponse {
            response = constant
        } else {
            response = await handle(request)
        }
        switch response {
        case .failed(let error):
            logger.notice("call failed", metadata: [LogKey.method: "\(call.path)", LogKey.reason: "\(error)"])
        default: logger.trace("call answered", metadata: [LogKey.method: "\(call.path)"])
        }
        return UnixHTTPServer.Answer(
            status: PluginCodec.refusalStatus, body: PluginCodec.encode(response, scope: scope),
            contentType: PluginCodec.contentType)
    }

    private static func log(_ error: ProtocolError, to logger: Logger) {
        logger.warning("call refused", metadata: [LogKey.reason: "\(error)"])
    }

    static func answer(to error: ProtocolError) -> UnixHTTPServer.Answer {
        UnixHTTPServer.Answer(
            status: error.code.status, body: PluginCodec.encode(failure: error.message), contentType: PluginCodec.contentType)
    }
}
