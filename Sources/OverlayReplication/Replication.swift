public import OverlayModel

/// Owner logs. Each node numbers the changes of its own endpoints per network, signs them in batches and pushes them to every
/// subscriber at once. Subscribers acknowledge; unacknowledged batches are sent again. Each log has one writer, so nothing
/// conflicts and neither tombstones nor clocks are needed. A node that lags asks any node that has more, the owner or another, and
/// gets batches or a snapshot; signatures make that safe. Digests of what each node holds find everything that was missed
/// otherwise.
public struct Replication: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// Another owner has the network in its kernel, or has changed it there.
        case attached(owner: NodeID, NetworkID, Attachment, was: Attachment?)
        case detached(owner: NodeID, NetworkID, Attachment)
        /// An endpoint of another owner appeared, or changed from what it was.
        case changed(owner: NodeID, NetworkID, EndpointRecord, was: EndpointRecord?)
        case gone(owner: NodeID, NetworkID, EndpointRecord)
        /// An endpoint of another owner claims other things than before. Empty claims stand for none.
        case claimed(owner: NodeID, NetworkID, EndpointClaims, was: EndpointClaims)
        /// All of this owner's endpoints on the network are known, for the first time in this life.
        case synchronised(owner: NodeID, NetworkID)
        /// A peer's message about an owner's log was not believed, and changed nothing.
        case rejected(from: NodeID, owner: NodeID, NetworkID, Rejection)
    }

    enum Timer: Hashable, Sendable {
        /// Pending changes become batches.
        case flush(NetworkID)
        /// A subscriber has not acknowledged.
        case resend(NetworkID, NodeID)
        case acknowledge(LogKey)
        /// A peer has more of a log than this node.
        case pull(LogKey)
        /// The networks shared with a peer are compared.
        case check(NodeID)
        /// A kept snapshot was not asked for any more.
        case forget(LogKey)
    }

    /// Time within which changes travel together.
    static let coalescing = Interval.milliseconds(1)
    /// Delay of acknowledgements. With a round trip it is below ``firstRetry`` or two round trips, whatever those are.
    static let acknowledgementDelay = Interval.milliseconds(3)
    static let firstRetry = Interval.milliseconds(10)
    static let lastRetry = Interval.milliseconds(200)
    static let batchesPerResend = 8
    /// Greatest number of batches on their way to a subscriber. A socket's buffer takes them, and the subscriber holds as many.
    static let window = 64
    static let batchesPerPull = 16
    static let pullSpacing = Interval.milliseconds(5)
    static let firstPullRetry = Interval.milliseconds(20)
    static let lastPullRetry = Interval.milliseconds(500)
    /// Number of pulls in a row without an answer before the pursuit ends. The next digest says if there was more.
    static let fruitlessPulls = 32
    /// Number of batches held until those before them arrive, of one log and of all.
    static let heldOfLog = window
    static let heldOfAll = 1024
    /// Number of times that the source of a snapshot is asked again for parts before another one is asked.
    static let patience = 3
    /// Time for which no snapshot is taken from a peer that gave a false one.
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
    public var settings: ReplicationSettings
    var keys: [NodeID: [UInt8]] = [:]
    var networks: [NetworkID: NetworkLogs] = [:]
    var peers: [NodeID: Peer] = [:]
    /// Networks whose view changed since the peers' digests were computed.
    var unfolded: Set<NetworkID> = []
    var timers = Deadlines<Timer>()
    /// Number of batches held, of all logs.
    var held = 0
    /// Highest sequence that a log of this life has used. A log that is created anew starts above it: a subscriber that missed the
    /// end of the old one must not take the new one for something it has.
    var highest: UInt64 = 0

    public init(
        node: NodeID, life: UInt64, signing: any RecordSigning, versions: ProtocolVersions = .present, relayThreshold: Int = 128
    ) {
        self.node = node
        self.life = life
        self.signing = signing
        settings = ReplicationSettings(versions: versions, relayThreshold: relayThreshold)
    }

    /// Starts a new life, because the node joins a cluster.
    /// - Precondition: There are no logs.
    public mutating func setLife(_ life: UInt64) {
        precondition(networks.isEmpty, "\(networks.count) logs belong to life \(self.life), not \(life)")
        if life != self.life { highest = 0 }
        self.life = life
    }

    /// Sets the public keys of the members. Logs of an owner without a key are not believed.
    public mutating func setKeys(_ keys: [NodeID: [UInt8]]) { self.keys = keys }

    /// Sets the round trip to a peer; nil if it is not known. An answer may take two of them.
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
        switch try ReplicationMessage(received: bytes, by: settings.versions) {
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

    /// Takes note that a log moved.
    mutating func moved(_ key: LogKey, from old: LogPosition, to new: LogPosition) {
        if old != .none { networks[key.network]?.view ^= ViewHash.position(of: key.owner, old) }
        if new != .none { networks[key.network]?.view ^= ViewHash.position(of: key.owner, new) }
        unfolded.insert(key.network)
    }
}

/// Settings of the core.
public struct ReplicationSettings: Sendable {
    /// Versions of the protocol that this node speaks.
    let versions: ProtocolVersions
    /// Version that is in use. Changes of a later one are not recorded.
    public var versionInUse = ProtocolVersions.unannounced
    /// Number of subscribers above which batches go by relays.
    let relayThreshold: Int
}

/// Numbers of events since the start, for metrics.
public struct ReplicationCounters: Hashable, Sendable {
    /// Batches sent to subscribers or relays for the first time.
    public var batchesSent: UInt64 = 0
    /// Batches taken into a log.
    public var batchesReceived: UInt64 = 0
    /// Batches sent again by timer, or because a peer asked.
    public var batchesResent: UInt64 = 0
    /// Batches passed on as a relay.
    public var batchesForwarded: UInt64 = 0
    /// Messages sent that ask for what is missing.
    public var pulls: UInt64 = 0
    /// Parts of snapshots sent.
    public var snapshotParts: UInt64 = 0
    /// Snapshots completed and taken into a log.
    public var snapshots: UInt64 = 0
    public var rejected: UInt64 = 0

    public init() {}
}
