import Logging
import NIOCore
import NIOPosix
import OverlayDriver
import OverlayPluginServer
import ServiceLifecycle

/// Control socket: requests of the command line. It has a thread of its own, as the plugin socket and the node have: clients that flood one
/// are not felt by the others before the node has to work for them.
struct ControlPart: DaemonPart {
    let name = "control socket"
    let path: String
    let logger: Logger
    /// Called when the socket is to close: no client is waited for that waits for news.
    var whenClosing: @Sendable () -> Void = {}
    let handle: @Sendable (ControlHTTPRequest) async -> ControlHTTPResponse

    func run(opened: @escaping @Sendable () -> Void) async throws {
        let whenClosing = whenClosing
        try await withGracefulShutdownHandler {
            try await onOwnLoop { loop in
                try await ControlServer(socketPath: path, loop: loop, logger: logger, ready: { opened() }, handle: handle).run()
            }
        } onGracefulShutdown: {
            whenClosing()
        }
        try checkEnd(of: path)
    }
}

/// Plugin socket: calls of the engine. It opens when all that they need is there, and has a thread of its own.
struct PluginPart: DaemonPart {
    let name = "plugin socket"
    let path: String
    let scope: PluginCodec.Scope
    let logger: Logger
    /// Called when engines can connect.
    let ready: @Sendable () -> Void
    let handle: @Sendable (DriverRequest) async -> DriverResponse

    func run(opened: @escaping @Sendable () -> Void) async throws {
        let ready = ready
        try await onOwnLoop { loop in
            let server = PluginServer(
                socketPath: path, loop: loop, scope: scope, logger: logger,
                ready: {
                    ready()
                    opened()
                }, handle: handle)
            try await server.run()
        }
        try checkEnd(of: path)
    }
}

/// Gives an event loop to a server while it runs.
private func onOwnLoop(_ serve: (any EventLoop) async throws -> Void) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    do {
        try await serve(group.next())
    } catch {
        try? await group.shutdownGracefully()
        throw error
    }
    try await group.shutdownGracefully()
}

/// Throws if a server ended that was not told to: the daemon is of no use without it.
private func checkEnd(of path: String) throws(SocketError) {
    guard Task.isShuttingDownGracefully || Task.isCancelled else {
        throw SocketError(path: path, cause: "the event loop closed it; see the log, and start the daemon again")
    }
}
