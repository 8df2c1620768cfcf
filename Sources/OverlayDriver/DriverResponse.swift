public import OverlayModel

/// Answer to a ``DriverRequest``. Each request gets exactly one.
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
    /// RequestPool. The gateway goes into `Data`, so that the engine need not ask for it.
    case pool(SubnetID, IPPrefix, gateway: IPPrefix?)
    /// RequestAddress: the address, with the length of its subnet.
    case address(IPPrefix)
    /// CreateEndpoint: only what the request had left open, as engines refuse a field that they had set.
    case endpoint(mac: MACAddress?)
    /// Join: the link to move into the sandbox. Never with a gateway, so that the engine gives the container a second interface on
    /// docker_gwbridge for `-p` and the Internet, as with the built-in overlay. The engine adds the routes through the link, and
    /// fails the container where one of them is there already.
    case joined(sourceName: String, destinationPrefix: String, routes: [IPPrefix] = [])
    case failed(DriverError)
}

/// Refusal of a call. The message names the network or endpoint, the cause, and what the user can do.
public struct DriverError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        case invalid
        case notFound
        case conflict
        /// No address or block is left.
        case exhausted
        /// Something that the call needs is away (the catalogue writer, a cluster).
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
    /// The one address space, for local and global scope alike, so that engines skip their check for overlaps. We check routes
    /// ourselves.
    public static let addressSpace = "swift-overlay"

    /// Answer to a call that needs no state; nil for other calls.
    ///
    /// Engines ask GetCapabilities once and drop the driver for good if it fails, so these answers depend on nothing. (Activate is
    /// always answered too, but the node core wants to know of it.)
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
