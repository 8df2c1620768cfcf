import FoundationEssentials
import Glibc
import Logging

/// Log of one JSON object per line on standard error. `time` is in Unix seconds.
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
        let milliseconds = Int64(Date().timeIntervalSince1970 * 1000)
        fields["time"] = "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst())"
        fields["level"] = event.level.rawValue
        fields["message"] = event.message.description
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? encoder.encode(fields) else { return }
        let bytes = Array(line) + [10]
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
