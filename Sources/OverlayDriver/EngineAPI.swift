public import OverlayModel

/// What is asked of the engine's own API, beside the plugin protocol: names and labels, and networks of others made here, too. The source
/// of the shapes is moby's `api/swagger.yaml`, 1.41 and later. Every call ends with one ``EngineAPIAnswer``, however long it takes.
public enum EngineAPICall: Hashable, Sendable {
    /// `GET /networks`
    case networks
    /// `GET /containers/json`: those that run.
    case containers
    /// `GET /networks/{id}`: never waits for a container's lock.
    case network(EngineNetworkID)
    /// `GET /containers/{id}/json`: waits while the container is being started or stopped.
    case container(ContainerID)
    /// `POST /networks/create`
    case createNetwork(EngineNetwork)
    /// `DELETE /networks/{id}`
    case removeNetwork(EngineNetworkID)
}

/// What became of an ``EngineAPICall``.
public enum EngineAPIAnswer: Hashable, Sendable {
    /// Those whose driver is ours; without their endpoints.
    case networks([EngineNetwork])
    case containers([EngineContainer])
    /// With its endpoints.
    case network(EngineNetwork)
    case container(EngineContainer)
    case created(EngineNetworkID)
    case removed
    /// There is no such network or container.
    case notFound
    /// The engine's words.
    case refused(String)
    /// The engine does not answer, or not in a way that is understood.
    case unavailable(String)
}

/// What comes without being asked for.
public enum EngineAPINews: Hashable, Sendable {
    /// The engine answers, and events arrive from now on; what was before is not known.
    case connected(apiVersion: String)
    /// Why it does not; events are lost until it is connected again.
    case disconnected(String)
    /// A network of ours was made, or is gone, or a container came to it or left it.
    case network(EngineNetworkID, NetworkAction, container: ContainerID?)
    /// A container came to a network of another driver, or left it.
    case elsewhere(ContainerID)
    case container(ContainerID, ContainerAction)

    /// As the engine's events call them (moby's `api/types/events`).
    public enum NetworkAction: String, Sendable {
        case create, connect, disconnect, destroy
    }

    /// Others are of no interest.
    public enum ContainerAction: String, Sendable {
        case start, rename, die, destroy
    }
}

/// A container as its engine names it: 64 hexadecimal digits.
public struct ContainerID: EngineIdentifier {
    public let text: String
    public init(unchecked text: String) { self.text = text }
}

/// A network as the engine's API shows it, and takes it.
public struct EngineNetwork: Hashable, Sendable {
    public struct Subnet: Hashable, Sendable {
        public var subnet: IPPrefix
        public var range: IPPrefix?
        public var gateway: IPAddress?
        public var auxiliary: [String: IPAddress]

        public init(subnet: IPPrefix, range: IPPrefix? = nil, gateway: IPAddress? = nil, auxiliary: [String: IPAddress] = [:]) {
            self.subnet = subnet
            self.range = range
            self.gateway = gateway
            self.auxiliary = auxiliary
        }
    }

    /// nil in a network that is to be made.
    public var id: EngineNetworkID?
    public var name: String
    /// Empty: this plugin's.
    public var driver: String
    /// Empty: this plugin's.
    public var ipamDriver: String
    public var labels: [String: String]
    /// `-o`
    public var options: [String: String]
    /// `--ipam-opt`
    public var ipamOptions: [String: String]
    public var subnets: [Subnet]
    public var isInternal: Bool
    public var isIPv6: Bool
    public var isAttachable: Bool
    /// Names of this engine's endpoints.
    public var endpoints: [EndpointID: String] = [:]

    public init(
        id: EngineNetworkID? = nil, name: String, driver: String = "", ipamDriver: String = "", labels: [String: String] = [:],
        options: [String: String] = [:], ipamOptions: [String: String] = [:], subnets: [Subnet] = [], isInternal: Bool = false,
        isIPv6: Bool = false, isAttachable: Bool = false
    ) {
        self.id = id
        self.name = name
        self.driver = driver
        self.ipamDriver = ipamDriver
        self.labels = labels
        self.options = options
        self.ipamOptions = ipamOptions
        self.subnets = subnets
        self.isInternal = isInternal
        self.isIPv6 = isIPv6
        self.isAttachable = isAttachable
    }
}

/// A container as the engine's API shows it.
public struct EngineContainer: Hashable, Sendable {
    /// One of its interfaces.
    public struct Attachment: Hashable, Sendable {
        public var network: EngineNetworkID
        /// nil while it has none.
        public var endpoint: EndpointID?
        public var aliases: [String]

        public init(network: EngineNetworkID, endpoint: EndpointID?, aliases: [String] = []) {
            self.network = network
            self.endpoint = endpoint
            self.aliases = aliases
        }
    }

    public var id: ContainerID
    /// Without the slash.
    public var name: String
    /// Empty where it is not known (a list does not tell), and where it is the short id.
    public var hostname: String
    public var labels: [String: String]
    public var ports: [ExposedPort]
    public var attachments: [Attachment]

    public init(
        id: ContainerID, name: String, hostname: String = "", labels: [String: String] = [:], ports: [ExposedPort] = [],
        attachments: [Attachment] = []
    ) {
        self.id = id
        self.name = name
        self.hostname = hostname
        self.labels = labels
        self.ports = ports
        self.attachments = attachments
    }
}
