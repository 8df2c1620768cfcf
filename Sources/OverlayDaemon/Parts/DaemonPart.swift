import Logging
import ServiceLifecycle
import UnixSignals

/// Part of the daemon that opens, serves, and closes when it is told to.
protocol DaemonPart: Sendable {
    /// Name for the log of the service group.
    var name: String { get }

    /// Opens, calls `opened` when the next part may open, and returns when everything is closed. Closing begins with graceful shutdown.
    ///
    /// - Throws: The reason why it does not serve. Everything it opened is closed then, too.
    func run(opened: @escaping @Sendable () -> Void) async throws
}

/// Service that opens its part when the part before it is open. A service group starts all services at once and stops them one by one in
/// reverse order; with this one they start one by one, too.
struct OrderedService: Service, CustomStringConvertible {
    let part: any DaemonPart
    let turn: Turn
    /// Turn of the part after this one.
    let next: Turn

    var description: String { part.name }

    func run() async throws {
        guard await turn.comes() else { return }
        let next = next
        try await part.run { next.begin() }
    }
}

/// Signal to one part that it may open.
final class Turn: Sendable {
    private let signal: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (signal, continuation) = AsyncStream.makeStream(of: Void.self) }

    func begin() {
        continuation.yield()
        continuation.finish()
    }

    /// Waits for ``begin()``.
    ///
    /// - Returns: False if graceful shutdown came first.
    func comes() async -> Bool {
        for await _ in signal.cancelOnGracefulShutdown() { return true }
        return false
    }
}

extension ServiceGroup {
    /// Group of parts that open in this order and close in reverse. When one fails, all others close, and `run()` throws its error.
    static func inOrder(_ parts: [any DaemonPart], stoppedBy signals: [UnixSignal] = [], logger: Logger) -> ServiceGroup {
        let turns = (0...parts.count).map { _ in Turn() }
        turns[0].begin()
        let services = parts.indices.map { index in
            ServiceGroupConfiguration.ServiceConfiguration(
                service: OrderedService(part: parts[index], turn: turns[index], next: turns[index + 1]),
                failureTerminationBehavior: .gracefullyShutdownGroup)
        }
        return ServiceGroup(configuration: .init(services: services, gracefulShutdownSignals: signals, logger: logger))
    }
}

/// Returns when graceful shutdown begins, or the task is cancelled: the daemon closes in either case.
func shutdownBegins() async { try? await gracefulShutdown() }
