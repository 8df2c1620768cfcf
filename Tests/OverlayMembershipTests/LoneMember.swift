import OverlayModel

@testable import OverlayMembership

/// One member whose incoming messages are made by hand, and whose effects are kept.
struct LoneMember {
    static let me = NodeID(bits: 1)
    static let peer = NodeID(bits: 2)
    static let other = NodeID(bits: 3)
    static let nothing = Membership.PeerReport(catalogue: CataloguePosition(term: .none, index: 0), digest: 0)
    static let first = Incarnation(epoch: 1, boot: 1)

    var membership: Membership
    var effects: [Membership.Effect] = []
    var now = Instant(nanoseconds: 0)

    /// - Parameter heard: True if all others have been heard of and are alive.
    init(count: Int, heard: Bool = true, seed: UInt64 = 1, parameters: MembershipParameters = .init()) {
        membership = Membership(node: Self.me, incarnation: Self.first, seed: seed, parameters: parameters)
        setMembers(count: count)
        guard heard, count > 1 else { return }
        for bits in 2...count { hear(.ping(0), from: NodeID(bits: UInt128(bits)), view: membership.view) }
        effects = []
    }

    mutating func setMembers(count: Int) {
        let ids = (0..<count).map { NodeID(bits: UInt128($0) + 1) }
        membership.setMembers(ids, epoch: 1, now: now, report: { _ in Self.nothing }, into: &effects)
    }

    mutating func setMembers(_ ids: [NodeID]) {
        membership.setMembers(ids, epoch: 1, now: now, report: { _ in Self.nothing }, into: &effects)
    }

    mutating func hear(
        _ body: MembershipMessage.Body, from sender: NodeID = peer, incarnation: Incarnation = first, round: UInt32 = 0,
        view: UInt64? = nil, run: UInt32 = 0, writes: UInt64 = 0, heard: StateMark = .none, updates: [Update] = [],
        by path: MessagePath = .datagram
    ) {
        let message = MembershipMessage(
            body: body, incarnation: incarnation, round: round, healthScore: 0,
            report: Membership.PeerReport(catalogue: Self.nothing.catalogue, digest: 0, writes: writes),
            view: view ?? membership.view,
            run: run,
            heard: heard, updates: updates)
        try? membership.receive(message.wireBytes, from: sender, via: path, now: now, report: { _ in Self.nothing }, into: &effects)
    }

    mutating func stream(_ failure: StreamFailure?, to peer: NodeID = peer) {
        membership.stream(peer, failure, now: now, into: &effects)
    }

    mutating func stalled() { membership.stalled(now: now) }

    /// Lets every timer up to the end of `time` fire.
    mutating func run(for time: Interval) {
        let end = now + time
        var calls = 0
        while let next = membership.nextDeadline, next <= end {
            calls = next > now ? 0 : calls + 1
            precondition(calls <= 4, "the deadline stays in the past")
            now = max(now, next)
            membership.advance(to: now, report: { _ in Self.nothing }, into: &effects)
        }
        now = end
    }

    /// Same as `run(for:)`, while these members answer every ping.
    mutating func run(for time: Interval, answering: Set<NodeID>, incarnation: Incarnation = first) {
        let end = now + time
        while now < end {
            run(for: min(.milliseconds(time > .seconds(1) ? 5 : 1), end - now))
            let pings = sent
            effects.removeAll { if case .send = $0 { true } else { false } }
            for (to, message, path) in pings {
                guard case .ping(let number) = message.body, answering.contains(to) else { continue }
                hear(.acknowledge(number), from: to, incarnation: incarnation, by: path)
            }
        }
    }

    mutating func take() -> [Membership.Effect] {
        defer { effects = [] }
        return effects
    }

    var sent: [(to: NodeID, message: MembershipMessage, path: MessagePath)] {
        effects.compactMap {
            guard case .send(let to, let bytes, let path) = $0, let message = try? MembershipMessage(wire: bytes) else {
                return nil
            }
            return (to, message, path)
        }
    }

    var statuses: [PeerStatus] { effects.compactMap { if case .status(_, let status) = $0 { status } else { nil } } }
    func state(_ peer: NodeID = peer) -> PeerState? { membership.status(of: peer)?.state }
    func reason(_ peer: NodeID = peer) -> String? { membership.status(of: peer)?.reason }
}
