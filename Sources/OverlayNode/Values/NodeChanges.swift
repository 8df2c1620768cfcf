/// Changes of nodes' states, as `swift-overlay node ls --watch` prints them.
public struct NodeChanges: Codable, Hashable, Sendable {
    /// Number of the last change. The next request asks for those after it.
    public var last: UInt64
    /// Changes, the oldest first.
    public var changes: [NodeChange]
}

/// Change of a node's state, as this node sees it.
public struct NodeChange: Codable, Hashable, Sendable {
    /// Name of the node that changed.
    public var node: String
    /// State in one word since then (``PeerState/word``).
    public var state: String
    /// State before, in one word.
    public var was: String
    /// Reason for the state; empty when all is well.
    public var reason: String
    /// Time since then in milliseconds.
    public var age: Int64
}
