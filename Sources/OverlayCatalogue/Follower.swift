import OverlayModel

/// The history that this node follows, and where it gets what it misses.
struct Follower: Sendable {
    static let fetchRetry = Interval.milliseconds(100)
    /// Pause between fetches while the state is that of another history: an answer may be a whole snapshot.
    static let snapshotRetry = Interval.milliseconds(480)
    /// Time in which the promotion of a new writer is expected to come by itself.
    static let pushDelay = Interval.milliseconds(30)

    /// Greatest term that this node knows of: the term of its state, or one whose state it has yet to get. It is durable, so that a
    /// writer that was told of a later one does not go on after a restart.
    private(set) var heard: Term
    /// Index that the history of ``heard`` is known to have.
    private var known: UInt64 = 0
    /// Peer to ask if the writer is away, or is no member as far as this node knows. It is believed like the writer.
    private(set) var source: NodeID?

    init(heard: Term) { self.heard = heard }

    /// Follows a later term.
    /// - Parameter source: Peer to ask instead of the writer; nil asks the writer.
    mutating func hear(_ term: Term, source: NodeID?, now: Instant, timers: inout Deadlines<CatalogueNode.Timer>) {
        heard = term
        known = 0
        self.source = source
        // A follower that has missed nothing gets the promotion pushed. If the promotion told of the term, it is applied next.
        timers.set(.fetch, at: now + Self.pushDelay)
    }

    /// Takes note of the term of the state, which may be a later one.
    mutating func raise(to term: Term) { heard = max(heard, term) }

    /// Takes note that the history has this index.
    mutating func know(_ index: UInt64) { known = max(known, index) }

    /// True if the history is known to be longer than the state.
    func isAhead(of index: UInt64) -> Bool { known > index }

    mutating func setSource(_ peer: NodeID?) { source = peer }

    /// Stops fetching: this node became the writer.
    mutating func stop(timers: inout Deadlines<CatalogueNode.Timer>) {
        known = 0
        source = nil
        timers.clear(.fetch)
    }

    /// Forgets the cluster.
    mutating func clear(timers: inout Deadlines<CatalogueNode.Timer>) {
        stop(timers: &timers)
        heard = .none
    }

    /// Asks for what follows the state.
    func fetch(
        after position: CataloguePosition, by node: NodeID, now: Instant, timers: inout Deadlines<CatalogueNode.Timer>,
        into effects: inout [CatalogueNode.Effect]
    ) {
        let peer = source ?? heard.writer
        guard peer != node else { return }
        effects.append(.send(peer, CatalogueMessage.fetch(after: position).wireBytes))
        timers.set(.fetch, at: now + (position.term == heard ? Self.fetchRetry : Self.snapshotRetry))
    }
}
