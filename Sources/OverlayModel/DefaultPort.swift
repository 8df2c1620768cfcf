/// Ports where the user names none.
public enum DefaultPort {
    /// TCP and UDP port of a node for other nodes. Not 7946: an engine in Swarm mode needs that one, and says nothing when it does not
    /// get it.
    public static let nodes: UInt16 = 7947
    /// The same in version 0.1. Clusters that were made on it stay there.
    public static let nodesBefore: UInt16 = 7946
    /// UDP port of VXLAN (RFC 7348 section 5).
    public static let vxlan: UInt16 = 4789
}
