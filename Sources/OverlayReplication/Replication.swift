public import OverlayModel

/// Owner logs (design §5.4): each node numbers the changes of its own endpoints per network, signs them in batches, and pushes them
/// to every subscriber at once. Subscribers acknowledge; what is not acknowledged is sent again. One writer per log, so nothing
/// ever conflicts; no tombstones, no clocks. Whoever lags asks whoever has more, the owner or another, and gets batches or a
/// snapshot; the signatures make that safe. Digests of what each node holds find what all else missed.
public struct Replication: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// Another owner has the network in its kernel, or has it there otherwise than before.
        case attached(owner: NodeID, NetworkID, Attachment, was: Attachment?)
        case detached(owner: NodeID, NetworkID, Attachment)
        /// An endpoint of another owner appeared or changed, with what it was before.
        case changed(owner: NodeID, NetworkID, EndpointRecord, was: EndpointRecord?)
        case gone(owner: NodeID, NetworkID, EndpointRecord)
        /// For the first time in this life all of this owner's endpoints on the network are known.
        case synchronised(owner: NodeID, NetworkID)
        /// What a peer sent of an owner's log was not believed, and changed nothing.
        case rejected(from: NodeID, owner: NodeID, NetworkID, Rejection)
    }

    enum Timer: Hashable, Sendable {
        /// Pending changes become batches.
        case flush(NetworkID)
        /// A subscriber has not acknowledged.
        case resend(NetworkID, NodeID)
        case acknowledge(LogKey)
        /// Somebody has more of a log than is here.
        case pull(LogKey)
        /// What is shared with a peer is compared.
        case check(NodeID)
        /// A cut snapshot was of use long enough.
        case forget(LogKey)
    }

    /// Changes that come closer together than this travel together.
    static let coalescing = Interval.milliseconds(1)
    /// With the way there and back it is below ``firstRetry`` or two round trips, whatever those are.
    static let acknowledgementDelay = Interval.milliseconds(3)
    static let firstRetry = Interval.milliseconds(10)
    static let lastRetry = Interval.milliseconds(200)
    static let batchesPerResend = 8
    /// Batches on their way to one subscriber, at most: a socket's buffer takes them, and the subscriber holds as many.
    static let window = 64
    static let batchesPerPull = 16
    static let pullSpacing = Interval.milliseconds(5)
    static let firstPullRetry = Interval.milliseconds(20)
    static let lastPullRetry = Interval.milliseconds(500)
    /// Pulls in a row without an answer before it is believed that there is none; the next digest says if there was.
    static let fruitlessPulls = 32
    /// Batches kept until those before them have come, of one log and of all.
    static let heldOfLog = window
    static let heldOfAll = 1024
    /// Times that the giver of a snapshot is asked again for parts before another one is.
    static let patience = 3
    /// For so long no snapshot is taken from who gave one that was none.
    static let spoilerPause = Interval.milliseconds(200)
    static let snapshotKept = Interval.seconds(10)
    static let checkDelay = Interval.milliseconds(50)
    static let checkSpacing = Interval.milliseconds(200)
    static let compareMessages = 16
    static let vectorMessages = 64

    public let node: NodeID
    /// ``Incarnation/life`` of this node.
    public private(set) var life: UInt64
    public internal(set) var counters = ReplicationCounters()
    let signing: any RecordSigning
    /// With more subscribers than this, batches go by relays.
    let relayThreshold: Int
    var keys: [NodeID: [UInt8]] = [:]
    var networks: [NetworkID: NetworkLogs] = [:]
    var peers: [NodeID: Peer] = [:]
    /// Networks whose view changed since the peers' digests were reckoned.
    var unfolded: Set<NetworkID> = []
    var timers = Deadlines<Timer>()
    /// Batches held of all logs.
    var held = 0
    /// The highest number any log of this life has used. A log that is made anew starts above it: a subscriber that missed the end
    /// of the old one must not take the new one for something it has.
    var highest: UInt64 = 0

    public init(node: NodeID, life: UInt64, signing: any RecordSigning, relayThreshold: Int = 128) {
        self.node = node
        self.life = life
        self.signing = signing
        self.relayThreshold = relayThreshold
    }

    /// A node that joins a cluster starts a new life.
    /// - Precondition: There is no log, or none any more.
    public mutating func setLife(_ life: UInt64) {
        precondition(networks.isEmpty, "\(networks.count) logs belong to life \(self.life), not \(life)")
        if life != self.life { highest = 0 }
        self.life = life
    }

    /// The public keys of the members. What an owner without one signed is not believed.
    public mutating func setKeys(_ keys: [NodeID: [UInt8]]) { self.keys = keys }

    /// Twice of this is what an answer may take; nil when nothing is known.
    public mutating func setRoundTrip(_ peer: NodeID, _ roundTrip: Interval?) { peers[peer, default: Peer()].roundTrip = roundTrip }

    // MARK: Time

    public var nextDeadline: Instant? { timers.next }

    public mutating func advance(to now: Instant, into effects: inout [Effect]) {
        while let timer = timers.takeDue(at: now) {
            switch timer {
            case .flush(let network): flush(network, now: now, into: &effects)
            case .resend(let network, let peer): resend(network, to: peer, now: now, into: &effects)
            case .acknowledge(let key): acknowledge(key, now: now, into: &effects)
            case .pull(let key): pullAgain(key, now: now, into: &effects)
            case .check(let peer): check(peer, now: now, into: &effects)
            case .forget(let key): forgetSnapshot(key, now: now)
            }
        }
    }

    // MARK: Messages

    /// Takes a message of an authenticated member.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) throws(DecodeError) {
        // A stream may bring more. It would be kept and passed on as it is, and fits no datagram.
        guard bytes.count <= Budget.message else { throw .tooLong(limit: Budget.message) }
        switch try ReplicationMessage(wire: bytes) {
        case .batch(let batch, let relay): take(batch, bytes, relay: relay, from: peer, now: now, into: &effects)
        case .part(let part): take(part, from: peer, now: now, into: &effects)
        case .acknowledge(let network, let position, let view):
            take(position, of: network, view: view, from: peer, now: now, into: &effects)
        case .pull(let key, let have, let part): answer(key, have: have, part, to: peer, now: now, into: &effects)
        case .compare(let views): answer(views, to: peer, into: &effects)
        case .vector(let network, let entries, let isAnswer):
            take(entries, of: network, isAnswer: isAnswer, from: peer, now: now, into: &effects)
        }
    }

    func isReachable(_ peer: NodeID) -> Bool { peers[peer]?.isReachable ?? true }

    func isFollowed(_ owner: NodeID, on network: NetworkID) -> Bool { networks[network]?.subscribers[owner] != nil }

    /// One log of this network moved.
    mutating func moved(_ key: LogKey, from old: LogPosition, to new: LogPosition) {
        if old != .none { networks[key.network]?.view ^= SplitMix.position(of: key.owner, old) }
        if new != .none { networks[key.network]?.view ^= SplitMix.position(of: key.owner, new) }
        unfolded.insert(key.network)
    }
}

/// What happened since the start; for metrics.
public struct ReplicationCounters: Hashable, Sendable {
    /// To subscribers or relays, for the first time.
    public var batchesSent: UInt64 = 0
    /// Taken into a log.
    public var batchesReceived: UInt64 = 0
    /// By timer, or because somebody asked.
    public var batchesResent: UInt64 = 0
    /// As a relay.
    public var batchesForwarded: UInt64 = 0
    /// Messages that ask for what is missing.
    public var pulls: UInt64 = 0
    /// Parts of snapshots sent.
    public var snapshotParts: UInt64 = 0
    /// Snapshots completed and taken.
    public var snapshots: UInt64 = 0
    public var rejected: UInt64 = 0

    public init() {}
}
