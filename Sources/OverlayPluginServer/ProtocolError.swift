/// Why a request could not be understood. It never reached the node, so nothing has changed.
public struct ProtocolError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// The body is not what the method needs.
        case malformed
        /// There is no such method.
        case unknownMethod
        /// Everything but POST.
        case wrongVerb
        /// The body is longer than `Limits.requestBodyBytes`.
        case tooLarge

        /// The HTTP status. Engines retry no status, and show the text of `Err` with each of these.
        public var status: Int {
            switch self {
            case .malformed: 400
            case .unknownMethod: 404
            case .wrongVerb: 405
            case .tooLarge: 413
            }
        }
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

/// The first bytes of a text that came from outside, in quotes and with control characters escaped: safe in a log or an answer.
func excerpt(_ text: String) -> String {
    let limit = 64
    let bytes = text.utf8
    let head = String(decoding: bytes.prefix(limit), as: UTF8.self).debugDescription
    return bytes.count > limit ? "\(head)… (\(bytes.count) bytes)" : head
}
