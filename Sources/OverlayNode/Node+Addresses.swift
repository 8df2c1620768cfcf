import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// The IPAM calls.
extension Node {
    func checkCluster() throws(DriverError) {
        guard catalogue.cluster != nil else { throw Self.noCluster }
    }

    // MARK: Pools

    mutating func requestPool(_ call: RequestPool, _ id: RequestID) throws(DriverError) -> Step {
        try checkCluster()
        guard call.addressSpace == DriverRequest.addressSpace || call.addressSpace.isEmpty else {
            throw DriverError(.invalid, "address space \(call.addressSpace) is not ours")
        }
        if let subnet = existingSubnet(for: call) {
            if let response = opened(subnet) {
                addresses.requested(subnet)
                return .reply(.driver(response))
            }
            guard !isWriterAway else { throw DriverError(.unavailable, writerText) }
            // It is being given up: first that, then anew, or the late end of the one would undo the other.
            requests.wait(id, for: .closing(subnet))
            if outbox.timers[.close] == nil { proposeClosing() }
            return .wait
        }
        return .propose(
            .openSubnet(
                OpenSubnet(
                    networkName: call.networkName, family: call.family, prefix: call.pool, range: call.subPool,
                    only: networkBeingMade(with: call.pool))))
    }

    /// The subnet that a call means, when this host uses it already: the call is a repetition, or follows a release.
    private func existingSubnet(for call: RequestPool) -> SubnetID? {
        let network = call.networkName.map { catalogue.network(named: $0) } ?? nil
        guard call.networkName == nil || network != nil else { return nil }
        let candidates =
            network.map { $0.subnets } ?? catalogue.networks.values.flatMap { call.pool == nil || $0.isRemoved ? [] : $0.subnets }
        let mine = candidates.filter { $0.users.contains(identity.id) && $0.prefix.family == call.family }
        let found = call.pool.map { pool in mine.first { $0.prefix == pool } } ?? mine.first
        guard let found, call.subPool == nil || call.subPool == found.range else { return nil }
        return found.id
    }

    /// The answer to RequestPool.
    func opened(_ id: SubnetID) -> DriverResponse? {
        guard let subnet = catalogue.subnet(id), !closings.contains(id) else { return nil }
        return .pool(id, subnet.prefix, gateway: IPPrefix(subnet.gateway, length: subnet.prefix.length))
    }

    mutating func releasePool(_ id: SubnetID) -> Step {
        guard addresses.released(id) else { return .reply(.driver(.done)) }

        // Engines release the pool first and delete the network after: the pool goes with the network. A release without a network is
        // that of a create that failed.
        guard !inventory.isBound(id) else { return .reply(.driver(.done)) }
        return .after(close([id]), .driver(.done), undo: nil)
    }

    // MARK: Addresses

    mutating func requestAddress(_ call: RequestAddress, _ id: RequestID) throws(DriverError) -> Step {
        try checkCluster()
        guard let subnet = catalogue.subnet(call.pool), subnet.users.contains(identity.id), !closings.contains(call.pool),
            let network = catalogue.network(holding: call.pool)
        else { throw DriverError(.notFound, "the pool \(call.pool) does not exist; remove the network and create it again") }
        if let address = call.address, !subnet.prefix.contains(address) {
            throw DriverError(.invalid, "\(address) is not in subnet \(subnet.prefix) of network \(network.title)")
        }
        switch call.purpose {
        case .gateway:
            guard let address = call.address, address != subnet.gateway else { return self.address(subnet.gateway, in: subnet) }
            return .propose(.setGateway(subnet.id, address))
        case .auxiliary:
            guard let address = call.address else {
                throw DriverError(.invalid, "a request without MAC and address for pool \(call.pool)")
            }
            guard !subnet.auxiliary.contains(address) else { return self.address(address, in: subnet) }
            return .propose(.reserve(subnet.id, address))
        case .endpoint(let mac): return try requestAddress(call.address, mac: mac, subnet, network, id)
        }
    }

    private func address(_ address: IPAddress, in subnet: Subnet, after awaited: Set<EffectID> = [], undo: Undo? = nil) -> Step {
        guard let prefix = IPPrefix(address, length: subnet.prefix.length) else {
            return .reply(.driver(.failed(DriverError(.invalid, "\(address) is not of the family of \(subnet.prefix)"))))
        }
        return .after(awaited, .driver(.address(prefix)), undo: undo)
    }

