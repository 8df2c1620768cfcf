public import OverlayModel

/// One node's part in keeping the catalogue: the writer's log, or a replica that follows it, and the node's own proposals.
///
/// The writer numbers proposals, has each entry written durably, then applies it, answers and pushes it to all. Replicas apply entries in
/// order, and fetch what they miss from whoever has it. A proposal is repeated until it is answered; its sequence makes that harmless.
///
/// A replica may be promoted (``promote(now:into:)``), while the writer is away. From then on there may be two histories that part after
/// some entry; of all that a node has heard of, it follows the one of the greatest ``Term``, and takes a snapshot where its own has entries
/// after the fork. Those are lost, and what they had granted with them. A writer that hears of a greater term commits nothing more.
public struct CatalogueNode: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// Write durably. `token` is set where the core waits for ``CatalogueNode/stored(_:succeeded:now:into:)``.
        case store(token: UInt64?, [StoreWrite])
        /// The state moved on by this entry.
        case applied(Entry, CommandResult)
        /// The state was replaced by a snapshot.
        case replaced
        /// Somebody else writes the catalogue than this node thought. Its state is still the old one.
        case heard(Term)
        /// The fate of a proposal of this node.
        case outcome(ProposalID, Outcome)
    }

    public enum Outcome: Hashable, Sendable {
        case decided(CommandResult)
        /// Not answered in time. It may still be applied later.
        case timedOut(writer: NodeID)
        /// The writer could not make it durable.
        case writerFailed
        case noCluster
    }

    public struct ProposalID: Hashable, Sendable {
        public let value: UInt64
    }

    /// Entries kept in memory for replicas that lag; older ones are served as a snapshot.
    static let tail = 1024
    /// Entries after which the store holds a snapshot instead of them.
    static let entriesPerSnapshot = 256
    static let entriesPerMessage = 64
    /// Of pushed entries, so that each message fits a datagram with its seal.
    static let pushBytes = 1000
    /// Entries of one write.
    static let entriesPerWrite = 256
    static let queuedProposals = 4096
    static let firstRetry = Interval.milliseconds(30)
    static let lastRetry = Interval.milliseconds(480)
    static let fetchRetry = Interval.milliseconds(100)
    /// Of the store's row with ``heard``, beside the snapshot's.
    static let heardKey: [UInt8] = [1]

    public let node: NodeID
    /// The daemon never sets it.
    package var rules = SafetyRules.all
    public private(set) var epoch: UInt32
    public private(set) var catalogue: Catalogue
    var log: [Entry] = []
    private var storedSnapshot: UInt64
    /// The greatest term that this node knows of: that of its state, or one whose state it has yet to get. Durable, so that a writer that
    /// was told of its end does not go on after a restart.
    public internal(set) var heard = Term.none

    // The writer's side.
    /// Entries that wait for the disk, in order: while one batch is being written, what is proposed makes up the next one.
    var staged: [Entry] = []
    var writing: (token: UInt64, entries: [Entry])?
    var nextToken: UInt64 = 1
    var lastStaged: UInt64
    /// Somebody knows of entries that this writer does not: its state is of the past. It commits nothing, or there were two histories.
    public internal(set) var isBehind = false
    /// This node's promotion, while it is being written.
    var promotion: ProposalID?

    // The proposer's side: one proposal is in flight, in order, so that the writer sees them in order.
    struct Proposal: Sendable {
        var id: ProposalID
        var sequence: UInt64
        var command: Command
        var deadline: Instant
    }
    var queue: [Proposal] = []
    var resendAt: Instant?
    var retry = Self.firstRetry
    private var nextSequence: UInt64
    var nextProposal: UInt64 = 1

    // The follower's side.
    /// An index that the history of ``heard`` has.
    var known: UInt64 = 0
    var fetchAt: Instant?
    /// Whom to ask where the writer is away, or no member as far as this node knows. Its word is taken for the writer's.
    var source: NodeID?

    /// - Parameters:
    ///   - boot: The node's boot counter, stored before use: sequences of this life are above those of all earlier ones.
    ///   - rows: What the store holds of the catalogue.
    public init(node: NodeID, epoch: UInt32, boot: UInt32, rows: StoredRows) throws(DecodeError) {
        self.node = node
        self.epoch = epoch
        self.nextSequence = UInt64(boot) << 32 | 1
        var catalogue = Catalogue()
        if let bytes = rows[.catalogueSnapshot]?[[0]] { catalogue = try Catalogue(wire: bytes) }
        storedSnapshot = catalogue.index
        let entries = (rows[.catalogueEntry] ?? [:]).sorted { $0.key.lexicographicallyPrecedes($1.key) }
        for (_, bytes) in entries {
            let entry = try Entry(wire: bytes)
            guard entry.index == catalogue.index + 1 else {
                if entry.index <= catalogue.index { continue }
                break
            }
            catalogue.apply(entry)
            log.append(entry)
        }
        self.catalogue = catalogue
        lastStaged = catalogue.index
        guard catalogue.cluster != nil else { return }
        heard = catalogue.term
        if let bytes = rows[.catalogueSnapshot]?[Self.heardKey] { heard = max(heard, try Term(wire: bytes)) }
    }

    /// May this node commit, as far as it knows?
    public var isWriter: Bool { heard.writer == node && heard == catalogue.term && catalogue.cluster != nil }
    /// Who commits, as far as this node knows: whose state it follows, or is about to.
    public var writer: NodeID? { catalogue.cluster == nil ? nil : heard.writer }
    /// Is the state that of the present writer's history?
    var isFollowing: Bool { heard == catalogue.term }

    /// Makes this node the writer of a new cluster. `initialise` becomes entry 1.
    public mutating func initialise(_ cluster: Cluster, member: Member, into effects: inout [Effect]) {
        precondition(catalogue.index == 0, "a cluster exists")
        epoch = member.epoch
        let entry = Entry(
            index: 1, termNumber: cluster.termNumber, proposer: node, epoch: epoch, sequence: takeSequence(),
            command: .initialise(cluster, member))
        lastStaged = 1
        effects.append(.store(token: nil, [write(entry)]))
        commit(entry, into: &effects)
    }

    /// Takes the state that a join was answered with.
    public mutating func join(_ snapshot: Catalogue, epoch: UInt32, into effects: inout [Effect]) {
        self.epoch = epoch
        replace(snapshot, into: &effects)
    }

    /// Forgets the cluster.
    public mutating func leave(into effects: inout [Effect]) {
        for proposal in queue { effects.append(.outcome(proposal.id, .noCluster)) }
        if let promotion { effects.append(.outcome(promotion, .noCluster)) }
        promotion = nil
        queue = []
        resendAt = nil
        fetchAt = nil
        source = nil
        heard = .none
        catalogue = Catalogue()
        log = []
        staged = []
        writing = nil
        isBehind = false
        lastStaged = 0
        storedSnapshot = 0
        known = 0
        effects.append(.store(token: nil, [.clear(.catalogueEntry), .clear(.catalogueSnapshot)]))
        effects.append(.replaced)
    }

    // MARK: Proposing

    /// Asks the writer for a change. The outcome comes as an effect, exactly once.
    public mutating func propose(
        _ command: Command, now: Instant, deadline: Instant, into effects: inout [Effect]
    ) -> ProposalID {
        let id = ProposalID(value: nextProposal)
        nextProposal += 1
        guard catalogue.cluster != nil else {
            effects.append(.outcome(id, .noCluster))
            return id
        }
        guard queue.count < Self.queuedProposals else {
            effects.append(.outcome(id, .timedOut(writer: heard.writer)))
            return id
        }
        queue.append(Proposal(id: id, sequence: takeSequence(), command: command, deadline: deadline))
        if queue.count == 1 { sendFirst(now: now, into: &effects) }
        return id
    }

    /// Is the last of this node's proposals that was applied one that this life did not make? Then its state is an old copy.
    public var isSessionAhead: Bool { catalogue.isApplied(nextSequence, from: node) }

    /// The boot counter of this node's last proposal that was applied.
    public var sessionBoot: UInt32 { UInt32(truncatingIfNeeded: catalogue.lastSequence(from: node) >> 32) }

    /// Goes on in another life. What was proposed in the one before is given up: it may be taken for what was proposed once already.
    public mutating func setLife(epoch: UInt32, boot: UInt32, into effects: inout [Effect]) {
        self.epoch = epoch
        guard UInt64(boot) << 32 > nextSequence else { return }
        nextSequence = UInt64(boot) << 32 | 1
        for proposal in queue { effects.append(.outcome(proposal.id, .timedOut(writer: catalogue.cluster?.writer ?? node))) }
        queue = []
        resendAt = nil
        retry = Self.firstRetry
    }

    mutating func takeSequence() -> UInt64 {
        defer { nextSequence += 1 }
        return nextSequence
    }

    mutating func sendFirst(now: Instant, into effects: inout [Effect]) {
        guard let proposal = queue.first, let writer else {
            resendAt = nil
            return
        }
        if isWriter {
            resendAt = nil
            stage(proposal.sequence, epoch: epoch, proposal.command, from: node, into: &effects)
        } else {
            if writer != node {
                effects.append(.send(writer, message(.propose(epoch: epoch, sequence: proposal.sequence, proposal.command))))
            }
            resendAt = now + retry
            retry = min(retry * 2, Self.lastRetry)
        }
    }

    mutating func settle(now: Instant, into effects: inout [Effect]) {
        while let proposal = queue.first {
            if let result = catalogue.result(of: proposal.sequence, from: node) {
                finishFirst(.decided(result), now: now, into: &effects)
            } else if catalogue.members[node] == nil, case .remove(node, _) = proposal.command {
                finishFirst(.decided(.accepted), now: now, into: &effects)
            } else {
                return
            }
        }
    }

    mutating func finishFirst(_ outcome: Outcome, now: Instant, into effects: inout [Effect]) {
        let proposal = queue.removeFirst()
        effects.append(.outcome(proposal.id, outcome))
        retry = Self.firstRetry
        sendFirst(now: now, into: &effects)
    }

    // MARK: The writer

    private mutating func stage(
        _ sequence: UInt64, epoch: UInt32, _ command: Command, from proposer: NodeID, into effects: inout [Effect]
    ) {
        guard let cluster = catalogue.cluster, isWriter, !isBehind,
            !(staged + (writing?.entries ?? [])).contains(where: { $0.proposer == proposer && $0.sequence >= sequence })
        else { return }
        switch command {
        case .initialise, .promote: return
        default: break
        }
        // Without rule R3 an old proposal passes for one of now.
        let epoch = rules.contains(.epochs) ? epoch : catalogue.members[proposer]?.epoch ?? epoch
        lastStaged += 1
        let entry = Entry(
            index: lastStaged, termNumber: cluster.termNumber, proposer: proposer, epoch: epoch, sequence: sequence,
            command: command)
        staged.append(entry)
        writeStaged(into: &effects)
    }

    private mutating func writeStaged(into effects: inout [Effect]) {
        guard writing == nil, !staged.isEmpty else { return }
        let batch = Array(staged.prefix(Self.entriesPerWrite))
        staged.removeFirst(batch.count)
        // A token of its own: an index may be given twice, when the first attempt was not written.
        writing = (nextToken, batch)
        effects.append(.store(token: nextToken, batch.map(write)))
        nextToken += 1
    }

    /// The store's answer to a ``Effect/store(token:_:)`` with a token. Answers come in order.
    public mutating func stored(_ token: UInt64, succeeded: Bool, now: Instant, into effects: inout [Effect]) {
        guard let (current, entries) = writing, current == token else { return }
        guard succeeded else { return drop(now: now, into: &effects) }
        writing = nil
        let last = catalogue.term
        // Whoever is removed by an entry must hear of it: sent before anybody acts on it.
        var targets = Set(catalogue.members.keys)
        var after: [Effect] = []
        for entry in entries { commit(entry, into: &after) }
        targets.formUnion(catalogue.members.keys)
        let pushes = parts(of: entries).map { message(.entries(after: last, $0)) }
        for member in targets.sorted() where member != node {
            for push in pushes { effects.append(.send(member, push)) }
        }
        for entry in entries where entry.proposer != node {
            // A member that removed itself has no session any more; the entry tells it all the same.
            let result = catalogue.result(of: entry.sequence, from: entry.proposer) ?? .accepted
            let position = CataloguePosition(term: catalogue.term, index: entry.index)
            effects.append(.send(entry.proposer, message(.outcome(sequence: entry.sequence, at: position, result))))
        }
        effects += after
        if let promotion { promoted(promotion, now: now, into: &effects) }
        settle(now: now, into: &effects)
        trim(into: &effects)
        writeStaged(into: &effects)
    }

    /// Entries in messages that each fit a datagram, if one entry does.
    private func parts(of entries: [Entry]) -> [[Entry]] {
        var parts: [[Entry]] = []
        var bytes = 0
        for entry in entries {
            let size = entry.wireBytes.count
            if parts.isEmpty || bytes + size > Self.pushBytes {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(entry)
            bytes += size
        }
        return parts
    }

    /// What was being written was not: neither it nor what is behind it is in the log, and the indices are given again.
    private mutating func drop(now: Instant, into effects: inout [Effect]) {
        let dropped = abandon(into: &effects)
        if let id = promotion {
            promotion = nil
            effects.append(.outcome(id, .writerFailed))
            return
        }
        for entry in dropped where entry.proposer != node {
            effects.append(.send(entry.proposer, message(.failed(sequence: entry.sequence))))
        }
        let own = dropped.filter { $0.proposer == node }.map(\.sequence)
        while let proposal = queue.first, own.contains(proposal.sequence) {
            finishFirst(.writerFailed, now: now, into: &effects)
        }
    }

    /// Takes back what is on its way to the disk, or waits for it.
    @discardableResult
    mutating func abandon(into effects: inout [Effect]) -> [Entry] {
        let dropped = (writing?.entries ?? []) + staged
        writing = nil
        staged = []
        lastStaged = catalogue.index
        guard !dropped.isEmpty else { return [] }
        // What of them was written after all must not be found at the next start.
        effects.append(.store(token: nil, dropped.map { .delete(.catalogueEntry, key: $0.index.wireBytes) }))
        return dropped
    }

    private mutating func commit(_ entry: Entry, into effects: inout [Effect]) {
        let old = catalogue.term
        let result = catalogue.apply(entry)
        log.append(entry)
        if catalogue.term != old {
            heard = max(heard, catalogue.term)
            isBehind = false
        }
        if log.count > 2 * Self.tail { log.removeFirst(log.count - Self.tail) }
        effects.append(.applied(entry, result))
    }

    private mutating func trim(into effects: inout [Effect]) {
        guard catalogue.index >= storedSnapshot + UInt64(Self.entriesPerSnapshot), catalogue.members[node] != nil else { return }
        storedSnapshot = catalogue.index
        effects.append(
            .store(
                token: nil,
                [
                    .put(.catalogueSnapshot, key: [0], value: catalogue.wireBytes),
                    .deleteThrough(.catalogueEntry, key: catalogue.index.wireBytes),
                ]))
    }

    func write(_ entry: Entry) -> StoreWrite {
        .put(.catalogueEntry, key: entry.index.wireBytes, value: entry.wireBytes)
    }

    // MARK: Messages

    /// Takes a message of an authenticated member. One that does not decode is dropped by the caller.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) throws(DecodeError) {
        switch try CatalogueMessage(wire: bytes) {
        case .propose(let epoch, let sequence, let command):
            guard isWriter else {
                // It proposes to a writer of the past.
                if catalogue.cluster != nil, heard.writer != node { effects.append(.send(peer, message(.term(heard)))) }
                return
            }
            if let result = catalogue.result(of: sequence, from: peer) {
                effects.append(.send(peer, message(.outcome(sequence: sequence, at: catalogue.position, result))))
            } else if !catalogue.isApplied(sequence, from: peer) {
                stage(sequence, epoch: epoch, command, from: peer, into: &effects)
            }
        case .outcome(let sequence, let position, _):
            guard peer == writer, position.term == heard else { return }
            if queue.first?.sequence == sequence, resendAt != nil {
                // Decided; what is left is to follow until it is applied here too, so no need to hurry with repeats.
                resendAt = now + Self.lastRetry
            }
            learn(position, from: peer, now: now, into: &effects)
        case .failed(let sequence):
            guard peer == writer, queue.first?.sequence == sequence else { return }
            finishFirst(.writerFailed, now: now, into: &effects)
        case .entries(let last, let entries): follow(entries, after: last, from: peer, now: now, into: &effects)
        case .fetch(let position):
            guard catalogue.cluster != nil else { return }
            effects.append(.send(peer, message(answer(fetch: position))))
            hear(position.term, from: peer, now: now, into: &effects)
        case .snapshot(let snapshot): take(snapshot, from: peer, now: now, into: &effects)
        case .term(let term): hear(term, from: peer, now: now, into: &effects)
        }
    }

    /// A peer told where its state is; told with every probe.
    public mutating func learn(_ position: CataloguePosition, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard catalogue.cluster != nil else { return }
        hear(position.term, from: peer, now: now, into: &effects)
        if peer == heard.writer, canAskWriter { source = nil }
        guard position.term == heard else {
            // What the peer hears with a probe is where this node's state is, and not what it has heard of.
            if !isFollowing { effects.append(.send(peer, message(.term(heard)))) }
            return
        }
        guard isFollowing else {
            if !canAskWriter { source = peer }
            if fetchAt == nil { fetch(now: now, into: &effects) }
            return
        }
        guard position.index > catalogue.index, position.index < Limits.counter else { return }
        guard !isWriter else {
            isBehind = isBehind || position.index > lastStaged
            return
        }
        known = max(known, position.index)
        if fetchAt == nil { fetch(now: now, into: &effects) }
    }

    private func answer(fetch position: CataloguePosition) -> CatalogueMessage {
        // Where their last entry is none of this history, the two have parted before it.
        guard let first = log.first?.index, position.index >= first - 1, position.index <= catalogue.index,
            term(at: position.index) == position.term
        else { return .snapshot(catalogue) }
        return .entries(
            after: position.term, Array(log[Int(position.index + 1 - first)...].prefix(Self.entriesPerMessage)))
    }

    private mutating func follow(
        _ entries: [Entry], after last: Term, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard catalogue.cluster != nil, promotion == nil else { return }
        // The writer alone makes history; a member that is no writer cannot pass another one off.
        let end = entries.reduce(last) { $1.term(after: $0) ?? $0 }
        if end.writer == peer { hear(end, from: peer, now: now, into: &effects) }
        guard peer == writer || peer == source, !isWriter || isBehind else { return }
        var writes: [StoreWrite] = []
        var applied: [Effect] = []
        var term = last
        for entry in entries {
            let next = entry.term(after: term)
            if entry.index == catalogue.index + 1 {
                // A fork: what comes next is a snapshot.
                guard term == catalogue.term, let next else { break }
                writes.append(write(entry))
                commit(entry, into: &applied)
                lastStaged = catalogue.index
                if catalogue.term != next { break }
            } else if entry.index > catalogue.index {
                known = max(known, entry.index)
            }
            term = next ?? term
        }
        if !writes.isEmpty {
            // Written first: what follows from an entry may be that all is forgotten.
            effects.append(.store(token: nil, writes))
            effects += applied
            fetchAt = nil
            markOwnPast()
            if source == peer, isFollowing, catalogue.index >= known { source = nil }
            if term != last { resend(now: now, into: &effects) }
            settle(now: now, into: &effects)
            trim(into: &effects)
        }
        if isBehindOthers, fetchAt == nil { fetch(now: now, into: &effects) }
    }

    private var isBehindOthers: Bool { known > catalogue.index || !isFollowing }

    mutating func fetch(now: Instant, into effects: inout [Effect]) {
        guard let writer else { return }
        let peer = source ?? writer
        guard peer != node else { return }
        effects.append(.send(peer, message(.fetch(after: catalogue.position))))
        fetchAt = now + (isFollowing ? Self.fetchRetry : Self.lastRetry)
    }

    mutating func replace(_ snapshot: Catalogue, into effects: inout [Effect]) {
        catalogue = snapshot
        log = []
        lastStaged = snapshot.index
        storedSnapshot = snapshot.index
        heard = max(heard, snapshot.term)
        effects.append(
            .store(
                token: nil,
                [.clear(.catalogueEntry), .put(.catalogueSnapshot, key: [0], value: snapshot.wireBytes)]))
        effects.append(.replaced)
    }

    func message(_ message: CatalogueMessage) -> [UInt8] { message.wireBytes }

    // MARK: Time

    public var nextDeadline: Instant? {
        [resendAt, fetchAt, queue.first?.deadline].compactMap { $0 }.min()
    }

    public mutating func advance(to now: Instant, into effects: inout [Effect]) {
        while let proposal = queue.first, proposal.deadline <= now {
            finishFirst(.timedOut(writer: writer ?? node), now: now, into: &effects)
        }
        if let at = resendAt, at <= now { sendFirst(now: now, into: &effects) }
        if let at = fetchAt, at <= now {
            fetchAt = nil
            if isBehindOthers { fetch(now: now, into: &effects) }
        }
    }
}
