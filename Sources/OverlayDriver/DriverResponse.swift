public import OverlayModel

/// The answer to a ``DriverRequest``. Exactly one follows each.
public enum DriverResponse: Hashable, Sendable {
    /// `{}`
    case done
    case activated
    case networkCapabilities
    case ipamCapabilities
    case defaultAddressSpaces
    case gatewayAllocationCheck
    case operationalInfo
    case allocatedNetwork(options: [String: String])
    /// RequestPool. `gateway` goes into `Data`, so that the engine need not ask for it.
    case pool(SubnetID, IPPrefix, gateway: IPPrefix?)
    /// RequestAddress: the address with the subnet's length.
    case address(IPPrefix)
    /// CreateEndpoint: only what the request had left open; engines refuse a field that they had set.
    case endpoint(mac: MACAddress?)
    /// Join: the link to move into the sandbox. Never a gateway: the engine then gives the container its second interface on
    /// docker_gwbridge, which carries `-p` and the Internet, as with the built-in overlay.
    case joined(sourceName: String, destinationPrefix: String)
    case failed(DriverError)
}

/// Why a call was refused. The message names the network or endpoint and the cause, and what the user can do.
public struct DriverError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        case invalid
        case notFound
        case conflict
        /// No address or block is left.
        case exhausted
        /// Needs something that is away (the catalogue writer, a cluster).
        case unavailable
        /// The kernel or the disk refused.
        case system
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

extension DriverRequest {
    /// The one address space: the same for local and global, so that engines skip their overlap loop (we check routes ourselves).
    public static let addressSpace = "swift-overlay"

    /// The answer of the calls that need no state; nil for the others. Engines ask GetCapabilities once in their life and drop the
    /// driver for good when it fails, so these depend on nothing. (Activate is always answered too, but the node core wants to know of it.)
    public var constantResponse: DriverResponse? {
        switch self {
        case .networkCapabilities: .networkCapabilities
        case .ipamCapabilities: .ipamCapabilities
        case .defaultAddressSpaces: .defaultAddressSpaces
        case .gatewayAllocationCheck: .gatewayAllocationCheck
        case .endpointOperationalInfo: .operationalInfo
        case .programExternalConnectivity, .revokeExternalConnectivity, .discoverNew, .discoverDelete, .freeNetwork: .done
        case .allocateNetwork(let options): .allocatedNetwork(options: options)
        case .activate, .createNetwork, .deleteNetwork, .createEndpoint, .deleteEndpoint, .join, .leave, .requestPool, .releasePool,
            .requestAddress, .releaseAddress:
            nil
        }
    }
}
