import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// How the node follows the catalogue, and asks for changes of it.
extension Node {
    mutating func runCatalogue(_ catalogueEffects: [CatalogueNode.Effect]) {
        for effect in catalogueEffects {
            if case .applied(let entry, let result) = effect {
                followEntry(entry, result)
                continue
            }
            // Many entries come at once where many hosts join: all of them are followed in one go.
            if let at = outbox.timers[.follow], at <= now { followAll() }
            switch effect {
            case .applied: break
            case .send(let peer, let bytes): outbox.send(.catalogue, bytes, to: peer)
            case .store(let token, let writes):
                let id = outbox.store(writes, isProposal: token != nil)
                if let token { proposals.keep(token, of: id) }
            case .replaced:
                followAll()
                endLosses()
            case .heard(let term):
                writerStatus.answered()
                let writer = name(of: term.writer)
                outbox.log(.warning, "catalogue generation \(term.number) is written by \(writer); this node asks for it")
            case .outcome(let proposal, let outcome): settle(proposal, outcome)
            }
        }
        if let at = outbox.timers[.follow], at <= now { followAll() }
        checkOwnLife()
    }

    mutating func propose(_ command: Command, for purpose: Purpose, deadline: Instant) {
        var out: [CatalogueNode.Effect] = []
        let id = catalogueNode.propose(command, now: now, deadline: deadline, into: &out)
        proposals.add(id, for: purpose)
        runCatalogue(out)
    }

    private mutating func settle(_ id: CatalogueNode.ProposalID, _ outcome: CatalogueNode.Outcome) {
        if case .timedOut = outcome { writerStatus.didNotAnswer(at: now) } else { writerStatus.answered() }
        guard let purpose = proposals.take(id) else { return }
        switch purpose {
        case .request(let request): settle(request, outcome)
        case .claim(let subnet):
            let isRefused = if case .decided(.refused) = outcome { true } else { false }
            addresses.endPrefetch(of: subnet, isRefused: isRefused, now: outbox.now)
        case .handOver(let handover): settleHandover(handover, outcome)
        case .description(let network): described(network, outcome)
        case .rotation:
            if case .decided(.accepted) = outcome { break }
            outbox.timers[.rotateKey] = now + WriterDuties.rotationRetry
        case .quarantine: break
        case .promotion(let request): settlePromotion(request, outcome)
        case .own:
            if case .decided(.refused(let refusal)) = outcome {
                outbox.log(.error, "the cluster does not accept this host's new address or name", ["reason": refusal.message])
            }
        case .rollback: rollbackSettled(outcome)
        case .close(let subnet):
            if case .decided = outcome {
                outbox.store([closings.end(subnet)])
                for request in requests.waitForClosing(of: subnet) { perform(request) }
                mirrorSoon()
            } else if outbox.timers[.close] == nil {
                outbox.timers[.close] = now + Closings.retry
            }
        }
    }

    private mutating func settle(_ id: RequestID, _ outcome: CatalogueNode.Outcome) {
        guard let request = requests[id] else { return }
        if case .driver(.requestAddress(let call)) = request.call, call.address == nil, let scarcity = scarcity(outcome, request) {
            // What rests will do then, and what others give back.
            requests.setScarcity(scarcity, of: id)
            return perform(id)
        }
        switch outcome {
        case .decided(.refused(let refusal)): fail(id, DriverError(refusal))
        case .decided(let result):
            switch request.call {
            case .driver(.requestPool):
                // A pool without name and subnet is found by the result alone.
                if case .opened(let subnet) = result, let response = opened(subnet) {
                    addresses.requested(subnet)
                    return finish(id, .driver(response))
                }
                perform(id)
            case .control(let call): decided(call, id)
            default: perform(id)
            }
        case .timedOut: fail(id, DriverError(.unavailable, writerText))
        case .writerFailed:
            fail(id, DriverError(.system, "catalogue writer \(writerName) cannot write its state; see its log"))
        case .noCluster: fail(id, Self.noCluster)
        }
    }

