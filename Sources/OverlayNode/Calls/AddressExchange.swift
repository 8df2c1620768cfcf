import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel

/// Exchange of free addresses between hosts: asks for blocks, waits for addresses that others give back, and hands over free ones.
/// Owns nothing.
///
/// Rule R2: addresses that are given up leave the free ones here first, durably; then the handover is proposed; and they come back
/// only when the catalogue has refused it.
enum AddressExchange {
    /// Total time for which a call waits for others to give back addresses.
    static let pressureBudget = Interval.milliseconds(800)
    /// Time for which a call waits for the owner of an address that `--ip` names.
    static let wantBudget = Interval.seconds(3)

    // MARK: Blocks

    /// Asks for a further block in advance, while there are still some free addresses.
    static func prefetchBlock(_ node: inout Node, of id: SubnetID) {
        guard !node.isRolledBack, !node.closings.contains(id), !node.isWriterAway,
            node.addresses.beginPrefetch(of: id, now: node.outbox.now)
        else { return }
        node.propose(.claimBlock(id, count: 16), for: .claim(id), deadline: node.now + Proposals.budget)
    }

    // MARK: Waiting

    /// Makes a call wait for addresses that others are asked to give back. Throws when its time for that is over.
    static func waitForAddresses(_ node: inout Node, _ id: RequestID, _ subnet: SubnetID, _ scarcity: Scarcity) throws(DriverError)
        -> Step
    {
        guard let until = scarcity.until, node.now < until else { throw scarcity.error }
        let wait = AddressWait(subnet: subnet, wanted: nil, asked: scarcity.asked ?? node.now, until: until, error: scarcity.error)
        node.requests.wait(id, for: .addresses(wait))
        if scarcity.asked == nil {
            var asked = scarcity
            asked.asked = node.outbox.now
            node.requests.setScarcity(asked, of: id)
            Self.askFor(&node, wait)
        }
        return .wait
    }

    /// Makes a call wait for an address that `--ip` names and that another host owns.
    static func wantAddress(
        _ node: inout Node, _ address: IPAddress, from owner: NodeID, _ id: RequestID, on subnet: Subnet, _ network: Network
    )
        throws(DriverError)
        -> Step
    {
        let title = "address \(address) of network \(network.title) is among those that node \(node.name(of: owner)) hands out"
        if let name = node.catalogue.departed[owner] {
            throw DriverError(.conflict, "address \(address) of network \(network.title) \(Catalogue.quarantineText(of: name))")
        }
        if let peer = node.peers[owner], !peer.state.isReachable {
            throw DriverError(
                .unavailable, "\(title), which is unreachable since \((node.now - peer.since).wholeSeconds) s; take another one")
        }
        let wait = AddressWait(
            subnet: subnet.id, wanted: address, asked: node.now, until: node.now + Self.wantBudget,
            error: DriverError(.unavailable, "\(title), and that did not give it up in time; try again, or take another one"))
        node.requests.wait(id, for: .addresses(wait))
        Self.askFor(&node, wait)
        return .wait
    }

    /// Asks the owner of the wanted address, or every owner of a block, to give addresses up.
    private static func askFor(_ node: inout Node, _ wait: AddressWait) {
        guard let subnet = node.catalogue.subnet(wait.subnet) else { return }
        if let wanted = wait.wanted {
            guard let owner = subnet.block(holding: wanted)?.owner, owner != node.identity.id else { return }
            Self.send(&node, .want(wait.subnet, wanted, epoch: node.life.epoch), to: owner)
        } else {
            for owner in Set(subnet.blocks.map(\.owner)).sorted()
            where owner != node.identity.id && node.catalogue.members[owner] != nil {
                Self.send(&node, .pressure(wait.subnet), to: owner)
            }
        }
    }

    static func send(_ node: inout Node, _ message: AddressMessage, to peer: NodeID) {
        node.outbox.send(.addresses, message.wireBytes, to: peer)
    }

    /// Ends waits whose time is over, and repeats the question of the others.
    static func advanceAddressWaits(_ node: inout Node) {
        for (id, wait) in node.requests.addressWaits {
            if wait.until <= node.now {
                node.fail(id, wait.error)
            } else if wait.asked + AddressWait.askAgain <= node.now {
                var asked = wait
                asked.asked = node.outbox.now
                node.requests.wait(id, for: .addresses(asked))
                Self.askFor(&node, wait)
            }
        }
    }

    /// Goes on with the calls that wait for addresses of a subnet whose blocks have changed.
    static func wakeAddressWaits(_ node: inout Node, _ id: SubnetID) {
        for (request, wait) in node.requests.addressWaits where wait.subnet == id {
            guard let open = node.requests[request] else { continue }
            if let wanted = wait.wanted {
                let owner = node.catalogue.subnet(id)?.block(holding: wanted)?.owner
                if owner != nil, owner != node.identity.id { continue }
                node.requests.resetRounds(request)
                node.perform(request)
            } else {
                node.requests.wait(request, for: .none)
                node.requests.resetRounds(request)
                if var scarcity = open.scarcity {
                    scarcity.asked = wait.asked
                    node.requests.setScarcity(scarcity, of: request)
                }
                node.propose(
                    .claimBlock(id, count: 16), for: .request(request), deadline: min(open.deadline, node.now + Proposals.budget))
            }
        }
    }

    /// Goes on with all calls that wait for addresses, as blocks of any subnet may have changed.
    static func wakeAllAddressWaits(_ node: inout Node) {
        for id in Set(node.requests.addressWaits.map(\.wait.subnet)).sorted() { Self.wakeAddressWaits(&node, id) }
    }

