public import OverlayModel

/// The follower: it learns of terms and positions, and fetches and applies what it misses.
extension CatalogueNode {
    /// Greatest step from a known term to the next. Nobody promotes that often; a liar must not be able to use up the numbers.
    static let termsAhead: UInt64 = 1 << 20

    // MARK: Terms

    /// Takes note of a term that a peer knows. If it is greater than what this node knows, this node commits nothing in its own any more.
    mutating func hear(_ term: Term, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard log.catalogue.cluster != nil, term > heard, term.number - heard.number <= Self.termsAhead else { return }
        pipeline.isBehind = false
        pipeline.abandon(at: log.catalogue.index, into: &effects)
        if let promotion = pipeline.takePromotion() {
            let refusal = Refusal(.conflict, "another node was promoted at the same time; this one follows it")
            effects.append(.outcome(promotion, .decided(.refused(refusal))))
        }
        effects.append(.store(token: nil, [.put(.catalogueSnapshot, key: Self.heardKey, value: term.wireBytes)]))
        effects.append(.heard(term))
        follower.hear(term, source: canAsk(term.writer) ? nil : peer, now: now, timers: &timers)
        resend(now: now, into: &effects)
    }

    /// True unless the writer was admitted after the fork, or is this node itself that has lost what it wrote.
    private func canAsk(_ writer: NodeID) -> Bool { writer != node && log.catalogue.members[writer] != nil }

    /// Takes note that this node, the writer, has entries from others: it lost what it wrote, and they may not have had all of it.
    /// If there was more, its next entries would be another history, so it commits nothing before it is promoted anew.
    private mutating func markOwnPast() {
        if isWriter { pipeline.isBehind = true }
    }

    // MARK: Positions

    /// Takes the position of a peer's state, which it tells with every probe.
    public mutating func learn(_ position: CataloguePosition, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard log.catalogue.cluster != nil else { return }
        hear(position.term, from: peer, now: now, into: &effects)
        if peer == heard.writer, canAsk(peer) { follower.setSource(nil) }
        guard position.term == heard else {
            // Probes tell the peer the position of this node's state, and not the term that it has heard of.
            if !isFollowing { effects.append(.send(peer, CatalogueMessage.term(heard).wireBytes)) }
            return
        }
        guard isFollowing else {
            if !canAsk(heard.writer) { follower.setSource(peer) }
            if timers[.fetch] == nil { fetch(now: now, into: &effects) }
            return
        }
        guard position.index > log.catalogue.index, position.index < Limits.counter else { return }
        guard !isWriter else {
            if position.index > pipeline.lastIndex { pipeline.isBehind = true }
            return
        }
        follower.know(position.index)
        if timers[.fetch] == nil { fetch(now: now, into: &effects) }
    }

    /// Asks a peer for what it has more than this node: the writer, which would answer that, is away.
    public mutating func catchUp(with peer: NodeID, at position: CataloguePosition, now: Instant, into effects: inout [Effect]) {
        guard log.catalogue.cluster != nil, peer != node, position > log.catalogue.position, pipeline.promotion == nil
        else { return }
        hear(position.term, from: peer, now: now, into: &effects)
        follower.setSource(peer)
        if position.term == heard { follower.know(min(position.index, Limits.counter)) }
        fetch(now: now, into: &effects)
    }

    /// True if the history is longer than the state, or is another one.
    var isMissingEntries: Bool { follower.isAhead(of: log.catalogue.index) || !isFollowing }

    mutating func fetch(now: Instant, into effects: inout [Effect]) {
        guard writer != nil else { return }
        follower.fetch(after: log.catalogue.position, by: node, now: now, timers: &timers, into: &effects)
    }

    // MARK: Entries

    mutating func follow(
        _ entries: [Entry], after last: Term, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard log.catalogue.cluster != nil, pipeline.promotion == nil else { return }
        // The writer alone makes history: another member cannot tell of a new term with entries.
        let end = entries.reduce(last) { $1.term(after: $0) ?? $0 }
        if end.writer == peer { hear(end, from: peer, now: now, into: &effects) }
        guard peer == writer || peer == follower.source, !isWriter || pipeline.isBehind else { return }
        var writes: [StoreWrite] = []
        var applied: [Effect] = []
        var term = last
        for entry in entries {
            let next = entry.term(after: term)
            if entry.index == log.catalogue.index + 1 {
                // At a fork, a snapshot comes next.
                guard term == log.catalogue.term, let next else { break }
                writes.append(entry.storeWrite)
                commit(entry, into: &applied)
                pipeline.follow(to: entry.index)
                if log.catalogue.term != next { break }
            } else if entry.index > log.catalogue.index {
                follower.know(entry.index)
            }
            term = next ?? term
        }
        if !writes.isEmpty {
            // Written first: an entry may have the effect that everything is forgotten.
            effects.append(.store(token: nil, writes))
            effects += applied
            timers.clear(.fetch)
            markOwnPast()
            if follower.source == peer, !isMissingEntries { follower.setSource(nil) }
            if term != last { resend(now: now, into: &effects) }
            settle(now: now, into: &effects)
            compact(into: &effects)
        }
        if isMissingEntries, timers[.fetch] == nil { fetch(now: now, into: &effects) }
    }

    mutating func take(_ snapshot: Catalogue, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let cluster = log.catalogue.cluster, snapshot.cluster?.id == cluster.id,
            snapshot.position > log.catalogue.position, pipeline.promotion == nil,
            !isWriter || pipeline.isBehind || snapshot.term > heard
        else { return }
        let term = snapshot.term
        let isWriters = term >= heard && (peer == term.writer || log.catalogue.members[term.writer] == nil)
        guard isWriters || peer == follower.source else { return }
        hear(term, from: peer, now: now, into: &effects)
        guard term <= heard else { return }
        let isOther = term != log.catalogue.term
        replace(snapshot, into: &effects)
        markOwnPast()
        timers.clear(.fetch)
        if !isMissingEntries { follower.setSource(nil) }
        if isOther { resend(now: now, into: &effects) } else { settle(now: now, into: &effects) }
        if isMissingEntries { fetch(now: now, into: &effects) }
    }
}
