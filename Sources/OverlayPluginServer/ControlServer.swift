public import Logging
public import NIOCore
import NIOPosix
public import ServiceLifecycle

/// Request on the control socket.
public struct ControlHTTPRequest: Hashable, Sendable {
    public var method: String
    public var path: String
    /// Query with the percent escapes of its values decoded; the first value if a name is given twice.
    public var query: [String: String]
    public var body: [UInt8]

    public init(method: String, path: String, query: [String: String] = [:], body: [UInt8] = []) {
        self.method = method
        self.path = path
        self.query = query
        self.body = body
    }
}

/// Answer to a ``ControlHTTPRequest``.
public struct ControlHTTPResponse: Hashable, Sendable {
    public var status: Int
    public var body: [UInt8]
    public var contentType: String

    public init(status: Int = 200, body: [UInt8] = [], contentType: String = "application/json") {
        self.status = status
        self.body = body
        self.contentType = contentType
    }
}

/// Control socket, for the command line of this daemon. The handler knows what requests mean; lock, mode and limits are those of
/// ``PluginServer``. A body over `Limits.requestBodyBytes` is answered with 413 and `{"Err","Error"}`.
public struct ControlServer: Service {
    private let server: UnixHTTPServer

    /// - Parameters:
    ///   - loop: Event loop that reads requests, on which the handler begins: best one of its own. nil takes one of the process's.
    ///   - ready: Called when clients can connect.
    ///   - handle: Answers a request. Its task is cancelled when the client is gone.
    public init(
        socketPath: String,
        loop: (any EventLoop)? = nil,
        logger: Logger,
        ready: @escaping @Sendable () async -> Void = {},
        handle: @escaping @Sendable (ControlHTTPRequest) async -> ControlHTTPResponse
    ) {
        server = UnixHTTPServer(
            socketPath: socketPath,
            loop: loop ?? MultiThreadedEventLoopGroup.singleton.any(),
            answersOnLoop: true,
            logger: logger,
            ready: ready,
            respond: { call in
                let response = await handle(
                    ControlHTTPRequest(method: call.method, path: call.path, query: call.query, body: call.body))
                return UnixHTTPServer.Answer(status: response.status, body: response.body, contentType: response.contentType)
            },
            refuse: { error in
                UnixHTTPServer.Answer(
                    status: error.code.status, body: PluginCodec.encode(failure: error.message), contentType: "application/json")
            },
            givesUp: true
        )
    }

    /// Serves until graceful shutdown, then answers the requests that have arrived, and removes the socket file.
    ///
    /// - Throws: ``SocketError``.
    public func run() async throws { try await server.run() }
}
