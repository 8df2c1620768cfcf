public import OverlayModel

/// Port whose veth pair is gone while its container runs, with all that the engine set at the container's side.
public struct LostPort: Hashable, Sendable {
    public var vni: VNI
    /// Name of the bridge side.
    public var name: String
    public var port: Port
    /// MTU of both sides, in bytes.
    public var mtu: UInt32
    /// Path of the container's network namespace.
    public var sandbox: String
    /// Addresses of the container's side, with the length of their subnets.
    public var addresses: [IPPrefix]
    /// Destinations of the routes that Join gave, through the link.
    public var routes: [IPPrefix]

    /// Describes a port to be made again.
    public init(
        vni: VNI, name: String, port: Port, mtu: UInt32, sandbox: String, addresses: [IPPrefix], routes: [IPPrefix]
    ) {
        self.vni = vni
        self.name = name
        self.port = port
        self.mtu = mtu
        self.sandbox = sandbox
        self.addresses = addresses
        self.routes = routes
    }
}

/// Outcome of making a lost port again.
public enum RestoreOutcome: Hashable, Sendable {
    /// The port and the container's side are there.
    case restored
    /// The sandbox does not exist: its container is gone.
    case sandboxIsGone
    case failed(KernelFailure)
}
