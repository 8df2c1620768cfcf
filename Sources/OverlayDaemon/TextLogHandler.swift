import Logging
import OverlayModel

/// Log of one line of text per event on standard error. What others say about themselves is in the metadata: it neither ends a line nor
/// moves the cursor of a terminal.
struct TextLogHandler: LogHandler {
    private var handler: StreamLogHandler

    init(label: String) { handler = StreamLogHandler.standardError(label: label) }

    var logLevel: Logger.Level {
        get { handler.logLevel }
        set { handler.logLevel = newValue }
    }

    var metadata: Logger.Metadata {
        get { handler.metadata }
        set { handler.metadata = Self.printable(newValue) }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { handler[metadataKey: key] }
        set { handler[metadataKey: key] = newValue.map { "\("\($0)".printable())" } }
    }

    func log(event: LogEvent) {
        var event = event
        event.metadata = event.metadata.map(Self.printable)
        handler.log(event: event)
    }

    private static func printable(_ metadata: Logger.Metadata) -> Logger.Metadata {
        metadata.mapValues { "\("\($0)".printable())" }
    }
}
