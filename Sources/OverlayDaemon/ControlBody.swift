/// Bodies of control requests, as JSON.
public enum ControlBody {
    public struct Initialise: Codable, Sendable {
        public var defaultAddressPool: String?
        public var defaultAddressPoolMaskLength: Int?
        /// Lifetime of the token in seconds; 0 is without end, nil one day.
        public var tokenTTL: UInt64?
        public init(defaultAddressPool: String?, defaultAddressPoolMaskLength: Int?, tokenTTL: UInt64? = nil) {
            self.defaultAddressPool = defaultAddressPool
            self.defaultAddressPoolMaskLength = defaultAddressPoolMaskLength
            self.tokenTTL = tokenTTL
        }
    }

    public struct RotateToken: Codable, Sendable {
        /// Lifetime of the new token in seconds; 0 is without end, nil one day.
        public var ttl: UInt64?
        public init(ttl: UInt64?) { self.ttl = ttl }
    }

    public struct Join: Codable, Sendable {
        public var token: String
        public var host: String
        public var port: UInt16?
        public init(token: String, host: String, port: UInt16?) {
            self.token = token
            self.host = host
            self.port = port
        }
    }

    public struct Force: Codable, Sendable {
        public var force: Bool?
        public init(force: Bool?) { self.force = force }
    }

    /// Network as `docker network create` describes it.
    public struct CreateNetwork: Codable, Sendable {
        public var name: String
        public var subnets: [String]?
        public var ranges: [String]?
        public var gateways: [String]?
        public var auxiliary: [String: String]?
        public var labels: [String: String]?
        public var options: [String: String]?
        public var ipamOptions: [String: String]?
        public var isInternal: Bool?
        public var isIPv6: Bool?
        public var isAttachable: Bool?
        public init(name: String) { self.name = name }
    }

    /// Network to remove, by its name or the beginning of its id.
    public struct RemoveNetwork: Codable, Sendable {
        public var name: String
        public init(name: String) { self.name = name }
    }

    /// Endpoint of this host to free, by its id, the beginning of that, the name of its container, or an address.
    public struct Disconnect: Codable, Sendable {
        public var network: String
        public var endpoint: String
        public var force: Bool?
        public init(network: String, endpoint: String, force: Bool?) {
            self.network = network
            self.endpoint = endpoint
            self.force = force
        }
    }

    public struct RemoveNode: Codable, Sendable {
        public var node: String
        public var force: Bool?
        public var now: Bool?
        public init(node: String, force: Bool?, now: Bool?) {
            self.node = node
            self.force = force
            self.now = now
        }
    }
}
