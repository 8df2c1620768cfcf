public import OverlayModel

/// Reachability of the members: SWIM with the three parts of Lifeguard (local health, suspicion with confirmations, telling the suspect
/// first). The catalogue says which nodes are members. This core never removes one and tries unreachable ones for ever, so that every
/// partition heals by itself.
///
/// No node believes an accusation against its own evidence: a member counts as unreachable here only if this node had no answer from it
/// either, by UDP and TCP. Time must be running time (``RunningClock``).
public struct Membership: Sendable {
    /// Facts that a node reports with each message.
    public struct PeerReport: Hashable, Sendable {
        public var catalogue: CataloguePosition
        /// Digest of the owner logs that both nodes follow, as the sender holds them.
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
        /// State, reason or silence of a peer changed.
        case status(NodeID, PeerStatus)
        /// The peer was restarted and has forgotten what it was sent.
        case restarted(NodeID)
        case heard(NodeID, PeerReport, roundTrip: Interval?)
        /// A peer's echo of the mark that it heard from this node: the first one, and every one that is ahead of this node's state.
        case echo(NodeID, StateMark, isAhead: Bool)
    }

    /// The worst local health.
    static let worst: UInt8 = 7
    static let earlyLimit = 1024
    /// Pause between two notices to one peer.
    static let noticePause = Interval.seconds(1)

    public let node: NodeID
    public let parameters: MembershipParameters
    /// Incarnation of this node.
    public internal(set) var incarnation: Incarnation
    /// Random number of this process (``StateMark/run``).
    public let run: UInt32
    /// True if a peer has echoed the mark that it heard from this node.
    var isEchoed = false
    /// Local health, 0 (well) to 7: unanswered probes, refutations and stalls of its own make a node slower to judge others.
    public internal(set) var healthScore: UInt8 = 0
    public internal(set) var counters = MembershipCounters()

    /// Instant of the present call.
    var now = Instant(nanoseconds: 0)
    var members: [NodeID: Member] = [:]
    var generator: SeededGenerator
    /// Reachable members including this node, in order of their ids. They are probed in this order.
    var ring: [NodeID] = []
    var round: UInt32 = 0
    /// Highest round that others reported.
    var heardRound: UInt32 = 0
    /// Instant for which the next tick is planned, so that late ticks do not shift those after them; nil without members.
    var plannedTick: Instant?
    var nextNumber: UInt32
    var probes: [UInt32: Probe] = [:]
    var inquiries: [NodeID: Inquiry] = [:]
    var suspicions: [NodeID: Suspicion] = [:]
    /// Number of tries so far to reach each member that does not answer datagrams.
    var retries: [NodeID: Int] = [:]
    var timers = Deadlines<Timer>()
    /// News of nodes that are no members here yet.
    var early: [NodeID: Update] = [:]
    /// Updates for each peer that it has not acknowledged.
    var outbox: [NodeID: Outgoing] = [:]
    /// Peers that get news at the end of this call.
    var dirty: Set<NodeID> = []
    /// Peers that get others' news at the end of the delay.
    var relaying: Set<NodeID> = []
    /// Peer to compare views with next.
    var syncPeer: NodeID?
    var refutedAt: Instant?
    /// Requests of other nodes that the present message answers.
    var relayed: [(requester: NodeID, number: UInt32)] = []
    /// Smoothed round trip of all samples, expected of a peer that gave none yet.
    var usualRoundTrip: Interval?
    /// Hashes of all members, and of those that are not reachable.
    var memberHash: UInt64 = 0
    var awayHash: UInt64 = 0

    struct Member: Sendable {
        var status: PeerStatus
        /// Newest incarnation that is known here; 0 before the first.
        var incarnation = Incarnation(value: 0)
        /// Newest incarnation in which it spoke itself. Others may have invented theirs.
        var spoken = Incarnation(value: 0)
        /// Newest mark that it reported of its state, and the last one.
        var mark = StateMark.none
        var lastMark = StateMark.none
        /// True if an earlier process of it was heard.
        var isKnownFromBefore = false
        var noticedAt: Instant?
        var path = MessagePath.datagram
        /// Variation of the round trip (RFC 6298).
        var variation = Interval(nanoseconds: 0)
        /// Instant at which it last answered by datagram.
        var answeredAt: Instant?
        var streamFailure: StreamFailure?
        var refusals = StreamRefusals()

