import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// Catalogue: its effects, this node's proposals and their outcomes, and the writer's state in words.
extension Node {
    /// Carries out effects of the catalogue core.
    mutating func runCatalogue(_ catalogueEffects: [CatalogueNode.Effect]) {
        for effect in catalogueEffects {
            if case .applied(let entry, let result) = effect {
                CatalogueFollower.followEntry(&self, entry, result)
                continue
            }
            // Many entries come at once where many hosts join, so they are followed together.
            if let at = outbox.timers[.follow], at <= now { CatalogueFollower.followAll(&self) }
            switch effect {
            case .applied: break
            case .send(let peer, let bytes): outbox.send(.catalogue, bytes, to: peer)
            case .store(let token, let writes):
                let id = outbox.store(writes, isProposal: token != nil)
                if let token { proposals.keep(token, of: id) }
            case .replaced:
                CatalogueFollower.followAll(&self)
                PromotionCalls.followReplacedState(&self)
            case .heard(let term):
                writer.status.answered()
                outbox.log(
                    .warning, "the catalogue has a new writer; this node asks for the new term's entries",
                    [LogKey.term: "\(term.number)", LogKey.writer: name(of: term.writer)])
            case .outcome(let proposal, let outcome): settle(proposal, outcome)
            }
        }
        if let at = outbox.timers[.follow], at <= now { CatalogueFollower.followAll(&self) }
        RollbackRecovery.checkOwnLife(&self)
    }

    /// Proposes a change of the catalogue. Its outcome is handled by purpose.
    mutating func propose(_ command: Command, for purpose: Purpose, deadline: Instant) {
        var out: [CatalogueNode.Effect] = []
        let id = catalogueNode.propose(command, now: now, deadline: deadline, into: &out)
        proposals.add(id, for: purpose)
        runCatalogue(out)
    }

    /// Handles the outcome of a proposal.
    private mutating func settle(_ id: CatalogueNode.ProposalID, _ outcome: CatalogueNode.Outcome) {
        if case .timedOut = outcome { writer.status.didNotAnswer(at: now) } else { writer.status.answered() }
        guard let purpose = proposals.take(id) else { return }
        switch purpose {
        case .request(let request): settle(request, outcome)
        case .claim(let subnet):
            let isRefused = if case .decided(.refused) = outcome { true } else { false }
            addresses.endPrefetch(of: subnet, isRefused: isRefused, now: outbox.now)
        case .handOver(let handover): AddressExchange.settleHandover(&self, handover, outcome)
        case .description(let network): Mirroring.described(&self, network, outcome)
        case .adoption(let network): Adoptions.settled(&self, network, outcome)
        case .rotation:
            if case .decided(.accepted) = outcome { break }
            outbox.timers[.rotateKey] = now + WriterDuties.rotationRetry
        case .quarantine: break
        case .version:
            if case .decided(.accepted) = outcome { break }
            outbox.timers[.version] = now + WriterDuties.raiseRetry
        case .promotion(let request): PromotionCalls.settlePromotion(&self, request, outcome)
        case .own: HostFollower.settled(&self, outcome)
        case .rollback: RollbackRecovery.rollbackSettled(&self, outcome)
        case .close(let subnet):
            if case .decided = outcome {
                outbox.store([closings.end(subnet)])
                for request in requests.waitForClosing(of: subnet) { perform(request) }
                Mirroring.mirrorSoon(&self)
            } else if outbox.timers[.close] == nil {
                outbox.timers[.close] = now + Closings.retry
            }
        }
    }

    /// Handles the outcome of a call's proposal.
    private mutating func settle(_ id: RequestID, _ outcome: CatalogueNode.Outcome) {
        guard let request = requests[id] else { return }
        if case .driver(.requestAddress(let call)) = request.call, call.address == nil, let scarcity = scarcity(outcome, request) {
            // The call now takes addresses in cool-down, too, or waits for addresses that others give back.
            requests.setScarcity(scarcity, of: id)
            return perform(id)
        }
        switch outcome {
        case .decided(.refused(let refusal)): fail(id, DriverError(refusal))
        case .decided(let result):
            switch request.call {
            case .driver(.requestPool(let call)):
                // A pool that was asked for without name and subnet can be found by the result alone. One with a subnet may be
                // another host's by now, which the next round sees.
                if call.pool == nil || call.networkName != nil, case .opened(let subnet) = result,
                    let response = AddressCalls.opened(self, subnet)
                {
                    addresses.requested(subnet, isNamed: call.networkName != nil, isChosen: call.pool != nil, now: now)
                    Leftovers.touch(&self, .subnet(subnet))
                    return finish(id, .driver(response))
                }
                perform(id)
            case .control(let call): ClusterCalls.decided(&self, call, id)
            default: perform(id)
            }
        case .timedOut: fail(id, DriverError(.unavailable, writerText))
        case .writerFailed:
            fail(id, DriverError(.system, "catalogue writer \(writerName) cannot write its state; see its log"))
        case .noCluster: fail(id, Node.noCluster)
        }
    }

