public import OverlayModel

/// Which members are reachable now. The catalogue says who may be a member; this core never removes one, and tries an unreachable one
/// for ever, so that every partition heals by itself.
///
/// Every member is probed once a period. A probe and its answer carry what repairs state: the sender's boot, the index of its catalogue and a
/// digest of what it holds of the receiver's logs.
public struct Membership: Sendable {
    /// What a node tells with each probe and answer.
    public struct Facts: Hashable, Sendable {
        public var catalogueIndex: UInt64
        /// Of the receiver's owner logs, as the sender holds them.
        public var digest: UInt64

        public init(catalogueIndex: UInt64, digest: UInt64) {
            self.catalogueIndex = catalogueIndex
            self.digest = digest
        }
    }

    public enum State: Hashable, Sendable {
        /// Not heard of since this node started.
        case unknown
        case alive
        case unreachable
    }

    public struct Status: Hashable, Sendable {
        public var state: State
        public var since: Instant
        /// Smoothed round trip of probes (RFC 6298 weights); nil before the first.
        public var roundTrip: Interval?
    }

    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        case reachable(NodeID)
        case unreachable(NodeID)
        /// The peer runs anew and has forgotten what it was sent.
        case restarted(NodeID)
        case heard(NodeID, Facts)
    }

    static let period = Interval.seconds(1)
    /// Without an answer for as long, a member counts as unreachable.
    static let patience = Interval.seconds(4)

    public let node: NodeID
    public let boot: UInt32
    private var members: [NodeID: Member] = [:]
    private var generator: SeededGenerator
    private var nextProbe: UInt64 = 1

    private struct Member: Sendable {
        var status: Status
        var boot: UInt32?
        var probeAt: Instant
        var outstanding: (number: UInt64, sentAt: Instant)?
        var lastHeard: Instant
    }

    public init(node: NodeID, boot: UInt32, seed: UInt64) {
        self.node = node
        self.boot = boot
        self.generator = SeededGenerator(seed: seed)
    }

    public func status(of node: NodeID) -> Status? { members[node]?.status }

    /// The members of the catalogue. New ones are probed at once.
    public mutating func setMembers(_ nodes: some Sequence<NodeID>, now: Instant) {
        let wanted = Set(nodes).subtracting([node])
        for node in members.keys where !wanted.contains(node) { members[node] = nil }
        for node in wanted.sorted() where members[node] == nil {
            members[node] = Member(
                status: Status(state: .unknown, since: now, roundTrip: nil), boot: nil, probeAt: now, outstanding: nil,
                lastHeard: now)
        }
    }

    /// Takes a message of an authenticated member.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, facts: (NodeID) -> Facts, into effects: inout [Effect]
    ) throws(DecodeError) {
        let message = try ProbeMessage(wire: bytes)
        guard var member = members[peer] else { return }
        if let boot = member.boot, message.boot < boot { return }
        let restarted = member.boot != nil && member.boot != message.boot
        member.boot = message.boot
        member.lastHeard = now
        if message.isAnswer, let probe = member.outstanding, probe.number == message.number {
            let sample = now - probe.sentAt
            let old = member.status.roundTrip ?? sample
            member.status.roundTrip = Interval(nanoseconds: old.nanoseconds + (sample.nanoseconds - old.nanoseconds) / 8)
            member.outstanding = nil
        }
        if member.status.state != .alive {
            member.status.state = .alive
            member.status.since = now
            effects.append(.reachable(peer))
        }
        members[peer] = member
        if restarted { effects.append(.restarted(peer)) }
        effects.append(.heard(peer, message.facts))
        if !message.isAnswer {
            let answer = ProbeMessage(isAnswer: true, number: message.number, boot: boot, facts: facts(peer))
            effects.append(.send(peer, answer.wireBytes))
        }
    }

    public var nextDeadline: Instant? { members.values.lazy.map(\.probeAt).min() }

    public mutating func advance(to now: Instant, facts: (NodeID) -> Facts, into effects: inout [Effect]) {
        for peer in members.keys.sorted() {
            guard var member = members[peer], member.probeAt <= now else { continue }
            if member.status.state != .unreachable, now - member.lastHeard > Self.patience {
                member.status.state = .unreachable
                member.status.since = now
                effects.append(.unreachable(peer))
            }
            member.outstanding = (nextProbe, now)
            // ±10 %, so that nodes that started together do not probe together for ever.
            let jitter = Int64(generator.next(upperBound: UInt64(Self.period.nanoseconds / 5))) - Self.period.nanoseconds / 10
            member.probeAt = now + Self.period + Interval(nanoseconds: jitter)
            members[peer] = member
            let probe = ProbeMessage(isAnswer: false, number: nextProbe, boot: boot, facts: facts(peer))
            effects.append(.send(peer, probe.wireBytes))
            nextProbe += 1
        }
    }
}

/// A probe or the answer to one.
struct ProbeMessage: Hashable, Sendable, Wire {
    var isAnswer: Bool
    var number: UInt64
    var boot: UInt32
    var facts: Membership.Facts

    init(isAnswer: Bool, number: UInt64, boot: UInt32, facts: Membership.Facts) {
        self.isAnswer = isAnswer
        self.number = number
        self.boot = boot
        self.facts = facts
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        isAnswer = try reader.bool()
        number = try reader.integer()
        boot = try reader.integer()
        facts = Membership.Facts(catalogueIndex: try reader.integer(), digest: try reader.integer())
    }

    func encode(to writer: inout ByteWriter) {
        writer.bool(isAnswer)
        writer.integer(number)
        writer.integer(boot)
        writer.integer(facts.catalogueIndex)
        writer.integer(facts.digest)
    }
}
