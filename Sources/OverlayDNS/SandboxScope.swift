public import OverlayModel

/// Names that a sandbox sees.
public struct SandboxScope: Hashable, Sendable {
    /// Networks that it is on. The first that has a name counts.
    public var networks: [NetworkID]
    /// True if unknown names are asked of Docker's resolver; false if all networks of the sandbox are internal.
    public var forwards: Bool

    public init(networks: [NetworkID], forwards: Bool) {
        self.networks = networks
        self.forwards = forwards
    }
}
