/// Row of `swift-overlay node ls`.
public struct NodeReport: Codable, Hashable, Sendable {
    /// Id of the node: 32 hexadecimal digits.
    public var id: String
    /// Host name.
    public var name: String
    /// Address at which other nodes reach its daemon.
    public var address: String
    /// Tunnel address.
    public var dataPathAddress: String
    /// State in one word (``PeerState/word``); this node itself is always alive.
    public var state: String
    /// Reason for the state, or a problem of a node that is alive; empty when all is well.
    public var reason: String
    /// Health score by the node's own measure, from 0 (well) to 7 (it gets no processor time, or no packets).
    public var healthScore: UInt8
    /// Old spelling of ``healthScore``, for scripts; it goes after 0.2.
    public var ailment: UInt8
    /// Time in this state, in seconds.
    public var since: Int64
    /// Round-trip time in microseconds.
    public var roundTrip: Int64?
    /// True for the node that was asked.
    public var isSelf: Bool
    /// True for the catalogue writer, as far as the node that was asked knows.
    public var isWriter: Bool
    /// Number of blocks of addresses that it owns.
    public var blocks: Int
    /// Number of networks that its engine has.
    public var networks: Int
    /// Versions of the protocol that it speaks, such as `2 to 3`; nil from daemons that do not tell.
    public var speaks: String?
}
