/// Weight of a log message.
public enum LogLevel: Sendable {
    case debug, info, warning, error
}
