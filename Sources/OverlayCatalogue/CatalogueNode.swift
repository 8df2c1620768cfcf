public import OverlayModel

/// One node's part in keeping the catalogue: the writer's log, or a replica that follows it, and the node's own proposals.
///
/// The writer numbers proposals, has each entry written durably, then applies it, answers and pushes it to all. Replicas apply entries in
/// order, and fetch what they miss from whoever has it. A proposal is repeated until it is answered; its sequence makes that harmless.
public struct CatalogueNode: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// Write durably. `token` is set where the core waits for ``CatalogueNode/stored(_:succeeded:now:into:)``.
        case store(token: UInt64?, [StoreWrite])
        /// The state moved on by this entry.
        case applied(Entry, CommandResult)
        /// The state was replaced by a snapshot.
        case replaced
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

    public let node: NodeID
    /// The daemon never sets it.
    package var rules = SafetyRules.all
    public private(set) var epoch: UInt32
    public private(set) var catalogue: Catalogue
    private var log: [Entry] = []
    private var storedSnapshot: UInt64

    // The writer's side.
    /// Entries that wait for the disk, in order: while one batch is being written, what is proposed makes up the next one.
    private var staged: [Entry] = []
    private var writing: (token: UInt64, entries: [Entry])?
    private var nextToken: UInt64 = 1
    private var lastStaged: UInt64
    /// Somebody knows of entries that this writer does not: its state is of the past. It commits nothing, or there were two histories.
    public private(set) var isBehind = false

    // The proposer's side: one proposal is in flight, in order, so that the writer sees them in order.
    private struct Proposal: Sendable {
        var id: ProposalID
        var sequence: UInt64
        var command: Command
        var deadline: Instant
    }
    private var queue: [Proposal] = []
    private var resendAt: Instant?
    private var retry = Self.firstRetry
    private var nextSequence: UInt64
    private var nextProposal: UInt64 = 1

    // The follower's side.
    private var known: UInt64 = 0
    private var fetchAt: Instant?

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
    }

    public var isWriter: Bool { catalogue.cluster?.writer == node }

    /// Makes this node the writer of a new cluster. `initialise` becomes entry 1.
    public mutating func initialise(_ cluster: Cluster, member: Member, into effects: inout [Effect]) {
        precondition(catalogue.index == 0, "a cluster exists")
        epoch = member.epoch
        let entry = Entry(
            index: 1, generation: cluster.generation, proposer: node, epoch: epoch, sequence: takeSequence(),
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
        queue = []
        resendAt = nil
        fetchAt = nil
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
            effects.append(.outcome(id, .timedOut(writer: catalogue.cluster?.writer ?? node)))
            return id
        }
        queue.append(Proposal(id: id, sequence: takeSequence(), command: command, deadline: deadline))
        if queue.count == 1 { sendFirst(now: now, into: &effects) }
        return id
    }

    private mutating func takeSequence() -> UInt64 {
        defer { nextSequence += 1 }
        return nextSequence
    }

    private mutating func sendFirst(now: Instant, into effects: inout [Effect]) {
        guard let proposal = queue.first, let cluster = catalogue.cluster else {
            resendAt = nil
            return
        }
        if cluster.writer == node {
            resendAt = nil
            stage(proposal.sequence, epoch: epoch, proposal.command, from: node, into: &effects)
        } else {
            effects.append(
                .send(cluster.writer, message(.propose(epoch: epoch, sequence: proposal.sequence, proposal.command))))
            resendAt = now + retry
            retry = min(retry * 2, Self.lastRetry)
        }
    }

    private mutating func settle(now: Instant, into effects: inout [Effect]) {
        while let proposal = queue.first {
            if let result = catalogue.result(of: proposal.sequence, from: node) {
                finishFirst(.decided(result), now: now, into: &effects)
            } else if catalogue.members[node] == nil, case .remove(node) = proposal.command {
                finishFirst(.decided(.accepted), now: now, into: &effects)
            } else {
                return
            }
        }
    }

    private mutating func finishFirst(_ outcome: Outcome, now: Instant, into effects: inout [Effect]) {
        let proposal = queue.removeFirst()
        effects.append(.outcome(proposal.id, outcome))
        retry = Self.firstRetry
        sendFirst(now: now, into: &effects)
    }

    // MARK: The writer

    private mutating func stage(
        _ sequence: UInt64, epoch: UInt32, _ command: Command, from proposer: NodeID, into effects: inout [Effect]
    ) {
        guard let cluster = catalogue.cluster, cluster.writer == node, !isBehind,
            !(staged + (writing?.entries ?? [])).contains(where: { $0.proposer == proposer && $0.sequence >= sequence })
        else { return }
        if case .initialise = command { return }
        // Without rule R3 an old proposal passes for one of now.
        let epoch = rules.contains(.epochs) ? epoch : catalogue.members[proposer]?.epoch ?? epoch
        lastStaged += 1
        let entry = Entry(
            index: lastStaged, generation: cluster.generation, proposer: proposer, epoch: epoch, sequence: sequence,
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
        // Whoever is removed by an entry must hear of it: sent before anybody acts on it.
        var targets = Set(catalogue.members.keys)
        var after: [Effect] = []
        for entry in entries { commit(entry, into: &after) }
        targets.formUnion(catalogue.members.keys)
        let pushes = parts(of: entries).map { message(.entries($0)) }
        for member in targets.sorted() where member != node {
            for push in pushes { effects.append(.send(member, push)) }
        }
        for entry in entries where entry.proposer != node {
            // A member that removed itself has no session any more; the entry tells it all the same.
            let result = catalogue.result(of: entry.sequence, from: entry.proposer) ?? .accepted
            effects.append(
                .send(entry.proposer, message(.outcome(sequence: entry.sequence, index: entry.index, result, entries: []))))
        }
        effects += after
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
        let dropped = (writing?.entries ?? []) + staged
        writing = nil
        staged = []
        lastStaged = catalogue.index
        // What of them was written after all must not be found at the next start.
        effects.append(.store(token: nil, dropped.map { .delete(.catalogueEntry, key: $0.index.wireBytes) }))
        for entry in dropped where entry.proposer != node {
            effects.append(.send(entry.proposer, message(.failed(sequence: entry.sequence))))
        }
        let own = dropped.filter { $0.proposer == node }.map(\.sequence)
        while let proposal = queue.first, own.contains(proposal.sequence) {
            finishFirst(.writerFailed, now: now, into: &effects)
        }
    }

    private mutating func commit(_ entry: Entry, into effects: inout [Effect]) {
        let result = catalogue.apply(entry)
        log.append(entry)
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

    private func write(_ entry: Entry) -> StoreWrite {
        .put(.catalogueEntry, key: entry.index.wireBytes, value: entry.wireBytes)
    }

    // MARK: Messages

    /// Takes a message of an authenticated member. One that does not decode is dropped by the caller.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) throws(DecodeError) {
        switch try CatalogueMessage(wire: bytes) {
        case .propose(let epoch, let sequence, let command):
            guard isWriter else { return }
            if let result = catalogue.result(of: sequence, from: peer) {
                let answer = CatalogueMessage.outcome(sequence: sequence, index: catalogue.index, result, entries: [])
                effects.append(.send(peer, message(answer)))
            } else if !catalogue.isApplied(sequence, from: peer) {
                stage(sequence, epoch: epoch, command, from: peer, into: &effects)
            }
        case .outcome(let sequence, let index, _, let entries):
            guard peer == catalogue.cluster?.writer else { return }
            if queue.first?.sequence == sequence, resendAt != nil {
                // Decided; what is left is to follow until it is applied here too, so no need to hurry with repeats.
                resendAt = now + Self.lastRetry
            }
            follow(entries, now: now, into: &effects)
            learn(index: index, from: peer, now: now, into: &effects)
        case .failed(let sequence):
            guard peer == catalogue.cluster?.writer, queue.first?.sequence == sequence else { return }
            finishFirst(.writerFailed, now: now, into: &effects)
        case .entries(let entries):
            // The writer alone makes history; a member that is no writer cannot pass another one off.
            guard peer == catalogue.cluster?.writer else { return }
            follow(entries, now: now, into: &effects)
        case .fetch(let index):
            effects.append(.send(peer, message(answer(fetch: index))))
        case .snapshot(let snapshot):
            guard peer == catalogue.cluster?.writer, snapshot.index > catalogue.index, snapshot.cluster?.id == catalogue.cluster?.id
            else { return }
            replace(snapshot, into: &effects)
            settle(now: now, into: &effects)
            fetchAt = nil
            if known > catalogue.index { fetch(now: now, into: &effects) }
        }
    }

    /// A peer told that its state is at `index`; told with every probe.
    public mutating func learn(index: UInt64, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard index > catalogue.index, index < Limits.counter else { return }
        guard !isWriter else {
            isBehind = isBehind || index > lastStaged
            return
        }
        known = max(known, index)
        if fetchAt == nil { fetch(now: now, into: &effects) }
    }

    private func answer(fetch index: UInt64) -> CatalogueMessage {
        guard let first = log.first?.index, index >= first, index <= catalogue.index + 1 else {
            return .snapshot(catalogue)
        }
        return .entries(Array(log[Int(index - first)...].prefix(Self.entriesPerMessage)))
    }

    private mutating func follow(_ entries: [Entry], now: Instant, into effects: inout [Effect]) {
        guard !isWriter, catalogue.cluster != nil else { return }
        var writes: [StoreWrite] = []
        var applied: [Effect] = []
        for entry in entries {
            if entry.index == catalogue.index + 1 {
                writes.append(write(entry))
                commit(entry, into: &applied)
                lastStaged = catalogue.index
            } else if entry.index > catalogue.index {
                known = max(known, entry.index)
            }
        }
        if !writes.isEmpty {
            // Written first: what follows from an entry may be that all is forgotten.
            effects.append(.store(token: nil, writes))
            effects += applied
            fetchAt = nil
            settle(now: now, into: &effects)
            trim(into: &effects)
        }
        if known > catalogue.index, fetchAt == nil { fetch(now: now, into: &effects) }
    }

    private mutating func fetch(now: Instant, into effects: inout [Effect]) {
        guard let peer = catalogue.cluster?.writer, peer != node else { return }
        effects.append(.send(peer, message(.fetch(from: catalogue.index + 1))))
        fetchAt = now + Self.fetchRetry
    }

    private mutating func replace(_ snapshot: Catalogue, into effects: inout [Effect]) {
        catalogue = snapshot
        log = []
        lastStaged = snapshot.index
        storedSnapshot = snapshot.index
        effects.append(
            .store(
                token: nil,
                [.clear(.catalogueEntry), .put(.catalogueSnapshot, key: [0], value: snapshot.wireBytes)]))
        effects.append(.replaced)
    }

    private func message(_ message: CatalogueMessage) -> [UInt8] { message.wireBytes }

    // MARK: Time

    public var nextDeadline: Instant? {
        [resendAt, fetchAt, queue.first?.deadline].compactMap { $0 }.min()
    }

    public mutating func advance(to now: Instant, into effects: inout [Effect]) {
        while let proposal = queue.first, proposal.deadline <= now {
            finishFirst(.timedOut(writer: catalogue.cluster?.writer ?? node), now: now, into: &effects)
        }
        if let at = resendAt, at <= now { sendFirst(now: now, into: &effects) }
        if let at = fetchAt, at <= now {
            fetchAt = nil
            if known > catalogue.index {
                fetch(now: now, into: &effects)
            }
        }
    }
}
