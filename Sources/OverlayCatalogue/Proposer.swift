import OverlayModel

/// Proposals of this node that have no outcome yet, and their sequence numbers.
///
/// One proposal is in flight at a time, the first, so that the writer sees them in order. It is sent again with a growing pause until
/// it is decided; its sequence makes repeats harmless.
struct Proposer: Sendable {
    struct Proposal: Sendable {
        let id: CatalogueNode.ProposalID
        fileprivate(set) var sequence: UInt64
        let command: Command
        let deadline: Instant
    }

    /// Writer of the catalogue, as seen from this node.
    enum Route: Hashable, Sendable {
        /// There is no cluster.
        case nowhere
        /// This node.
        case here
        /// This node by name, but it may not commit. Another attempt is made later.
        case suspended
        case peer(NodeID)
    }

    /// Greatest number of proposals without an outcome.
    static let limit = 4096
    static let firstRetry = Interval.milliseconds(30)
    static let lastRetry = Interval.milliseconds(480)

    private var queue: [Proposal] = []
    /// Pause before the next repeat.
    private var retry = Self.firstRetry
    private var nextID: UInt64 = 1
    private(set) var nextSequence: UInt64

    /// - Parameter boot: Boot counter of the node. Sequences of a boot are greater than those of all earlier ones.
    init(boot: UInt32) { nextSequence = Self.firstSequence(boot) }

    private static func firstSequence(_ boot: UInt32) -> UInt64 { UInt64(boot) << 32 | 1 }

    /// The proposal in flight.
    var first: Proposal? { queue.first }
    var isFull: Bool { queue.count >= Self.limit }

    mutating func takeID() -> CatalogueNode.ProposalID {
        defer { nextID += 1 }
        return CatalogueNode.ProposalID(value: nextID)
    }

    mutating func takeSequence() -> UInt64 {
        defer { nextSequence += 1 }
        return nextSequence
    }

    /// Adds a proposal behind all others.
    /// - Returns: True if it is the first, which is to be sent.
    mutating func add(
        _ command: Command, as id: CatalogueNode.ProposalID, deadline: Instant, timers: inout Deadlines<CatalogueNode.Timer>
    ) -> Bool {
        queue.append(Proposal(id: id, sequence: takeSequence(), command: command, deadline: deadline))
        timers[.expire] = queue.first?.deadline
        return queue.count == 1
    }

    /// Sends the first proposal.
    /// - Returns: The proposal, if this node is the writer and has to stage it itself.
    mutating func sendFirst(
        by route: Route, epoch: UInt32, now: Instant, timers: inout Deadlines<CatalogueNode.Timer>,
        into effects: inout [CatalogueNode.Effect]
    ) -> Proposal? {
        timers.clear(.resend)
        guard let proposal = queue.first else { return nil }
        switch route {
        case .nowhere: return nil
        case .here: return proposal
        case .suspended: break
        case .peer(let writer):
            let message = CatalogueMessage.propose(epoch: epoch, sequence: proposal.sequence, proposal.command)
            effects.append(.send(writer, message.wireBytes))
        }
        timers.set(.resend, at: now + retry)
        retry = min(retry * 2, Self.lastRetry)
        return nil
    }

    /// Ends the first proposal. The next one is not sent yet.
    mutating func finishFirst(
        _ outcome: CatalogueNode.Outcome, timers: inout Deadlines<CatalogueNode.Timer>, into effects: inout [CatalogueNode.Effect]
    ) {
        guard !queue.isEmpty else { return }
        effects.append(.outcome(queue.removeFirst().id, outcome))
        timers[.expire] = queue.first?.deadline
        retry = Self.firstRetry
    }

    /// Ends all proposals.
    mutating func finishAll(
        _ outcome: CatalogueNode.Outcome, timers: inout Deadlines<CatalogueNode.Timer>, into effects: inout [CatalogueNode.Effect]
    ) {
        for proposal in queue { effects.append(.outcome(proposal.id, outcome)) }
        queue = []
        timers.clear(.expire)
        timers.clear(.resend)
    }

    /// Takes the writer's word that a proposal is decided. What is left is to follow until it is applied here, too, so repeats have time.
    func decided(_ sequence: UInt64, now: Instant, timers: inout Deadlines<CatalogueNode.Timer>) {
        guard queue.first?.sequence == sequence, timers[.resend] != nil else { return }
        timers.set(.resend, at: now + Self.lastRetry)
    }

    /// Makes the next repeat come soon: there is a new writer.
    mutating func resetRetry() { retry = Self.firstRetry }

    /// Gives all proposals new sequences, above that of an entry that this node made meanwhile.
    mutating func renumber() {
        for index in queue.indices { queue[index].sequence = takeSequence() }
    }

    /// True if sequences of this boot are greater than all that were given.
    func isAhead(_ boot: UInt32) -> Bool { UInt64(boot) << 32 > nextSequence }

    /// Goes on with the sequences of another boot.
    /// - Precondition: There are no proposals.
    mutating func start(boot: UInt32) {
        precondition(queue.isEmpty, "\(queue.count) proposals of an earlier boot")
        nextSequence = Self.firstSequence(boot)
        retry = Self.firstRetry
    }
}
