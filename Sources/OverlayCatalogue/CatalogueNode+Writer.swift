public import OverlayModel

/// The writer: it numbers proposals, writes, applies and pushes them. A replica becomes the writer by promotion.
extension CatalogueNode {
    /// Takes a proposal of a peer.
    mutating func takeProposal(
        _ sequence: UInt64, epoch: UInt32, _ command: Command, from peer: NodeID, into effects: inout [Effect]
    ) {
        guard isWriter else {
            // It proposes to a writer of the past.
            if log.catalogue.cluster != nil, heard.writer != node {
                effects.append(.send(peer, CatalogueMessage.term(heard).wireBytes))
            }
            return
        }
        if let result = log.catalogue.result(of: sequence, from: peer) {
            let message = CatalogueMessage.outcome(sequence: sequence, at: log.catalogue.position, result)
            effects.append(.send(peer, message.wireBytes))
        } else if !log.catalogue.isApplied(sequence, from: peer) {
            stage(sequence, epoch: epoch, command, from: peer, into: &effects)
        }
    }

    mutating func stage(
        _ sequence: UInt64, epoch: UInt32, _ command: Command, from proposer: NodeID, into effects: inout [Effect]
    ) {
        guard let cluster = log.catalogue.cluster, isWriter, !pipeline.isBehind, !pipeline.holds(sequence, from: proposer)
        else { return }
        switch command {
        case .initialise, .promote: return
        default: break
        }
        // An entry that a member cannot read would end its history. One that is about to be admitted is a member, too.
        guard VersionRules.obstacle(to: command, in: log.catalogue) == nil,
            command.version <= ProtocolVersions.unannounced || !pipeline.admits(below: command.version)
        else { return }
        // Without rule R3 an old proposal passes for a present one.
        let epoch = rules.contains(.epochs) ? epoch : log.catalogue.members[proposer]?.epoch ?? epoch
        pipeline.stage(
            command, from: proposer, epoch: epoch, sequence: sequence, termNumber: cluster.termNumber, into: &effects)
    }

    /// The store's answer to a ``Effect/store(token:_:)`` with a token. Answers come in order.
    public mutating func stored(_ token: UInt64, succeeded: Bool, now: Instant, into effects: inout [Effect]) {
        guard pipeline.isWriting(token) else { return }
        guard succeeded else { return drop(now: now, into: &effects) }
        let entries = pipeline.takeWritten()
        let last = log.catalogue.term
        // A member that an entry removes must hear of it, so pushes go to the members before and after.
        var targets = Set(log.catalogue.members.keys)
        var applied: [Effect] = []
        for entry in entries { commit(entry, into: &applied) }
        targets.formUnion(log.catalogue.members.keys)
        let pushes = WriterPipeline.pushes(of: entries).map { CatalogueMessage.entries(after: last, $0).wireBytes }
        for member in targets.sorted() where member != node {
            for push in pushes { effects.append(.send(member, push)) }
        }
        for entry in entries where entry.proposer != node {
            // A member that removed itself has no session any more. The entry tells it all the same.
            let result = log.catalogue.result(of: entry.sequence, from: entry.proposer) ?? .accepted
            let position = CataloguePosition(term: log.catalogue.term, index: entry.index)
            let message = CatalogueMessage.outcome(sequence: entry.sequence, at: position, result)
            effects.append(.send(entry.proposer, message.wireBytes))
        }
        // Sent before this node acts on it.
        effects += applied
        if let promotion = pipeline.takePromotion() { promoted(promotion, now: now, into: &effects) }
        settle(now: now, into: &effects)
        compact(into: &effects)
        pipeline.writeNext(into: &effects)
    }

    /// Drops what could not be written, and what waited behind it. The indices are given again.
    private mutating func drop(now: Instant, into effects: inout [Effect]) {
        let dropped = pipeline.abandon(at: log.catalogue.index, into: &effects)
        if let promotion = pipeline.takePromotion() {
            effects.append(.outcome(promotion, .writerFailed))
            return
        }
        for entry in dropped where entry.proposer != node {
            effects.append(.send(entry.proposer, CatalogueMessage.failed(sequence: entry.sequence).wireBytes))
        }
        let own = dropped.filter { $0.proposer == node }.map(\.sequence)
        while let proposal = proposer.first, own.contains(proposal.sequence) {
            finishFirst(.writerFailed, now: now, into: &effects)
        }
    }

    // MARK: Promotion

    /// Makes this node the writer, with the state that it has; what others have beyond that is lost. It counts when it is durable.
    ///
    /// Nothing here asks whether the old writer is gone: the caller does. The outcome comes as an effect, exactly once.
    public mutating func promote(now: Instant, into effects: inout [Effect]) -> ProposalID {
        let id = proposer.takeID()
        guard log.catalogue.cluster != nil else {
            effects.append(.outcome(id, .noCluster))
            return id
        }
        guard pipeline.promotion == nil, !isWriter || pipeline.isBehind else {
            effects.append(.outcome(id, .decided(.refused(Refusal(.conflict, "this node writes the catalogue already")))))
            return id
        }
        // Entries of a writer whose state is an old one may be on their way.
        pipeline.abandon(at: log.catalogue.index, into: &effects)
        let entry = Entry(
            index: log.catalogue.index + 1, termNumber: heard.number < Limits.counter ? heard.number + 1 : heard.number,
            proposer: node, epoch: epoch, sequence: proposer.takeSequence(), command: .promote(after: log.catalogue.term))
        var next = log.catalogue
        let result = next.apply(entry)
        guard case .accepted = result else {
            effects.append(.outcome(id, .decided(result)))
            return id
        }
        // The whole state is written: a replica's disk may have refused some of it, and no other node can be asked for it any more.
        pipeline.promote(id, with: entry, state: [.clear(.catalogueEntry), log.snapshotWrite], into: &effects)
        return id
    }

    /// The promotion is durable, and applied.
    private mutating func promoted(_ id: ProposalID, now: Instant, into effects: inout [Effect]) {
        follower.stop(timers: &timers)
        // Proposals that wait have sequences below that of the promotion, and would be taken for older ones.
        proposer.renumber()
        effects.append(.outcome(id, .decided(.accepted)))
        resend(now: now, into: &effects)
    }
}
