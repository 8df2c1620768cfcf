import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// IPAM calls, about pools and addresses: each checks, then tells the parts. Owns nothing.
enum AddressCalls {
    /// Throws where the node is in no cluster.
    static func checkCluster(_ node: Node) throws(DriverError) {
        guard node.catalogue.cluster != nil else { throw Node.noCluster }
    }

    // MARK: Pools

    /// RequestPool: finds the subnet, or proposes it.
    static func requestPool(_ node: inout Node, _ call: RequestPool, _ id: RequestID) throws(DriverError) -> Step {
        try Self.checkCluster(node)
        guard call.addressSpace == DriverRequest.addressSpace || call.addressSpace.isEmpty else {
            throw DriverError(.invalid, "address space \(call.addressSpace) is not ours")
        }
        if !Mirroring.isMaking(node, call) { node.mirror.userCreates(at: node.now) }
        try Admissions.checkSubnet(&node, of: call)
        if let subnet = Self.existingSubnet(node, for: call) {
            if let response = Self.opened(node, subnet) {
                node.addresses.requested(subnet, isNamed: call.networkName != nil, isChosen: call.pool != nil, now: node.now)
                Leftovers.touch(&node, .subnet(subnet))
                return .reply(.driver(response))
            }
            guard !node.isWriterAway else { throw DriverError(.unavailable, node.writerText) }
            NetworkRemovals.hurry(&node, subnet)
            // The subnet is being given up. That must be decided first, or its late end would undo the new use.
            node.requests.wait(id, for: .closing(subnet))
            if node.outbox.timers[.close] == nil { CatalogueFollower.proposeClosing(&node) }
            return .wait
        }
        return .propose(
            .openSubnet(
                OpenSubnet(
                    networkName: call.networkName, family: call.family, prefix: call.pool, range: call.subPool,
                    only: Mirroring.networkBeingMade(node, with: call.pool))))
    }

    /// Subnet that a call means, if this host uses it already: the call is a repetition, or follows a release.
    private static func existingSubnet(_ node: Node, for call: RequestPool) -> SubnetID? {
        let network = call.networkName.map { node.catalogue.network(named: $0) } ?? nil
        guard call.networkName == nil || network != nil else { return nil }
        let candidates =
            network.map { $0.subnets }
            ?? node.catalogue.networks.values.flatMap { call.pool == nil || $0.isRemoved ? [] : $0.subnets }
        let mine = candidates.filter { $0.users.contains(node.identity.id) && $0.prefix.family == call.family }
        let found = call.pool.map { pool in mine.first { $0.prefix == pool } } ?? mine.first
        guard let found, call.subPool == nil || call.subPool == found.range else { return nil }
        return found.id
    }

    /// Answer to RequestPool; nil where the subnet does not exist or is being given up.
    static func opened(_ node: Node, _ id: SubnetID) -> DriverResponse? {
        guard let subnet = node.catalogue.subnet(id), !node.closings.contains(id) else { return nil }
        return .pool(id, subnet.prefix, gateway: IPPrefix(subnet.gateway, length: subnet.prefix.length))
    }

    /// ReleasePool: gives the subnet up, unless a network or another request needs it.
    static func releasePool(_ node: inout Node, _ id: SubnetID) -> Step {
        guard node.addresses.released(id) else { return .reply(.driver(.done)) }

        // Engines release the pool before they delete its network, so a pool with a network goes with that. A release without a
        // network follows a create that failed.
        guard !node.inventory.isBound(id) else { return .reply(.driver(.done)) }
        return .after(CatalogueFollower.close(&node, [id]), .driver(.done), undo: nil)
    }

    // MARK: Addresses

