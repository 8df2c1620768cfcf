public import OverlayModel

/// Call of the engine's own API, used beside the plugin protocol for names and labels, and to create networks of other hosts here.
///
/// The shapes come from moby's `api/swagger.yaml`, 1.41 and later. Every call ends with one ``EngineAPIAnswer``, however long it
/// takes.
public enum EngineAPICall: Hashable, Sendable {
    /// `GET /networks`
    case networks
    /// `GET /networks`: those of other drivers.
    case otherNetworks
    /// `GET /info`: pools that the engine takes subnets from.
    case addressPools
    /// `GET /containers/json`: running containers.
    case containers
    /// `GET /containers/json` with the filter `network`: running containers on a network of whatever driver.
    case containersOn(EngineNetworkID)
    /// `GET /containers/json`: endpoints of running containers.
    case endpoints
    /// `GET /networks/{id}`. Never waits for a container's lock.
    case network(EngineNetworkID)
    /// `GET /containers/{id}/json`. Waits while the container is being started or stopped.
    case container(ContainerID)
    /// `POST /networks/create`
    case createNetwork(EngineNetwork)
    /// `DELETE /networks/{id}`
    case removeNetwork(EngineNetworkID)
    /// `GET /containers/json?all=1`: networks in the configuration of all containers, running or not.
    case configured
    /// `GET /containers/{id}/json`: what the container's configuration says of its interfaces.
    case interfaces(ContainerID)
    /// `POST /networks/{id}/connect`. Of a container that does not run, it changes the configuration alone.
    case connect(EngineNetworkID, ContainerID, EngineInterface)
    /// `GET /containers/{id}/json`: how the container's last start ended.
    case lastStart(ContainerID)
    /// `POST /containers/{id}/start`
    case start(ContainerID)
}

/// Answer to an ``EngineAPICall``.
public enum EngineAPIAnswer: Hashable, Sendable {
    /// Networks of our driver, without their endpoints.
    case networks([EngineNetwork])
    /// Networks of other drivers, without their endpoints.
    case otherNetworks([EngineNetwork])
    /// Pools that the engine was configured with; none where it has those that are built in.
    case addressPools([EngineAddressPool])
    case containers([EngineContainer])
    /// Endpoints of all running containers, on networks of whatever driver.
    case endpoints(Set<EndpointID>)
    /// One network, with its endpoints.
    case network(EngineNetwork)
    case container(EngineContainer)
    case created(EngineNetworkID)
    case removed
    case configured([ConfiguredContainer])
    /// Interfaces by name of the network.
    case interfaces([String: EngineInterface])
    case connected
    case lastStart(ContainerStart)
    case started
    /// There is no such network or container.
    case notFound
    /// Error message of the engine.
    case refused(String)
    /// The engine does not answer, or its answer is not understood.
    case unavailable(String)
}

/// Event from the engine.
public enum EngineAPINews: Hashable, Sendable {
    /// The engine answers, and events arrive from now on. What happened before is not known.
    case connected(apiVersion: String)
    /// The engine does not answer, with the reason. Events are lost until it is connected again.
    case disconnected(String)
    /// A network of ours was created or removed, or a container was connected to it or disconnected.
    case network(EngineNetworkID, NetworkAction, container: ContainerID?)
    /// A network of another driver was removed.
    case removedElsewhere
    /// `docker network prune`, or the part of `docker system prune` that does the same, has ended. Its removals were told before.
    case pruned
    /// A container was connected to, or disconnected from, a network of another driver.
    case elsewhere(EngineNetworkID, NetworkAction, ContainerID)
    /// A network of another driver was created.
    case otherNetworks
    case container(ContainerID, ContainerAction)

    /// Actions of network events that matter here, by their name in moby's `api/types/events`.
    public enum NetworkAction: String, Sendable {
        case create, connect, disconnect, destroy
    }

    /// Actions of container events that matter here.
    public enum ContainerAction: String, Sendable {
        case create, start, rename, die, destroy
    }
}

