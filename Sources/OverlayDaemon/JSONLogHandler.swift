import FoundationEssentials
import Glibc
import Logging

/// One JSON object a line on standard error.
struct JSONLogHandler: LogHandler {
    let label: String
    var logLevel: Logger.Level = .info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata.merging(event.metadata ?? [:]) { $1 }.mapValues { "\($0)" }
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        fields["time"] = "\(time.tv_sec).\(String(1000 + time.tv_nsec / 1_000_000).dropFirst())"
        fields["level"] = event.level.rawValue
        fields["message"] = event.message.description
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? encoder.encode(fields) else { return }
        let bytes = Array(line) + [10]
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