    /// Reason why there is no block for a call; nil when there is one, or something else is wrong.
    private func scarcity(_ outcome: CatalogueNode.Outcome, _ request: Requests.Open) -> Scarcity? {
        switch outcome {
        case .decided(.refused(let refusal)) where refusal.code == .exhausted:
            Scarcity(
                error: DriverError(refusal), until: request.scarcity?.until ?? now + AddressExchange.pressureBudget,
                asked: request.scarcity?.asked)
        case .timedOut:
            if case .driver(.requestAddress(let call)) = request.call {
                Scarcity(error: DriverError(.unavailable, writerText(wanting: .claimBlock(call.pool, count: 1))), until: nil)
            } else {
                nil
            }
        default: nil
        }
    }

    /// Refusal outside a cluster.
    static let noCluster = DriverError(
        .unavailable,
        "this node is in no cluster: run `swift-overlay init` on the first host, and on each other one the join command that it "
            + "prints"
    )

    /// Name of the catalogue writer; `?` where there is none.
    var writerName: String { catalogueNode.writer.map { name(of: $0) } ?? "?" }

    /// True if the writer is known to be away. Calls that need the catalogue are refused at once then.
    var isWriterAway: Bool { writerAwaySince != nil }

    /// Time since when the writer is away; nil while it is not.
    private var writerAwaySince: Instant? { writerPeer.flatMap { WriterStatus.awaySince($0, now: now) } }

    /// The writer as membership sees it; nil where this node is the writer, or there is none.
    private var writerPeer: PeerStatus? {
        guard let writer = catalogueNode.writer, writer != identity.id else { return nil }
        return peers[writer]
    }

    /// Time at which a silent writer counts as away, unless it is heard before; nil while it is not silent.
    var writerAwayAt: Instant? { writerPeer.flatMap { WriterStatus.awayAt($0, now: now) } }

    /// True if the writer is away, or left a proposal of this node unanswered not long ago.
    var isWriterSilent: Bool { isWriterAway || writer.status.isSilent(at: now) }

    /// State of the writer, for a refusal or a problem.
    var writerText: String { writerText(unaffected: "running containers, names and starts from owned blocks") }

    /// State of the writer.
    ///
    /// - Parameter unaffected: Things that go on without the writer.
    private func writerText(unaffected: String) -> String {
        guard let writer = catalogueNode.writer else { return Node.noCluster.message }
        if catalogueNode.isBehind { return behindText }
        guard let since = writerAwaySince, let peer = writerPeer else {
            return "catalogue writer \(writerName) did not answer in time; \(unaffected) are unaffected"
        }
        let isCut = peer.state.isReachable
        let reason = isCut ? PeerStatus.silentReason : peer.reason
        let why = reason.isEmpty ? "" : " (\(reason))"
        let member = catalogue.members[writer]
        let advice =
            isCut
            ? "see to the way \(member.map { "to \($0.address):\($0.port)" } ?? "there"), UDP and TCP"
            : CopiedMachine.text(self) != nil
                ? "this host seems to be a copy of another one, so do not promote it"
                : "if it is gone for good, `swift-overlay promote` makes this node the writer"
        return
            "catalogue writer \(writerName) unreachable since \((now - since).wholeSeconds) s\(why); \(unaffected) are unaffected; "
            + advice
    }

    /// Reason why a change of the catalogue is refused while the writer is away.
    func writerText(wanting command: Command) -> String {
        switch command {
        case .claimBlock(let id, _):
            let owned = addresses[id]?.owned ?? 0
            let network = catalogue.network(holding: id)?.title ?? "\(id)"
            let lack =
                owned == 0
                ? "node \(identity.name) owns no addresses of network \(network) yet"
                : "the addresses of network \(network) that node \(identity.name) owns, \(owned), are used up"
            return "\(lack), and only the catalogue gives it more: "
                + writerText(unaffected: "running containers, names and starts where this node owns free addresses")
        case .claimAddress(let id, let address):
            let network = catalogue.network(holding: id)?.title ?? "\(id)"
            return "address \(address) of network \(network) is none of those that node \(identity.name) owns: \(writerText)"
        default: return writerText
        }
    }

    /// Ends open calls that need the writer once it is found away, as those that come later are refused. Their proposals may still
    /// be decided, as after a timeout.
    mutating func refuseOpenCalls() {
        guard isWriterAway, let writer = catalogueNode.writer else { return }
        for (proposal, request) in proposals.ofRequests where proposals.take(proposal) != nil {
            settle(request, .timedOut(writer: writer))
        }
        for request in requests.waitForClosing { fail(request, DriverError(.unavailable, writerText)) }
    }
}

extension DriverError {
    /// Error of a call whose command the catalogue refused.
    init(_ refusal: Refusal) {
        let code: Code =
            switch refusal.code {
            case .conflict: .conflict
            case .notFound: .notFound
            case .exhausted: .exhausted
            case .invalid: .invalid
            }
        self.init(code, refusal.message)
    }
}
