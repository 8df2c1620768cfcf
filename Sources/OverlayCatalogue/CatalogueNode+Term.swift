public import OverlayModel

/// How a node becomes the writer, and how all others come to follow it.
extension CatalogueNode {
    /// How far ahead of what is known a term may be. Nobody promotes that often; no liar is to use up the numbers.
    static let termsAhead: UInt64 = 1 << 20

    // MARK: Promotion

    /// Makes this node the writer, with the state that it has; what others have beyond that is lost. It counts when it is durable.
    ///
    /// Nothing here asks whether the old writer is gone: who calls does. The outcome comes as an effect, exactly once.
    public mutating func promote(now: Instant, into effects: inout [Effect]) -> ProposalID {
        let id = ProposalID(value: nextProposal)
        nextProposal += 1
        guard catalogue.cluster != nil else {
            effects.append(.outcome(id, .noCluster))
            return id
        }
        guard promotion == nil, !isWriter || isBehind else {
            effects.append(.outcome(id, .decided(.refused(Refusal(.conflict, "this node writes the catalogue already")))))
            return id
        }
        // Of a writer whose state was of the past.
        abandon(into: &effects)
        let entry = Entry(
            index: catalogue.index + 1, termNumber: heard.number < Limits.counter ? heard.number + 1 : heard.number,
            proposer: node, epoch: epoch, sequence: takeSequence(), command: .promote(after: catalogue.term))
        var next = catalogue
        let result = next.apply(entry)
        guard case .accepted = result else {
            effects.append(.outcome(id, .decided(result)))
            return id
        }
        promotion = id
        lastStaged = entry.index
        writing = (nextToken, [entry])
        // With all that it follows: a replica's disk may have refused some of that, and nobody else can be asked for it any more.
        let state = StoreWrite.put(.catalogueSnapshot, key: [0], value: catalogue.wireBytes)
        effects.append(.store(token: nextToken, [.clear(.catalogueEntry), state, write(entry)]))
        nextToken += 1
        return id
    }

    /// The promotion is durable, and applied.
    mutating func promoted(_ id: ProposalID, now: Instant, into effects: inout [Effect]) {
        promotion = nil
        known = 0
        fetchAt = nil
        source = nil
        // What waits came before the promotion, and would be taken for older than it.
        for index in queue.indices { queue[index].sequence = takeSequence() }
        effects.append(.outcome(id, .decided(.accepted)))
        resend(now: now, into: &effects)
    }

    // MARK: Hearing of it

    /// Somebody knows of this term. Where it is greater than what this node knows, it commits nothing in its own any more.
    mutating func hear(_ term: Term, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard catalogue.cluster != nil, term > heard, term.number - heard.number <= Self.termsAhead else { return }
        heard = term
        known = 0
        isBehind = false
        abandon(into: &effects)
        if let id = promotion {
            promotion = nil
            let refusal = Refusal(.conflict, "another node was promoted at the same time; this one follows it")
            effects.append(.outcome(id, .decided(.refused(refusal))))
        }
        effects.append(.store(token: nil, [.put(.catalogueSnapshot, key: Self.heardKey, value: term.wireBytes)]))
        effects.append(.heard(term))
        source = canAskWriter ? nil : peer
        // A follower that has missed nothing gets the promotion itself, pushed to all; where that is what told it, it is applied next.
        fetchAt = now + Self.firstRetry
        resend(now: now, into: &effects)
    }

    /// Not a writer that was admitted after the fork, nor this node itself when it has lost what it wrote.
    var canAskWriter: Bool { heard.writer != node && catalogue.members[heard.writer] != nil }

    /// What this node wrote before it lost its state it has from others, and they may not have had all of it. Where more was written, its
    /// next entries would be another history: it commits nothing before it is promoted anew.
    mutating func markOwnPast() {
        if isWriter { isBehind = true }
    }

    /// What waits for a writer goes to the present one.
    mutating func resend(now: Instant, into effects: inout [Effect]) {
        retry = Self.firstRetry
        settle(now: now, into: &effects)
        if !queue.isEmpty { sendFirst(now: now, into: &effects) }
    }

    // MARK: Catching up

    /// Asks a peer for what it has more than this node: the writer, whose task that is, is away.
    public mutating func catchUp(with peer: NodeID, at position: CataloguePosition, now: Instant, into effects: inout [Effect]) {
        guard catalogue.cluster != nil, peer != node, position > catalogue.position, promotion == nil else { return }
        hear(position.term, from: peer, now: now, into: &effects)
        source = peer
        if position.term == heard { known = max(known, min(position.index, Limits.counter)) }
        fetch(now: now, into: &effects)
    }

    /// The term of the entry at an index that ``log`` has the next one of.
    func term(at index: UInt64) -> Term {
        for entry in log where entry.index > index {
            if case .promote(let last) = entry.command { return last }
        }
        return catalogue.term
    }

    mutating func take(_ snapshot: Catalogue, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let cluster = catalogue.cluster, snapshot.cluster?.id == cluster.id, snapshot.position > catalogue.position,
            promotion == nil, !isWriter || isBehind || snapshot.term > heard
        else { return }
        let term = snapshot.term
        let isWriters = term >= heard && (peer == term.writer || catalogue.members[term.writer] == nil)
        guard isWriters || peer == source else { return }
        hear(term, from: peer, now: now, into: &effects)
        guard term <= heard else { return }
        let isOther = term != catalogue.term
        replace(snapshot, into: &effects)
        markOwnPast()
        fetchAt = nil
        if isFollowing, catalogue.index >= known { source = nil }
        if isOther { resend(now: now, into: &effects) } else { settle(now: now, into: &effects) }
        if known > catalogue.index || !isFollowing { fetch(now: now, into: &effects) }
    }
}

extension Entry {
    /// The term that it is of, when it follows one of that term; nil when it cannot follow such a one.
    func term(after last: Term) -> Term? {
        guard case .promote(last) = command else { return termNumber == last.number ? last : nil }
        return termNumber > last.number ? Term(number: termNumber, writer: proposer) : nil
    }
}
