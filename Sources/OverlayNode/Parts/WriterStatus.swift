import OverlayModel

/// The catalogue writer as this node has experienced it: whether it answers proposals, and whose term was logged last.
struct WriterStatus: Sendable {
    /// Time for which a writer may answer other nodes only before it counts as away: that many packets are not lost by chance.
    static let silencePatience = Interval.seconds(2)
    /// Time for which a proposal that was not answered tells how the writer is.
    static let unansweredAge = Interval.seconds(60)

    /// When a proposal was last not answered in time; nil when one was decided since.
    private var unansweredAt: Instant?
    private var loggedTerm = Term.none

    mutating func answered() { unansweredAt = nil }
    mutating func didNotAnswer(at now: Instant) { unansweredAt = now }

    /// True if the writer left a proposal unanswered not long ago.
    func isSilent(at now: Instant) -> Bool { unansweredAt.map { now - $0 < Self.unansweredAge } ?? false }

    /// True if the term has not been logged yet.
    mutating func logs(_ term: Term) -> Bool {
        defer { loggedTerm = term }
        return term != loggedTerm
    }

    /// Time since when a writer is away; nil while it is not. A writer that others reach and this node does not is as good as away:
    /// what it decides does not come here.
    static func awaySince(_ writer: PeerStatus, now: Instant) -> Instant? {
        guard writer.state.isReachable else { return writer.since }
        return writer.silentSince.flatMap { now - $0 >= silencePatience ? $0 : nil }
    }

    /// Time at which a silent writer counts as away, should nothing come of it.
    static func awayAt(_ writer: PeerStatus, now: Instant) -> Instant? {
        guard writer.state.isReachable, let silent = writer.silentSince else { return nil }
        let at = silent + silencePatience
        return at > now ? at : nil
    }
}
