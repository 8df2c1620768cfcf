/// One value of an options map.
///
/// Engines send strings, booleans, numbers, lists and objects, and may send more kinds later. Everything that JSON allows is kept,
/// and nothing that is not understood is an error.
public enum OptionValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([OptionValue])
    case object([String: OptionValue])

    public var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    public var object: [String: OptionValue]? {
        if case .object(let fields) = self { fields } else { nil }
    }

    /// Boolean value of a JSON boolean, or of its text (`-o` values are always text).
    public var bool: Bool? {
        switch self {
        case .bool(let value): value
        case .string("true"), .string("1"), .string(""): true
        case .string("false"), .string("0"): false
        default: nil
        }
    }
}

extension OptionValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([OptionValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: OptionValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}

/// Options map. Absent, `null` and `{}` mean the same.
public typealias Options = [String: OptionValue]

/// Names of the options that are read, from libnetwork's `netlabel`.
public enum OptionName {
    /// Key of the object with all `-o key=value` of `docker network create`.
    public static let generic = "com.docker.network.generic"
    public static let isInternal = "com.docker.network.internal"
    public static let enableIPv6 = "com.docker.network.enable_ipv6"
    /// `-o com.docker.network.driver.mtu=N`
    public static let mtu = "com.docker.network.driver.mtu"
    /// `-o encrypted`
    public static let encrypted = "encrypted"
    /// Lists of the ports that a container publishes and exposes, in CreateEndpoint and Join.
    public static let portMap = "com.docker.network.portmap"
    public static let exposedPorts = "com.docker.network.endpoint.exposedports"
    /// `-o swift-overlay.multicast-route=false`: containers get no route for multicast through this network.
    public static let multicastRoute = "swift-overlay.multicast-route"
    /// `-o swift-overlay.allow-overlap=true`: a subnet of the network may overlap routes of hosts.
    public static let allowOverlap = "swift-overlay.allow-overlap"
    /// Kind of address that a RequestAddress asks for.
    public static let requestAddressType = "RequestAddressType"
    /// Value of ``requestAddressType`` for a gateway, and key of the gateway in a pool's `Data`.
    public static let gateway = "com.docker.network.gateway"
    /// Name of the container in a RequestAddress, from engine 29 on.
    public static let containerName = "com.docker.network.endpoint.name"
    /// MAC as text in a RequestAddress. It is sent because we ask for it (RequiresMACAddress).
    public static let macAddress = "com.docker.network.endpoint.macaddress"
    /// `--ipam-opt net=NAME`: name of the cluster network to use.
    public static let net = "net"
    /// `--network name=N,driver-opt=name=web`: name of the endpoint, for use without the engine's API.
    public static let endpointName = "name"
}
