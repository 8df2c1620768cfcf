/// Reason why a request could not be understood. It never reached the node, so nothing has changed.
public struct ProtocolError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// Body that is not what the method needs.
        case malformed
        /// Method that does not exist.
        case unknownMethod
        /// Verb other than POST.
        case wrongVerb
        /// Body longer than `Limits.requestBodyBytes`, or `Limits.portBodyBytes` where it lists ports.
        case tooLarge

        /// HTTP status. Engines retry none of these, and show the text of `Err` with each.
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

/// First bytes of a text from outside, in quotes and with control characters escaped: safe in a log or an answer.
func excerpt(_ text: String) -> String {
    let limit = 64
    let bytes = text.utf8
    let head = String(decoding: bytes.prefix(limit), as: UTF8.self).debugDescription
    return bytes.count > limit ? "\(head)… (\(bytes.count) bytes)" : head
}
