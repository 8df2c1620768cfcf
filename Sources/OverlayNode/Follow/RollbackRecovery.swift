import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// A state that is older than what others have seen of this node: its directory was restored from a backup, or its machine from a snapshot
/// (rule R4). What it has handed out since is not known, so it hands out nothing, until the catalogue has given it a new epoch; and what it
/// might have handed out it sets aside. Whoever heard this node tells it how far it was; the catalogue and the own log tell too.
enum RollbackRecovery {
    /// For so long after its start a node waits for a word of what others heard of it.
    static let assurancePause = Interval.seconds(1)
    static func checkState(_ node: Node) throws(DriverError) {
        guard node.isStateOld else { return }
        throw DriverError(
            .unavailable,
            "the state of this node is older than what its peers have seen (restored from a backup or a snapshot?); it waits for the "
                + "catalogue to give it a new epoch" + (node.isWriterAway ? ": \(node.writerText)" : ""))
    }

    // MARK: Proof

    /// What a peer heard of this node.
    static func echo(_ node: inout Node, of peer: NodeID, _ mark: StateMark, isAhead: Bool) {
        if isAhead { RollbackRecovery.stateIsOld(&node, "node \(node.name(of: peer)) has heard it in a later state", seen: mark) }
        RollbackRecovery.assure(&node)
    }

    /// Others have told what they know of this node, or nobody is there to tell.
    static func assure(_ node: inout Node) {
        guard !node.outbox.journal.isAssured else { return }
        node.outbox.assure()
        // Subnets that were given up meanwhile are proposed when others can tell that they were.
        if node.outbox.journal.hasUnannounced { node.closings.wait(for: node.outbox.store([.delete(.node, key: NodeRow.announcedWrites)])) }
        if node.isReady {
            CatalogueFollower.proposeClosing(&node)
            AddressExchange.proposeHandovers(&node)
        }
        for id in node.requests.waiting(where: { if case .assurance = $0 { true } else { false } }) { node.perform(id) }
    }

    /// Does the catalogue know of a later life of this node?
    static func checkOwnLife(_ node: inout Node) {
        guard let known = node.catalogue.members[node.identity.id] else { return }
        if node.catalogueNode.isSessionAhead { RollbackRecovery.stateIsOld(&node, "the catalogue has proposals of this node that it did not make") }
        if node.life.isBehind(known.epoch) { RollbackRecovery.stateIsOld(&node, "the catalogue has it in epoch \(known.epoch)") }
    }

