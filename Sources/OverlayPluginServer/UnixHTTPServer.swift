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
    /// Answer to a call whose body is too long, or not what is expected at its path.
    var refuse: @Sendable (ProtocolError) -> Answer
    /// Collector for the body of a call to a path.
    var collect: @Sendable (String) -> BodyCollector = { BodyCollector($0) }
    /// True if the work on a call is cancelled when its client is gone.
    var givesUp = false

    /// Number of clients at a time, and time for a request to arrive after its first byte. An engine keeps a handful. With more, one gives
    /// way (``ConnectionTable``). Idle connections have no limit: an engine whose connection is closed under it repeats its call with an
    /// empty body.
    var limits = Connections.Table.Limits()
    /// Time for a request to arrive while the server shuts down.
    var arrivalLimitAtShutdown: Duration = .seconds(1)
    /// Number of clients that may wait to be accepted: an engine that finds no place reports the call as failed.
    static let backlog = 1024

    /// Owner and group may connect.
    static let mode: mode_t = 0o660

    func run() async throws {
        try createParentDirectory()
        // Before the socket file is touched: binding removes an existing file, even that of a running daemon. The lock is released only
        // after `server.run()` has returned and removed our socket file.
        let lock = try takeLock()
        defer { withExtendedLifetime(lock) {} }
        let failure = Failure()
        let connections = Connections(loop: loop, limits: limits, arrivalAtShutdown: arrivalLimitAtShutdown)
        let executor = answersOnLoop ? LoopExecutor(loop) : nil
        let http = HTTP1Channel.Configuration(additionalChannelHandlers: [ConnectionWatchInstaller(connections)])
        let channels = HTTP1Channel(
            responder: { request, writer, channel in
                try await self.serve(request, on: channel, of: connections, by: executor, to: writer)
            }, configuration: http)
        let server = Server(
            childChannelSetup: channels,
            configuration: ServerConfiguration(
                address: .unixDomainSocket(path: socketPath),
                backlog: Self.backlog,
                availableConnectionsDelegate: Acceptance(connections: connections)
            ),
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
            },
            eventLoopGroup: loop,
            logger: logger
        )
        do {
            try await Self.run(server, by: executor) { connections.shutDown() }
        } catch {
            throw SocketError(path: socketPath, cause: "cannot listen: \(error)")
        }
        if let error = failure.error.withLock({ $0 }) { throw error }
    }

    /// Runs a server until it ends or is told to, and returns when nothing of it uses the event loop any more.
    ///
    /// Told to end by the graceful shutdown of its own task, it would end in a task that nobody waits for, and that uses the loop once
    /// more. So neither the server nor its handlers hear of graceful shutdown.
    private static func run(
        _ server: Server<HTTP1Channel>, by executor: LoopExecutor?, whenClosing: @Sendable @escaping () -> Void
    ) async throws {
        // Detached, as it must not hear of graceful shutdown.
        let serving = Task.detached { try await withTaskExecutorPreference(executor) { try await server.run() } }
        try await withThrowingTaskGroup { group in
            group.addTask {
                do {
                    try await serving.value
                } catch {
                    // One that is told to end before it has begun says so.
                    guard Task.isShuttingDownGracefully || Task.isCancelled else { throw error }
                }
            }
            group.addTask {
                try? await gracefulShutdown()
                whenClosing()
                try? await server.shutdownGracefully()
            }
            defer { group.cancelAll() }
            while try await group.next() != nil { group.cancelAll() }
        }
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

    /// Receives a call and answers it. Throws when the client goes away; the connection is closed then.
    @concurrent
    private func serve(
        _ request: Request, on channel: any Channel, of connections: Connections, by executor: LoopExecutor?,
        to writer: consuming ResponseWriter
    ) async throws {
        connections.began(on: channel)
        let path = request.uri.path
        var collector = collect(path)
        // `request.body` can be iterated once.
        for try await part in request.body {
            collector.take(part.readableBytesUInt8Span)
            connections.holds(collector.keptBytes, on: channel)
        }
        let answer: Answer
        do throws(ProtocolError) {
            var query: [String: String] = [:]
            for (key, value) in request.uri.queryParameters where query[String(key)] == nil { query[String(key)] = String(value) }
            let call = Call(method: request.method.rawValue, path: path, query: query, body: try collector.finish())
            answer = await work(on: call, from: channel, of: connections, by: executor)
        } catch {
            answer = refuse(error)
        }
        let response = Response(
            status: HTTPResponse.Status(code: answer.status),
            headers: [.contentType: answer.contentType, .contentLength: String(answer.body.count)],
            // The answer to HEAD has the length that a body would have.
            body: request.method == .head ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body))
        )
        let number = connections.answering(on: channel)
        try await writer.write(response: response.head, body: response.body)
        connections.answered(number, on: channel)
    }

    private func work(
        on call: Call, from channel: any Channel, of connections: Connections, by executor: LoopExecutor?
    ) async -> Answer {
        guard givesUp else {
            connections.complete(on: channel) {}
            return await respond(call)
        }
        let work = Task(executorPreference: executor) { await respond(call) }
        connections.complete(on: channel) { work.cancel() }
        return await work.value
    }

    /// Reason why it serves nobody although it listens.
    private final class Failure: Sendable {
        let error = Mutex<SocketError?>(nil)
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
