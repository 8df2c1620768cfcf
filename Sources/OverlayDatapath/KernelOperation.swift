public import OverlayModel

/// One step of programming the kernel. The shell carries out a list of them in order, without knowing why.
///
/// Removing something that does not exist succeeds, and every `set` replaces what exists, so a list can be repeated.
public enum KernelOperation: Hashable, Sendable {
    /// Creates the host's filter, and the network's namespace, bridge and VXLAN device where they are missing, and adopts those that
    /// are as wanted. The filter comes first, and without it there is no network.
    case createNetwork(NetworkState.Base)
    /// Deletes the VXLAN device, the bridge and the namespace. The device goes first, as a namespace dies late and would hold the
    /// VNI.
    case deleteNetwork(VNI)
    case addGateway(VNI, IPPrefix)
    case deleteGateway(VNI, IPPrefix)
    /// Creates a veth pair: `name` as a port of the bridge, up, and the container's side in the host's namespace, both with the
    /// MTU.
    case createPort(VNI, name: String, Port, mtu: UInt32)
    /// Brings a port that exists back to what it was made as. One that is not there is not made: its other end would not be in its
    /// sandbox.
    case mendPort(VNI, name: String, Port, mtu: UInt32)
    /// Takes a port out of its bridge and down, and marks its link as one to be deleted. The link itself ends with
    /// ``reapPorts(_:)``: for a single one, the kernel takes some 20 ms.
    case deletePort(VNI, name: String)
    /// Deletes all links of ports that ``deletePort(_:name:)`` has marked, in one go, and with them their other ends, wherever those
    /// are. A port that was created anew under the name of a marked one is none of them.
    case reapPorts(VNI)
    /// Gives a port and its other end, which is in the host's namespace or in that of the path, another MTU in bytes. The other end
    /// keeps a smaller one that its container chose: it follows where it has the one of before, or too large a one. The port follows
    /// last.
    case setPortMTU(VNI, name: String, sandbox: String, from: UInt32, to: UInt32)
    /// Sets a static FDB row. For a VTEP it is set on the VXLAN device, and on the bridge towards that device.
    case setForwarding(VNI, MACAddress, Destination)
    case deleteForwarding(VNI, MACAddress, Destination)
    case setNeighbour(VNI, IPAddress, MACAddress)
    case deleteNeighbour(VNI, IPAddress)
    /// Tells the containers behind the local ports that the MAC of an address changed, by an ARP announcement (RFC 5227 §3) or an
    /// unsolicited neighbour advertisement (RFC 4861 §7.2.6) to each port. Otherwise they would send to the old MAC until their
    /// neighbour cache expires.
    case announce(VNI, IPAddress, MACAddress)
    /// Lets in frames of a VTEP, and then sends it broadcast, unknown unicast and multicast.
    case addFlood(VNI, IPAddress)
    /// Takes both back, the filter's element last.
    case deleteFlood(VNI, IPAddress)

    /// Network that the operation belongs to.
    public var vni: VNI {
        switch self {
        case .createNetwork(let base): base.vni
        case .deleteNetwork(let vni), .addGateway(let vni, _), .deleteGateway(let vni, _), .createPort(let vni, _, _, _),
            .mendPort(let vni, _, _, _), .deletePort(let vni, _), .reapPorts(let vni), .setPortMTU(let vni, _, _, _, _),
            .setForwarding(let vni, _, _),
            .deleteForwarding(let vni, _, _),
            .setNeighbour(let vni, _, _), .deleteNeighbour(let vni, _), .announce(let vni, _, _), .addFlood(let vni, _),
            .deleteFlood(let vni, _):
            vni
        }
    }
}

/// Result of a batch of operations.
public enum KernelOutcome: Hashable, Sendable {
    case applied
    /// The operation at `index` failed. Those before it are in the kernel. Rows go in batches, so some after it may be too.
    case failed(index: Int, KernelFailure)
}

/// Refusal of the kernel.
public struct KernelFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Operation in the words of iproute2, such as `link add vxlan0`.
    public var operation: String
    /// errno, positive; 0 if none applies.
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

/// State found in the kernel: our networks' namespaces, and the container sides that are still in the host's namespace.
public struct ObservedState: Hashable, Sendable {
    /// Networks with usable devices. One whose devices are missing or not as expected is in `broken` instead.
    public var networks: [VNI: NetworkState]
    /// Namespaces of ours without a usable bridge and VXLAN device.
    public var broken: Set<VNI>
    /// Networks with links of deleted ports that are still to be reaped.
    public var unreaped: Set<VNI>
    /// Ports that are left of broken networks, where some are.
    public var remains: [VNI: Set<String>]
    /// Things that exist and differ from what they were made as, by network. The MTU of a port is not among them.
    public var altered: [VNI: Alteration]
    /// MTUs of ports by network and name.
    public var portMTUs: [VNI: [String: UInt32]]
    /// Paths of sandboxes that were asked for and do not exist.
    public var missingSandboxes: Set<String> = []

    public init(
        networks: [VNI: NetworkState] = [:], broken: Set<VNI> = [], unreaped: Set<VNI> = [], remains: [VNI: Set<String>] = [:],
        altered: [VNI: Alteration] = [:], portMTUs: [VNI: [String: UInt32]] = [:]
    ) {
        self.networks = networks
        self.broken = broken
        self.unreaped = unreaped
        self.remains = remains
        self.altered = altered
        self.portMTUs = portMTUs
    }

    /// True if the port exists.
    public func hasPort(_ name: String, on vni: VNI) -> Bool {
        networks[vni]?.ports[name] != nil || remains[vni]?.contains(name) ?? false
    }
}