        mutating func take(_ told: StateMark) {
            if mark != .none, mark.run != told.run { isKnownFromBefore = true }
            mark.take(told)
            lastMark = told
        }

        /// Mark that is echoed to it. A node that knows only its present process echoes none, which would say that all is well.
        var echoedMark: StateMark { isKnownFromBefore || mark.exceeds(lastMark) ? mark : .none }
    }

    /// A ping whose answer decides something.
    struct Probe: Sendable {
        enum Stage: Sendable {
            case direct
            /// Helpers and the stream were asked as well; `helpers` have not answered yet.
            case indirect(helpers: Set<NodeID>)
            /// In place of another node, with the number that it gave.
            case inPlaceOf(NodeID, UInt32)
        }

        var target: NodeID
        var sentAt: Instant
        var stage: Stage
    }

    /// Questions to a member that may be dead.
    struct Inquiry: Sendable {
        /// True if a round is under way.
        var isAsking = false
        /// Number of rounds in a row without an answer by any path.
        var unanswered: Int
        /// Number of rounds in a row that were answered only by stream.
        var byStream = 0
        var answeredByStream = false
        /// Number of rounds in which its host refused the stream.
        var refused = 0
        /// True if another node declared it unreachable.
        var isDeclared = false
    }

    struct Suspicion: Sendable {
        var since: Instant
        var accusers: Set<NodeID>
    }

    struct Outgoing: Sendable {
        var updates: [NodeID: Update] = [:]
        /// Number and instant of the first ping that carried the present updates; nil before it.
        var number: UInt32?
        var sentAt: Instant?
        /// Number of updates that it carried, in order of their subjects.
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

    /// Number of members, including this node.
    public var count: Int { members.count + 1 }
    /// Hash of the members and their reachability, equal on nodes with equal views.
    public var view: UInt64 { memberHash ^ awayHash }
    /// Members that are not reachable, in order of their ids.
    public var away: [NodeID] { retries.keys.filter { members[$0]?.status.state.isReachable == false }.sorted() }
    public func status(of node: NodeID) -> PeerStatus? { members[node]?.status }
    /// Path of messages to a peer.
    public func path(to node: NodeID) -> MessagePath { members[node]?.path ?? .datagram }

    // MARK: Members

