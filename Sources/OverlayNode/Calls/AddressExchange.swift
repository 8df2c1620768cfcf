import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel

/// How addresses come to this host and leave it again. Rule R2: what is given up leaves the free addresses here first, durably; then it is
/// proposed; and it comes back only when the catalogue has refused it.
enum AddressExchange {
    /// What a call waits for others to give back addresses, all in all; and for the owner of an address that `--ip` names.
    static let pressureBudget = Interval.milliseconds(800)
    static let wantBudget = Interval.seconds(3)

    // MARK: More

    /// Asks for a further block without anybody waiting for it.
    static func prefetchBlock(_ node: inout Node, of id: SubnetID) {
        guard !node.isStateOld, !node.closings.contains(id), !node.isWriterAway, node.addresses.beginPrefetch(of: id, now: node.outbox.now) else { return }
        node.propose(.claimBlock(id, count: 16), for: .claim(id), deadline: node.now + Proposals.budget)
    }

    // MARK: Waiting

    /// Others may have free addresses, and are asked to give them back.
    static func waitForAddresses(_ node: inout Node, _ id: RequestID, _ subnet: SubnetID, _ scarcity: Scarcity) throws(DriverError) -> Step {
        guard let until = scarcity.until, node.now < until else { throw scarcity.error }
        let wait = AddressWait(subnet: subnet, wanted: nil, asked: scarcity.asked ?? node.now, until: until, error: scarcity.error)
        node.requests.wait(id, for: .addresses(wait))
        if scarcity.asked == nil {
            var asked = scarcity
            asked.asked = node.outbox.now
            node.requests.setScarcity(asked, of: id)
            AddressExchange.askFor(&node, wait)
        }
        return .wait
    }

