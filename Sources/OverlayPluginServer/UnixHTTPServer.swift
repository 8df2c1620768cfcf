import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import OverlayLinux
import OverlayModel
import ServiceLifecycle
import Synchronization

/// HTTP/1.1 on a Unix socket, with bounds on what a client may hold: the common part of ``PluginServer`` and ``ControlServer``.
struct UnixHTTPServer: Sendable {
    struct Call: Sendable {
        var method: String
        var path: String
        var query: [String: String]
        var body: [UInt8]
    }

    struct Answer: Sendable {
        var status: Int
        var body: [UInt8]
        var contentType: String
    }

    var socketPath: String
    /// Event loop that reads and writes the sockets.
    var loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()
    /// True if calls are handled on that loop, too, without a switch to another thread and back.
    var answersOnLoop = false
    var logger: Logger
    /// Called when clients can connect.
    var ready: @Sendable () async -> Void = {}
    var respond: @Sendable (Call) async -> Answer
    /// Answer to a call whose body is too long.
    var refuse: @Sendable (ProtocolError) -> Answer

    /// Number of clients at a time; more wait in the backlog of the socket. An engine keeps a handful.
    var connectionLimit = 256
    /// Time for the body of a request to arrive after its head. Idle connections have no limit: an engine whose connection is closed under
    /// it repeats its call with an empty body.
    var arrivalLimit: Duration = .seconds(30)
    /// The same while the server shuts down.
    var arrivalLimitAtShutdown: Duration = .seconds(1)

    /// Owner and group may connect.
    static let mode: mode_t = 0o660

    func run() async throws {
        try createParentDirectory()
        // Before the socket file is touched: binding removes an existing file, even that of a running daemon. The lock is released only
        // after `server.run()` has returned and removed our socket file.
        let lock = try takeLock()
        defer { withExtendedLifetime(lock) {} }
        let failure = Failure()
        let server = try HTTPServerBuilder.http1().buildServer(
            configuration: ServerConfiguration(
                address: .unixDomainSocket(path: socketPath),
                availableConnectionsDelegate: MaximumAvailableConnections(connectionLimit, logger: logger)
            ),
            eventLoopGroup: loop,
            logger: logger,
            responder: { request, writer, channel in
                try await self.serve(request, on: channel, to: writer)
            },
            onServerRunning: { channel in
                // The umask belongs to the whole process, so the mode is set after the bind. In between the file has mode 0755 (with the
                // usual umask 022). Connecting takes write permission, so only the owner can.
                guard chmod(socketPath, Self.mode) == 0 else {
                    let cause = "cannot set its mode: \(SystemError.text(of: errno))"
                    failure.error.withLock { $0 = SocketError(path: socketPath, cause: cause) }
                    channel.close(promise: nil)
                    return
                }
                await ready()
            }
        )
        do {
            try await withTaskExecutorPreference(answersOnLoop ? LoopExecutor(loop) : nil) { try await server.run() }
        } catch {
            throw SocketError(path: socketPath, cause: "cannot listen: \(error)")
        }
        if let error = failure.error.withLock({ $0 }) { throw error }
    }

    private func takeLock() throws(SocketError) -> LockFile {
        do throws(LockError) {
            return try LockFile(path: socketPath + ".lock")
        } catch .held(let pid) {
            let holder = pid.map { "process \($0)" } ?? "another process"
            throw SocketError(path: socketPath, cause: "\(holder) serves it and goes on serving it; stop that daemon first")
        } catch {
            throw SocketError(path: socketPath, cause: "cannot take the lock: \(error)")
        }
    }

    /// Creates the directory: `/run/docker/plugins` is created by the first plugin, which may be this one.
    private func createParentDirectory() throws(SocketError) {
        var path = ""
        for component in socketPath.split(separator: "/").dropLast() {
            path += (path.isEmpty && !socketPath.hasPrefix("/") ? "" : "/") + component
            guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
                throw SocketError(path: socketPath, cause: "cannot create the directory \(path): \(SystemError.text(of: errno))")
            }
        }
    }

    // MARK: One request

    @concurrent
    private func serve(_ request: Request, on channel: any Channel, to writer: consuming ResponseWriter) async throws {
        let answer: Answer
        if let body = try await receive(request, on: channel) {
            var query: [String: String] = [:]
            for (key, value) in request.uri.queryParameters where query[String(key)] == nil { query[String(key)] = String(value) }
            answer = await respond(Call(method: request.method.rawValue, path: request.uri.path, query: query, body: body))
        } else {
            answer = refuse(
                ProtocolError(.tooLarge, "the body of \(excerpt(request.uri.path)) is longer than \(Limits.requestBodyBytes) bytes")
            )
        }
        let response = Response(
            status: HTTPResponse.Status(code: answer.status),
            headers: [.contentType: answer.contentType, .contentLength: String(answer.body.count)],
            // The answer to HEAD has the length that a body would have.
            body: request.method == .head ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body))
        )
        try await writer.write(response: response.head, body: response.body)
    }

    /// Receives the whole body; nil if it is too long. Such a body is read to its end but not kept, because a client that still writes does
    /// not read the answer. Throws when the client goes away; the connection is closed then.
    private func receive(_ request: Request, on channel: any Channel) async throws -> [UInt8]? {
        let arrival = Arrival()
        let limit = channel.eventLoop.scheduleTask(in: TimeAmount(arrivalLimit)) { arrival.closeUnlessComplete(channel) }
        defer {
            arrival.complete.store(true, ordering: .relaxed)
            limit.cancel()
        }
        return try await withGracefulShutdownHandler {
            var body: [UInt8] = []
            var length = 0
            // `request.body` can be iterated once.
            for try await part in request.body {
                length += part.readableBytes
                if length > Limits.requestBodyBytes {
                    body = []
                } else {
                    body.append(contentsOf: part.readableBytesView)
                }
            }
            return length > Limits.requestBodyBytes ? nil : body
        } onGracefulShutdown: {
            // The server waits for requests that have begun to arrive. One that never ends would hold it.
            channel.eventLoop.scheduleTask(in: TimeAmount(arrivalLimitAtShutdown)) { arrival.closeUnlessComplete(channel) }
        }
    }

    /// Reason why it serves nobody although it listens.
    private final class Failure: Sendable {
        let error = Mutex<SocketError?>(nil)
    }

    private final class Arrival: Sendable {
        let complete = Atomic<Bool>(false)

        func closeUnlessComplete(_ channel: any Channel) {
            if !complete.load(ordering: .relaxed) { channel.close(promise: nil) }
        }
    }
}

/// Executor that runs tasks on an event loop.
private final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
