import OverlayCatalogue
import OverlayDatapath
public import OverlayModel
import OverlayReplication

/// What the kernel should hold, from what is known of local and remote endpoints.
extension Node {
    func containerLink(of endpoint: LocalEndpoint) -> String { KernelName.containerLink(endpoint.id) }

    // MARK: Local endpoints

    /// The network's devices and its remote rows, where they are not up yet.
    mutating func raise(_ network: Network) -> [KernelOperation] {
        guard datapath.networks[network.vni] == nil else { return [] }
        let base = base(of: network)
        var operations = datapath.raise(base, gateways: gateways(of: network))
        for (owner, attachment) in replication.attachments(on: network.id) {
            operations += Self.follow(owner, attachment.vtep, on: network, replication, in: &datapath)
        }
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

    private func gateways(of network: Network) -> Set<IPPrefix> {
        Set(network.subnets.compactMap { IPPrefix($0.gateway, length: $0.prefix.length) })
    }

    mutating func addPort(of endpoint: LocalEndpoint, on vni: VNI) -> [KernelOperation] {
        Self.addPort(of: endpoint, on: vni, in: &datapath)
    }

    private static func addPort(of endpoint: LocalEndpoint, on vni: VNI, in datapath: inout Datapath) -> [KernelOperation] {
        datapath.addPort(
            KernelName.port(endpoint.id), Port(containerLink: KernelName.containerLink(endpoint.id), mac: endpoint.mac),
            addresses: endpoint.addresses, on: vni)
    }

    mutating func removePort(of endpoint: LocalEndpoint) -> [KernelOperation] {
        guard let vni = vni(of: endpoint.network) else { return [] }
        return datapath.removePort(KernelName.port(endpoint.id), addresses: endpoint.addresses, on: vni)
    }

    private func vni(of network: NetworkID) -> VNI? { catalogue.networks[network]?.vni }

    /// A network without a local port has nothing in the kernel.
    mutating func lowering(_ id: NetworkID) -> [KernelOperation] {
        guard let vni = vni(of: id), datapath.networks[vni]?.ports.isEmpty == true else { return [] }
        withReplication { [now] in $0.detach(from: id, now: now, into: &$1) }
        return datapath.lower(vni)
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

    mutating func run(_ replicationEffects: [Replication.Effect]) {
        var operations: [KernelOperation] = []
        // Where the tunnels of those ended that are attached elsewhere now, or nowhere: rows of what is gone with it point there.
        var former: [NetworkID: [NodeID: IPAddress]] = [:]
        for case .detached(let owner, let id, let attachment) in replicationEffects {
            former[id, default: [:]][owner] = attachment.vtep
        }
        for case .attached(let owner, let id, _, let old?) in replicationEffects { former[id, default: [:]][owner] = old.vtep }
        for effect in replicationEffects {
            follow(namesOf: effect)
            switch effect {
            case .send(let peer, let bytes): outbox.send(.replication, bytes, to: peer)
            case .attached(let owner, let id, let attachment, let old):
                guard let network = catalogue.networks[id] else { continue }
                if let old, old.vtep != attachment.vtep {
                    operations += leave(owner, old.vtep, on: network)
                    repairSoon()
                }
                operations += Self.follow(owner, attachment.vtep, on: network, replication, in: &datapath)
            case .detached(let owner, let id, let attachment):
                guard let network = catalogue.networks[id] else { continue }
                operations += leave(owner, attachment.vtep, on: network)
            case .changed(let owner, let id, let record, let old):
                guard let network = catalogue.networks[id], let vtep = replication.attachment(of: owner, on: id)?.vtep else {
                    continue
                }
                if let old, old != record {
                    operations += datapath.forget(old.mac, .vtep(vtep), addresses: old.addresses, on: network.vni)
                }
                operations += Self.locate(record, at: vtep, on: network, in: &datapath)
            case .gone(let owner, let id, let record):
                guard let network = catalogue.networks[id] else { continue }
                guard let vtep = former[id]?[owner] ?? replication.attachment(of: owner, on: id)?.vtep else { continue }
                operations += datapath.forget(record.mac, .vtep(vtep), addresses: record.addresses, on: network.vni)
            case .synchronised:
                // Rows of its endpoints that were kept for want of knowledge may go now.
                repairSoon()
            case .rejected(let peer, let owner, let id, let reason):
                // There is one writer of the own log: what is beyond it, an earlier process of the same life wrote, or a later life.
                if owner == identity.id, reason == .ownLogAhead {
                    stateIsOld("node \(name(of: peer)) holds more of this node's records than there are")
                }
                guard peers.logsRejection(of: peer, now: outbox.now, every: Self.repairPeriod) else { continue }
                outbox.log(
                    .warning, "a record was not believed",
                    ["from": name(of: peer), "owner": name(of: owner), "network": id.short, "reason": "\(reason)"])
            }
        }
        outbox.apply(operations)
    }

    /// All that an owner has on a network, behind its tunnel. Static, so that the change is made in place.
    private static func follow(
        _ owner: NodeID, _ vtep: IPAddress, on network: Network, _ replication: Replication, in datapath: inout Datapath
    ) -> [KernelOperation] {
        var operations = datapath.setFlood(vtep, true, on: network.vni)
        for record in replication.endpoints(of: owner, on: network.id) {
            operations += locate(record, at: vtep, on: network, in: &datapath)
        }
        return operations
    }

    private mutating func leave(_ owner: NodeID, _ vtep: IPAddress, on network: Network) -> [KernelOperation] {
        var operations = datapath.setFlood(vtep, false, on: network.vni)
        for record in replication.endpoints(of: owner, on: network.id) {
            operations += datapath.forget(record.mac, .vtep(vtep), addresses: record.addresses, on: network.vni)
        }
        return operations
    }

    private static func locate(
        _ record: EndpointRecord, at vtep: IPAddress, on network: Network, in datapath: inout Datapath
    ) -> [KernelOperation] {
        let addresses = record.addresses.filter { address in
            network.subnets.contains { $0.prefix.contains(address) && !$0.isReserved(address) }
        }
        return datapath.locate(record.mac, .vtep(vtep), addresses: addresses, on: network.vni)
    }

    // MARK: Repair

    mutating func repairSoon(after delay: Interval = Self.repairDelay) {
        let soon = now + delay
        outbox.timers[.repair] = min(outbox.timers[.repair] ?? soon, soon)
    }

    /// Asks for what the kernel holds.
    mutating func repair() {
        // One that comes due while the kernel is being read is done right after.
        guard observing == nil else {
            outbox.timers[.repair] = now + Self.repairDelay
            return
        }
        outbox.timers[.repair] = now + Self.repairPeriod
        let id = outbox.newEffect()
        observing = id
        outbox.append(.observe(id))
    }

    mutating func start() {
        tellPeers()
        // Who has nobody to ask has nobody to collide with.
        if catalogue.members.count > 1 { outbox.timers[.assure] = now + Self.assurancePause } else { outbox.assure() }
        if life.isRolledBack { proposeNewEpoch() }
        followTerm()
        checkOwnLife()
        repair()
    }

    mutating func observed(_ id: EffectID, _ state: ObservedState) {
        guard id == observing else { return }
        observing = nil
        let isFirst = !isReady
        isReady = true
        dropDeadEndpoints(state, since: id)
        if isFirst {
            for endpoint in inventory.allEndpoints {
                guard let network = catalogue.networks[endpoint.network] else { continue }
                if endpoint.hasPort {
                    _ = raise(network)
                    _ = addPort(of: endpoint, on: network.vni)
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
        keptRowsTo = unknownVTEPs
        let operations = datapath.repair(state, keepingRowsTo: keptRowsTo)
        // Network by network: what the kernel refuses of one stops no other.
        for part in operations.chunkedByNetwork { outbox.apply(part) }
        if operations.isEmpty { kernelFailures = 0 }
        if !state.broken.isEmpty { repairSoon() }
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
        for network in catalogue.networks.values where datapath.networks[network.vni] != nil {
            var fresh = Datapath()
            _ = fresh.raise(base(of: network), gateways: gateways(of: network))
            for (owner, attachment) in replication.attachments(on: network.id) {
                _ = Self.follow(owner, attachment.vtep, on: network, replication, in: &fresh)
            }
            for endpoint in inventory.endpoints(on: network.id) where endpoint.hasPort
            {
                _ = Self.addPort(of: endpoint, on: network.vni, in: &fresh)
            }
            datapath.adopt(network.vni, of: fresh)
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

extension [KernelOperation] {
    /// Runs of operations of one network, in their order.
    fileprivate var chunkedByNetwork: [[KernelOperation]] {
        var chunks: [[KernelOperation]] = []
        for operation in self {
            if chunks.last?.first?.vni == operation.vni {
                chunks[chunks.count - 1].append(operation)
            } else {
                chunks.append([operation])
            }
        }
        return chunks
    }
}