    private mutating func requestAddress(
        _ wanted: IPAddress?, mac: MACAddress, _ subnet: Subnet, _ network: Network, _ id: RequestID
    ) throws(DriverError) -> Step {
        guard !mac.isMulticast, mac != .zero else { throw DriverError(.invalid, "\(mac) is not the MAC of an interface") }
        try checkState()
        guard outbox.journal.isAssured else {
            requests.wait(id, for: .assurance)
            return .wait
        }
        guard let held = addresses.lease(of: mac, in: subnet.id) else {
            throw DriverError(.notFound, "the pool \(subnet.id) does not exist")
        }
        // The same MAC again is the same request again, unless an endpoint has it: then it is somebody else's.
        if case .foreign(let lease) = held {
            // An address that is not of this host's blocks is somebody else's by now (rule R7), whatever a row of old says.
            try checkLeaseUnused(lease, in: network)
            if let row = addresses.release(lease.address, of: subnet.id, now: outbox.now) { outbox.store([row]) }
        }
        if case .own(let lease) = held, wanted == nil || wanted == lease.address {
            try checkLeaseUnused(lease, in: network)
            return address(lease.address, in: subnet, after: outbox.unfinished(.lease(subnet.id, lease.address)))
        }
        let isEarly = isWriterAway || requests[id]?.scarcity != nil
        let taken: Lease?
        do throws(AddressPool.Failure) {
            taken = try addresses.allocate(wanted, mac: mac, in: subnet.id, now: outbox.now, early: isEarly)
        } catch {
            switch error {
            case .noFreeAddress:
                if let scarcity = requests[id]?.scarcity { return try waitForAddresses(id, subnet.id, scarcity) }
                return .propose(.claimBlock(subnet.id, count: 16))
            case .notOwned: return try claim(wanted ?? subnet.gateway, subnet, network, id)
            case .inUse(let lease):
                throw DriverError(
                    .conflict,
                    "address \(lease.address) of network \(network.title) is in use by \(holder(of: lease)) on node \(identity.name)"
                )
            }
        }
        guard let lease = taken else { throw DriverError(.notFound, "the pool \(subnet.id) does not exist") }
        let stored = outbox.store(
            [.put(.lease, key: lease.storeKey, value: lease.wireBytes)], for: [.lease(subnet.id, lease.address)])
        prefetchBlock(of: subnet.id)
        return address(lease.address, in: subnet, after: [stored], undo: .lease(subnet.id, lease.address))
    }

    private func checkLeaseUnused(_ lease: Lease, in network: Network) throws(DriverError) {
        guard let endpoint = inventory.endpoint(with: lease.address, on: network.id)
        else { return }
        throw DriverError(
            .conflict,
            "MAC \(lease.mac) on network \(network.title) is in use by endpoint \(endpoint.id.short) on node \(identity.name)")
    }

    func holder(of lease: Lease) -> String {
        let endpoint = catalogue.network(holding: lease.subnet).flatMap { inventory.endpoint(with: lease.address, on: $0.id) }
        return endpoint.map { "endpoint \($0.id.short)" } ?? "a container that is being started"
    }

    /// `--ip` with an address that is not of this host's blocks.
    private mutating func claim(_ wanted: IPAddress, _ subnet: Subnet, _ network: Network, _ id: RequestID) throws(DriverError)
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
        if let (owner, record) = replication.endpoints(on: network.id).first(where: { $0.record.addresses.contains(wanted) }) {
            throw DriverError(
                .conflict,
                "address \(wanted) of network \(network.title) is in use by endpoint \(record.endpoint.short) on node \(name(of: owner))"
            )
        }
        if let owner = subnet.block(holding: wanted)?.owner {
            // Of this host, and on its way back.
            guard owner != identity.id else {
                if addresses.isQuarantined(wanted, of: subnet.id) {
                    throw DriverError(
                        .conflict,
                        "address \(wanted) of network \(network.title) may be in use by a container that this node does not know of: "
                            + "its state was an old copy once; take another one, or remove the container that has it")
                }
                throw DriverError(
                    .unavailable, "address \(wanted) of network \(network.title) is being given back; try again in a moment")
            }
            return try wantAddress(wanted, from: owner, id, on: subnet, network)
        }
        return .propose(.claimAddress(subnet.id, wanted))
    }

    mutating func releaseAddress(_ id: SubnetID, _ address: IPAddress) -> Step {
        guard addresses.isLeased(address, of: id) else {
            let rows = addresses.endQuarantine(of: address, in: id)
            return .after(rows.isEmpty ? [] : [outbox.store(rows)], .driver(.done), undo: nil)
        }
        var awaited: Set<EffectID> = []
        // An engine that was killed may never have deleted the endpoint: without its address there is none.
        if let network = catalogue.network(holding: id) {
            for endpoint in inventory.endpoints(with: address, on: network.id) {
                outbox.log(.warning, "address of an endpoint was released; the endpoint is taken as gone", ["endpoint": endpoint.id.short])
                awaited.formUnion(removeEndpoint(endpoint))
            }
        }
        if let row = addresses.release(address, of: id, now: outbox.now) {
            awaited.insert(outbox.store([row], for: [.lease(id, address)]))
        }
        return .after(awaited, .driver(.done), undo: nil)
    }
}