    /// Why there is no block for a call; nil when there is one, or something else is wrong.
    private func scarcity(_ outcome: CatalogueNode.Outcome, _ request: Requests.Open) -> Scarcity? {
        switch outcome {
        case .decided(.refused(let refusal)) where refusal.code == .exhausted:
            Scarcity(
                error: DriverError(refusal), until: request.scarcity?.until ?? now + Self.pressureBudget,
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

    static let noCluster = DriverError(
        .unavailable,
        "this node is in no cluster: run `swift-overlay init` on the first host, and on each other one the join command that it prints"
    )

    var writerName: String { catalogueNode.writer.map { name(of: $0) } ?? "?" }

    /// Is the writer known to be away? Then what needs agreement is refused at once.
    var isWriterAway: Bool { writerAwaySince != nil }

    private var writerAwaySince: Instant? { writerPeer.flatMap { WriterStatus.awaySince($0, now: now) } }

    /// The writer as membership sees it; nil where this node is the writer, or there is none.
    private var writerPeer: PeerStatus? {
        guard let writer = catalogueNode.writer, writer != identity.id else { return nil }
        return peers[writer]
    }

    /// Time at which the writer is to be taken for away, should nothing come of it.
    var writerAwayAt: Instant? { writerPeer.flatMap { WriterStatus.awayAt($0, now: now) } }

    /// Does the writer answer what this node proposes, as far as is known?
    var isWriterSilent: Bool { isWriterAway || writerStatus.isSilent(at: now) }

    var writerText: String { writerText(unaffected: "running containers, names and starts from owned blocks") }

    private func writerText(unaffected: String) -> String {
        guard let writer = catalogueNode.writer else { return Self.noCluster.message }
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
            : "if it is gone for good, `swift-overlay promote` makes this node the writer"
        return
            "catalogue writer \(writerName) unreachable since \((now - since).wholeSeconds) s\(why); \(unaffected) are unaffected; "
            + advice
    }

    /// Why a change of the catalogue cannot be had.
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

    /// Calls that are open when the writer is found away end like those that come after. What they proposed may still be decided, as
    /// when it is answered too late.
    mutating func refuseOpenCalls() {
        guard isWriterAway, let writer = catalogueNode.writer else { return }
        for (proposal, request) in proposals.ofRequests where proposals.take(proposal) != nil {
            settle(request, .timedOut(writer: writer))
        }
        for request in requests.waitForClosing { fail(request, DriverError(.unavailable, writerText)) }
    }

    // MARK: Following

    private mutating func followEntry(_ entry: Entry, _ result: CommandResult) {
        if case .refused = result { return }
        let isOwn = entry.proposer == identity.id
        switch entry.command {
        case .initialise: outbox.timers[.follow] = now
        case .remove:
            if rules.contains(.fencing) { outbox.timers[.follow] = now }
            // Who is gone knows the present key.
            if isWriter { outbox.timers[.rotateKey] = now }
            followQuarantines()
        case .endRest:
            followQuarantines()
            wakeAllAddressWaits()
        case .rotateKey:
            outbox.timers[.follow] = now
            if isWriter { outbox.timers[.rotateKey] = now + WriterDuties.rotationPeriod }
        case .admit:
            // Each change of the members costs as much as there are members: where a thousand join, a few of them at a time.
            let pause = Self.followPause * Int64(catalogue.members.count)
            outbox.timers[.follow] = outbox.timers[.follow] ?? max(now, followed.map { $0 + pause } ?? now)
        case .openSubnet:
            guard case .opened(let subnet) = result else { return }
            if isOwn || concerns(subnet) { followSubnets() }
        case .configure(let network, let adopted, _):
            if isOwn || subscribed.contains(network) || adopted.contains(where: { concerns($0) }) { followSubnets() }
            mirrorSoon()
        case .closeSubnet(let subnet, let removing):
            if isOwn || concerns(subnet) { followSubnets() }
            if removing { mirrorSoon() }
            wakeAddressWaits(subnet)
        case .describe(let network, _):
            rename(network)
            mirrorSoon()
        case .setJoinSecret: break
        case .promote: logTerm(since: entry.index)
        case .setGateway(let subnet, _), .reserve(let subnet, _), .claimBlock(let subnet, _), .claimAddress(let subnet, _):
            followSubnet(subnet)
        case .giveBack(let subnet, _), .move(let subnet, _, _, _):
            followSubnet(subnet)
            wakeAddressWaits(subnet)
        }
    }

    /// Does this host use the subnet, or its network? Of others' networks there may be thousands.
    private func concerns(_ subnet: SubnetID) -> Bool {
        addresses[subnet] != nil || catalogue.networkOfSubnet[subnet].map { subscribed.contains($0) } ?? false
    }

    /// Members and everything else may be others than before.
    mutating func followAll() {
        outbox.timers[.follow] = nil
        followed = now
        if catalogue.cluster != nil, catalogue.members[identity.id] == nil, rules.contains(.fencing) {
            outbox.log(.warning, "this node was removed from the cluster; its overlay links go down, and it must join again", [:])
            return forgetCluster()
        }
        followTerm()
        tellPeers()
        // A member's tunnel may end elsewhere now.
        repairSoon()
        peers.keepOnly { [members = catalogue.members] in members[$0] != nil }
        followSubnets()
        mirrorSoon()
        wakeAllAddressWaits()
    }

    mutating func tellPeers() {
        let others = catalogue.members.values.filter { $0.id != identity.id }.sorted { $0.id < $1.id }
        replication.setKeys(catalogue.members.mapValues(\.publicKey))
        outbox.append(.peers(others, keys: catalogue.cluster?.gossipKeys ?? []))
    }

    /// Brings pools and subscriptions in line with the catalogue. Before the first observation nothing is told to others: an empty log
    /// would make them drop the rows of containers that run.
    mutating func followSubnets() {
        guard isReady else { return }
        var used: Set<NetworkID> = []
        for network in catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            for subnet in network.subnets where subnet.users.contains(identity.id) {
                used.insert(network.id)
                followSubnet(subnet.id)
            }
        }
        addresses.keepOnly { [catalogue, identity] in catalogue.subnet($0)?.users.contains(identity.id) == true }
        for id in subscribed.subtracting(used).sorted() { withReplication { $0.unsubscribe(id, into: &$1) } }
        for id in used.sorted() {
            let users = catalogue.networks[id]?.users ?? []
            withReplication { [now] in $0.subscribe(id, to: users, now: now, into: &$1) }
        }
        subscribed = used
        followNames()
        // Who left a network has nothing more to tell of it: what was kept of theirs meanwhile may go.
        let unknown = unknownVTEPs
        if forwarding.sparesTooMuch(unknown) { repairSoon() }
    }

    private mutating func followSubnet(_ id: SubnetID) {
        guard let subnet = catalogue.subnet(id) else { return }
        followSubnet(subnet)
    }

    private mutating func followSubnet(_ subnet: Subnet) {
        let id = subnet.id
        guard isReady, subnet.users.contains(identity.id) else { return }
        // Until the catalogue knows that the pool was given up, its addresses are not handed out.
        let blocks = closings.contains(id) ? [] : subnet.blocks(of: identity.id)
        addresses.follow(subnet, blocks: blocks, handovers: handovers.ranges(of: id), now: outbox.now)
    }

    // MARK: Gossip keys

    var isWriter: Bool { catalogue.cluster?.writer == identity.id }

    /// Follows who writes the catalogue.
    mutating func followTerm() {
        writerDuties.follow(isWriter: isWriter, departed: catalogue.departed.keys, into: &outbox)
    }

    mutating func askForKey() { writerDuties.beginRotation(isWriter: isWriter, into: &outbox) }

    mutating func rotate(to key: [UInt8]) {
        guard isWriter, !proposals.contains(where: { if case .rotation = $0 { true } else { false } }) else { return }
        propose(.rotateKey(key), for: .rotation, deadline: now + Proposals.budget)
    }

    /// Without rule R7: what is claimed is handed out before it is given.
    ///
    /// - Returns: The subnet, where the claim is one of addresses and would be granted now.
    mutating func anticipate(_ command: Command) -> SubnetID? {
        let id: SubnetID
        switch command {
        case .claimBlock(let subnet, _), .claimAddress(let subnet, _): id = subnet
        default: return nil
        }
        var ahead = catalogue
        let entry = Entry(
            index: ahead.index + 1, termNumber: ahead.cluster?.termNumber ?? 0, proposer: identity.id, epoch: life.epoch,
            sequence: .max, command: command)
        guard case .accepted = ahead.apply(entry), let subnet = ahead.subnet(id) else { return nil }
        followSubnet(subnet)
        return id
    }

    // MARK: Giving up

    /// Gives subnets up: durably here, then in the catalogue, however long that takes.
    ///
    /// - Parameters:
    ///   - isRemoval: Of a network that nobody is on, by a user.
    ///   - with: What is to be durable at the same time.
    /// - Returns: When it is durable.
    mutating func close(
        _ subnets: [SubnetID], isRemoval: Bool = false, with others: [StoreWrite] = [], for objects: [ObjectKey] = []
    ) -> Set<EffectID> {
        var writes = others
        for id in subnets where catalogue.subnet(id)?.users.contains(identity.id) == true && !closings.contains(id) {
            let dropped = addresses.drop(id)
            writes += dropped.leases + handovers.end(of: id) + dropped.quarantine
            writes.append(closings.begin(id, isRemoval: isRemoval))
        }
        guard !writes.isEmpty else { return [] }
        let stored = outbox.store(writes, for: objects)
        // Proposed when it is durable: were it forgotten, addresses that others own by then would be handed out.
        if rules.contains(.durableHandovers) { closings.wait(for: stored) } else { proposeClosing() }
        return [stored]
    }

    /// A host that was given another address or name tells the cluster.
    mutating func proposeOwnChange() {
        guard !isStateOld, let known = catalogue.members[identity.id], known != member, !isWriterAway,
            !proposals.contains(where: { if case .own = $0 { true } else { false } })
        else { return }
        propose(.admit(member), for: .own, deadline: now + Proposals.budget)
    }

    /// Pools that no network came for: the engine died in between, or had lost patience.
    mutating func closeOrphans() {
        let mine = catalogue.networks.values.flatMap(\.subnets).filter { $0.users.contains(identity.id) }.map(\.id)
        let unbound = Set(mine).subtracting(inventory.boundSubnets).subtracting(closings.all)
        let old = addresses.orphans(unbound, at: outbox.now)
        guard !old.isEmpty, !isStateOld else { return }
        outbox.log(.warning, "pools without a network are given up", ["pools": old.map(\.description).joined(separator: " ")])
        _ = close(old)
    }

    mutating func proposeClosing() {
        outbox.timers[.close] = nil
        guard catalogue.cluster != nil, closings.isStored, outbox.journal.isAssured, !isStateOld else { return }
        // What is not durable is not proposed.
        guard !isWriterAway, outbox.storeIsWhole else {
            if !closings.isEmpty { outbox.timers[.close] = now + Closings.retry }
            return
        }
        let proposed = proposals.closings
        for id in closings.all.subtracting(proposed).sorted() {
            confirmRemoval(of: id)
            propose(.closeSubnet(id, removing: closings.isRemoval(id)), for: .close(id), deadline: now + Proposals.budget)
        }
    }
}

extension DriverError {
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