/// Container id of an engine: 64 hexadecimal digits.
public struct ContainerID: EngineIdentifier {
    public let text: String
    public init(unchecked text: String) { self.text = text }
}

/// Last start of a container.
public struct ContainerStart: Hashable, Sendable {
    /// True if the container ended, or did not come up, and the engine does not try again.
    public var hasEnded: Bool
    /// Error of the start; empty where it had none.
    public var error: String
    /// True if the container's restart policy has it started again.
    public var isRestarted: Bool
    /// True if the start failed at this plugin, or as it was not there, and the container's restart policy wants it to run.
    public var isMissed: Bool

    public init(hasEnded: Bool, error: String, isRestarted: Bool, isMissed: Bool = false) {
        self.hasEnded = hasEnded
        self.error = error
        self.isRestarted = isRestarted
        self.isMissed = isMissed
    }
}

/// Container with the networks that its configuration names.
public struct ConfiguredContainer: Hashable, Sendable {
    /// Name of a network in a configuration, and the id that it had when the container last ran; nil if it never did. Engines go by
    /// the id then: a network that was made anew under its name is not found.
    public struct Reference: Hashable, Sendable {
        public var name: String
        public var network: EngineNetworkID?

        public init(name: String, network: EngineNetworkID?) {
            self.name = name
            self.network = network
        }
    }

    public var id: ContainerID
    public var references: [Reference]
    /// Name, without the leading slash; empty if unknown.
    public var name: String
    /// True if the container ran, or was to run, and does not any more.
    public var hasEnded: Bool

    public init(id: ContainerID, references: [Reference], name: String = "", hasEnded: Bool = false) {
        self.id = id
        self.references = references
        self.name = name
        self.hasEnded = hasEnded
    }
}

/// Interface as a container's configuration has it (`EndpointSettings`), without what the engine found out.
public struct EngineInterface: Hashable, Sendable {
    /// `--ip` and `--ip6`
    public var v4: String?
    public var v6: String?
    public var linkLocal: [String]
    public var links: [String]
    public var aliases: [String]
    public var driverOptions: [String: String]

    public init(
        v4: String? = nil, v6: String? = nil, linkLocal: [String] = [], links: [String] = [], aliases: [String] = [],
        driverOptions: [String: String] = [:]
    ) {
        self.v4 = v4
        self.v6 = v6
        self.linkLocal = linkLocal
        self.links = links
        self.aliases = aliases
        self.driverOptions = driverOptions
    }
}

/// Network as the engine's API shows and accepts it.
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

    /// Id of the network; nil if it is still to be created.
    public var id: EngineNetworkID?
    public var name: String
    /// Driver; empty for this plugin.
    public var driver: String
    /// IPAM driver; empty for this plugin.
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
    /// Names of this engine's endpoints on the network.
    public var endpoints: [EndpointID: String] = [:]
    /// Addresses of those endpoints; nil where the engine has not told all of them, as in lists.
    public var addresses: Set<IPAddress>?

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

/// Container as the engine's API shows it.
public struct EngineContainer: Hashable, Sendable {
    /// Interface of the container.
    public struct Attachment: Hashable, Sendable {
        public var network: EngineNetworkID
        /// Name of the network by this engine; empty if unknown.
        public var networkName: String
        /// Endpoint id; nil while there is none.
        public var endpoint: EndpointID?
        public var aliases: [String]
        /// Priority among the container's networks (`GwPriority`, API 1.48); the greatest comes first.
        public var priority: Int

        public init(
            network: EngineNetworkID, networkName: String = "", endpoint: EndpointID?, aliases: [String] = [], priority: Int = 0
        ) {
            self.network = network
            self.networkName = networkName
            self.endpoint = endpoint
            self.aliases = aliases
            self.priority = priority
        }
    }

    public var id: ContainerID
    /// Name, without the leading slash.
    public var name: String
    /// Host name; empty if unknown (lists do not contain it) or if it is the short id.
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
