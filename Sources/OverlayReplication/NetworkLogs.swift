import OverlayModel

/// All that is known of one network's logs.
struct NetworkLogs: Sendable {
    var own: OwnerLog
    var pending = PendingChanges()
    var flushedAt: Instant?
    /// Who gets the own log, and whose logs are taken.
    var subscribers: [NodeID: Subscriber] = [:]
    /// The subscribers in order.
    var order: [NodeID] = []
    /// Counts the changes of `subscribers`.
    var version = 0
    /// The relay of each group, while it is known.
    var relays: [NodeID]?
    var remotes: [NodeID: RemoteLog] = [:]
    /// XOR of ``SplitMix/position(of:_:)`` over all logs, the own one included.
    var view: UInt64
    /// What the digests of the subscribers contain of this network.
    var folded: UInt64 = 0
}

/// What the owner knows of one subscriber of its log.
struct Subscriber: Sendable {
    /// Nil: nothing is known of what it has.
    var acknowledged: UInt64?
    /// The snapshot it was told of while nothing was known.
    var offered: UInt64?
    /// It has to collect that snapshot part by part, and can take no batches meanwhile.
    var isAssembling = false
    /// Through here all was sent.
    var sent: UInt64 = 0
    /// Until the next repeat; nil: the first.
    var retry: Interval?
}

/// What this node holds of another owner's log, and how it gets the rest.
struct RemoteLog: Sendable {
    /// Nil until all of it is known for the first time.
    var log: OwnerLog?
    /// Batches taken since the last acknowledgement.
    var unacknowledged = 0
    var pulledAt: Instant?
    /// Who last gave a snapshot that was none.
    var spoiler: NodeID?
    var spoiledAt: Instant?
    var catchUp: CatchUp?
    var forwarding: Forwarding?

    var position: LogPosition { log?.position ?? .none }
}

/// Going after what others have of a log and this node does not.
struct CatchUp: Sendable {
    /// Who showed to have more, and how much.
    var shown: [NodeID: LogPosition] = [:]
    /// What is here is not what the owner signed: only a snapshot helps.
    var isFromScratch = false
    /// Who was asked last.
    var asked: NodeID?
    /// Batches that the answer may still have.
    var answersLeft = 0
    var retry = Replication.firstPullRetry
    /// Repeats since something came.
    var fruitless = 0
    var progressedAt: Instant?
    /// The next pull is for the owner, however recently something came.
    var isUrgent = false
    var assembly: Assembly?
    /// Batches that came before the ones they follow, by the sequence they follow.
    var held: [UInt64: HeldBatch] = [:]

    static let shownLimit = 8

    mutating func note(_ peer: NodeID, _ position: LogPosition, owner: NodeID) {
        guard shown[peer] != nil || shown.count < Self.shownLimit || peer == owner else { return }
        shown[peer] = max(shown[peer] ?? .none, position)
    }
}

/// A batch that overtook others. It is checked when it is its turn.
struct HeldBatch: Sendable {
    var batch: SignedBatch
    var message: [UInt8]
    var relay: RelayGroup?
    var sender: NodeID
}

/// The group this node passed batches on to the last time, so that it need not be reckoned for each.
struct Forwarding: Sendable {
    var group: RelayGroup
    var version: Int
    var members: [NodeID]
}

/// What is known of another node, whatever the networks.
struct Peer: Sendable {
    var isReachable = true
    var roundTrip: Interval?
    /// When its view was last compared.
    var checkedAt: Instant?
    /// Where the next comparison starts in the shared networks.
    var rotation = 0
    /// Those it subscribes.
    var networks: Set<NetworkID> = []
    /// XOR of ``SplitMix/view(_:of:)`` over them.
    var digest: UInt64 = 0
}
