public import Logging
import NIOCore
public import OverlayDriver
import OverlayModel
import Synchronization

/// Client of the engine's API.
///
/// It decides nothing: bytes become values, calls become requests. Call ``stop()`` before it is released.
public final class EngineAPIClient: Sendable {
    /// Number of container inspections at a time, less than the connections of their pool, and number of those that may wait.
    static let inspections = 48
    static let waiting = 10_000
    /// Pause between attempts to reach an engine, at first and at most.
    static let firstPause = Duration.milliseconds(100)
    static let lastPause = Duration.seconds(2)

    private struct Inspection {
        var call: EngineAPICall
        var done: @Sendable (EngineAPIAnswer) -> Void
    }

    private struct State {
        var isStopped = false
        /// Runs by number, because one may begin before the last has ended.
        var runs: [UInt64: Task<Void, Never>] = [:]
        var calls: [UInt64: Task<Void, Never>] = [:]
        var nextNumber: UInt64 = 0
        /// Number of container inspections under way.
        var inspections = 0
        var waiting = CircularBuffer<Inspection>()

        mutating func number() -> UInt64 {
            nextNumber += 1
            return nextNumber
        }
    }

    private let http: EngineHTTP
    private let codec: EngineCodec
    private let logger: Logger
    private let news: @Sendable (EngineAPINews) -> Void
    private let state = Mutex(State())

    /// - Parameters:
    ///   - endpoint: `unix:///var/run/docker.sock`, or a path.
    ///   - driver: Name of the plugin. Networks with this driver are ours, and networks created here without a driver get it, for IPAM too.
    ///   - news: Called with the engine's events in order, one at a time.
    public init(endpoint: String, driver: String, logger: Logger, news: @escaping @Sendable (EngineAPINews) -> Void)
        throws(EngineEndpointError)
    {
        http = EngineHTTP(endpoint: try EngineEndpoint(endpoint))
        codec = EngineCodec(driver: driver)
        self.logger = logger
        self.news = news
    }

    /// Ends runs and calls, and closes all connections. Every call has been answered when it returns.
    public func stop() async {
        let (runs, calls, waiting) = state.withLock { state in
            state.isStopped = true
            defer { state.waiting.removeAll() }
            return (Array(state.runs.values), Array(state.calls.values), Array(state.waiting))
        }
        for task in runs + calls { task.cancel() }
        for inspection in waiting { inspection.done(.unavailable(EngineFailure.stopped.words)) }
        for task in runs + calls { await task.value }
        await http.shutdown()
    }

    // MARK: Calls

    /// Sends a call, from any thread, and returns at once. `done` is called exactly once, on another thread.
    public func call(_ call: EngineAPICall, done: @escaping @Sendable (EngineAPIAnswer) -> Void) {
        let refusal = state.withLock { state -> String? in
            guard !state.isStopped else { return EngineFailure.stopped.words }
            if Self.isInspection(call) {
                guard state.inspections < Self.inspections else {
                    guard state.waiting.count < Self.waiting else {
                        return "too many inspections of containers wait for the engine"
                    }
                    state.waiting.append(Inspection(call: call, done: done))
                    return nil
                }
                state.inspections += 1
            }
            start(call, done, &state)
            return nil
        }
        // Never from within the call: the caller may hold a lock that `done` takes.
        if let refusal { Task { done(.unavailable(refusal)) } }
    }

    private static func isInspection(_ call: EngineAPICall) -> Bool {
        switch call {
        case .container, .lastStart: true
        default: false
        }
    }

    private func start(_ call: EngineAPICall, _ done: @escaping @Sendable (EngineAPIAnswer) -> Void, _ state: inout State) {
        let number = state.number()
        state.calls[number] = Task {
            done(await self.answer(call))
            self.ended(call, number)
        }
    }

    private func ended(_ call: EngineAPICall, _ number: UInt64) {
        state.withLock { state in
            state.calls[number] = nil
            guard Self.isInspection(call) else { return }
            if let next = state.waiting.popFirst() {
                start(next.call, next.done, &state)
            } else {
                state.inspections -= 1
            }
        }
    }

    private func answer(_ call: EngineAPICall) async -> EngineAPIAnswer {
        do throws(EngineFailure) {
            let reply = try await http.exchange(try codec.request(call))
            return codec.answer(call, status: reply.status, body: reply.body)
        } catch {
            return .unavailable(error.words)
        }
    }

    // MARK: Events

    /// Follows the engine's events until it is cancelled or ``stop()`` is called. The first news is whether the engine answers. Its end is
    /// no news.
    public func run() async {
        let task = state.withLock { state -> Task<Void, Never>? in
            guard !state.isStopped else { return nil }
            let number = state.number()
            let task = Task {
                await self.follow()
                self.state.withLock { state in state.runs[number] = nil }
            }
            state.runs[number] = task
            return task
        }
        await withTaskCancellationHandler {
            await task?.value
        } onCancel: {
            task?.cancel()
        }
    }

    private func follow() async {
        var pause = Self.firstPause
        var isToldOff = false
        while !Task.isCancelled {
            let failure: EngineFailure
            do throws(EngineFailure) {
                let version = try await http.ping()
                let events = try await http.events()
                guard !Task.isCancelled else { return }
                news(.connected(apiVersion: version.description))
                pause = Self.firstPause
                isToldOff = false
                failure = await read(events)
            } catch {
                failure = error
            }
            guard !Task.isCancelled else { return }
            if isToldOff {
                logger.debug("engine still does not answer", metadata: [LogKey.reason: "\(failure.words)"])
            } else {
                news(.disconnected(failure.words))
                isToldOff = true
            }
            // A cancelled sleep ends the loop.
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, Self.lastPause)
        }
    }

    /// Delivers events until the stream ends, and returns why it did.
    private func read(_ events: some AsyncSequence<ByteBuffer, any Error>) async -> EngineFailure {
        var lines = EventLines()
        do {
            for try await piece in events {
                lines.append(piece)
                while let line = lines.next() { tell(line) }
            }
            return .closed
        } catch {
            return EngineFailure(error, path: http.endpoint.path)
        }
    }

    private func tell(_ line: ByteBuffer) {
        do throws(EngineFailure) {
            if let item = try codec.news(line) { news(item) }
        } catch {
            logger.debug("event of the engine skipped", metadata: [LogKey.reason: "\(error.words)"])
        }
    }
}
