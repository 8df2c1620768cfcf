public import OverlayModel

/// Proposals of this node: what the proposer does with the log and with this node's own writer.
extension CatalogueNode {
    /// Asks the writer for a change. The outcome comes as an effect, exactly once.
    /// - Parameter deadline: Instant at which the outcome is ``Outcome/timedOut(writer:)`` if there is none yet.
    public mutating func propose(
        _ command: Command, now: Instant, deadline: Instant, into effects: inout [Effect]
    ) -> ProposalID {
        let id = proposer.takeID()
        guard log.catalogue.cluster != nil else {
            effects.append(.outcome(id, .noCluster))
            return id
        }
        guard !proposer.isFull else {
            effects.append(.outcome(id, .timedOut(writer: heard.writer)))
            return id
        }
        if proposer.add(command, as: id, deadline: deadline, timers: &timers) { sendFirst(now: now, into: &effects) }
        return id
    }

    private var route: Proposer.Route {
        guard let writer else { return .nowhere }
        if isWriter { return .here }
        return writer == node ? .suspended : .peer(writer)
    }

    mutating func sendFirst(now: Instant, into effects: inout [Effect]) {
        if let command = proposer.first?.command, let refusal = VersionRules.obstacle(to: command, in: log.catalogue) {
            return finishFirst(.decided(.refused(refusal)), now: now, into: &effects)
        }
        guard let proposal = proposer.sendFirst(by: route, epoch: epoch, now: now, timers: &timers, into: &effects) else { return }
        stage(proposal.sequence, epoch: epoch, proposal.command, from: node, into: &effects)
    }

    /// Sends what waits for a writer to the present one.
    mutating func resend(now: Instant, into effects: inout [Effect]) {
        proposer.resetRetry()
        settle(now: now, into: &effects)
        if proposer.first != nil { sendFirst(now: now, into: &effects) }
    }

    /// Ends the proposals that the state decides.
    mutating func settle(now: Instant, into effects: inout [Effect]) {
        while let proposal = proposer.first {
            if let result = log.catalogue.result(of: proposal.sequence, from: node) {
                finishFirst(.decided(result), now: now, into: &effects)
            } else if log.catalogue.members[node] == nil, case .remove(node, _) = proposal.command {
                finishFirst(.decided(.accepted), now: now, into: &effects)
            } else {
                return
            }
        }
    }

    mutating func finishFirst(_ outcome: Outcome, now: Instant, into effects: inout [Effect]) {
        proposer.finishFirst(outcome, timers: &timers, into: &effects)
        sendFirst(now: now, into: &effects)
    }
}