    // MARK: Messages

    /// Handles a peer's message about addresses.
    static func receiveAddress(_ node: inout Node, _ message: AddressMessage, from peer: NodeID) {
        switch message {
        case .pressure, .want:
            // Free addresses are not known yet. The peer asks again.
            guard node.outbox.journal.isAssured, !node.isRolledBack else { return }
        case .inUse, .isNeeded, .needed: break
        }
        switch message {
        case .pressure(let id):
            guard node.catalogue.subnet(id)?.users.contains(peer) == true, let pool = node.addresses[id],
                !node.closings.contains(id),
                !node.handovers.contains(subnet: id)
            else { return }
            for range in pool.freeRanges(limit: Handovers.perPressure) {
                Self.handOver(&node, Handover(subnet: id, range: range), to: .anybody)
            }
        case .want(let id, let address, let peerEpoch):
            guard let member = node.catalogue.members[peer], member.epoch == peerEpoch,
                node.catalogue.subnet(id)?.users.contains(peer) == true,
                let pool = node.addresses[id], !node.closings.contains(id)
            else { return }
            if let lease = pool.lease(at: address) {
                Self.send(&node, .inUse(id, address, by: String(AddressCalls.holder(node, of: lease).prefix(64))), to: peer)
            } else if pool.isFree(address) {
                Self.handOver(&node, Handover(subnet: id, range: AddressRange(address)), to: .node(peer, epoch: peerEpoch))
            }
        case .inUse(let id, let address, let holder):
            guard node.catalogue.subnet(id)?.block(holding: address)?.owner == peer else { return }
            for (request, wait) in node.requests.addressWaits where wait.subnet == id && wait.wanted == address {
                let network = node.catalogue.network(holding: id)?.title ?? "\(id)"
                node.fail(
                    request,
                    DriverError(
                        .conflict, "address \(address) of network \(network) is in use by \(holder) on node \(node.name(of: peer))")
                )
            }
        case .isNeeded(let network): NetworkRemovals.answer(&node, about: network, to: peer)
        case .needed(let network, let isNeeded): NetworkRemovals.answered(&node, about: network, by: peer, isNeeded: isNeeded)
        }
    }

    // MARK: Handovers

    /// Gives back blocks that have been idle for long.
    static func giveBackIdleBlocks(_ node: inout Node) {
        guard !node.isWriterAway, node.outbox.journal.isAssured, !node.isRolledBack else { return }
        for handover in node.addresses.idleBlocks(at: node.outbox.now) where !node.closings.contains(handover.subnet) {
            Self.handOver(&node, handover, to: .anybody)
        }
    }

    /// Begins a handover: makes it durable, to be proposed after that.
    private static func handOver(_ node: inout Node, _ handover: Handover, to recipient: Handover.Recipient) {
        // A release that is not durable yet may still fail, and would leave the old lease behind.
        guard !node.handovers.contains(handover), !node.outbox.isBusy(handover.subnet, handover.range) else { return }
        node.addresses.handOver(handover)
        let stored = node.outbox.store([node.handovers.begin(handover, to: recipient)])
        guard node.rules.contains(.durableHandovers) else { return Self.proposeHandover(&node, handover) }
        node.handovers.wait(for: stored, handover)
    }

    /// Handles the end of a write that may hold a handover: proposes that, or takes it back where the disk refused it.
    static func handoverStored(_ node: inout Node, _ effect: EffectID, isStored: Bool) {
        guard let handover = node.handovers.stored(effect) else { return }
        guard isStored else {
            // Nothing was proposed, so the addresses are this host's as before.
            return Self.endHandover(&node, handover)
        }
        Self.proposeHandover(&node, handover)
    }

    /// Proposes a durable handover.
    private static func proposeHandover(_ node: inout Node, _ handover: Handover) {
        guard let recipient = node.handovers.recipient(of: handover), !node.isRolledBack else { return }
        let command: Command =
            switch recipient {
            case .anybody: .giveBack(handover.subnet, handover.range)
            case .node(let node, let epoch): .move(handover.subnet, handover.range.first, to: node, epoch: epoch)
            }
        node.propose(command, for: .handOver(handover), deadline: node.now + Proposals.budget)
    }

    /// Proposes all handovers that are durable and undecided.
    static func proposeHandovers(_ node: inout Node) {
        node.outbox.timers[.handOver] = nil
        guard node.catalogue.cluster != nil, !node.handovers.isEmpty, node.outbox.journal.isAssured, !node.isRolledBack else {
            return
        }
        guard !node.isWriterAway else {
            node.outbox.timers[.handOver] = node.now + Closings.retry
            return
        }
        for handover in node.handovers.undecided(except: node.proposals.handovers) { Self.proposeHandover(&node, handover) }
    }

    /// Handles the outcome of a handover's proposal.
    static func settleHandover(_ node: inout Node, _ handover: Handover, _ outcome: CatalogueNode.Outcome) {
        guard node.handovers.contains(handover) else { return }
        switch outcome {
        case .decided: Self.endHandover(&node, handover)
        default:
            node.handovers.forgetRecipient(of: handover)
            node.outbox.timers[.handOver] = node.outbox.timers[.handOver] ?? node.now + Closings.retry
        }
    }

    /// Ends a handover: the catalogue gave the addresses to others, or left them to this host. The pool follows the catalogue.
    private static func endHandover(_ node: inout Node, _ handover: Handover) {
        node.outbox.store([node.handovers.end(handover)])
        node.addresses.endHandover(handover)
    }
}
