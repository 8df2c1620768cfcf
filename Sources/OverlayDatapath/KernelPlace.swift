public import OverlayModel

/// Place whose changes the kernel tells of.
public enum KernelPlace: Hashable, Sendable {
    /// Namespace of the host.
    case host
    /// Filter of the host, which lets frames in from members only.
    case filter
    /// Namespace of a network.
    case network(VNI)
}
