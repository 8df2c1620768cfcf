public import OverlayModel

/// Network namespace whose changes the kernel tells of.
public enum KernelPlace: Hashable, Sendable {
    /// Namespace of the host.
    case host
    /// Namespace of a network.
    case network(VNI)
}
