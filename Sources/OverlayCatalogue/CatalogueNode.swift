public import OverlayModel

/// One node's share in keeping the catalogue: the writer's log, or a replica that follows it, and the node's own proposals.
///
/// The writer numbers proposals, has each entry written durably, then applies it, answers and pushes it to all. Replicas apply entries in
/// order, and fetch what they miss from any node that has it. A proposal is repeated until it is answered; its sequence makes that
/// harmless.
///
/// A replica may be promoted (``promote(now:into:)``), while the writer is away. From then on there may be two histories that part after
/// some entry. A node follows the one with the greatest ``Term`` it has heard of, and takes a snapshot if its own has entries after the
/// fork. Those are lost, with what they had granted. A writer that hears of a greater term commits nothing more.
///
/// Four parts hold the state, and none of them sees another: ``Proposer``, ``CatalogueLog``, ``WriterPipeline`` and ``Follower``.
/// Whatever concerns two of them is written here.
public struct CatalogueNode: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// Durable write. `token` is set if the core waits for ``CatalogueNode/stored(_:succeeded:now:into:)``.
        case store(token: UInt64?, [StoreWrite])
        /// The state moved on by this entry.
        case applied(Entry, CommandResult)
        /// The state was replaced by a snapshot.
        case replaced
        /// Another node writes the catalogue than this node knew. Its state is still the old one.
        case heard(Term)
        /// Outcome of a proposal of this node.
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

    /// Timers, in the order in which due ones fire.
    enum Timer: CaseIterable, Hashable, Sendable {
        /// Deadline of the proposal in flight.
        case expire
        /// Repeat of the proposal in flight.
        case resend
        /// Question for entries that are missing.
        case fetch
    }

    /// Key of the store's row with ``heard``, in the table of the snapshot.
    static let heardKey: [UInt8] = [1]

    public let node: NodeID
    /// The daemon never sets it.
    package var rules = SafetyRules.all
    public private(set) var epoch: UInt32
    /// Versions of the protocol that this node speaks.
    let versions: ProtocolVersions
    @usableFromInline var log: CatalogueLog
    var pipeline: WriterPipeline
    var proposer: Proposer
    var follower: Follower
    var timers = Deadlines<Timer>()

    /// - Parameters:
    ///   - boot: The node's boot counter, stored before use: sequences of this life are above those of all earlier ones.
    ///   - rows: The store's rows of the catalogue.
    ///   - versions: Versions of the protocol that this node speaks.
    /// - Throws: ``DecodeError`` for a row that is not what this version writes.
    public init(
        node: NodeID, epoch: UInt32, boot: UInt32, rows: StoredRows, versions: ProtocolVersions = .present
    ) throws(DecodeError) {
        self.node = node
        self.versions = versions
        self.epoch = epoch
        log = try CatalogueLog(rows: rows)
        proposer = Proposer(boot: boot)
        pipeline = WriterPipeline(index: log.catalogue.index)
        var heard = Term.none
        if log.catalogue.cluster != nil {
            heard = log.catalogue.term
            if let bytes = rows[.catalogueSnapshot]?[Self.heardKey] { heard = max(heard, try Term(wire: bytes)) }
        }
        follower = Follower(heard: heard)
    }

    // Read very often: inlined, so that nobody copies it.
    @inlinable public var catalogue: Catalogue { log.catalogue }
    /// Greatest term that this node knows of: the term of its state, or one whose state it has yet to get.
    public var heard: Term { follower.heard }
    /// True if a peer knows of entries that this writer does not have: its state is an old one. It commits nothing.
    public var isBehind: Bool { pipeline.isBehind }
    /// True if this node may commit, as far as it knows.
    public var isWriter: Bool { isFollowing && heard.writer == node && log.catalogue.cluster != nil }
    /// The node that commits, as far as this node knows: it follows that one's state, or is about to. Nil without a cluster.
    public var writer: NodeID? { log.catalogue.cluster == nil ? nil : heard.writer }
    /// True if the state is that of the present writer's history.
    var isFollowing: Bool { heard == log.catalogue.term }

    // MARK: Clusters

    /// Makes this node the writer of a new cluster. `initialise` becomes entry 1.
    public mutating func initialise(_ cluster: Cluster, member: Member, into effects: inout [Effect]) {
        precondition(log.catalogue.index == 0, "a cluster exists")
        epoch = member.epoch
        let entry = Entry(
            index: 1, termNumber: cluster.termNumber, proposer: node, epoch: epoch, sequence: proposer.takeSequence(),
            command: .initialise(cluster, member))
        pipeline.follow(to: entry.index)
        effects.append(.store(token: nil, [entry.storeWrite]))
        commit(entry, into: &effects)
    }

    /// Takes the state that a join was answered with.
    public mutating func join(_ snapshot: Catalogue, epoch: UInt32, into effects: inout [Effect]) {
        self.epoch = epoch
        replace(snapshot, into: &effects)
    }

    /// Forgets the cluster.
    public mutating func leave(into effects: inout [Effect]) {
        proposer.finishAll(.noCluster, timers: &timers, into: &effects)
        if let promotion = pipeline.takePromotion() { effects.append(.outcome(promotion, .noCluster)) }
        let writes = log.clear()
        pipeline.reset(to: 0)
        pipeline.isBehind = false
        follower.clear(timers: &timers)
        effects.append(.store(token: nil, writes))
        effects.append(.replaced)
    }

    /// Goes on in another life. Proposals of the one before are given up: they may be taken for what was proposed once already.
    public mutating func setLife(epoch: UInt32, boot: UInt32, into effects: inout [Effect]) {
        self.epoch = epoch
        guard proposer.isAhead(boot) else { return }
        proposer.finishAll(.timedOut(writer: log.catalogue.cluster?.writer ?? node), timers: &timers, into: &effects)
        proposer.start(boot: boot)
    }

    /// True if the last proposal of this node that was applied is not of this life. Its state is an old copy then.
    public var isSessionAhead: Bool { log.catalogue.isApplied(proposer.nextSequence, from: node) }

    /// The boot counter of this node's last proposal that was applied.
    public var sessionBoot: UInt32 { UInt32(truncatingIfNeeded: log.catalogue.lastSequence(from: node) >> 32) }

    // MARK: State

    mutating func commit(_ entry: Entry, into effects: inout [Effect]) {
        let old = log.catalogue.term
        let result = log.apply(entry)
        if log.catalogue.term != old {
            follower.raise(to: log.catalogue.term)
            pipeline.isBehind = false
        }
        effects.append(.applied(entry, result))
    }

    mutating func replace(_ snapshot: Catalogue, into effects: inout [Effect]) {
        let writes = log.replace(snapshot)
        pipeline.follow(to: snapshot.index)
        follower.raise(to: snapshot.term)
        effects.append(.store(token: nil, writes))
        effects.append(.replaced)
    }

    /// Keeps the stored entries few, while this node is a member.
    mutating func compact(into effects: inout [Effect]) {
        guard log.catalogue.members[node] != nil, let writes = log.compact() else { return }
        effects.append(.store(token: nil, writes))
    }

    // MARK: Messages

    /// Takes a message of an authenticated member.
    /// - Throws: ``DecodeError`` for a message that does not decode. It changes nothing.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) throws(DecodeError) {
        let message = try CatalogueMessage(wire: bytes)
        // Like a form that this build does not know.
        guard message.version <= versions.newest else { throw .invalid("catalogue message of a later protocol") }
        switch message {
        case .propose(let epoch, let sequence, let command):
            takeProposal(sequence, epoch: epoch, command, from: peer, into: &effects)
        case .outcome(let sequence, let position, _):
            guard peer == writer, position.term == heard else { return }
            proposer.decided(sequence, now: now, timers: &timers)
            learn(position, from: peer, now: now, into: &effects)
        case .failed(let sequence):
            guard peer == writer, proposer.first?.sequence == sequence else { return }
            finishFirst(.writerFailed, now: now, into: &effects)
        case .entries(let last, let entries): follow(entries, after: last, from: peer, now: now, into: &effects)
        case .fetch(let position):
            guard log.catalogue.cluster != nil else { return }
            effects.append(.send(peer, log.answer(after: position).wireBytes))
            hear(position.term, from: peer, now: now, into: &effects)
        case .snapshot(let snapshot): take(snapshot, from: peer, now: now, into: &effects)
        case .term(let term): hear(term, from: peer, now: now, into: &effects)
        }
    }

    // MARK: Time

    public var nextDeadline: Instant? { timers.next }

    public mutating func advance(to now: Instant, into effects: inout [Effect]) {
        for timer in Timer.allCases where timers.takeDue(timer, at: now) {
            switch timer {
            case .expire:
                while let proposal = proposer.first, proposal.deadline <= now {
                    finishFirst(.timedOut(writer: writer ?? node), now: now, into: &effects)
                }
            case .resend: sendFirst(now: now, into: &effects)
            case .fetch: if isMissingEntries { fetch(now: now, into: &effects) }
            }
        }
    }
}
