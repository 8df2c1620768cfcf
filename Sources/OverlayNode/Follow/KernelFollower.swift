import OverlayCatalogue
import OverlayDatapath
public import OverlayModel
import OverlayReplication

/// What the kernel should hold, from what is known of local and remote endpoints.
enum KernelFollower {
    // MARK: Local endpoints

    /// The network's devices and its remote rows, where they are not up yet.
    static func raise(_ node: inout Node, _ network: Network) -> [KernelOperation] {
        guard !node.forwarding.isUp(network.vni) else { return [] }
        let base = KernelFollower.base(node, of: network)
        let operations = node.forwarding.raise(network, base, KernelFollower.remotes(node, on: network.id))
        if let attachment = Attachment(vtep: node.identity.vtep, mtu: base.mtu) {
            node.withReplication { [now = node.now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        return operations
    }

    private static func base(_ node: Node, of network: Network) -> NetworkState.Base {
        NetworkState.Base(
            vni: network.vni, local: node.identity.vtep, port: node.catalogue.cluster?.dataPathPort ?? 4789,
            mtu: network.settings?.mtu ?? node.identity.fittingMTU)
    }

    private static func remote(_ node: Node, _ owner: NodeID, _ vtep: IPAddress, on network: NetworkID) -> Forwarding.Remote {
        Forwarding.Remote(vtep: vtep, records: node.replication.endpoints(of: owner, on: network))
    }

    private static func remotes(_ node: Node, on network: NetworkID) -> [Forwarding.Remote] {
        node.replication.attachments(on: network).map { KernelFollower.remote(node, $0.owner, $0.attachment.vtep, on: network) }
    }

    static func removePort(_ node: inout Node, of endpoint: LocalEndpoint) -> [KernelOperation] {
        guard let vni = KernelFollower.vni(node, of: endpoint.network) else { return [] }
        return node.forwarding.removePort(of: endpoint, on: vni)
    }

    private static func vni(_ node: Node, of network: NetworkID) -> VNI? { node.catalogue.networks[network]?.vni }

    /// A network without a local port has nothing in the kernel.
    static func lowering(_ node: inout Node, _ id: NetworkID) -> [KernelOperation] {
        guard let vni = KernelFollower.vni(node, of: id), node.forwarding.isUnused(vni) else { return [] }
        node.withReplication { [now = node.now] in $0.detach(from: id, now: now, into: &$1) }
        return node.forwarding.lower(vni)
    }

    static func lowerIfUnused(_ node: inout Node, _ id: NetworkID) { node.outbox.apply(KernelFollower.lowering(&node, id)) }

    static func record(_ node: Node, of endpoint: LocalEndpoint) -> EndpointRecord {
        EndpointRecord(
            endpoint: endpoint.id, mac: endpoint.mac, v4: endpoint.v4?.address, v6: endpoint.v6?.address, names: endpoint.names)
    }

    static func announce(_ node: inout Node, _ endpoint: LocalEndpoint) {
        let record = KernelFollower.record(node, of: endpoint)
        node.names.setOwn(NameFollower.named(node, record), on: endpoint.network)
        node.withReplication { [now = node.now] in $0.put(record, on: endpoint.network, now: now, into: &$1) }
    }

    static func withdraw(_ node: inout Node, _ endpoint: LocalEndpoint) {
        node.names.dropOwn(endpoint.id, on: endpoint.network)
        node.withReplication { [now = node.now] in $0.remove(endpoint.id, from: endpoint.network, now: now, into: &$1) }
    }

    // MARK: Remote endpoints

    static func runReplication(_ node: inout Node, _ replicationEffects: [Replication.Effect]) {
        var operations: [KernelOperation] = []
        // Where the tunnels of those ended that are attached elsewhere now, or nowhere: rows of what is gone with it point there.
        var former: [NetworkID: [NodeID: IPAddress]] = [:]
        for case .detached(let owner, let id, let attachment) in replicationEffects {
            former[id, default: [:]][owner] = attachment.vtep
        }
        for case .attached(let owner, let id, _, let old?) in replicationEffects { former[id, default: [:]][owner] = old.vtep }
        for effect in replicationEffects {
            NameFollower.followRecords(&node, effect)
            switch effect {
            case .send(let peer, let bytes): node.outbox.send(.replication, bytes, to: peer)
            case .attached(let owner, let id, let attachment, let old):
                guard let network = node.catalogue.networks[id] else { continue }
                if let old, old.vtep != attachment.vtep {
                    operations += node.forwarding.leave(KernelFollower.remote(node, owner, old.vtep, on: id), on: network)
                    KernelFollower.repairSoon(&node)
                }
                operations += node.forwarding.follow(KernelFollower.remote(node, owner, attachment.vtep, on: id), on: network)
            case .detached(let owner, let id, let attachment):
                guard let network = node.catalogue.networks[id] else { continue }
                operations += node.forwarding.leave(KernelFollower.remote(node, owner, attachment.vtep, on: id), on: network)
            case .changed(let owner, let id, let record, let old):
                guard let network = node.catalogue.networks[id], let vtep = node.replication.attachment(of: owner, on: id)?.vtep else {
                    continue
                }
                if let old, old != record {
                    operations += node.forwarding.forget(old, at: vtep, on: network)
                }
                operations += node.forwarding.locate(record, at: vtep, on: network)
            case .gone(let owner, let id, let record):
                guard let network = node.catalogue.networks[id] else { continue }
                guard let vtep = former[id]?[owner] ?? node.replication.attachment(of: owner, on: id)?.vtep else { continue }
                operations += node.forwarding.forget(record, at: vtep, on: network)
            case .synchronised:
                // Rows of its endpoints that were kept for want of knowledge may go now.
                KernelFollower.repairSoon(&node)
            case .rejected(let peer, let owner, let id, let reason):
                // There is one writer of the own log: what is beyond it, an earlier process of the same life wrote, or a later life.
                if owner == node.identity.id, reason == .ownLogAhead {
                    RollbackRecovery.stateIsOld(&node, "node \(node.name(of: peer)) holds more of this node's records than there are")
                }
                guard node.peers.logsRejection(of: peer, now: node.outbox.now, every: Forwarding.repairPeriod) else { continue }
                node.outbox.log(
                    .warning, "a record was not believed",
                    ["from": node.name(of: peer), "owner": node.name(of: owner), "network": id.short, "reason": "\(reason)"])
            }
        }
        node.outbox.apply(operations)
    }

    // MARK: Repair

    static func repairSoon(_ node: inout Node) { node.forwarding.repairSoon(into: &node.outbox) }

    static func start(_ node: inout Node) {
        CatalogueFollower.tellPeers(&node)
        // Who has nobody to ask has nobody to collide with.
        if node.catalogue.members.count > 1 { node.outbox.timers[.assure] = node.now + RollbackRecovery.assurancePause } else { node.outbox.assure() }
        if node.life.isRolledBack { RollbackRecovery.proposeNewEpoch(&node) }
        CatalogueFollower.followTerm(&node)
        RollbackRecovery.checkOwnLife(&node)
        node.forwarding.repair(into: &node.outbox)
    }

    static func observed(_ node: inout Node, _ id: EffectID, _ state: ObservedState) {
        guard let isFirst = node.forwarding.observed(id) else { return }
        KernelFollower.dropDeadEndpoints(&node, state, since: id)
        if isFirst {
            for endpoint in node.inventory.allEndpoints {
                guard let network = node.catalogue.networks[endpoint.network] else { continue }
                if endpoint.hasPort {
                    _ = KernelFollower.raise(&node, network)
                    _ = node.forwarding.addPort(of: endpoint, on: network.vni)
                }
                // Before anybody subscribes: the first thing others hear in this life is everything.
                if endpoint.isAnnounced { KernelFollower.announce(&node, endpoint) }
            }
            for path in node.inventory.sandboxes { NameFollower.followSandbox(&node, path) }
            CatalogueFollower.followSubnets(&node)
            CatalogueFollower.proposeClosing(&node)
            AddressExchange.proposeHandovers(&node)
            for id in node.addresses.subnets where node.inventory.isBound(id) {
                AddressExchange.prefetchBlock(&node, of: id)
            }
        } else {
            KernelFollower.rebuild(&node)
        }
        node.forwarding.repair(state, sparing: node.unknownVTEPs, into: &node.outbox)
        RollbackRecovery.finishRollback(&node)
        CatalogueFollower.proposeOwnChange(&node)
        CatalogueFollower.closeOrphans(&node)
        KernelFollower.dropUnjoinedEndpoints(&node)
        AddressExchange.giveBackIdleBlocks(&node)
        NameFollower.checkNames(&node)
        Mirroring.mirrorSoon(&node)
    }

    /// An endpoint whose pair is gone has lost its container: the kernel destroys both ends together.
    private static func dropDeadEndpoints(_ node: inout Node, _ state: ObservedState, since observation: EffectID) {
        for endpoint in node.inventory.allEndpoints where endpoint.hasPort {
            if let made = endpoint.portEffect, made > observation || !node.outbox.unfinished(.endpoint(endpoint.id)).isEmpty { continue }
            let vni = KernelFollower.vni(node, of: endpoint.network)
            if let vni, state.networks[vni]?.ports[KernelName.port(endpoint.id)] != nil { continue }
            // A damaged network is mended first; the next look tells what of its ports is left.
            if let vni, state.broken.contains(vni) { continue }
            node.outbox.log(.warning, "the interface of an endpoint is gone; the endpoint is taken as gone", ["endpoint": endpoint.id.short])
            _ = NetworkCalls.removeEndpoint(&node, endpoint)
        }
    }

    /// An endpoint that no Join came for is what an engine that was killed left behind.
    private static func dropUnjoinedEndpoints(_ node: inout Node) {
        for endpoint in node.inventory.orphans(at: node.outbox.now) {
            node.outbox.log(.warning, "an endpoint that was never joined is taken as gone", ["endpoint": endpoint.id.short])
            _ = NetworkCalls.removeEndpoint(&node, endpoint)
        }
    }

    /// Rows follow from the records that are known.
    private static func rebuild(_ node: inout Node) {
        for network in node.catalogue.networks.values where node.forwarding.isUp(network.vni) {
            let endpoints = node.inventory.endpoints(on: network.id).filter(\.hasPort)
            node.forwarding.rebuild(network, KernelFollower.base(node, of: network), KernelFollower.remotes(node, on: network.id), endpoints)
        }
    }

}
