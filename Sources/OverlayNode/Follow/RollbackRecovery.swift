import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Rollback detection, and recovery from it (rule R4). Owns nothing.
///
/// A state is rolled back if others have seen a later one of this node: its directory was restored from a backup, or its machine
/// from a snapshot. The node does not know what it has handed out since, so it hands out nothing until the catalogue has given it a
/// new epoch, and quarantines all addresses that it may have handed out. Proof comes from peers that heard the node, from the
/// catalogue, and from copies of its owner log.
enum RollbackRecovery {
    /// Time after the start for which a node waits for its peers to echo the newest state that they heard.
    static let assurancePause = Interval.seconds(1)

    /// Throws while the state is known to be an old copy.
    static func checkState(_ node: Node) throws(DriverError) {
        guard node.isRolledBack else { return }
        throw DriverError(
            .unavailable,
            "the state of this node is older than what its peers have seen (restored from a backup or a snapshot?); it waits "
                + "for the catalogue to give it a new epoch" + (node.isWriterAway ? ": \(node.writerText)" : ""))
    }

    // MARK: Proof

    /// Handles an echoed mark: the newest state of this node that a peer has heard.
    static func echo(_ node: inout Node, of peer: NodeID, _ mark: StateMark, isAhead: Bool) {
        if isAhead { Self.detect(&node, "node \(node.name(of: peer)) has heard it in a later state", seen: mark) }
        Self.assure(&node)
    }

    /// Lets the node hand out addresses: a peer has echoed its state, or there is none to do so.
    static func assure(_ node: inout Node) {
        guard !node.outbox.journal.isAssured else { return }
        node.outbox.assure()
        // Subnets that were given up until now are proposed when the number of their writes is announced.
        if node.outbox.journal.hasUnannounced {
            node.closings.wait(for: node.outbox.store([.delete(.node, key: NodeRow.announcedWrites)]))
        }
        if node.isReady {
            CatalogueFollower.proposeClosing(&node)
            AddressExchange.proposeHandovers(&node)
        }
        for id in node.requests.waiting(where: { if case .assurance = $0 { true } else { false } }) { node.perform(id) }
    }

    /// Detects a rollback if the catalogue knows a later life of this node.
    static func checkOwnLife(_ node: inout Node) {
        guard let known = node.catalogue.members[node.identity.id] else { return }
        if node.catalogueNode.isSessionAhead { Self.detect(&node, "the catalogue has proposals of this node that it did not make") }
        if node.life.isBehind(known.epoch) { Self.detect(&node, "the catalogue has it in epoch \(known.epoch)") }
    }

    /// Handles proof that the state is an old copy: begins the recovery, and refuses open calls that need addresses.
    ///
    /// - Parameters:
    ///   - why: The proof, in words.
    ///   - seen: Mark that a peer has seen, if that is the proof.
    static func detect(_ node: inout Node, _ why: String, seen: StateMark = .none) {
        guard node.rules.contains(.rollbackDetection), let known = node.catalogue.members[node.identity.id] else { return }
        let sessionBoot = node.catalogueNode.isSessionAhead ? node.catalogueNode.sessionBoot : 0
        guard
            node.life.rollBack(
                why, seen: seen, admitted: known.epoch, sessionBoot: sessionBoot, writes: node.outbox.journal.count,
                now: node.outbox.now)
        else { return }
        node.outbox.log(
            .error,
            "the state of this node is an old copy, restored from a backup or a snapshot; it hands out no address until the "
                + "catalogue has given it a new epoch", [LogKey.reason: why])
        node.outbox.timers.clear(.newEpoch)
        node.outbox.raiseWrites(to: seen.writes)
        node.life.store(into: &node.outbox)
        for (id, request) in node.requests.all {
            switch request.call {
            case .driver(.requestAddress(let call)):
                guard case .endpoint = call.purpose else { continue }
            case .driver(.createEndpoint): break
            default: continue
            }
            // The address that the call was to get may be in use.
            if let undo = request.undo { node.takeBack(undo) }
            do throws(DriverError) { try Self.checkState(node) } catch { node.fail(id, error) }
        }
    }

    // MARK: A new epoch