    /// Sets the members of the catalogue and this node's epoch.
    /// - Parameter boot: The node's boot counter, if it was raised; nil leaves it.
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
            plannedTick = nil
        } else if plannedTick == nil {
            // At random within the period, so that the probes of a cluster are spread over it.
            plannedTick = now + Interval(nanoseconds: Int64(random(below: UInt64(parameters.period.nanoseconds))))
        }
        timers[.tick] = plannedTick
        flush(report, into: &effects)
    }

    private mutating func remove(_ peer: NodeID) {
        guard let member = members.removeValue(forKey: peer) else { return }
        memberHash ^= Self.mix(peer)
        if !member.status.state.isReachable { awayHash ^= Self.mixAway(peer) }
        ring.removeAll { $0 == peer }
        dropInquiry(peer)
        dropSuspicion(peer)
        setRetry(peer, nil)
        timers.clear(.streamCheck(peer))
        outbox[peer] = nil
        dirty.remove(peer)
        relaying.remove(peer)
        for key in outbox.keys { outbox[key]?.updates[peer] = nil }
        for (number, probe) in probes where probe.target == peer { dropProbe(number) }
        if syncPeer == peer {
            syncPeer = nil
            timers.clear(.states)
        }
    }

    /// Tells new members the life of this node. A peer that knew an earlier one has something to repeat.
    private mutating func announce(to peers: [NodeID]) {
        let update = Update(subject: node, incarnation: incarnation, claim: .alive, source: node)
        for peer in count - 1 <= parameters.flatGossip ? peers : sample(parameters.fanout, of: peers) { queue(update, for: peer) }
    }

    // MARK: State

    /// Sets the state of a member, with the reason.
    /// - Parameter answers: True if it answered this node, false if only others have answers; nil if that is not known.
    mutating func setState(
        _ peer: NodeID, _ state: PeerState, _ reason: String, answers: Bool? = nil, into effects: inout [Effect]
    ) {
        guard var member = members[peer] else { return }
        let known = member.status
        switch answers {
        case true?: member.status.silentSince = nil
        case false?: member.status.silentSince = known.silentSince ?? now
        case nil where !known.state.isReachable && state.isReachable && known.silentSince != nil:
            // Its silence was before it was away. It is asked until it answers, and has its time for that anew.
            member.status.silentSince = now
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
        retries[peer] = retry?.tries
        timers[.retry(peer)] = retry?.at
    }

    mutating func dropProbe(_ number: UInt32) {
        probes[number] = nil
        timers.clear(.probe(number))
    }

    mutating func dropInquiry(_ peer: NodeID) {
        inquiries[peer] = nil
        timers.clear(.inquiry(peer))
    }

    mutating func dropSuspicion(_ peer: NodeID) {
        suspicions[peer] = nil
        timers.clear(.suspicion(peer))
    }

    mutating func worsen(by steps: UInt8) { healthScore = min(Self.worst, healthScore + steps) }
    mutating func recover() { if healthScore > 0 { healthScore -= 1 } }

    // MARK: Helpers

    mutating func random(below bound: UInt64) -> UInt64 { bound == 0 ? 0 : generator.next(upperBound: bound) }

    /// Up to `count` different nodes, at random.
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
        SplitMix.hash(UInt64(truncatingIfNeeded: node.bits) ^ UInt64(truncatingIfNeeded: node.bits >> 64) &* 3 ^ salt)
    }

    private static func mixAway(_ node: NodeID) -> UInt64 { mix(node, 0x5AFE_5AFE_5AFE_5AFE) }

    // MARK: Time

    public var nextDeadline: Instant? { timers.next }

    public mutating func advance(to now: Instant, report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        self.now = now
        for kind in Timer.Kind.allCases {
            for timer in timers.takeDue(at: now, where: { $0.kind == kind }).sorted() { fire(timer, report, into: &effects) }
        }
        flush(report, into: &effects)
    }

    private mutating func fire(_ timer: Timer, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        switch timer.kind {
        case .probe: expireProbe(timer.number, report, into: &effects)
        case .inquiry: advanceInquiry(timer.peer, report, into: &effects)
        case .suspicion: expireSuspicion(timer.peer)
        case .tick: tick(report, into: &effects)
        case .retry: retry(timer.peer, report, into: &effects)
        case .streamCheck: checkStream(timer.peer, report, into: &effects)
        case .states: sendStates(report, into: &effects)
        case .relay: relay()
        case .gossip: repeatGossip()
        }
    }

    /// Takes note that the process did not run for a while. Answers of peers are still to be read, so nothing is concluded at once.
    public mutating func stalled(now: Instant) {
        self.now = now
        worsen(by: 2)
        counters.stalls += 1
        let grace = now + parameters.grace
        for timer in Array(timers.keys) {
            switch timer.kind {
            case .probe, .inquiry, .suspicion: if let at = timers[timer], at < grace { timers.set(timer, at: grace) }
            case .tick, .retry, .streamCheck, .states, .relay, .gossip: break
            }
        }
    }
}

/// Numbers of events since the start.
public struct MembershipCounters: Hashable, Sendable {
    /// Probes of this node without an answer by any path.
    public var unanswered = 0
    /// Accusations by this node.
    public var accusations = 0
    /// Members that this node found unreachable or down.
    public var declared = 0
    /// Accusations against this node that it refuted.
    public var refutations = 0
    public var stalls = 0

    public init() {}
}
