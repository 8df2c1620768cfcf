import OverlayModel

/// Logs of a network.
struct NetworkLogs: Sendable {
    var own: OwnerLog
    var pending = PendingChanges()
    var flushedAt: Instant?
    /// Nodes that get the own log, and whose logs are taken.
    var subscribers: [NodeID: Subscriber] = [:]
    /// The subscribers in order.
    var order: [NodeID] = []
    /// Number of changes of `subscribers`.
    var version = 0
    /// Relay of each group; nil until it is computed.
    var relays: [NodeID]?
    var remotes: [NodeID: RemoteLog] = [:]
    /// XOR of ``ViewHash/position(of:_:)`` over all logs, including the own one.
    var view: UInt64
    /// Value of ``view`` that the digests of the subscribers contain.
    var folded: UInt64 = 0

    /// Changes of the own log that lead to a record.
    func changes(to record: EndpointRecord) -> [LogChange] {
        DividedRecord.changes(from: pending.pieces(of: record.endpoint, over: own.contents), to: record)
    }

    /// Adds a change to those that are not numbered yet, if it changes anything.
    mutating func add(_ change: LogChange) -> PendingChanges.Added { pending.add(change, over: own.contents) }
}

/// A subscriber of an owner's log, as the owner knows it.
struct Subscriber: Sendable {
    /// Sequence up to which it has the log; nil if that is not known.
    var acknowledged: UInt64?
    /// Sequence of the snapshot that it was offered while nothing was known.
    var offered: UInt64?
    /// True while it collects that snapshot part by part. It can take no batches then.
    var isAssembling = false
    /// Sequence up to which everything was sent.
    var sent: UInt64 = 0
    /// Time until the next repeat; nil before the first.
    var retry: Interval?
}

/// Another owner's log, as far as this node has it, and the way to the rest.
struct RemoteLog: Sendable {
    /// The log; nil until all of it is known for the first time.
    var log: OwnerLog?
    /// Number of batches taken since the last acknowledgement.
    var unacknowledged = 0
    var pulledAt: Instant?
    /// Peer that last gave a false snapshot.
    var spoiler: NodeID?
    var spoiledAt: Instant?
    var catchUp: CatchUp?
    var forwarding: Forwarding?

    var position: LogPosition { log?.position ?? .none }
}

/// Pursuit of what others have of a log and this node does not.
struct CatchUp: Sendable {
    /// Positions of the peers that showed to have more.
    var shown: [NodeID: LogPosition] = [:]
    /// True if the log here is not what the owner signed. Only a snapshot helps.
    var isFromScratch = false
    /// Peer that was asked last.
    var asked: NodeID?
    /// Number of batches that the answer may still have.
    var answersLeft = 0
    var retry = Replication.firstPullRetry
    /// Number of repeats since something arrived.
    var fruitless = 0
    var progressedAt: Instant?
    /// True if the next pull goes to the owner, however recently something arrived.
    var isUrgent = false
    var assembly: Assembly?
    /// Batches that arrived before those that they follow, by the sequence that they follow.
    var held: [UInt64: HeldBatch] = [:]

    static let shownLimit = 8

    mutating func note(_ peer: NodeID, _ position: LogPosition, owner: NodeID) {
        guard shown[peer] != nil || shown.count < Self.shownLimit || peer == owner else { return }
        shown[peer] = max(shown[peer] ?? .none, position)
    }
}

/// A batch that overtook others. It is checked at its turn.
struct HeldBatch: Sendable {
    var batch: SignedBatch
    var message: [UInt8]
    var relay: RelayGroup?
    var sender: NodeID
}

/// Group to which this node passed batches on last, so that it need not be computed for each batch.
struct Forwarding: Sendable {
    var group: RelayGroup
    var version: Int
    var members: [NodeID]
}

/// Another node, independent of networks.
struct Peer: Sendable {
    var isReachable = true
    var roundTrip: Interval?
    /// Instant at which its view was last compared.
    var checkedAt: Instant?
    /// Position in the shared networks at which the next comparison starts.
    var rotation = 0
    /// Networks to which it subscribes.
    var networks: Set<NetworkID> = []
    /// XOR of ``ViewHash/view(_:of:)`` over them.
    var digest: UInt64 = 0
}
