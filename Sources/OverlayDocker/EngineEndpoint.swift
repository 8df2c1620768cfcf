import OverlayModel

/// Unix socket on which an engine listens.
struct EngineEndpoint: Hashable, Sendable {
    /// Longest path of a Unix socket in bytes: `sun_path` of unix(7) without its zero.
    static let pathLimit = 107

    let path: String

    /// - Parameter text: `unix:///path`, as `DOCKER_HOST` has it, or a path.
    init(_ text: String) throws(EngineEndpointError) {
        let path = text.hasPrefix("unix://") ? String(text.dropFirst(7)) : text
        guard path.hasPrefix("/"), !path.utf8.contains(0) else {
            throw EngineEndpointError(description: "engine endpoint \(text): not the path of a Unix socket (unix:///…)")
        }
        guard path.utf8.count <= Self.pathLimit else {
            throw EngineEndpointError(description: "engine endpoint \(text): longer than \(Self.pathLimit) bytes")
        }
        self.path = path
    }

    /// - Parameter target: Path and query, escaped.
    func url(_ target: String) -> String { "http+unix://\(percentEncoded(path))\(target)" }
}

/// Endpoint that is not a Unix socket.
public struct EngineEndpointError: Error, Hashable, CustomStringConvertible {
    public let description: String
}

/// True for decimal digits only; `Int(_:)` takes a sign, too.
func isDigits(_ text: Substring) -> Bool { text.utf8.allSatisfy { (48...57).contains($0) } }

/// Version of the engine's API.
struct APIVersion: Hashable, Comparable, Sendable, LosslessStringConvertible {
    /// Version of engine 20.10, used with an engine that does not tell its own.
    static let assumed = APIVersion(major: 1, minor: 41)
    /// Latest version whose answers are known (engine 28.5). Later engines speak it too, or say which version they speak.
    static let latest = APIVersion(major: 1, minor: 51)

    let major: Int
    let minor: Int

    init(major: Int, minor: Int) {
        self.major = major
        self.minor = minor
    }

    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ (1...6).contains($0.utf8.count) && isDigits($0) }),
            let major = Int(parts[0]), let minor = Int(parts[1])
        else { return nil }
        self.init(major: major, minor: minor)
    }

    /// Version that an engine names when it refuses another: "client version 1.41 is too old. Minimum supported API version is 1.44, …"
    /// (moby `daemon/server/middleware/version.go`).
    init?(refusal: String) {
        guard refusal.contains("too old") || refusal.contains("too new"), let words = refusal.firstRange(of: "API version is ")
        else { return nil }
        let rest = refusal[words.upperBound...].prefix { $0 == "." || $0.isNumber }
        // A full stop may end the sentence.
        self.init(String(rest.last == "." ? rest.dropLast() : rest))
    }

    static func < (lhs: APIVersion, rhs: APIVersion) -> Bool { (lhs.major, lhs.minor) < (rhs.major, rhs.minor) }
    var description: String { "\(major).\(minor)" }
}
