public import OverlayModel

/// One call of the engine, decoded and checked for form.
///
/// The shapes come from libnetwork's `drivers/remote/api` and `ipams/remote/api`. The transcripts in the tests show which engine
/// sends what, and when.
public enum DriverRequest: Hashable, Sendable {
    /// Plugin.Activate: the engine has just started.
    case activate
    // Calls that are answered without any state (`constantResponse`).
    case networkCapabilities
    case ipamCapabilities
    case defaultAddressSpaces
    case gatewayAllocationCheck
    case endpointOperationalInfo
    case programExternalConnectivity
    case revokeExternalConnectivity
    case discoverNew
    case discoverDelete
    case allocateNetwork(options: [String: String])
    case freeNetwork

    // Calls that are answered by the node core.
    case createNetwork(CreateNetwork)
    case deleteNetwork(EngineNetworkID)
    case createEndpoint(CreateEndpoint)
    case deleteEndpoint(network: EngineNetworkID, endpoint: EndpointID)
    case join(Join)
    case leave(network: EngineNetworkID, endpoint: EndpointID)
    case requestPool(RequestPool)
    case releasePool(SubnetID)
    case requestAddress(RequestAddress)
    case releaseAddress(SubnetID, IPAddress)
}

/// Addressing of a network for one family, as IPAM gave it to the engine.
public struct IPAMData: Hashable, Sendable {
    public var addressSpace: String
    public var pool: IPPrefix?
    public var gateway: IPPrefix?
    public var auxiliary: [String: IPPrefix]

    public init(addressSpace: String, pool: IPPrefix?, gateway: IPPrefix? = nil, auxiliary: [String: IPPrefix] = [:]) {
        self.addressSpace = addressSpace
        self.pool = pool
        self.gateway = gateway
        self.auxiliary = auxiliary
    }
}

public struct CreateNetwork: Hashable, Sendable {
    public var network: EngineNetworkID
    public var options: Options
    public var v4: [IPAMData]
    public var v6: [IPAMData]

    public init(network: EngineNetworkID, options: Options, v4: [IPAMData], v6: [IPAMData]) {
        self.network = network
        self.options = options
        self.v4 = v4
        self.v6 = v6
    }
}

public struct CreateEndpoint: Hashable, Sendable {
    public var network: EngineNetworkID
    public var endpoint: EndpointID
    public var v4: IPPrefix?
    public var v6: IPPrefix?
    public var mac: MACAddress?
    public var options: Options

    public init(
        network: EngineNetworkID, endpoint: EndpointID, v4: IPPrefix?, v6: IPPrefix?, mac: MACAddress?, options: Options
    ) {
        self.network = network
        self.endpoint = endpoint
        self.v4 = v4
        self.v6 = v6
        self.mac = mac
        self.options = options
    }
}

public struct Join: Hashable, Sendable {
    public var network: EngineNetworkID
    public var endpoint: EndpointID
    /// Path of the container's network namespace. On engines before 28 the file appears only after this call.
    public var sandboxKey: String

    public init(network: EngineNetworkID, endpoint: EndpointID, sandboxKey: String) {
        self.network = network
        self.endpoint = endpoint
        self.sandboxKey = sandboxKey
    }
}

public struct RequestPool: Hashable, Sendable {
    public var addressSpace: String
    /// `--subnet`; nil asks for the next free one.
    public var pool: IPPrefix?
    /// `--ip-range`
    public var subPool: IPPrefix?
    /// `--ipam-opt net=NAME`
    public var networkName: String?
    public var family: IPAddress.Family

    public init(
        addressSpace: String, pool: IPPrefix?, subPool: IPPrefix?, networkName: String?, family: IPAddress.Family
    ) {
        self.addressSpace = addressSpace
        self.pool = pool
        self.subPool = subPool
        self.networkName = networkName
        self.family = family
    }
}

public struct RequestAddress: Hashable, Sendable {
    public enum Purpose: Hashable, Sendable {
        case gateway
        /// Address that needs no MAC: `--aux-address`.
        case auxiliary
        /// Address of an endpoint. The MAC is the idempotency key: the same MAC again is the same request again.
        case endpoint(MACAddress)
    }

    public var pool: SubnetID
    /// Requested address: `--ip`, `--gateway` or `--aux-address`; nil leaves the choice to us.
    public var address: IPAddress?
    public var purpose: Purpose
    /// Name of the container, which engines from 29 on tell; nil from others.
    public var containerName: String?

    public init(pool: SubnetID, address: IPAddress?, purpose: Purpose, containerName: String? = nil) {
        self.pool = pool
        self.address = address
        self.purpose = purpose
        self.containerName = containerName
    }
}
