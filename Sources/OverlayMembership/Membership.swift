public import OverlayModel

/// Which members are reachable now: SWIM with the three parts of Lifeguard (local health, suspicion with confirmations, telling the
/// suspect first). The catalogue says who may be a member; this core never removes one, and tries an unreachable one for ever, so that
/// every partition heals by itself.
///
/// Nobody believes an accusation against its own evidence: a member counts as unreachable here only if this node had no answer from it
/// either, by UDP and TCP. Time must be running time (``RunningClock``).
public struct Membership: Sendable {
    /// What a node tells with each message.
    public struct PeerReport: Hashable, Sendable {
        public var catalogue: CataloguePosition
        /// Of the owner logs that both nodes follow, as the sender holds them.
        public var digest: UInt64
        /// ``StateMark/writes``
        public var writes: UInt64

        public init(catalogue: CataloguePosition, digest: UInt64, writes: UInt64 = 0) {
            self.catalogue = catalogue
            self.digest = digest
            self.writes = writes
        }
    }

    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8], MessagePath)
        /// State, path or reason are others than before.
        case status(NodeID, PeerStatus)
        /// The peer runs anew and has forgotten what it was sent.
        case restarted(NodeID)
        case heard(NodeID, PeerReport, roundTrip: Interval?)
        /// The first that a peer tells of what it heard of this node, and whatever of it is more than this node knows.
        case echo(NodeID, StateMark, isAhead: Bool)
    }

    /// The worst local health.
    static let worst: UInt8 = 7
    static let earlyLimit = 1024
    /// Between two notices to one peer.
    static let noticePause = Interval.seconds(1)

    public let node: NodeID
    public let parameters: MembershipParameters
    /// This node's own.
    public internal(set) var incarnation: Incarnation
    /// Of this process (``StateMark/run``).
    public let run: UInt32
    /// Has a peer told what it heard of this node?
    var isEchoed = false
    /// Local health, 0 (well) to 7: unanswered probes, refutations and stalls of its own make a node slower to judge others.
    public internal(set) var healthScore: UInt8 = 0
    public internal(set) var counters = MembershipCounters()

    /// Of the call that is being worked on.
    var now = Instant(nanoseconds: 0)
    var members: [NodeID: Member] = [:]
    var generator: SeededGenerator
    /// Whom to probe, in order of id, this node included: all that are reachable.
    var ring: [NodeID] = []
    var round: UInt32 = 0
    /// The highest round that others told of.
    var heardRound: UInt32 = 0
    var tickAt: Instant?
    var nextNumber: UInt32
    var probes: [UInt32: Probe] = [:]
    var inquiries: [NodeID: Inquiry] = [:]
    var suspicions: [NodeID: Suspicion] = [:]
    /// Members that do not answer datagrams, and when to try again.
    var retries: [NodeID: (at: Instant, tries: Int)] = [:]
    var nextRetry: Instant?
    /// That nodes are alive which are no members here yet.
    var early: [NodeID: Update] = [:]
    /// Updates that peers have not acknowledged.
    var outbox: [NodeID: Outgoing] = [:]
    /// Peers to which something new goes at the end of this call.
    var dirty: Set<NodeID> = []
    /// Peers to which others' news goes at the end of the delay.
    var relaying: Set<NodeID> = []
    var relayAt: Instant?
    var gossipAt: Instant?
    var sync: (at: Instant, peer: NodeID)?
    var refutedAt: Instant?
    /// Members whose streams failed although they are alive, and when to see whether they still do.
    var streamChecks: [NodeID: Instant] = [:]
    /// Requests of other nodes that the message being taken answers.
    var relayed: [(requester: NodeID, number: UInt32)] = []
    /// Of all samples; what is expected of a peer that gave none yet.
    var usualRoundTrip: Interval?
    /// Of all members, and of those that are not reachable.
    var memberHash: UInt64 = 0
    var awayHash: UInt64 = 0

    struct Member: Sendable {
        var status: PeerStatus
        /// Its newest that is known here; 0 before the first.
        var incarnation = Incarnation(value: 0)
        /// The newest that it spoke in itself; what others say of it may be invented.
        var spoken = Incarnation(value: 0)
        /// The newest that it told of its state, and the last.
        var mark = StateMark.none
        var lastMark = StateMark.none
        /// Was a process of it heard before the present one?
        var isKnownFromBefore = false
        var noticedAt: Instant?
        var path = MessagePath.datagram
        /// Variation of the round trip (RFC 6298).
        var variation = Interval(nanoseconds: 0)
        /// When it last answered by datagram.
        var answeredAt: Instant?
        var streamFailure: StreamFailure?

        mutating func take(_ told: StateMark) {
            if mark != .none, mark.run != told.run { isKnownFromBefore = true }
            mark.take(told)
            lastMark = told
        }

        /// What it is told that was heard of it: nothing by who has only its present word, as that would say that all is well.
        var echoedMark: StateMark { isKnownFromBefore || mark.exceeds(lastMark) ? mark : .none }
    }

    /// A ping whose answer decides something.
    struct Probe: Sendable {
        enum Stage: Sendable {
            case direct
            /// Helpers and the stream were asked as well; who has not answered yet.
            case indirect(helpers: Set<NodeID>)
            /// In place of another node, which gave it its own number.
            case inPlaceOf(NodeID, UInt32)
        }

        var target: NodeID
        var sentAt: Instant
        var deadline: Instant
        var stage: Stage
    }

    /// Questions to a member of which nobody knows whether it lives.
    struct Inquiry: Sendable {
        var nextAt: Instant
        /// A round is under way.
        var isAsking = false
        /// Rounds in a row that had no answer by any path.
        var unanswered: Int
        /// Rounds in a row that were answered by stream alone.
        var byStream = 0
        var answeredByStream = false
        /// Rounds in which its host refused the stream.
        var refused = 0
        /// Somebody declared it unreachable.
        var isDeclared = false
    }

    struct Suspicion: Sendable {
        var since: Instant
        var accusers: Set<NodeID>
        var deadline: Instant
    }

    struct Outgoing: Sendable {
        var updates: [NodeID: Update] = [:]
        /// The number of the first ping that carried the present updates, and when it went; nil when none did yet.
        var number: UInt32?
        var sentAt: Instant?
        /// How many of them it carried, in order of subject.
        var carried = 0
        var attempts = 0
    }

    public init(node: NodeID, incarnation: Incarnation, seed: UInt64, parameters: MembershipParameters = .init()) {
        self.node = node
        self.incarnation = incarnation
        self.parameters = parameters
        generator = SeededGenerator(seed: seed)
        nextNumber = UInt32(truncatingIfNeeded: generator.next()) & 0xFFFF
        var other = SeededGenerator(seed: seed ^ 0x0DD_B007)
        run = UInt32(truncatingIfNeeded: other.next())
        ring = [node]
        memberHash = Self.mix(node)
    }

    /// All members with this node.
    public var count: Int { members.count + 1 }
    /// Equal on nodes that have the same members and think the same of who is reachable.
    public var view: UInt64 { memberHash ^ awayHash }
    /// Who is not reachable.
    public var away: [NodeID] { retries.keys.filter { members[$0]?.status.state.isReachable == false }.sorted() }
    public func status(of node: NodeID) -> PeerStatus? { members[node]?.status }
    /// How messages to a peer travel.
    public func path(to node: NodeID) -> MessagePath { members[node]?.path ?? .datagram }

    // MARK: Members

    /// The members of the catalogue, and this node's identity life among them.
    /// - Parameter boot: The node's boot counter, where it was raised; nil: as before.
    public mutating func setMembers(
        _ nodes: some Sequence<NodeID>, epoch: UInt32, boot: UInt32? = nil, now: Instant, report: (NodeID) -> PeerReport,
        into effects: inout [Effect]
    ) {
        self.now = now
        let own = Incarnation(epoch: epoch, boot: boot ?? UInt32(incarnation.life & 0xFF_FFFF))
        if own.life != incarnation.life { incarnation = own }
        let wanted = Set(nodes).subtracting([node])
        for gone in members.keys.filter({ !wanted.contains($0) }).sorted() { remove(gone) }
        let new = wanted.filter { members[$0] == nil }.sorted()
        for peer in new {
            members[peer] = Member(status: PeerStatus(state: .unknown, since: now))
            memberHash ^= Self.mix(peer)
        }
        if !new.isEmpty {
            ring = (ring + new).sorted()
            announce(to: new)
            for peer in new {
                if let update = early.removeValue(forKey: peer) { take(update, from: update.source, into: &effects) }
            }
        }
        if members.isEmpty {
            tickAt = nil
        } else if tickAt == nil {
            // Somewhere in the period, so that probes of the cluster are spread over it.
            tickAt = now + Interval(nanoseconds: Int64(random(below: UInt64(parameters.period.nanoseconds))))
        }
        flush(report, into: &effects)
    }

    private mutating func remove(_ peer: NodeID) {
        guard let member = members.removeValue(forKey: peer) else { return }
        memberHash ^= Self.mix(peer)
        if !member.status.state.isReachable { awayHash ^= Self.mixAway(peer) }
        ring.removeAll { $0 == peer }
        inquiries[peer] = nil
        suspicions[peer] = nil
        setRetry(peer, nil)
        streamChecks[peer] = nil
        outbox[peer] = nil
        dirty.remove(peer)
        relaying.remove(peer)
        for key in outbox.keys { outbox[key]?.updates[peer] = nil }
        for (number, probe) in probes where probe.target == peer { probes[number] = nil }
        if sync?.peer == peer { sync = nil }
    }

    /// Tells the new ones which life this is: whoever knew an earlier one has something to repeat.
    private mutating func announce(to peers: [NodeID]) {
        let update = Update(subject: node, incarnation: incarnation, claim: .alive, source: node)
        for peer in count - 1 <= parameters.flatGossip ? peers : sample(parameters.fanout, of: peers) { queue(update, for: peer) }
    }

    // MARK: State

    /// - Parameter answers: Whether it answered this node, where it was found alive; nil where that is not known.
    mutating func setState(
        _ peer: NodeID, _ state: PeerState, _ reason: String, answers: Bool? = nil, into effects: inout [Effect]
    ) {
        guard var member = members[peer] else { return }
        let known = member.status
        switch answers {
        case true?: member.status.silentSince = nil
        case false?: member.status.silentSince = known.silentSince ?? now
        case nil: break
        }
        guard known.state != state || known.reason != reason || known.silentSince != member.status.silentSince else { return }
        let old = known.state
        if old != state { member.status.since = now }
        member.status.state = state
        member.status.reason = reason
        members[peer] = member
        if old.isReachable != state.isReachable {
            awayHash ^= Self.mixAway(peer)
            if state.isReachable {
                let position = ring.firstIndex { $0 > peer } ?? ring.endIndex
                ring.insert(peer, at: position)
            } else {
                ring.removeAll { $0 == peer }
            }
        }
        switch state {
        case .unreachable, .daemonDown:
            counters.declared += 1
            if retries[peer] == nil || old == .udpBlocked { setRetry(peer, (now + parameters.firstRetry, 0)) }
        case .udpBlocked: setRetry(peer, (now + parameters.pathRetry, 0))
        case .alive, .suspect, .unknown: setRetry(peer, nil)
        }
        effects.append(.status(peer, member.status))
    }

    mutating func setRetry(_ peer: NodeID, _ retry: (at: Instant, tries: Int)?) {
        guard retry != nil || retries[peer] != nil else { return }
        retries[peer] = retry
        nextRetry = retries.values.lazy.map(\.at).min()
    }

    mutating func worsen(by steps: UInt8) { healthScore = min(Self.worst, healthScore + steps) }
    mutating func recover() { if healthScore > 0 { healthScore -= 1 } }

    // MARK: Small things

    mutating func random(below bound: UInt64) -> UInt64 { bound == 0 ? 0 : generator.next(upperBound: bound) }

    /// Up to `count` different ones, at random.
    mutating func sample(_ count: Int, of nodes: [NodeID]) -> [NodeID] {
        guard nodes.count > count else { return nodes }
        var pool = nodes
        for index in 0..<count { pool.swapAt(index, index + Int(random(below: UInt64(pool.count - index)))) }
        return Array(pool[..<count])
    }

    mutating func takeNumber() -> UInt32 {
        nextNumber &+= 1
        return nextNumber
    }

    static func mix(_ node: NodeID, _ salt: UInt64 = 0) -> UInt64 {
        var generator = SeededGenerator(
            seed: UInt64(truncatingIfNeeded: node.bits) ^ UInt64(truncatingIfNeeded: node.bits >> 64) &* 3 ^ salt)
        return generator.next()
    }

    private static func mixAway(_ node: NodeID) -> UInt64 { mix(node, 0x5AFE_5AFE_5AFE_5AFE) }

    // MARK: Time

    public var nextDeadline: Instant? {
        var next: Instant?
        func consider(_ at: Instant?) {
            guard let at else { return }
            next = next.map { min($0, at) } ?? at
        }
        consider(tickAt)
        for probe in probes.values { consider(probe.deadline) }
        for inquiry in inquiries.values { consider(inquiry.nextAt) }
        for suspicion in suspicions.values { consider(suspicion.deadline) }
        consider(nextRetry)
        consider(relayAt)
        consider(gossipAt)
        consider(sync?.at)
        for at in streamChecks.values { consider(at) }
        return next
    }

    public mutating func advance(to now: Instant, report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        self.now = now
        expireProbes(report, into: &effects)
        advanceInquiries(report, into: &effects)
        expireSuspicions(into: &effects)
        if let at = tickAt, at <= now { tick(report, into: &effects) }
        if let at = nextRetry, at <= now { retry(report, into: &effects) }
        checkStreams(report, into: &effects)
        if let at = sync?.at, at <= now { sendStates(report, into: &effects) }
        if let at = relayAt, at <= now { relay() }
        if let at = gossipAt, at <= now { repeatGossip() }
        flush(report, into: &effects)
    }

    /// The process did not run for a while. What peers answered meanwhile is still to be read, so nothing is concluded at once.
    public mutating func stalled(now: Instant) {
        self.now = now
        worsen(by: 2)
        counters.stalls += 1
        let grace = now + parameters.grace
        for (number, probe) in probes where probe.deadline < grace { probes[number]?.deadline = grace }
        for (peer, inquiry) in inquiries where inquiry.nextAt < grace { inquiries[peer]?.nextAt = grace }
        for (peer, suspicion) in suspicions where suspicion.deadline < grace { suspicions[peer]?.deadline = grace }
    }
}

/// What happened since start.
public struct MembershipCounters: Hashable, Sendable {
    /// Probes of this node that had no answer by any path.
    public var unanswered = 0
    /// Accusations by this node.
    public var accusations = 0
    /// Members that this node took for unreachable or down.
    public var declared = 0
    /// Accusations against this node that it refuted.
    public var refutations = 0
    public var stalls = 0

    public init() {}
}