    /// RequestAddress: the gateway's, an auxiliary one, or an endpoint's.
    static func requestAddress(_ node: inout Node, _ asked: RequestAddress, _ id: RequestID) throws(DriverError) -> Step {
        try Self.checkCluster(node)
        if case .endpoint = asked.purpose, let step = try Adoptions.wait(&node, for: asked.pool, id) { return step }
        var call = asked
        call.pool = node.inventory.subnet(of: asked.pool)
        guard let subnet = node.catalogue.subnet(call.pool), subnet.users.contains(node.identity.id),
            !node.closings.contains(call.pool),
            let network = node.catalogue.network(holding: call.pool)
        else {
            throw Admissions.refusal(node, of: call.pool)
                ?? DriverError(.notFound, "the pool \(call.pool) does not exist; remove the network and create it again")
        }
        if let address = call.address, !subnet.prefix.contains(address) {
            throw DriverError(.invalid, "\(address) is not in subnet \(subnet.prefix) of network \(network.title)")
        }
        Leftovers.touch(&node, .subnet(subnet.id))
        switch call.purpose {
        case .gateway:
            guard let address = call.address, address != subnet.gateway else {
                return Self.address(node, subnet.gateway, in: subnet)
            }
            return .propose(.setGateway(subnet.id, address))
        case .auxiliary:
            guard let address = call.address else {
                throw DriverError(.invalid, "a request without MAC and address for pool \(call.pool)")
            }
            guard !subnet.auxiliary.contains(address) else { return Self.address(node, address, in: subnet) }
            return .propose(.reserve(subnet.id, address))
        case .endpoint(let mac):
            if let name = call.containerName { node.names.expect(name, of: mac, on: network.id) }
            return try Self.requestAddress(&node, call.address, mac: mac, subnet, network, id)
        }
    }

    /// Answer with an address, when these effects have ended.
    private static func address(
        _ node: Node, _ address: IPAddress, in subnet: Subnet, after awaited: Set<EffectID> = [], undo: Undo? = nil
    ) -> Step {
        guard let prefix = IPPrefix(address, length: subnet.prefix.length) else {
            return .reply(.driver(.failed(DriverError(.invalid, "\(address) is not of the family of \(subnet.prefix)"))))
        }
        return .after(awaited, .driver(.address(prefix)), undo: undo)
    }

    /// Hands out an address to a MAC: its lease, a free address, or the wanted one. Claims or waits where this host owns none.
    private static func requestAddress(
        _ node: inout Node,
        _ wanted: IPAddress?, mac: MACAddress, _ subnet: Subnet, _ network: Network, _ id: RequestID
    ) throws(DriverError) -> Step {
        guard !mac.isMulticast, mac != .zero else { throw DriverError(.invalid, "\(mac) is not the MAC of an interface") }
        try RollbackRecovery.checkState(node)
        guard node.outbox.journal.isAssured else {
            node.requests.wait(id, for: .assurance)
            return .wait
        }
        guard let held = node.addresses.lease(of: mac, in: subnet.id) else {
            throw DriverError(.notFound, "the pool \(subnet.id) does not exist")
        }
        // A MAC that comes again is the same request again, unless an endpoint has it.
        if case .foreign(let lease) = held {
            // The lease is void: its address is in no block of this host, so another node owns it (rule R7).
            try Self.checkLeaseUnused(node, lease, in: network)
            if let row = node.addresses.release(lease.address, of: subnet.id, now: node.outbox.now) { node.outbox.store([row]) }
        }
        if case .own(let lease) = held, wanted == nil || wanted == lease.address {
            try Self.checkLeaseUnused(node, lease, in: network)
            Leftovers.touch(&node, .lease(subnet.id, lease.address))
            return Self.address(node, lease.address, in: subnet, after: node.outbox.unfinished(.lease(subnet.id, lease.address)))
        }
        let isEarly = node.isWriterAway || node.requests[id]?.scarcity != nil
        let taken: Lease?
        do throws(AddressPool.Failure) {
            taken = try node.addresses.allocate(wanted, mac: mac, in: subnet.id, now: node.outbox.now, early: isEarly)
        } catch {
            switch error {
            case .noFreeAddress:
                if let scarcity = node.requests[id]?.scarcity {
                    return try AddressExchange.waitForAddresses(&node, id, subnet.id, scarcity)
                }
                return .propose(.claimBlock(subnet.id, count: 16))
            case .notOwned: return try Self.claim(&node, wanted ?? subnet.gateway, subnet, network, id)
            case .inUse(let lease):
                // Its container may be gone: an engine that died, or a daemon that was away, left it then.
                Leftovers.lookSoon(&node)
                throw DriverError(
                    .conflict,
                    "address \(lease.address) of network \(network.title) is in use by \(Self.holder(node, of: lease)) on node "
                        + "\(node.identity.name)"
                )
            }
        }
        guard let lease = taken else { throw DriverError(.notFound, "the pool \(subnet.id) does not exist") }
        Leftovers.touch(&node, .lease(subnet.id, lease.address))
        let stored = node.outbox.store(
            [.put(.lease, key: lease.storeKey, value: lease.wireBytes)], for: [.lease(subnet.id, lease.address)])
        AddressExchange.prefetchBlock(&node, of: subnet.id)
        return Self.address(node, lease.address, in: subnet, after: [stored], undo: .lease(subnet.id, lease.address))
    }

