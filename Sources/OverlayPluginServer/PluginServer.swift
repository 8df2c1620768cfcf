public import Logging
public import NIOCore
import NIOPosix
public import OverlayDriver
public import ServiceLifecycle

/// The plugin socket: engines' calls in, answers out. It holds no state of its own.
///
/// Start it when the calls that `DriverRequest.constantResponse` answers may come: engines ask for the capabilities once in their life,
/// and drop the driver for good when that fails.
///
/// Two daemons never share a socket: `<socket>.lock` is locked before a socket file that is there is removed, and kept locked until ours
/// is removed. The socket has mode 0660; its directory is created with 0755 if need be.
public struct PluginServer: Service {
    private let server: UnixHTTPServer

    /// - Parameters:
    ///   - loop: Where calls are read, decoded and answered: best the one that `handle` goes to. nil is one of the process's.
    ///   - ready: called when engines can connect.
    ///   - handle: answers Activate and what needs state (all but `DriverRequest.constantResponse`). It is called for several requests at
    ///     a time, and has its own time limit: engines wait for ever.
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
                    logger.warning("refused a call: \(error)")
                    return Self.answer(to: error)
                }
            ))
    }

    /// For tests that change the limits.
    init(server: UnixHTTPServer) { self.server = server }

    /// Serves until graceful shutdown; then answers the calls that have come, and removes the socket file. Throws ``SocketError``.
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
            logger.warning("refused a call: \(error)")
            return answer(to: error)
        }

        let response: DriverResponse
        if let constant = request.constantResponse {
            response = constant
        } else {
            response = await handle(request)
        }
        switch response {
        case .failed(let error): logger.notice("\(call.path) failed: \(error)")
        default: logger.trace("\(call.path) answered")
        }
        return UnixHTTPServer.Answer(
            status: PluginCodec.refusalStatus, body: PluginCodec.encode(response, scope: scope),
            contentType: PluginCodec.contentType)
    }

    static func answer(to error: ProtocolError) -> UnixHTTPServer.Answer {
        UnixHTTPServer.Answer(
            status: error.code.status, body: PluginCodec.encode(failure: error.message), contentType: PluginCodec.contentType)
    }
}
