import OverlayCatalogue
public import OverlayEngine
public import OverlayMembership
public import OverlayModel

/// Everything that can happen to a node, with what only its membership sees.
public enum NodeEvent: Sendable {
    case engine(EngineEvent)
    /// A message of an authenticated member.
    case message(from: NodeID, [UInt8], MessagePath)
    /// What became of a stream to a member: nil when it was opened.
    case stream(NodeID, StreamFailure?)
    /// An authentic packet of a member came from a life of it that is over.
    case earlierLife(of: NodeID)
}

/// Everything a node does to the outside.
public enum NodeEffect: Sendable {
    /// ``EngineEffect/send(_:_:)`` comes out as ``send(_:_:_:)``, with the path it takes.
    case engine(EngineEffect)
    case send(NodeID, [UInt8], MessagePath)
}

/// The node core and its membership, and the clock that both go by: what the daemon runs and what the simulation runs.
///
/// Times that go in and come out are the monotonic clock's; inside, stalls of the process do not exist (``RunningClock``).
public struct Node: Sendable {
    public private(set) var engine: Engine
    public private(set) var membership: Membership
    private var clock = RunningClock()
    /// The next deadline in running time.
    private var appointment: Instant?
    private var now = Instant(nanoseconds: 0)
    private var effects: [NodeEffect] = []

    public init(engine: Engine, seed: UInt64, parameters: MembershipParameters = .init()) {
        self.engine = engine
        let identity = engine.identity
        membership = Membership(
            node: identity.id, incarnation: Incarnation(epoch: engine.member.epoch, boot: identity.boot), seed: seed,
            parameters: parameters)
    }

    public mutating func handle(_ event: NodeEvent, at raw: Instant) -> [NodeEffect] {
        let reading = clock.read(raw, appointment: appointment)
        now = reading.now
        if reading.stall != nil { membership.stalled(now: now) }
        switch event {
        case .engine(let event): pass(event)
        case .stream(let peer, let failure):
            member { [now] in $0.stream(peer, failure, now: now, into: &$2) }
        case .earlierLife(let peer):
            member { [now] in $0.heardEarlierLife(of: peer, now: now, report: $1, into: &$2) }
        case .message(let peer, let bytes, let path):
            if bytes.first == Engine.MessageKind.membership.rawValue {
                receive(Array(bytes.dropFirst()), from: peer, path)
            } else {
                pass(.received(from: peer, bytes))
            }
        }
        if let at = membership.nextDeadline, at <= now { member { [now] in $0.advance(to: now, report: $1, into: &$2) } }
        if let at = engine.nextDeadline, at <= now { pass(.tick) }
        appointment = [engine.nextDeadline, membership.nextDeadline].compactMap { $0 }.min()
        nextDeadline = appointment.map { clock.raw($0) }
        defer { effects = [] }
        return effects
    }

    /// When ``handle(_:at:)`` wants to be called with a tick of the engine at the latest, by the monotonic clock. Kept, as it is asked for
    /// more often than it changes.
    public private(set) var nextDeadline: Instant?

    private mutating func receive(_ bytes: [UInt8], from peer: NodeID, _ path: MessagePath) {
        var failure: DecodeError?
        member { [now] membership, report, effects in
            do throws(DecodeError) {
                try membership.receive(bytes, from: peer, via: path, now: now, report: report, into: &effects)
            } catch {
                failure = error
            }
        }
        if let failure {
            let metadata = ["peer": peer.short, "error": "\(failure)"]
            effects.append(.engine(.log(.warning, "membership message of a member does not decode", metadata)))
        }
    }

    private mutating func member(_ body: (inout Membership, (NodeID) -> Membership.PeerReport, inout [Membership.Effect]) -> Void) {
        var out: [Membership.Effect] = []
        Self.with(&membership, &engine, &out, body)
        for effect in out {
            switch effect {
            case .send(let peer, let bytes, let path):
                effects.append(.send(peer, [Engine.MessageKind.membership.rawValue] + bytes, path))
            case .status(let peer, let status): pass(.peer(peer, status))
            case .restarted(let peer): pass(.restarted(peer))
            case .echo(let peer, let mark, let isAhead): pass(.echo(of: peer, mark, isAhead: isAhead))
            case .heard(let peer, let report, let roundTrip):
                pass(.heard(peer, catalogue: report.catalogue, digest: report.digest, roundTrip: roundTrip))
            }
        }
    }

    /// Static, so that the two change in place.
    private static func with(
        _ membership: inout Membership, _ engine: inout Engine, _ out: inout [Membership.Effect],
        _ body: (inout Membership, (NodeID) -> Membership.PeerReport, inout [Membership.Effect]) -> Void
    ) {
        body(
            &membership,
            { peer in
                let report = engine.report(for: peer)
                return Membership.PeerReport(catalogue: report.catalogue, digest: report.digest, writes: report.writes)
            }, &out)
    }

    private mutating func pass(_ event: EngineEvent) {
        for effect in engine.handle(event, now: now) {
            switch effect {
            case .send(let peer, let bytes): effects.append(.send(peer, bytes, membership.path(to: peer)))
            case .peers(let members, _):
                // First: messages to new members follow.
                effects.append(.engine(effect))
                let epoch = engine.spokenEpoch
                let boot = engine.boot
                member { [now] in $0.setMembers(members.map(\.id), epoch: epoch, boot: boot, now: now, report: $1, into: &$2) }
            default: effects.append(.engine(effect))
            }
        }
    }
}
