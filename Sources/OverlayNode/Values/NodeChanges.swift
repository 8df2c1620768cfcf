/// Changes of nodes' states, as `swift-overlay node ls --watch` prints them.
public struct NodeChanges: Codable, Hashable, Sendable {
    /// Number of the last change. The next request asks for those after it.
    public var last: UInt64
    public var changes: [NodeChange]
}

/// Change of a node's state, as this node sees it.
public struct NodeChange: Codable, Hashable, Sendable {
    public var node: String
    public var state: String
    public var was: String
    public var reason: String
    /// Time since then in milliseconds.
    public var age: Int64
}