    /// Throws if an endpoint has the lease's address.
    private static func checkLeaseUnused(_ node: Node, _ lease: Lease, in network: Network) throws(DriverError) {
        guard let endpoint = node.inventory.endpoint(with: lease.address, on: network.id)
        else { return }
        throw DriverError(
            .conflict,
            "MAC \(lease.mac) on network \(network.title) is in use by endpoint \(endpoint.id.short) on node \(node.identity.name)")
    }

    /// Holder of a lease, in words.
    static func holder(_ node: Node, of lease: Lease) -> String {
        let endpoint = node.catalogue.network(holding: lease.subnet).flatMap {
            node.inventory.endpoint(with: lease.address, on: $0.id)
        }
        return endpoint.map { "endpoint \($0.id.short)" } ?? "a container that is being started"
    }

    /// Gets an address that `--ip` names and that is in no block of this host: from the catalogue, or from the node that owns it.
    private static func claim(_ node: inout Node, _ wanted: IPAddress, _ subnet: Subnet, _ network: Network, _ id: RequestID)
        throws(DriverError)
        -> Step
    {
        if wanted == subnet.gateway {
            throw DriverError(.conflict, "\(wanted) is the gateway of network \(network.title)")
        }
        if subnet.auxiliary.contains(wanted) {
            throw DriverError(.conflict, "\(wanted) is an aux address of network \(network.title)")
        }
        guard !subnet.isReserved(wanted) else {
            throw DriverError(.invalid, "\(wanted) is no host address of subnet \(subnet.prefix)")
        }
        if let (owner, record) = node.replication.endpoints(on: network.id).first(where: { $0.record.addresses.contains(wanted) }) {
            throw DriverError(
                .conflict,
                "address \(wanted) of network \(network.title) is in use by endpoint \(record.endpoint.short) on node "
                    + "\(node.name(of: owner))"
            )
        }
        if let owner = subnet.block(holding: wanted)?.owner {
            // This host's addresses that are not free are in quarantine, or being given back.
            guard owner != node.identity.id else {
                if node.addresses.isQuarantined(wanted, of: subnet.id) {
                    throw DriverError(
                        .conflict,
                        "address \(wanted) of network \(network.title) may be in use by a container that this node does not know "
                            + "of: its state was an old copy once; take another one, or remove the container that has it")
                }
                throw DriverError(
                    .unavailable, "address \(wanted) of network \(network.title) is being given back; try again in a moment")
            }
            return try AddressExchange.wantAddress(&node, wanted, from: owner, id, on: subnet, network)
        }
        return .propose(.claimAddress(subnet.id, wanted))
    }

    /// ReleaseAddress: frees an address, and ends an endpoint that still has it.
    static func releaseAddress(_ node: inout Node, _ pool: SubnetID, _ address: IPAddress) -> Step {
        let id = node.inventory.subnet(of: pool)
        guard node.addresses.isLeased(address, of: id) else {
            let rows = node.addresses.endQuarantine(of: address, in: id)
            return .after(rows.isEmpty ? [] : [node.outbox.store(rows)], .driver(.done), undo: nil)
        }
        if let network = node.catalogue.network(holding: id), node.inventory.endpoint(with: address, on: network.id) != nil,
            node.reconciliation.takeLateRelease(of: .lease(id, address), at: node.now)
        {
            node.outbox.log(.info, "a late release means an endpoint that was given up; another one has its address by now")
            return .reply(.driver(.done))
        }
        var awaited: Set<EffectID> = []
        // An engine that was killed may never delete the endpoint. It has ended if its address is released.
        if let network = node.catalogue.network(holding: id) {
            for endpoint in node.inventory.endpoints(with: address, on: network.id) {
                node.outbox.log(
                    .warning, "address of an endpoint was released; the endpoint is taken as gone",
                    [LogKey.endpoint: endpoint.id.short])
                awaited.formUnion(NetworkCalls.removeEndpoint(&node, endpoint))
            }
        }
        if let row = node.addresses.release(address, of: id, now: node.outbox.now) {
            awaited.insert(node.outbox.store([row], for: [.lease(id, address)]))
        }
        return .after(awaited, .driver(.done), undo: nil)
    }
}
