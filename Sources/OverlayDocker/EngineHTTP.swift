import AsyncHTTPClient
import FoundationEssentials
import Glibc
import NIOCore
import NIOHTTP1
import Synchronization

/// HTTP to an engine's socket, in the version of the API that both speak.
final class EngineHTTP: Sendable {
    /// Time within which the engine must answer a ping, and begin the event stream.
    static let greeting = TimeAmount.seconds(5)
    /// Longest body of a refusal, in bytes.
    private static let refusalBytes = 1 << 20

    let endpoint: EngineEndpoint
    /// Version in every path: that of the oldest supported engine until the engine has told its own.
    private let version = Mutex(APIVersion.assumed)
    private let quick: HTTPClient
    /// Client for calls that wait for a container and hold their connections for long: a pool of their own.
    private let blocking: HTTPClient

    init(endpoint: EngineEndpoint) {
        self.endpoint = endpoint
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.httpVersion = .http1Only
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        // A failure is reported at once; the caller tries again.
        configuration.connectionPool.retryConnectionEstablishment = false
        quick = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
        blocking = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
    }

    func shutdown() async {
        // It fails only if it was shut down before.
        try? await quick.shutdown()
        try? await blocking.shutdown()
    }

    /// Sends `GET /_ping`, and uses the engine's version from now on, or the latest known here if that is older.
    func ping() async throws(EngineFailure) -> APIVersion {
        let head = try await execute(EngineRequest(target: "/_ping", patience: Self.greeting), prefix: "")
        guard head.status == .ok else {
            throw EngineFailure(words: "the engine answered \(head.status)")
        }
        let spoken = head.headers.first(name: "Api-Version").flatMap { APIVersion($0) } ?? .assumed
        version.withLock { $0 = min(spoken, .latest) }
        return spoken
    }

    /// Sends `GET /events`, and returns the endless body.
    func events() async throws(EngineFailure) -> HTTPClientResponse.Body {
        let (response, refusal) = try await open(
            EngineRequest(target: EngineCodec.eventsTarget(since: time(nil) - 1), patience: Self.greeting))
        guard response.status == .ok else {
            let words = refusal.flatMap { EngineCodec.message($0) } ?? "the engine answered \(response.status)"
            throw EngineFailure(words: "the engine does not tell its events: \(words)")
        }
        return response.body
    }

    /// Sends one request, and returns the whole answer.
    func exchange(_ request: EngineRequest) async throws(EngineFailure) -> (status: Int, body: ByteBuffer) {
        do {
            return try await withThrowingTaskGroup { group in
                group.addTask {
                    let (response, refusal) = try await self.open(request)
                    if let refusal { return (Int(response.status.code), refusal) }
                    do {
                        return (Int(response.status.code), try await response.body.collect(upTo: request.limit))
                    } catch is NIOTooManyBytesError {
                        throw EngineFailure(words: "the engine's answer is longer than \(request.limit >> 20) MiB")
                    }
                }
                // The HTTP client's deadline covers the head of the answer only.
                group.addTask {
                    try await Task.sleep(for: .nanoseconds(request.patience.nanoseconds))
                    throw EngineFailure.silent(for: request.patience)
                }
                defer { group.cancelAll() }
                guard let first = try await group.next() else { throw EngineFailure.stopped }
                return first
            }
        } catch {
            throw EngineFailure(error, path: endpoint.path)
        }
    }

    /// Sends a request, and returns the head of the answer and the body of a 400. An engine that refuses the version is asked again in the
    /// version that it names.
    private func open(_ request: EngineRequest) async throws(EngineFailure) -> (HTTPClientResponse, ByteBuffer?) {
        let asked = version.withLock { $0 }
        let response = try await execute(request, prefix: "/v\(asked)")
        guard response.status == .badRequest else { return (response, nil) }
        let refusal: ByteBuffer
        do {
            refusal = try await response.body.collect(upTo: Self.refusalBytes)
        } catch {
            throw EngineFailure(error, path: endpoint.path)
        }
        guard let named = EngineCodec.message(refusal).flatMap({ APIVersion(refusal: $0) }) else { return (response, refusal) }
        // The engine's own version, if it tells it with the refusal: better than the oldest one it accepts.
        let other = response.headers.first(name: "Api-Version").flatMap { APIVersion($0) } ?? named
        guard other != asked else { return (response, refusal) }
        version.withLock { $0 = other }
        return (try await execute(request, prefix: "/v\(other)"), nil)
    }

    private func execute(_ request: EngineRequest, prefix: String) async throws(EngineFailure) -> HTTPClientResponse {
        var message = HTTPClientRequest(url: endpoint.url(prefix + request.target))
        message.method = request.method
        // The engine's server needs one; a socket has none.
        message.headers.add(name: "Host", value: "docker")
        if let body = request.body {
            message.headers.add(name: "Content-Type", value: "application/json")
            message.body = .bytes(ByteBuffer(bytes: body))
        }
        do {
            return try await (request.mayBlock ? blocking : quick).execute(message, timeout: request.patience)
        } catch let error as HTTPClientError where error == .deadlineExceeded {
            throw .silent(for: request.patience)
        } catch {
            throw EngineFailure(error, path: endpoint.path)
        }
    }
}

extension EngineFailure {
    init(_ error: any Error, path: String) {
        switch error {
        case let failure as EngineFailure: self = failure
        case is CancellationError: self = .stopped
        case let error as HTTPClientError where [.cancelled, .alreadyShutdown].contains(error): self = .stopped
        case let error as HTTPClientError where error == .remoteConnectionClosed: self = .closed
        case HTTPParserError.invalidEOFState, ChannelError.ioOnClosedChannel: self = .closed
        case let error as IOError where [ECONNRESET, EPIPE].contains(error.errnoCode): self = .closed
        case let error as IOError:
            self.init(words: "cannot connect to \(path): \(String(cString: strerror(error.errnoCode)))")
        case is HTTPParserError: self.init(words: "what answers on \(path) does not speak HTTP (\(error))")
        default: self.init(words: "no answer on \(path): \(error)")
        }
    }
}