    /// `--ip` names an address that another host hands out.
    static func wantAddress(_ node: inout Node, _ address: IPAddress, from owner: NodeID, _ id: RequestID, on subnet: Subnet, _ network: Network)
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
        AddressExchange.askFor(&node, wait)
        return .wait
    }

    private static func askFor(_ node: inout Node, _ wait: AddressWait) {
        guard let subnet = node.catalogue.subnet(wait.subnet) else { return }
        if let wanted = wait.wanted {
            guard let owner = subnet.block(holding: wanted)?.owner, owner != node.identity.id else { return }
            AddressExchange.send(&node, .want(wait.subnet, wanted, epoch: node.life.epoch), to: owner)
        } else {
            for owner in Set(subnet.blocks.map(\.owner)).sorted() where owner != node.identity.id && node.catalogue.members[owner] != nil {
                AddressExchange.send(&node, .pressure(wait.subnet), to: owner)
            }
        }
    }

    private static func send(_ node: inout Node, _ message: AddressMessage, to peer: NodeID) {
        node.outbox.send(.addresses, message.wireBytes, to: peer)
    }

    static func advanceAddressWaits(_ node: inout Node) {
        for (id, wait) in node.requests.addressWaits {
            if wait.until <= node.now {
                node.fail(id, wait.error)
            } else if wait.asked + AddressWait.askAgain <= node.now {
                var asked = wait
                asked.asked = node.outbox.now
                node.requests.wait(id, for: .addresses(asked))
                AddressExchange.askFor(&node, wait)
            }
        }
    }

    /// Blocks of a subnet changed: who waited for that goes on.
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

    /// Blocks of any subnet may have changed.
    static func wakeAllAddressWaits(_ node: inout Node) {
        for id in Set(node.requests.addressWaits.map(\.wait.subnet)).sorted() { AddressExchange.wakeAddressWaits(&node, id) }
    }

    // MARK: What others say

    static func receiveAddress(_ node: inout Node, _ message: AddressMessage, from peer: NodeID) {
        switch message {
        case .pressure, .want:
            // What is free is not known yet. It is asked again.
            guard node.outbox.journal.isAssured, !node.isStateOld else { return }
        case .inUse: break
        }
        switch message {
        case .pressure(let id):
            guard node.catalogue.subnet(id)?.users.contains(peer) == true, let pool = node.addresses[id], !node.closings.contains(id),
                !node.handovers.contains(subnet: id)
            else { return }
            for range in pool.freeRanges(limit: Handovers.perPressure) { AddressExchange.handOver(&node, Handover(subnet: id, range: range), to: .anybody) }
        case .want(let id, let address, let peerEpoch):
            guard let member = node.catalogue.members[peer], member.epoch == peerEpoch,
                node.catalogue.subnet(id)?.users.contains(peer) == true,
                let pool = node.addresses[id], !node.closings.contains(id)
            else { return }
            if let lease = pool.lease(at: address) {
                AddressExchange.send(&node, .inUse(id, address, by: String(AddressCalls.holder(node, of: lease).prefix(64))), to: peer)
            } else if pool.isFree(address) {
                AddressExchange.handOver(&node, Handover(subnet: id, range: AddressRange(address)), to: .node(peer, epoch: peerEpoch))
            }
        case .inUse(let id, let address, let holder):
            guard node.catalogue.subnet(id)?.block(holding: address)?.owner == peer else { return }
            for (request, wait) in node.requests.addressWaits where wait.subnet == id && wait.wanted == address {
                let network = node.catalogue.network(holding: id)?.title ?? "\(id)"
                node.fail(
                    request,
                    DriverError(
                        .conflict, "address \(address) of network \(network) is in use by \(holder) on node \(node.name(of: peer))"))
            }
        }
    }

    // MARK: Less

    /// Blocks that nobody has used for long go back to the cluster.
    static func giveBackIdleBlocks(_ node: inout Node) {
        guard !node.isWriterAway, node.outbox.journal.isAssured, !node.isStateOld else { return }
        for handover in node.addresses.idleBlocks(at: node.outbox.now) where !node.closings.contains(handover.subnet) {
            AddressExchange.handOver(&node, handover, to: .anybody)
        }
    }

    private static func handOver(_ node: inout Node, _ handover: Handover, to recipient: Handover.Recipient) {
        // A release that is not durable yet may still fail, and is of the address's old life then.
        guard !node.handovers.contains(handover), !node.outbox.isBusy(handover.subnet, handover.range) else { return }
        node.addresses.handOver(handover)
        let stored = node.outbox.store([node.handovers.begin(handover, to: recipient)])
        guard node.rules.contains(.durableHandovers) else { return AddressExchange.proposeHandover(&node, handover) }
        node.handovers.wait(for: stored, handover)
    }

    /// The disk has taken a handover, or has not.
    static func handedOver(_ node: inout Node, _ effect: EffectID, isStored: Bool) {
        guard let handover = node.handovers.stored(effect) else { return }
        guard isStored else {
            // Nothing was proposed, so they are this host's as before.
            return AddressExchange.endHandover(&node, handover)
        }
        AddressExchange.proposeHandover(&node, handover)
    }

    private static func proposeHandover(_ node: inout Node, _ handover: Handover) {
        guard let recipient = node.handovers.recipient(of: handover), !node.isStateOld else { return }
        let command: Command =
            switch recipient {
            case .anybody: .giveBack(handover.subnet, handover.range)
            case .node(let node, let epoch): .move(handover.subnet, handover.range.first, to: node, epoch: epoch)
            }
        node.propose(command, for: .handOver(handover), deadline: node.now + Proposals.budget)
    }

    /// All that is durable and undecided.
    static func proposeHandovers(_ node: inout Node) {
        node.outbox.timers[.handOver] = nil
        guard node.catalogue.cluster != nil, !node.handovers.isEmpty, node.outbox.journal.isAssured, !node.isStateOld else { return }
        guard !node.isWriterAway else {
            node.outbox.timers[.handOver] = node.now + Closings.retry
            return
        }
        for handover in node.handovers.undecided(except: node.proposals.handovers) { AddressExchange.proposeHandover(&node, handover) }
    }

    static func settleHandover(_ node: inout Node, _ handover: Handover, _ outcome: CatalogueNode.Outcome) {
        guard node.handovers.contains(handover) else { return }
        switch outcome {
        case .decided: AddressExchange.endHandover(&node, handover)
        default:
            node.handovers.forgetRecipient(of: handover)
            node.outbox.timers[.handOver] = node.outbox.timers[.handOver] ?? node.now + Closings.retry
        }
    }

    /// The addresses are others' now, or after all this host's.
    private static func endHandover(_ node: inout Node, _ handover: Handover) {
        node.outbox.store([node.handovers.end(handover)])
        node.addresses.endHandover(handover)
    }
}
