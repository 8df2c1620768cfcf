import Glibc

/// Options as the user gave them: on the command line, else in the environment, where `--state-dir` is SWIFT_OVERLAY_STATE_DIR.
public struct Settings: Sendable {
    /// Path of the control socket where none is set.
    public static let controlSocket = "/run/swift-overlay/control.sock"

    private let given: [String: String]
    private let environment: @Sendable (String) -> String?

    /// - Parameters:
    ///   - given: Options of the command line, by name without dashes.
    ///   - environment: Value of a variable; the process's own unless a test says otherwise.
    public init(
        _ given: [String: String?] = [:],
        environment: @escaping @Sendable (String) -> String? = Settings.processEnvironment
    ) {
        self.given = given.compactMapValues { $0 }
        self.environment = environment
    }

    /// Value of a variable of this process.
    public static func processEnvironment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    public subscript(name: String) -> String? { given[name] ?? environment(Self.variable(name)) }

    /// Name of an option's environment variable.
    static func variable(_ name: String) -> String {
        "SWIFT_OVERLAY_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    }

    /// - Parameter words: The choices, for the error.
    func choice(_ name: String, _ values: [String: Bool], or standard: Bool, _ words: String) throws(SettingError) -> Bool {
        guard let text = self[name] else { return standard }
        guard let value = values[text] else { throw SettingError("--\(name) takes \(words), not \(text)") }
        return value
    }
}

/// Value that an option does not take: a usage error, with what it takes.
public struct SettingError: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    init(_ description: String) { self.description = description }
}

/// Splits `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address; nil for anything else.
public func splitHostPort(_ text: String) -> (host: String, port: UInt16?)? {
    if text.hasPrefix("[") {
        guard let end = text.firstIndex(of: "]") else { return nil }
        let host = String(text[text.index(after: text.startIndex)..<end])
        let rest = text[text.index(after: end)...]
        if rest.isEmpty { return (host, nil) }
        guard rest.hasPrefix(":"), let port = UInt16(rest.dropFirst()) else { return nil }
        return (host, port)
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    switch parts.count {
    case 1: return text.isEmpty ? nil : (text, nil)
    case 2:
        guard !parts[0].isEmpty, let port = UInt16(parts[1]) else { return nil }
        return (String(parts[0]), port)
    default: return (text, nil)
    }
}
