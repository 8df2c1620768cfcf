public import OverlayModel

/// Subnet that this host's main table has a route for.
public struct HostSubnet: Hashable, Sendable {
    public var prefix: IPPrefix
    /// Name of the link; empty for a multipath route, or where it is not known.
    public var link: String

    public init(prefix: IPPrefix, link: String) {
        self.prefix = prefix
        self.link = link
    }
}
