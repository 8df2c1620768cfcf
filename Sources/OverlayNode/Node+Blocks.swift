import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel

/// How addresses come to this host and leave it again. Rule R2: what is given up leaves the free addresses here first, durably; then it is
/// proposed; and it comes back only when the catalogue has refused it.
extension Node {
    /// What a call waits for others to give back addresses, all in all; and for the owner of an address that `--ip` names.
    static let pressureBudget = Interval.milliseconds(800)
    static let wantBudget = Interval.seconds(3)

    // MARK: More

    /// Asks for a further block without anybody waiting for it.
    mutating func prefetchBlock(of id: SubnetID) {
        guard !isStateOld, !closings.contains(id), !isWriterAway, addresses.beginPrefetch(of: id, now: outbox.now) else { return }
        propose(.claimBlock(id, count: 16), for: .claim(id), deadline: now + Proposals.budget)
    }

    // MARK: Waiting

    /// Others may have free addresses, and are asked to give them back.
    mutating func waitForAddresses(_ id: RequestID, _ subnet: SubnetID, _ scarcity: Scarcity) throws(DriverError) -> Step {
        guard let until = scarcity.until, now < until else { throw scarcity.error }
        let wait = AddressWait(subnet: subnet, wanted: nil, asked: scarcity.asked ?? now, until: until, error: scarcity.error)
        requests.wait(id, for: .addresses(wait))
        if scarcity.asked == nil {
            var asked = scarcity
            asked.asked = outbox.now
            requests.setScarcity(asked, of: id)
            askFor(wait)
        }
        return .wait
    }

    /// `--ip` names an address that another host hands out.
    mutating func wantAddress(_ address: IPAddress, from owner: NodeID, _ id: RequestID, on subnet: Subnet, _ network: Network)
        throws(DriverError)
        -> Step
    {
        let title = "address \(address) of network \(network.title) is among those that node \(name(of: owner)) hands out"
        if let name = catalogue.departed[owner] {
            throw DriverError(.conflict, "address \(address) of network \(network.title) \(Catalogue.restText(of: name))")
        }
        if let peer = peers[owner], !peer.state.isReachable {
            throw DriverError(
                .unavailable, "\(title), which is unreachable since \((now - peer.since).wholeSeconds) s; take another one")
        }
        let wait = AddressWait(
            subnet: subnet.id, wanted: address, asked: now, until: now + Self.wantBudget,
            error: DriverError(.unavailable, "\(title), and that did not give it up in time; try again, or take another one"))
        requests.wait(id, for: .addresses(wait))
        askFor(wait)
        return .wait
    }

    private mutating func askFor(_ wait: AddressWait) {
        guard let subnet = catalogue.subnet(wait.subnet) else { return }
        if let wanted = wait.wanted {
            guard let owner = subnet.block(holding: wanted)?.owner, owner != identity.id else { return }
            send(.want(wait.subnet, wanted, epoch: life.epoch), to: owner)
        } else {
            for owner in Set(subnet.blocks.map(\.owner)).sorted() where owner != identity.id && catalogue.members[owner] != nil {
                send(.pressure(wait.subnet), to: owner)
            }
        }
    }

    private mutating func send(_ message: AddressMessage, to peer: NodeID) {
        outbox.send(.addresses, message.wireBytes, to: peer)
    }

    mutating func advanceAddressWaits() {
        for (id, wait) in requests.addressWaits {
            if wait.until <= now {
                fail(id, wait.error)
            } else if wait.asked + AddressWait.askAgain <= now {
                var asked = wait
                asked.asked = outbox.now
                requests.wait(id, for: .addresses(asked))
                askFor(wait)
            }
        }
    }

    /// Blocks of a subnet changed: who waited for that goes on.
    mutating func wakeAddressWaits(_ id: SubnetID) {
        for (request, wait) in requests.addressWaits where wait.subnet == id {
            guard let open = requests[request] else { continue }
            if let wanted = wait.wanted {
                let owner = catalogue.subnet(id)?.block(holding: wanted)?.owner
                if owner != nil, owner != identity.id { continue }
                requests.resetRounds(request)
                perform(request)
            } else {
                requests.wait(request, for: .none)
                requests.resetRounds(request)
                if var scarcity = open.scarcity {
                    scarcity.asked = wait.asked
                    requests.setScarcity(scarcity, of: request)
                }
                propose(
                    .claimBlock(id, count: 16), for: .request(request), deadline: min(open.deadline, now + Proposals.budget))
            }
        }
    }