    /// Handles the end of a write that may be a step of the recovery.
    static func rollbackStored(_ node: inout Node, _ effect: EffectID, isStored: Bool) {
        switch node.life.stored(effect, isStored: isStored, into: &node.outbox) {
        case .other, .failed: break
        case .begun:
            node.withCatalogue { [life = node.life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
            Self.beginLife(&node)
            Self.proposeNewEpoch(&node)
        case .finished: Self.endRollback(&node)
        }
    }

    /// Proposes this node's entry with a new epoch, once that is durable here.
    static func proposeNewEpoch(_ node: inout Node) {
        node.outbox.timers.clear(.newEpoch)
        guard let new = node.life.rollback, new.storing == nil, let known = node.catalogue.members[node.identity.id] else { return }
        guard !new.isAdmitted else { return Self.finishRollback(&node) }
        guard new.isStored, known.epoch < new.epoch else {
            // The recovery was begun before the last start, or the catalogue has reached this epoch.
            node.life.raise(above: known.epoch, now: node.outbox.now)
            return node.life.store(into: &node.outbox)
        }
        let isProposed = node.proposals.contains { if case .rollback = $0 { true } else { false } }
        guard !isProposed, !node.isWriterAway else { return node.life.retry(into: &node.outbox) }
        var member = node.member
        member.epoch = new.epoch
        // Proposed in the epoch that the catalogue knows, as it hears no other (rule R3). The old epoch's proposals end with it.
        node.withCatalogue { [life = node.life] in $0.setLife(epoch: known.epoch, boot: life.boot, into: &$1) }
        node.propose(.admit(member), for: .rollback, deadline: node.now + Proposals.budget)
    }

    /// Handles the outcome of the new epoch's proposal.
    static func rollbackSettled(_ node: inout Node, _ outcome: CatalogueNode.Outcome) {
        guard let new = node.life.rollback else { return }
        if case .decided(.accepted) = outcome, node.catalogue.members[node.identity.id]?.epoch == new.epoch {
            node.life.admitted()
            return Self.finishRollback(&node)
        }
        if case .decided(.refused(let refusal)) = outcome {
            node.outbox.log(.error, "the cluster gives this node no new epoch", [LogKey.reason: refusal.message])
        }
        node.life.retry(into: &node.outbox)
    }

    /// Finishes the recovery in the admitted epoch, in one transaction. The blocks are this node's as before; their addresses that
    /// no known container has go into quarantine.
    static func finishRollback(_ node: inout Node) {
        guard let new = node.life.rollback, new.isAdmitted, new.finishing == nil, node.isReady else { return }
        for endpoint in node.inventory.allEndpoints where !endpoint.hasPort || !Self.isOwn(node, endpoint) {
            if endpoint.hasPort {
                node.outbox.log(
                    .error, "an endpoint of the old copy has an address that is not this node's any more; it is cut off",
                    [
                        LogKey.endpoint: endpoint.id.short,
                        LogKey.addresses: endpoint.addresses.map { "\($0)" }.joined(separator: " "),
                    ])
            }
            _ = NetworkCalls.removeEndpoint(&node, endpoint)
        }
        // Handovers of the old copy may be over, and the addresses may have been claimed again since.
        for handover in node.handovers.all { node.addresses.endHandover(handover) }
        node.handovers.forgetAll()
        var rows: [StoreWrite] = [.clear(.lease), .clear(.handover), .clear(.quarantine), .delete(.node, key: NodeRow.rollback)]
        rows += node.closings.endInherited()
        CatalogueFollower.followSubnets(&node)
        node.addresses.forgetQuarantine()
        for id in node.addresses.subnets {
            let used = node.catalogue.network(holding: id).map { node.inventory.addresses(on: $0.id) } ?? []
            rows += node.addresses.quarantine(
                id, except: used, of: node.catalogue.subnet(id)?.blocks(of: node.identity.id) ?? [], now: node.outbox.now)
        }
        node.life.finish(with: node.outbox.store(rows))
    }

    /// True if all addresses of an endpoint are in this node's blocks. A container that came back with its machine's snapshot may
    /// have an address that another node owns by now. It is cut off, as two containers with one address would be worse.
    private static func isOwn(_ node: Node, _ endpoint: LocalEndpoint) -> Bool {
        let subnets = node.catalogue.networks[endpoint.network]?.subnets ?? []
        return endpoint.addresses.allSatisfy { address in
            subnets.contains { $0.block(holding: address)?.owner == node.identity.id }
        }
    }

    /// Goes on in the new epoch, after the recovery is durable.
    private static func endRollback(_ node: inout Node) {
        node.life.end(into: &node.outbox)
        node.withCatalogue { [life = node.life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
        if node.life.spoken.life != node.replication.life { Self.beginLife(&node) }
        node.outbox.log(
            .warning,
            "this node goes on in a new epoch; addresses that may be in use by containers it does not know are in quarantine",
            [LogKey.epoch: "\(node.life.epoch)", LogKey.addresses: node.quarantineText.joined(separator: "; ")])
        Self.assure(&node)
        CatalogueFollower.proposeClosing(&node)
        for id in node.addresses.subnets where node.inventory.isBound(id) { AddressExchange.prefetchBlock(&node, of: id) }
    }

    /// Makes membership and replication start over in the present epoch and boot. The kernel's rows stay, as after a restart.
    private static func beginLife(_ node: inout Node) {
        // Records of others are forgotten and fetched anew. These effects are dropped, as none of the endpoints is gone.
        var forgotten: [Replication.Effect] = []
        node.replication.leaveAll(into: &forgotten)
        // Claims are kept by the node. One that is withdrawn meanwhile would not be told of again.
        for case .claimed(let owner, let network, let claims, _) in forgotten {
            _ = ClaimFollower.follow(&node, claims, of: owner, on: network)
        }
        node.replication.setLife(node.life.spoken.life)
        node.following.subscribe(to: [])
        CatalogueFollower.setPeers(&node)
        guard node.isReady else { return }
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            guard let base = node.forwarding.base(of: network.vni), let attachment = Attachment(vtep: base.local, mtu: base.mtu)
            else { continue }
            node.withReplication { [now = node.now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        for endpoint in node.inventory.allEndpoints where endpoint.isAnnounced { KernelFollower.announce(&node, endpoint) }
        CatalogueFollower.followSubnets(&node)
        node.forwarding.spare(node.unsynchronisedVTEPs)
        KernelFollower.repairSoon(&node)
    }

}
