import NIOCore

/// Reason why an engine did not answer, in words for its operator.
struct EngineFailure: Error, Hashable {
    static let closed = EngineFailure(words: "the engine closed the connection")
    static let stopped = EngineFailure(words: "the client of the engine's API is stopped")

    let words: String

    init(words: String) { self.words = words }

    static func silent(for time: TimeAmount) -> EngineFailure {
        EngineFailure(words: "the engine did not answer within \(time.nanoseconds / 1_000_000_000) s")
    }
}
