import Logging
import NIOCore
import OverlayDriver
import OverlayPluginServer
import ServiceLifecycle

/// Control socket: requests of the command line.
struct ControlPart: DaemonPart {
    let name = "control socket"
    let path: String
    let loop: any EventLoop
    let logger: Logger
    let handle: @Sendable (ControlHTTPRequest) async -> ControlHTTPResponse

    func run(opened: @escaping @Sendable () -> Void) async throws {
        try await ControlServer(socketPath: path, loop: loop, logger: logger, ready: { opened() }, handle: handle).run()
        try checkEnd(of: path)
    }
}

/// Plugin socket: calls of the engine. It opens when all that they need is there.
struct PluginPart: DaemonPart {
    let name = "plugin socket"
    let path: String
    let loop: any EventLoop
    let scope: PluginCodec.Scope
    let logger: Logger
    /// Called when engines can connect.
    let ready: @Sendable () -> Void
    let handle: @Sendable (DriverRequest) async -> DriverResponse

    func run(opened: @escaping @Sendable () -> Void) async throws {
        let ready = ready
        let server = PluginServer(
            socketPath: path, loop: loop, scope: scope, logger: logger,
            ready: {
                ready()
                opened()
            }, handle: handle)
        try await server.run()
        try checkEnd(of: path)
    }
}

/// Throws if a server ended that was not told to: the daemon is of no use without it.
private func checkEnd(of path: String) throws(SocketError) {
    guard Task.isShuttingDownGracefully || Task.isCancelled else {
        throw SocketError(path: path, cause: "the event loop closed it; see the log, and start the daemon again")
    }
}
