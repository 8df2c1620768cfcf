public import OverlayModel

/// State that the kernel has, or should have, for one network on this host: a namespace with a bridge, a VXLAN device that was created in
/// the host's namespace (so that its socket and routing stay there), one port per local endpoint, and the rows that say where the
/// remote ones are.
public struct NetworkState: Hashable, Sendable {
    /// The device pair bridge + VXLAN. A change of any field means making the network anew.
    public struct Base: Hashable, Sendable {
        public var vni: VNI
        /// This node's VTEP address.
        public var local: IPAddress
        /// Destination UDP port of VXLAN (IANA: 4789).
        public var port: UInt16
        /// MTU of bridge, VXLAN device and veth pairs, in bytes.
        public var mtu: UInt32

        public init(vni: VNI, local: IPAddress, port: UInt16, mtu: UInt32) {
            self.vni = vni
            self.local = local
            self.port = port
            self.mtu = mtu
        }
    }

    public var base: Base
    /// Gateway addresses on the bridge, the same on every host (anycast), with the subnet's length.
    public var gateways: Set<IPPrefix>
    /// Local endpoints by the name of their bridge port.
    public var ports: [String: Port]
    /// Destination of frames for each MAC: the permanent FDB.
    public var forwarding: [MACAddress: Destination]
    /// Permanent neighbours on the bridge, from which it answers ARP and ND at the edge, for local and remote endpoints.
    public var neighbours: [IPAddress: MACAddress]
    /// VTEPs that get broadcast, unknown unicast and multicast: nodes with an endpoint on the network.
    public var flood: Set<IPAddress>

    public init(base: Base) {
        self.base = base
        self.gateways = []
        self.ports = [:]
        self.forwarding = [:]
        self.neighbours = [:]
        self.flood = []
    }
}

/// Location of a MAC.
public enum Destination: Hashable, Sendable {
    /// Behind a port of the bridge.
    case port(String)
    /// Behind another node's VTEP.
    case vtep(IPAddress)
}

/// The veth pair of one local endpoint.
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

/// The names under which kernel objects of a network are known to an operator.
public enum KernelName {
    /// Prefix of our namespaces under /run/netns; `ip -n swov-1048576 …` reaches one.
    public static let namespacePrefix = "swov-"
    public static let bridge = "br0"
    public static let vxlan = "vxlan0"
    public static let portPrefix = "ve"
    public static let containerPrefix = "so"

    public static func namespace(_ vni: VNI) -> String { namespacePrefix + String(vni.value) }

    /// The VNI a namespace name stands for, nil when it is not one of ours.
    public static func vni(namespace name: String) -> VNI? {
        guard name.hasPrefix(namespacePrefix), let value = UInt32(name.dropFirst(namespacePrefix.count)), let vni = VNI(value),
            namespace(vni) == name
        else { return nil }
        return vni
    }

    /// Bridge side of an endpoint's veth pair, 14 characters (IFNAMSIZ allows 15).
    public static func port(_ endpoint: EndpointID) -> String { portPrefix + endpoint.short }
    /// Container side, until the engine renames it.
    public static func containerLink(_ endpoint: EndpointID) -> String { containerPrefix + endpoint.short }

    /// The MAC of every bridge of a network: one gateway address and MAC on all hosts, so that a container that moves keeps its
    /// neighbour entry. Locally administered, never one of ``MACAddress/random(using:)`` (those end in 46 random bits; this prefix is kept
    /// out by the second byte being checked nowhere else: a clash has a chance of 2⁻²² per endpoint and only costs the gateway).
    public static func gatewayMAC(_ vni: VNI) -> MACAddress { MACAddress(bits: 0x0253_4F00_0000 | UInt64(vni.value)) }
}
