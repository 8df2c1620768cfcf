import OverlayCatalogue
import OverlayDatapath
public import OverlayModel
import OverlayReplication

/// What the kernel should hold, from what is known of local and remote endpoints.
extension Node {
    // MARK: Local endpoints

    /// The network's devices and its remote rows, where they are not up yet.
    mutating func raise(_ network: Network) -> [KernelOperation] {
        guard !forwarding.isUp(network.vni) else { return [] }
        let base = base(of: network)
        let operations = forwarding.raise(network, base, remotes(on: network.id))
        if let attachment = Attachment(vtep: identity.vtep, mtu: base.mtu) {
            withReplication { [now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        return operations
    }

    private func base(of network: Network) -> NetworkState.Base {
        NetworkState.Base(
            vni: network.vni, local: identity.vtep, port: catalogue.cluster?.dataPathPort ?? 4789,
            mtu: network.settings?.mtu ?? identity.fittingMTU)
    }

    private func remote(_ owner: NodeID, _ vtep: IPAddress, on network: NetworkID) -> Forwarding.Remote {
        Forwarding.Remote(vtep: vtep, records: replication.endpoints(of: owner, on: network))
    }

    private func remotes(on network: NetworkID) -> [Forwarding.Remote] {
        replication.attachments(on: network).map { remote($0.owner, $0.attachment.vtep, on: network) }
    }

    mutating func removePort(of endpoint: LocalEndpoint) -> [KernelOperation] {
        guard let vni = vni(of: endpoint.network) else { return [] }
        return forwarding.removePort(of: endpoint, on: vni)
    }

    private func vni(of network: NetworkID) -> VNI? { catalogue.networks[network]?.vni }

    /// A network without a local port has nothing in the kernel.
    mutating func lowering(_ id: NetworkID) -> [KernelOperation] {
        guard let vni = vni(of: id), forwarding.isUnused(vni) else { return [] }
        withReplication { [now] in $0.detach(from: id, now: now, into: &$1) }
        return forwarding.lower(vni)
    }

    mutating func lowerIfUnused(_ id: NetworkID) { outbox.apply(lowering(id)) }

    func record(of endpoint: LocalEndpoint) -> EndpointRecord {
        EndpointRecord(
            endpoint: endpoint.id, mac: endpoint.mac, v4: endpoint.v4?.address, v6: endpoint.v6?.address, names: endpoint.names)
    }

    /// An endpoint of this host that others are told of.
    public struct LocalRecord: Hashable, Sendable {
        public var vni: VNI
        public var endpoint: EndpointID
        public var mac: MACAddress
        public var addresses: [IPAddress]
        /// In lower case.
        public var names: [String]
    }

    public func state(of peer: NodeID) -> PeerState { peers.state(of: peer) }

    public var localRecords: [LocalRecord] {
        inventory.allEndpoints.filter(\.isAnnounced).compactMap { endpoint in
            vni(of: endpoint.network).map {
                LocalRecord(
                    vni: $0, endpoint: endpoint.id, mac: endpoint.mac, addresses: endpoint.addresses,
                    names: endpoint.names.names.map { $0.lowercased() })
            }
        }
    }

    mutating func announce(_ endpoint: LocalEndpoint) {
        let record = record(of: endpoint)
        names.setOwn(named(record), on: endpoint.network)
        withReplication { [now] in $0.put(record, on: endpoint.network, now: now, into: &$1) }
    }

    mutating func withdraw(_ endpoint: LocalEndpoint) {
        names.dropOwn(endpoint.id, on: endpoint.network)
        withReplication { [now] in $0.remove(endpoint.id, from: endpoint.network, now: now, into: &$1) }
    }

    // MARK: Remote endpoints

    mutating func runReplication(_ replicationEffects: [Replication.Effect]) {
        var operations: [KernelOperation] = []
        // Where the tunnels of those ended that are attached elsewhere now, or nowhere: rows of what is gone with it point there.
        var former: [NetworkID: [NodeID: IPAddress]] = [:]
        for case .detached(let owner, let id, let attachment) in replicationEffects {
            former[id, default: [:]][owner] = attachment.vtep
        }
        for case .attached(let owner, let id, _, let old?) in replicationEffects { former[id, default: [:]][owner] = old.vtep }
        for effect in replicationEffects {
            followRecords(effect)
            switch effect {
            case .send(let peer, let bytes): outbox.send(.replication, bytes, to: peer)
            case .attached(let owner, let id, let attachment, let old):
                guard let network = catalogue.networks[id] else { continue }
                if let old, old.vtep != attachment.vtep {
                    operations += forwarding.leave(remote(owner, old.vtep, on: id), on: network)
                    repairSoon()
                }
                operations += forwarding.follow(remote(owner, attachment.vtep, on: id), on: network)
            case .detached(let owner, let id, let attachment):
                guard let network = catalogue.networks[id] else { continue }
                operations += forwarding.leave(remote(owner, attachment.vtep, on: id), on: network)
            case .changed(let owner, let id, let record, let old):
                guard let network = catalogue.networks[id], let vtep = replication.attachment(of: owner, on: id)?.vtep else {
                    continue
                }
                if let old, old != record {
                    operations += forwarding.forget(old, at: vtep, on: network)
                }
                operations += forwarding.locate(record, at: vtep, on: network)
            case .gone(let owner, let id, let record):
                guard let network = catalogue.networks[id] else { continue }
                guard let vtep = former[id]?[owner] ?? replication.attachment(of: owner, on: id)?.vtep else { continue }
                operations += forwarding.forget(record, at: vtep, on: network)
            case .synchronised:
                // Rows of its endpoints that were kept for want of knowledge may go now.
                repairSoon()
            case .rejected(let peer, let owner, let id, let reason):
                // There is one writer of the own log: what is beyond it, an earlier process of the same life wrote, or a later life.
                if owner == identity.id, reason == .ownLogAhead {
                    stateIsOld("node \(name(of: peer)) holds more of this node's records than there are")
                }
                guard peers.logsRejection(of: peer, now: outbox.now, every: Forwarding.repairPeriod) else { continue }
                outbox.log(
                    .warning, "a record was not believed",
                    ["from": name(of: peer), "owner": name(of: owner), "network": id.short, "reason": "\(reason)"])
            }
        }
        outbox.apply(operations)
    }

    // MARK: Repair

    mutating func repairSoon() { forwarding.repairSoon(into: &outbox) }

    mutating func start() {
        tellPeers()
        // Who has nobody to ask has nobody to collide with.
        if catalogue.members.count > 1 { outbox.timers[.assure] = now + Self.assurancePause } else { outbox.assure() }
        if life.isRolledBack { proposeNewEpoch() }
        followTerm()
        checkOwnLife()
        forwarding.repair(into: &outbox)
    }

    mutating func observed(_ id: EffectID, _ state: ObservedState) {
        guard let isFirst = forwarding.observed(id) else { return }
        dropDeadEndpoints(state, since: id)
        if isFirst {
            for endpoint in inventory.allEndpoints {
                guard let network = catalogue.networks[endpoint.network] else { continue }
                if endpoint.hasPort {
                    _ = raise(network)
                    _ = forwarding.addPort(of: endpoint, on: network.vni)
                }
                // Before anybody subscribes: the first thing others hear in this life is everything.
                if endpoint.isAnnounced { announce(endpoint) }
            }
            for path in inventory.sandboxes { followSandbox(path) }
            followSubnets()
            proposeClosing()
            proposeHandovers()
            for id in addresses.subnets where inventory.isBound(id) {
                prefetchBlock(of: id)
            }
        } else {
            rebuild()
        }
        forwarding.repair(state, sparing: unknownVTEPs, into: &outbox)
        finishRollback()
        proposeOwnChange()
        closeOrphans()
        dropUnjoinedEndpoints()
        giveBackIdleBlocks()
        checkNames()
        mirrorSoon()
    }

    /// An endpoint whose pair is gone has lost its container: the kernel destroys both ends together.
    private mutating func dropDeadEndpoints(_ state: ObservedState, since observation: EffectID) {
        for endpoint in inventory.allEndpoints where endpoint.hasPort {
            if let made = endpoint.portEffect, made > observation || !outbox.unfinished(.endpoint(endpoint.id)).isEmpty { continue }
            let vni = vni(of: endpoint.network)
            if let vni, state.networks[vni]?.ports[KernelName.port(endpoint.id)] != nil { continue }
            // A damaged network is mended first; the next look tells what of its ports is left.
            if let vni, state.broken.contains(vni) { continue }
            outbox.log(.warning, "the interface of an endpoint is gone; the endpoint is taken as gone", ["endpoint": endpoint.id.short])
            _ = removeEndpoint(endpoint)
        }
    }

    /// An endpoint that no Join came for is what an engine that was killed left behind.
    private mutating func dropUnjoinedEndpoints() {
        for endpoint in inventory.orphans(at: outbox.now) {
            outbox.log(.warning, "an endpoint that was never joined is taken as gone", ["endpoint": endpoint.id.short])
            _ = removeEndpoint(endpoint)
        }
    }

    /// Rows follow from the records that are known.
    private mutating func rebuild() {
        for network in catalogue.networks.values where forwarding.isUp(network.vni) {
            let endpoints = inventory.endpoints(on: network.id).filter(\.hasPort)
            forwarding.rebuild(network, base(of: network), remotes(on: network.id), endpoints)
        }
    }

    /// VTEPs of members whose endpoints are not all known in this life, by network.
    var unknownVTEPs: [VNI: Set<IPAddress>] {
        var unknown: [VNI: Set<IPAddress>] = [:]
        for id in subscribed {
            guard let network = catalogue.networks[id] else { continue }
            for user in network.users where user != identity.id && !replication.isSynchronised(with: user, on: id) {
                if let member = catalogue.members[user] { unknown[network.vni, default: []].insert(member.vtep) }
            }
        }
        return unknown
    }
}
