import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlayReplication

/// What the kernel should hold, from what is known of local and remote endpoints.
extension Engine {
    func containerLink(of endpoint: LocalEndpoint) -> String { KernelName.containerLink(endpoint.id) }

    // MARK: Local endpoints

    /// The network's devices and its remote rows, where they are not up yet.
    mutating func raise(_ network: Network) -> [KernelOperation] {
        guard datapath.networks[network.vni] == nil else { return [] }
        var operations = datapath.raise(base(of: network), gateways: gateways(of: network))
        for (owner, record) in replication.endpoints(on: network.id) {
            operations += locate(record, of: owner, on: network)
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
        return datapath.lower(vni)
    }

    mutating func lowerIfUnused(_ id: NetworkID) { apply(lowering(id)) }

    func record(of endpoint: LocalEndpoint) -> EndpointRecord {
        EndpointRecord(endpoint: endpoint.id, mac: endpoint.mac, v4: endpoint.v4?.address, v6: endpoint.v6?.address)
    }

    mutating func announce(_ endpoint: LocalEndpoint) {
        let record = record(of: endpoint)
        withReplication { [now] in $0.put(record, on: endpoint.network, now: now, into: &$1) }
    }

    mutating func withdraw(_ endpoint: LocalEndpoint) {
        withReplication { [now] in $0.remove(endpoint.id, from: endpoint.network, now: now, into: &$1) }
    }

    // MARK: Remote endpoints

    mutating func run(_ replicationEffects: [Replication.Effect]) {
        var operations: [KernelOperation] = []
        for effect in replicationEffects {
            switch effect {
            case .send(let peer, let bytes): effects.append(.send(peer, [MessageKind.replication.rawValue] + bytes))
            case .changed(let owner, let id, let record, let old):
                guard let network = catalogue.networks[id] else { continue }
                if let old, old != record { operations += forget(old, of: owner, on: network) }
                operations += locate(record, of: owner, on: network)
            case .gone(let owner, let id, let record):
                guard let network = catalogue.networks[id] else { continue }
                operations += forget(record, of: owner, on: network)
            case .synchronised:
                // Rows of its endpoints that were kept for want of knowledge may go now.
                repairSoon()
            }
        }
        apply(operations)
    }

    private mutating func locate(_ record: EndpointRecord, of owner: NodeID, on network: Network) -> [KernelOperation] {
        guard let vtep = catalogue.members[owner]?.vtep else { return [] }
        return Self.locate(record, at: vtep, on: network, in: &datapath)
    }

    /// Static, so that the change is made in place.
    private static func locate(
        _ record: EndpointRecord, at vtep: IPAddress, on network: Network, in datapath: inout Datapath
    ) -> [KernelOperation] {
        let addresses = record.addresses.filter { address in
            network.subnets.contains { $0.prefix.contains(address) && !$0.isReserved(address) }
        }
        return datapath.setFlood(vtep, true, on: network.vni)
            + datapath.locate(record.mac, .vtep(vtep), addresses: addresses, on: network.vni)
    }

    private mutating func forget(_ record: EndpointRecord, of owner: NodeID, on network: Network) -> [KernelOperation] {
        guard let vtep = catalogue.members[owner]?.vtep else {
            // Removed from the cluster: the rows are found by comparison.
            repairSoon()
            return []
        }
        var operations = datapath.forget(record.mac, .vtep(vtep), addresses: record.addresses, on: network.vni)
        if replication.count(of: owner, on: network.id) == 0 { operations += datapath.setFlood(vtep, false, on: network.vni) }
        return operations
    }

    // MARK: Repair

    mutating func repairSoon() {
        let soon = now + Self.repairDelay
        repairAt = min(repairAt ?? soon, soon)
    }

    /// Asks for what the kernel holds.
    mutating func repair() {
        // One that comes due while the kernel is being read is done right after.
        guard observing == nil else {
            repairAt = now + Self.repairDelay
            return
        }
        repairAt = now + Self.repairPeriod
        let id = EffectID(value: nextEffect)
        nextEffect += 1
        observing = id
        effects.append(.observe(id))
    }

    mutating func start() {
        tellPeers()
        repair()
    }

    mutating func observed(_ id: EffectID, _ state: ObservedState) {
        guard id == observing else { return }
        observing = nil
        let isFirst = !isReady
        isReady = true
        dropDeadEndpoints(state, since: id)
        if isFirst {
            for endpoint in endpoints.values.sorted(by: { $0.id < $1.id }) {
                guard let network = catalogue.networks[endpoint.network] else { continue }
                if endpoint.hasPort {
                    _ = raise(network)
                    _ = addPort(of: endpoint, on: network.vni)
                }
                // Before anybody subscribes: the first thing others hear in this life is everything.
                if endpoint.isJoined { announce(endpoint) }
            }
            followSubnets()
            proposeClosing()
            for id in pools.keys.sorted() where networks.values.contains(where: { $0.subnets.contains(id) }) {
                prefetchBlock(of: id)
            }
        } else {
            rebuild()
        }
        apply(datapath.repair(state, keepingRowsTo: unknownVTEPs))
        if !state.broken.isEmpty { repairSoon() }
        proposeOwnChange()
        closeOrphans()
    }

    /// An endpoint whose pair is gone has lost its container: the kernel destroys both ends together.
    private mutating func dropDeadEndpoints(_ state: ObservedState, since observation: EffectID) {
        for endpoint in endpoints.values.sorted(by: { $0.id < $1.id }) where endpoint.hasPort {
            if let made = endpoint.portEffect, made > observation || inFlight[.endpoint(endpoint.id)] != nil { continue }
            let vni = vni(of: endpoint.network)
            if let vni, state.networks[vni]?.ports[KernelName.port(endpoint.id)] != nil { continue }
            // A damaged network is mended first; the next look tells what of its ports is left.
            if let vni, state.broken.contains(vni) { continue }
            log(.warning, "the interface of an endpoint is gone; the endpoint is taken as gone", ["endpoint": endpoint.id.short])
            _ = removeEndpoint(endpoint)
        }
    }

    /// Rows follow from the records that are known, also where an earlier change of them was shadowed.
    private mutating func rebuild() {
        for network in catalogue.networks.values where datapath.networks[network.vni] != nil {
            var fresh = Datapath()
            _ = fresh.raise(base(of: network), gateways: gateways(of: network))
            for (owner, record) in replication.endpoints(on: network.id) {
                guard let vtep = catalogue.members[owner]?.vtep else { continue }
                _ = Self.locate(record, at: vtep, on: network, in: &fresh)
            }
            for endpoint in endpoints.values.sorted(by: { $0.id < $1.id }) where endpoint.network == network.id && endpoint.hasPort
            {
                _ = Self.addPort(of: endpoint, on: network.vni, in: &fresh)
            }
            if let state = fresh.networks[network.vni] { datapath.adopt(state) }
        }
    }

    /// VTEPs of members whose endpoints are not all known in this life.
    private var unknownVTEPs: Set<IPAddress> {
        var unknown: Set<IPAddress> = []
        for id in subscribed {
            for user in catalogue.networks[id]?.users ?? []
            where user != identity.id && !replication.isSynchronised(with: user, on: id) {
                if let member = catalogue.members[user] { unknown.insert(member.vtep) }
            }
        }
        return unknown
    }

    // MARK: Peers

    mutating func reach(_ peer: NodeID, _ isReachable: Bool) {
        peers[peer] = PeerState(isReachable: isReachable, since: now, roundTrip: peers[peer]?.roundTrip)
        withReplication { [now] in $0.setReachable(peer, isReachable, now: now, into: &$1) }
        log(isReachable ? .info : .warning, isReachable ? "node is reachable" : "node is unreachable", ["node": name(of: peer)])
        if isReachable, peer == catalogue.cluster?.writer, !closing.isEmpty { proposeClosing() }
    }
}
