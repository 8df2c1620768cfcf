public import OverlayModel

/// State of one network on this host, as the kernel holds it or should hold it.
///
/// A namespace with a bridge, a VXLAN device that was created in the host's namespace (so that its socket and its routing stay
/// there), one port per local endpoint, and the rows that lead to remote endpoints.
public struct NetworkState: Hashable, Sendable {
    /// Bridge and VXLAN device. If any field changes, the network has to be created anew.
    public struct Base: Hashable, Sendable {
        public var vni: VNI
        /// VTEP address of this node.
        public var local: IPAddress
        /// UDP destination port of VXLAN (IANA: 4789).
        public var port: UInt16
        /// MTU of bridge, VXLAN device and veth pairs, in bytes.
        public var mtu: UInt32
        /// True if the host's filter stands, which lets frames of the network in from its VTEPs only. Always wanted.
        public var isFiltered: Bool

        public init(vni: VNI, local: IPAddress, port: UInt16, mtu: UInt32, isFiltered: Bool = true) {
            self.vni = vni
            self.local = local
            self.port = port
            self.mtu = mtu
            self.isFiltered = isFiltered
        }

        /// True if the devices are the same.
        func hasDevices(of other: Base) -> Bool {
            var here = self
            here.isFiltered = other.isFiltered
            return here == other
        }
    }

    public var base: Base
    /// Gateway addresses on the bridge, the same on every host (anycast), with the length of their subnet.
    public var gateways: Set<IPPrefix>
    /// Local endpoints by the name of their bridge port.
    public var ports: [String: Port]
    /// Destinations of MACs: the static FDB rows.
    public var forwarding: [MACAddress: Destination]
    /// Permanent neighbours on the bridge, from which it answers ARP and ND for local and remote endpoints.
    public var neighbours: [IPAddress: MACAddress]
    /// VTEPs that get broadcast, unknown unicast and multicast: those of nodes with an endpoint on the network.
    public var flood: Set<IPAddress>
    /// VTEPs whose frames are let in. The wanted ones are those of `flood`.
    public var admitted: Set<IPAddress>

    public init(base: Base) {
        self.base = base
        self.gateways = []
        self.ports = [:]
        self.forwarding = [:]
        self.neighbours = [:]
        self.flood = []
        self.admitted = []
    }
}

/// Place of a MAC.
public enum Destination: Hashable, Sendable {
    /// Behind a port of the bridge.
    case port(String)
    /// Behind another node's VTEP.
    case vtep(IPAddress)

    /// Place of rows that are not as any is made: half a row, or one with parts that somebody added.
    public static let nowhere = Destination.vtep(IPAddress(v4: 0, 0, 0, 0))
}

/// Veth pair of one local endpoint.
public struct Port: Hashable, Sendable {
    /// Name of the container's side, which the engine moves into the sandbox.
    public var containerLink: String
    /// MAC of the container's side.
    public var mac: MACAddress

    public init(containerLink: String, mac: MACAddress) {
        self.containerLink = containerLink
        self.mac = mac
    }
}

/// Names by which an operator finds the kernel objects of a network.
public enum KernelName {
    /// Prefix of our namespaces under /run/netns, as in `ip -n swov-1048576 link`.
    public static let namespacePrefix = "swov-"
    public static let bridge = "br0"
    public static let vxlan = "vxlan0"
    public static let portPrefix = "ve"
    public static let containerPrefix = "so"

    public static func namespace(_ vni: VNI) -> String { namespacePrefix + String(vni.value) }

    /// VNI of a namespace, by its name; nil if it is not one of ours.
    public static func vni(namespace name: String) -> VNI? {
        guard name.hasPrefix(namespacePrefix), let value = UInt32(name.dropFirst(namespacePrefix.count)), let vni = VNI(value),
            namespace(vni) == name
        else { return nil }
        return vni
    }

    /// Name of the bridge side of an endpoint's veth pair: 14 characters, of the 15 that IFNAMSIZ allows.
    public static func port(_ endpoint: EndpointID) -> String { portPrefix + endpoint.short }
    /// Name of the container's side, until the engine renames it.
    public static func containerLink(_ endpoint: EndpointID) -> String { containerPrefix + endpoint.short }

    /// MAC of a network's bridge on every host, so that a container that moves keeps its neighbour entry for the gateway.
    ///
    /// Locally administered. ``MACAddress/random(using:)`` draws 46 random bits and does not avoid it. A clash is improbable (2⁻⁴⁶
    /// per endpoint), and would cost only that endpoint its gateway.
    public static func gatewayMAC(_ vni: VNI) -> MACAddress { MACAddress(bits: 0x0253_4F00_0000 | UInt64(vni.value)) }
}
