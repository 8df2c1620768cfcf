import Foundation
import Logging
import OverlayDriver
import ServiceLifecycle

@testable import OverlayPluginServer

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Creates a directory for sockets, with a short name, as a socket path has room for 107 bytes.
func withSocketDirectory<T>(_ body: (String) async throws -> T) async throws -> T {
    let directory = "/tmp/ovp-\(UInt32.random(in: 0...UInt32.max))"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try await body(directory)
}

/// Runs a service until `body` is done, then shuts it down gracefully and waits for it. The service must call `ready`. If the
/// service fails first, its error is thrown.
func running<T: Sendable>(
    _ make: (_ ready: @escaping @Sendable () async -> Void) -> any Service, _ body: @Sendable () async throws -> T
) async throws -> T {
    let (readiness, signal) = AsyncStream.makeStream(of: Void.self)
    let service = make { signal.yield() }
    let group = ServiceGroup(services: [service], logger: quiet)
    async let finished: Void = {
        defer { signal.finish() }
        try await group.run()
    }()
    var isReady = false
    for await _ in readiness {
        isReady = true
        break
    }
    guard isReady else {
        try await finished
        throw RawError(description: "the service ended before it was ready")
    }
    let result: Result<T, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    await group.triggerGracefulShutdown()
    try await finished
    return try result.get()
}

/// Handler that answers Activate, as every node does, and leaves the rest to `handle`.
func activated(
    _ handle: @escaping @Sendable (DriverRequest) async -> DriverResponse = { _ in .done }
) -> @Sendable (DriverRequest) async -> DriverResponse {
    { request in request == .activate ? .activated : await handle(request) }
}

/// Runs a plugin server on a socket of its own.
func withPluginServer<T: Sendable>(
    handle: @escaping @Sendable (DriverRequest) async -> DriverResponse = activated(),
    _ body: @Sendable (_ socketPath: String) async throws -> T
) async throws -> T {
    try await withSocketDirectory { directory in
        let path = directory + "/p.sock"
        return try await running({ PluginServer(socketPath: path, logger: quiet, ready: $0, handle: handle) }) {
            try await body(path)
        }
    }
}

/// Runs a plugin server with the limits that a test chose.
func withPluginServer<T: Sendable>(
    handle: @escaping @Sendable (DriverRequest) async -> DriverResponse = activated(),
    change: (inout UnixHTTPServer) -> Void,
    _ body: @Sendable (_ socketPath: String) async throws -> T
) async throws -> T {
    try await withSocketDirectory { directory in
        let path = directory + "/p.sock"
        return try await running({ ready in
            var server = UnixHTTPServer(
                socketPath: path, logger: quiet, ready: ready,
                respond: { await PluginServer.answer($0, scope: .local, logger: quiet, handle: handle) },
                refuse: { PluginServer.answer(to: $0) },
                collect: { PluginCodec.collector(for: $0) }
            )
            change(&server)
            return PluginServer(server: server)
        }) { try await body(path) }
    }
}
