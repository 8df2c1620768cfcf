import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// A state that is older than what others have seen of this node: its directory was restored from a backup, or its machine from a snapshot
/// (rule R4). What it has handed out since is not known, so it hands out nothing, until the catalogue has given it a new epoch; and what it
/// might have handed out it sets aside. Whoever heard this node tells it how far it was; the catalogue and the own log tell too.
extension Node {
    /// For so long after its start a node waits for a word of what others heard of it.
    static let assurancePause = Interval.seconds(1)
    /// Is the state known to be an old copy?
    public var isStateOld: Bool { life.isRolledBack }

    func checkState() throws(DriverError) {
        guard isStateOld else { return }
        throw DriverError(
            .unavailable,
            "the state of this node is older than what its peers have seen (restored from a backup or a snapshot?); it waits for the "
                + "catalogue to give it a new epoch" + (isWriterAway ? ": \(writerText)" : ""))
    }

    // MARK: Proof

    /// What a peer heard of this node.
    mutating func echo(of peer: NodeID, _ mark: StateMark, isAhead: Bool) {
        if isAhead { stateIsOld("node \(name(of: peer)) has heard it in a later state", seen: mark) }
        assure()
    }

    /// Others have told what they know of this node, or nobody is there to tell.
    mutating func assure() {
        guard !outbox.journal.isAssured else { return }
        outbox.assure()
        // Subnets that were given up meanwhile are proposed when others can tell that they were.
        if outbox.journal.hasUnannounced { closings.wait(for: outbox.store([.delete(.node, key: NodeRow.announcedWrites)])) }
        if isReady {
            proposeClosing()
            proposeHandovers()
        }
        for id in requests.waiting(where: { if case .assurance = $0 { true } else { false } }) { perform(id) }
    }

    /// Does the catalogue know of a later life of this node?
    mutating func checkOwnLife() {
        guard let known = catalogue.members[identity.id] else { return }
        if catalogueNode.isSessionAhead { stateIsOld("the catalogue has proposals of this node that it did not make") }
        if life.isBehind(known.epoch) { stateIsOld("the catalogue has it in epoch \(known.epoch)") }
    }

    mutating func stateIsOld(_ why: String, seen: StateMark = .none) {
        guard rules.contains(.rollbackDetection), let known = catalogue.members[identity.id] else { return }
        let sessionBoot = catalogueNode.isSessionAhead ? catalogueNode.sessionBoot : 0
        guard
            life.rollBack(
                why, seen: seen, admitted: known.epoch, sessionBoot: sessionBoot, writes: outbox.journal.count, now: outbox.now)
        else { return }
        outbox.log(
            .error,
            "the state of this node is an old copy, restored from a backup or a snapshot; it hands out no address until the "
                + "catalogue has given it a new epoch", ["reason": why])
        outbox.timers.clear(.newEpoch)
        outbox.raiseWrites(to: seen.writes)
        life.store(into: &outbox)
        for (id, request) in requests.all {
            switch request.call {
            case .driver(.requestAddress(let call)):
                guard case .endpoint = call.purpose else { continue }
            case .driver(.createEndpoint): break
            default: continue
            }
            // What it was about to be given may be in use.
            if let undo = request.undo { takeBack(undo) }
            do throws(DriverError) { try checkState() } catch { fail(id, error) }
        }
    }

    // MARK: A new epoch

