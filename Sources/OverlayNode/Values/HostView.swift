public import OverlayModel

/// A host's own addresses, as they are now.
public struct HostView: Hashable, Sendable {
    /// Addresses of the host, with the MTU, in bytes, of the link that each is on.
    public var mtus: [IPAddress: UInt32]
    /// Address by which a daemon without one of its own would be reached; nil where none can be chosen, or where it was not asked for.
    public var choice: IPAddress?

    public init(mtus: [IPAddress: UInt32], choice: IPAddress? = nil) {
        self.mtus = mtus
        self.choice = choice
    }
}
