/// A port that a container exposes (`EXPOSE`, `--expose`).
public struct ExposedPort: Hashable, Comparable, Sendable {
    /// Transport by its protocol number (IANA).
    public enum Transport: UInt8, Comparable, Sendable {
        case tcp = 6
        case udp = 17
        case sctp = 132

        public init?(name: some StringProtocol) {
            switch name {
            case "tcp": self = .tcp
            case "udp": self = .udp
            case "sctp": self = .sctp
            default: return nil
            }
        }

        public static func < (lhs: Transport, rhs: Transport) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    /// Number from 1; 0 stands for all.
    public var number: UInt16
    public var transport: Transport

    public init(number: UInt16, transport: Transport) {
        self.number = number
        self.transport = transport
    }

    public static func < (lhs: ExposedPort, rhs: ExposedPort) -> Bool {
        (lhs.number, lhs.transport) < (rhs.number, rhs.transport)
    }

    /// Stands for all ports of a transport.
    public static func all(_ transport: Transport) -> ExposedPort { ExposedPort(number: 0, transport: transport) }

    /// List of at most ``Limits/portsPerEndpoint`` ports that exposes all of these, in order. Where they are more, a transport with many
    /// stands for all of its ports, those with the most first: a range of ten thousand for UDP must not hide the one for TCP.
    static func summary(_ ports: [ExposedPort]) -> [ExposedPort] {
        var summary = Set(ports)
        while summary.count > Limits.portsPerEndpoint {
            let counts = Dictionary(grouping: summary, by: \.transport).mapValues(\.count)
            guard let most = counts.max(by: { ($0.value, $0.key) < ($1.value, $1.key) })?.key else { break }
            summary = summary.filter { $0.transport != most }
            summary.insert(.all(most))
        }
        return summary.sorted()
    }
}

extension ExposedPort: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        number = try reader.integer()
        guard let transport = Transport(rawValue: try reader.byte()) else { throw .invalid("transport of a port") }
        self.transport = transport
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(number)
        writer.byte(transport.rawValue)
    }
}

/// Names and ports of an endpoint, as other nodes learn them.
public struct EndpointNames: Hashable, Sendable {
    /// Container name first, then host name, short id, names of tasks and aliases.
    public var names: [String]
    public var ports: [ExposedPort]

    public static let none = EndpointNames(names: [], ports: [])

    /// Keeps valid names within ``Limits/namesPerEndpoint`` and ``Limits/nameBytesPerEndpoint``, each once. Earlier ones take precedence.
    public init(names: [String], ports: [ExposedPort] = []) {
        self.names = Self.fitting(names).kept
        self.ports = ExposedPort.summary(ports)
    }

    /// Keeps each name once, however many there are: whoever joins parts of names has bounded them.
    public init(joining names: [String], ports: [ExposedPort]) {
        var seen: Set<String> = []
        self.names = names.filter { seen.insert($0.lowercased()).inserted }
        self.ports = ports
    }

    /// Divides names into those that an endpoint may have and those for which there is no room. What is no name, or is there
    /// already, is in neither.
    public static func fitting(_ names: [String]) -> (kept: [String], cut: [String]) {
        var kept: [String] = []
        var cut: [String] = []
        var seen: Set<String> = []
        var bytes = 0
        for name in names where Self.isName(name) && seen.insert(name.lowercased()).inserted {
            guard cut.isEmpty, kept.count < Limits.namesPerEndpoint, bytes + name.utf8.count <= Limits.nameBytesPerEndpoint else {
                cut.append(name)
                continue
            }
            bytes += name.utf8.count
            kept.append(name)
        }
        return (kept, cut)
    }

    /// True if the text can be a domain name: labels of 1 to 63 printable bytes (RFC 1035 §2.3.4), at most 253 bytes in all.
    public static func isName(_ text: String) -> Bool {
        guard (1...253).contains(text.utf8.count) else { return false }
        return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count) && label.allSatisfy { (0x21...0x7E).contains($0) }
        }
    }
}

extension EndpointNames: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let names = try reader.list(String.self, limit: Limits.namesPerEndpoint)
        let ports = try reader.list(ExposedPort.self, limit: Limits.portsPerEndpoint)
        self.init(names: names, ports: ports)
        // A value that is signed and hashed must have a single form.
        guard self.names == names, self.ports == ports else { throw .invalid("endpoint names") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.list(names)
        writer.list(ports)
    }
}
