/// Response code (RFC 1035 §4.1.1, RFC 6891 §9). Values above 15 need EDNS.
public enum ResponseCode: UInt16, Sendable {
    case noError = 0
    case formatError = 1
    case serverFailure = 2
    case nameError = 3
    case notImplemented = 4
    case refused = 5
    case badVersion = 16
}
