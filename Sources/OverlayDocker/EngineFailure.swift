import AsyncHTTPClient
import Glibc
import NIOCore
import NIOHTTP1

/// Why an engine was not heard, in words for its operator.
struct EngineFailure: Error, Hashable {
    static let closed = EngineFailure(words: "the engine closed the connection")
    static let stopped = EngineFailure(words: "the client of the engine's API is stopped")

    let words: String

    init(words: String) { self.words = words }

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

    static func silent(for time: TimeAmount) -> EngineFailure {
        EngineFailure(words: "the engine did not answer within \(time.nanoseconds / 1_000_000_000) s")
    }
}