    /// Blocks of any subnet may have changed.
    mutating func wakeAllAddressWaits() {
        for id in Set(requests.addressWaits.map(\.wait.subnet)).sorted() { wakeAddressWaits(id) }
    }

    // MARK: What others say

    mutating func receiveAddress(_ message: AddressMessage, from peer: NodeID) {
        switch message {
        case .pressure, .want:
            // What is free is not known yet. It is asked again.
            guard outbox.journal.isAssured, !isStateOld else { return }
        case .inUse: break
        }
        switch message {
        case .pressure(let id):
            guard catalogue.subnet(id)?.users.contains(peer) == true, let pool = addresses[id], !closings.contains(id),
                !handovers.contains(subnet: id)
            else { return }
            for range in pool.freeRanges(limit: Handovers.perPressure) { handOver(Handover(subnet: id, range: range), to: .anybody) }
        case .want(let id, let address, let peerEpoch):
            guard let member = catalogue.members[peer], member.epoch == peerEpoch,
                catalogue.subnet(id)?.users.contains(peer) == true,
                let pool = addresses[id], !closings.contains(id)
            else { return }
            if let lease = pool.lease(at: address) {
                send(.inUse(id, address, by: String(holder(of: lease).prefix(64))), to: peer)
            } else if pool.isFree(address) {
                handOver(Handover(subnet: id, range: AddressRange(address)), to: .node(peer, epoch: peerEpoch))
            }
        case .inUse(let id, let address, let holder):
            guard catalogue.subnet(id)?.block(holding: address)?.owner == peer else { return }
            for (request, wait) in requests.addressWaits where wait.subnet == id && wait.wanted == address {
                let network = catalogue.network(holding: id)?.title ?? "\(id)"
                fail(
                    request,
                    DriverError(
                        .conflict, "address \(address) of network \(network) is in use by \(holder) on node \(name(of: peer))"))
            }
        }
    }

    // MARK: Less

    /// Blocks that nobody has used for long go back to the cluster.
    mutating func giveBackIdleBlocks() {
        guard !isWriterAway, outbox.journal.isAssured, !isStateOld else { return }
        for handover in addresses.idleBlocks(at: outbox.now) where !closings.contains(handover.subnet) {
            handOver(handover, to: .anybody)
        }
    }

    private mutating func handOver(_ handover: Handover, to recipient: Handover.Recipient) {
        // A release that is not durable yet may still fail, and is of the address's old life then.
        guard !handovers.contains(handover), !outbox.isBusy(handover.subnet, handover.range) else { return }
        addresses.handOver(handover)
        let stored = outbox.store([handovers.begin(handover, to: recipient)])
        guard rules.contains(.durableHandovers) else { return proposeHandover(handover) }
        handovers.wait(for: stored, handover)
    }

    /// The disk has taken a handover, or has not.
    mutating func handedOver(_ effect: EffectID, isStored: Bool) {
        guard let handover = handovers.stored(effect) else { return }
        guard isStored else {
            // Nothing was proposed, so they are this host's as before.
            return endHandover(handover)
        }
        proposeHandover(handover)
    }

    private mutating func proposeHandover(_ handover: Handover) {
        guard let recipient = handovers.recipient(of: handover), !isStateOld else { return }
        let command: Command =
            switch recipient {
            case .anybody: .giveBack(handover.subnet, handover.range)
            case .node(let node, let epoch): .move(handover.subnet, handover.range.first, to: node, epoch: epoch)
            }
        propose(command, for: .handOver(handover), deadline: now + Proposals.budget)
    }

    /// All that is durable and undecided.
    mutating func proposeHandovers() {
        outbox.timers[.handOver] = nil
        guard catalogue.cluster != nil, !handovers.isEmpty, outbox.journal.isAssured, !isStateOld else { return }
        guard !isWriterAway else {
            outbox.timers[.handOver] = now + Closings.retry
            return
        }
        for handover in handovers.undecided(except: proposals.handovers) { proposeHandover(handover) }
    }

    mutating func settleHandover(_ handover: Handover, _ outcome: CatalogueNode.Outcome) {
        guard handovers.contains(handover) else { return }
        switch outcome {
        case .decided: endHandover(handover)
        default:
            handovers.forgetRecipient(of: handover)
            outbox.timers[.handOver] = outbox.timers[.handOver] ?? now + Closings.retry
        }
    }

    /// The addresses are others' now, or after all this host's.
    private mutating func endHandover(_ handover: Handover) {
        outbox.store([handovers.end(handover)])
        addresses.endHandover(handover)
    }
}
