public import OverlayModel

/// One step of programming the kernel. The shell carries out a list of them in order and knows nothing of why. Every removal of what
/// is not there succeeds, and every `set` replaces what is there: a list can be repeated.
public enum KernelOperation: Hashable, Sendable {
    /// Makes the network's namespace, bridge and VXLAN device where they are missing, and adopts them where they are as wanted.
    case createNetwork(NetworkState.Base)
    /// Deletes VXLAN device, bridge and namespace, the device first: a namespace dies late and its device would hold the VNI.
    case deleteNetwork(VNI)
    case addGateway(VNI, IPPrefix)
    case deleteGateway(VNI, IPPrefix)
    /// Makes the veth pair: `name` on the bridge, the container's side in the host's namespace, both with the MTU, up on the bridge.
    case createPort(VNI, name: String, Port, mtu: UInt32)
    /// Deletes the port; its other end goes with it, wherever it is.
    case deletePort(VNI, name: String)
    /// A permanent FDB row. For a VTEP: on the VXLAN device, and on the bridge towards it.
    case setForwarding(VNI, MACAddress, Destination)
    case deleteForwarding(VNI, MACAddress, Destination)
    case setNeighbour(VNI, IPAddress, MACAddress)
    case deleteNeighbour(VNI, IPAddress)
    /// Tells the containers behind the local ports that an address has another MAC than before: a gratuitous ARP (RFC 5227 §3) or an
    /// unsolicited neighbour advertisement (RFC 4861 §7.2.6) to each port. Without it they go on sending to the old one for as long as
    /// their neighbour cache pleases.
    case announce(VNI, IPAddress, MACAddress)
    case addFlood(VNI, IPAddress)
    case deleteFlood(VNI, IPAddress)

    /// The network it belongs to.
    public var vni: VNI {
        switch self {
        case .createNetwork(let base): base.vni
        case .deleteNetwork(let vni), .addGateway(let vni, _), .deleteGateway(let vni, _), .createPort(let vni, _, _, _),
            .deletePort(let vni, _), .setForwarding(let vni, _, _), .deleteForwarding(let vni, _, _),
            .setNeighbour(let vni, _, _), .deleteNeighbour(let vni, _), .announce(let vni, _, _), .addFlood(let vni, _),
            .deleteFlood(let vni, _):
            vni
        }
    }
}

/// Outcome of a batch of operations.
public enum KernelOutcome: Hashable, Sendable {
    case applied
    /// The operation at `index` failed. Those before it are in the kernel; rows go in batches, so a few behind it may be too.
    case failed(index: Int, KernelFailure)
}

/// A refusal of the kernel.
public struct KernelFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, in the words of iproute2 (`link add vxlan0`).
    public var operation: String
    /// errno, positive; 0 where none applies.
    public var errno: Int32
    /// Meaning of the error, and what the user can do.
    public var reason: String

    public init(operation: String, errno: Int32, reason: String) {
        self.operation = operation
        self.errno = errno
        self.reason = reason
    }

    public var description: String { "\(operation): \(reason)" }
}

/// State found in the kernel: our networks' namespaces, and the container sides that still lie in the host's namespace.
public struct ObservedState: Hashable, Sendable {
    /// nil `base` values of a network whose devices are missing or not as expected are told by its absence in `networks` and its
    /// presence in `broken`.
    public var networks: [VNI: NetworkState]
    /// Namespaces of ours without a usable bridge and VXLAN device.
    public var broken: Set<VNI>

    public init(networks: [VNI: NetworkState] = [:], broken: Set<VNI> = []) {
        self.networks = networks
        self.broken = broken
    }
}