    mutating func rollbackStored(_ effect: EffectID, isStored: Bool) {
        switch life.stored(effect, isStored: isStored, into: &outbox) {
        case .other, .failed: break
        case .begun:
            withCatalogue { [life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
            beginLife()
            proposeNewEpoch()
        case .finished: endRollback()
        }
    }

    mutating func proposeNewEpoch() {
        outbox.timers.clear(.newEpoch)
        guard let new = life.rollback, new.storing == nil, let known = catalogue.members[identity.id] else { return }
        guard !new.isAdmitted else { return finishRollback() }
        guard new.isStored, known.epoch < new.epoch else {
            // Begun before the last start, or somebody has this epoch by now.
            life.raise(above: known.epoch, now: outbox.now)
            return life.store(into: &outbox)
        }
        let isProposed = proposals.contains { if case .rollback = $0 { true } else { false } }
        guard !isProposed, !isWriterAway else { return life.retry(into: &outbox) }
        var member = member
        member.epoch = new.epoch
        // In the name of whoever the catalogue knows; what the old epoch has under way is void from then on.
        withCatalogue { [life] in $0.setLife(epoch: known.epoch, boot: life.boot, into: &$1) }
        propose(.admit(member), for: .rollback, deadline: now + Proposals.budget)
    }

    mutating func rollbackSettled(_ outcome: CatalogueNode.Outcome) {
        guard let new = life.rollback else { return }
        if case .decided(.accepted) = outcome, catalogue.members[identity.id]?.epoch == new.epoch {
            life.admitted()
            return finishRollback()
        }
        if case .decided(.refused(let refusal)) = outcome {
            outbox.log(.error, "the cluster gives this node no new epoch", ["reason": refusal.message])
        }
        life.retry(into: &outbox)
    }

    /// The blocks are this node's as before, in the new epoch. What of them no known container has is nobody's to hand out.
    mutating func finishRollback() {
        guard let new = life.rollback, new.isAdmitted, new.finishing == nil, isReady else { return }
        for endpoint in inventory.allEndpoints where !endpoint.hasPort || !isOwn(endpoint) {
            if endpoint.hasPort {
                outbox.log(
                    .error, "an endpoint of the old copy has an address that is not this node's any more; it is cut off",
                    ["endpoint": endpoint.id.short, "addresses": endpoint.addresses.map { "\($0)" }.joined(separator: " ")])
            }
            _ = removeEndpoint(endpoint)
        }
        // Given up long ago perhaps, and taken again since.
        for handover in handovers.all { addresses.endHandover(handover) }
        handovers.forgetAll()
        var rows: [StoreWrite] = [.clear(.lease), .clear(.handover), .clear(.quarantine), .delete(.node, key: NodeRow.rollback)]
        rows += closings.endInherited()
        followSubnets()
        addresses.forgetQuarantine()
        for id in addresses.subnets {
            let used = catalogue.network(holding: id).map { inventory.addresses(on: $0.id) } ?? []
            rows += addresses.quarantine(
                id, except: used, of: catalogue.subnet(id)?.blocks(of: identity.id) ?? [], now: outbox.now)
        }
        life.finish(with: outbox.store(rows))
    }

    /// Are its addresses of this node's blocks? One that came back with its machine's snapshot may have ended long ago, and its address be
    /// somebody else's: two that have it would be worse than one that is cut off.
    private func isOwn(_ endpoint: LocalEndpoint) -> Bool {
        let subnets = catalogue.networks[endpoint.network]?.subnets ?? []
        return endpoint.addresses.allSatisfy { address in
            subnets.contains { $0.block(holding: address)?.owner == identity.id }
        }
    }

    private mutating func endRollback() {
        life.end(into: &outbox)
        withCatalogue { [life] in $0.setLife(epoch: life.epoch, boot: life.boot, into: &$1) }
        if life.spoken.life != replication.life { beginLife() }
        outbox.log(
            .warning, "this node goes on in a new epoch; addresses that may be in use by containers it does not know are set aside",
            ["epoch": "\(life.epoch)", "addresses": quarantineText.joined(separator: "; ")])
        assure()
        proposeClosing()
        for id in addresses.subnets where inventory.isBound(id) { prefetchBlock(of: id) }
    }

    /// Membership and replication start over in the present epoch and boot; the kernel's rows stay as after a restart.
    private mutating func beginLife() {
        // What is known of others is forgotten and learned anew. None of it is gone.
        var forgotten: [Replication.Effect] = []
        replication.leaveAll(into: &forgotten)
        replication.setLife(life.spoken.life)
        subscribed = []
        tellPeers()
        guard isReady else { return }
        for network in catalogue.networks.values.sorted(by: { $0.id < $1.id }) {
            guard let base = forwarding.base(of: network.vni), let attachment = Attachment(vtep: base.local, mtu: base.mtu)
            else { continue }
            withReplication { [now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        for endpoint in inventory.allEndpoints where endpoint.isAnnounced { announce(endpoint) }
        followSubnets()
        forwarding.spare(unknownVTEPs)
        repairSoon()
    }

    // MARK: Quarantine

    /// How many addresses, and of which networks.
    var quarantineText: [String] {
        addresses.quarantined.sorted { $0.key < $1.key }.map { id, ranges in
            let count = ranges.reduce(UInt128(0)) { $0 + $1.count }
            return "\(count) of network \(catalogue.network(holding: id)?.title ?? "\(id)")"
        }
    }
}
