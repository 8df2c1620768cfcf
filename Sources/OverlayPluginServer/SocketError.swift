/// Reason why a socket cannot be served.
public struct SocketError: Error, Hashable, Sendable, CustomStringConvertible {
    public var path: String
    public var cause: String

    public init(path: String, cause: String) {
        self.path = path
        self.cause = cause
    }

    public var description: String { "socket \(path): \(cause)" }
}