    static func stateIsOld(_ node: inout Node, _ why: String, seen: StateMark = .none) {
        guard node.rules.contains(.rollbackDetection), let known = node.catalogue.members[node.identity.id] else { return }
        let sessionBoot = node.catalogueNode.isSessionAhead ? node.catalogueNode.sessionBoot : 0
        guard
            node.life.rollBack(
                why, seen: seen, admitted: known.epoch, sessionBoot: sessionBoot, writes: node.outbox.journal.count, now: node.outbox.now)
        else { return }
        node.outbox.log(
            .error,
            "the state of this node is an old copy, restored from a backup or a snapshot; it hands out no address until the "
                + "catalogue has given it a new epoch", ["reason": why])
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
            // What it was about to be given may be in use.
            if let undo = request.undo { node.takeBack(undo) }
            do throws(DriverError) { try RollbackRecovery.checkState(node) } catch { node.fail(id, error) }
        }
    }

    // MARK: A new epoch

    static func rollbackStored(_ node: inout Node, _ effect: EffectID, isStored: Bool) {
        switch node.life.stored(effect, isStored: isStored, into: &node.outbox) {
        case .other, .failed: break
        case .begun:
            node.withCatalogue { [life = node.life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
            RollbackRecovery.beginLife(&node)
            RollbackRecovery.proposeNewEpoch(&node)
        case .finished: RollbackRecovery.endRollback(&node)
        }
    }

    static func proposeNewEpoch(_ node: inout Node) {
        node.outbox.timers.clear(.newEpoch)
        guard let new = node.life.rollback, new.storing == nil, let known = node.catalogue.members[node.identity.id] else { return }
        guard !new.isAdmitted else { return RollbackRecovery.finishRollback(&node) }
        guard new.isStored, known.epoch < new.epoch else {
            // Begun before the last start, or somebody has this epoch by now.
            node.life.raise(above: known.epoch, now: node.outbox.now)
            return node.life.store(into: &node.outbox)
        }
        let isProposed = node.proposals.contains { if case .rollback = $0 { true } else { false } }
        guard !isProposed, !node.isWriterAway else { return node.life.retry(into: &node.outbox) }
        var member = node.member
        member.epoch = new.epoch
        // In the name of whoever the catalogue knows; what the old epoch has under way is void from then on.
        node.withCatalogue { [life = node.life] in $0.setLife(epoch: known.epoch, boot: life.boot, into: &$1) }
        node.propose(.admit(member), for: .rollback, deadline: node.now + Proposals.budget)
    }

    static func rollbackSettled(_ node: inout Node, _ outcome: CatalogueNode.Outcome) {
        guard let new = node.life.rollback else { return }
        if case .decided(.accepted) = outcome, node.catalogue.members[node.identity.id]?.epoch == new.epoch {
            node.life.admitted()
            return RollbackRecovery.finishRollback(&node)
        }
        if case .decided(.refused(let refusal)) = outcome {
            node.outbox.log(.error, "the cluster gives this node no new epoch", ["reason": refusal.message])
        }
        node.life.retry(into: &node.outbox)
    }

    /// The blocks are this node's as before, in the new epoch. What of them no known container has is nobody's to hand out.
    static func finishRollback(_ node: inout Node) {
        guard let new = node.life.rollback, new.isAdmitted, new.finishing == nil, node.isReady else { return }
        for endpoint in node.inventory.allEndpoints where !endpoint.hasPort || !RollbackRecovery.isOwn(node, endpoint) {
            if endpoint.hasPort {
                node.outbox.log(
                    .error, "an endpoint of the old copy has an address that is not this node's any more; it is cut off",
                    ["endpoint": endpoint.id.short, "addresses": endpoint.addresses.map { "\($0)" }.joined(separator: " ")])
            }
            _ = NetworkCalls.removeEndpoint(&node, endpoint)
        }
        // Given up long ago perhaps, and taken again since.
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

    /// Are its addresses of this node's blocks? One that came back with its machine's snapshot may have ended long ago, and its address be
    /// somebody else's: two that have it would be worse than one that is cut off.
    private static func isOwn(_ node: Node, _ endpoint: LocalEndpoint) -> Bool {
        let subnets = node.catalogue.networks[endpoint.network]?.subnets ?? []
        return endpoint.addresses.allSatisfy { address in
            subnets.contains { $0.block(holding: address)?.owner == node.identity.id }
        }
    }

    private static func endRollback(_ node: inout Node) {
        node.life.end(into: &node.outbox)
        node.withCatalogue { [life = node.life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
        if node.life.spoken.life != node.replication.life { RollbackRecovery.beginLife(&node) }
        node.outbox.log(
            .warning, "this node goes on in a new epoch; addresses that may be in use by containers it does not know are set aside",
            ["epoch": "\(node.life.epoch)", "addresses": node.quarantineText.joined(separator: "; ")])
        RollbackRecovery.assure(&node)
        CatalogueFollower.proposeClosing(&node)
        for id in node.addresses.subnets where node.inventory.isBound(id) { AddressExchange.prefetchBlock(&node, of: id) }
    }

    /// Membership and replication start over in the present epoch and boot; the kernel's rows stay as after a restart.
    private static func beginLife(_ node: inout Node) {
        // What is known of others is forgotten and learned anew. None of it is gone.
        var forgotten: [Replication.Effect] = []
        node.replication.leaveAll(into: &forgotten)
        node.replication.setLife(node.life.spoken.life)
        node.following.subscribe(to: [])
        CatalogueFollower.tellPeers(&node)
        guard node.isReady else { return }
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            guard let base = node.forwarding.base(of: network.vni), let attachment = Attachment(vtep: base.local, mtu: base.mtu)
            else { continue }
            node.withReplication { [now = node.now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        for endpoint in node.inventory.allEndpoints where endpoint.isAnnounced { KernelFollower.announce(&node, endpoint) }
        CatalogueFollower.followSubnets(&node)
        node.forwarding.spare(node.unknownVTEPs)
        KernelFollower.repairSoon(&node)
    }

    // MARK: Quarantine

}
