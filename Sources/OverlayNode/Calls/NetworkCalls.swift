import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
import OverlayModel
import OverlayReplication

/// Calls about networks and endpoints: each checks, then tells the parts. Owns nothing.
enum NetworkCalls {
    // MARK: Networks

    /// CreateNetwork: binds the engine's network to the cluster's that has its subnets.
    static func createNetwork(_ node: inout Node, _ call: CreateNetwork) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        if node.inventory.network(call.network) != nil {
            return .after(node.outbox.unfinished(.network(call.network)), .driver(.done), undo: nil)
        }
        let subnets = try Self.subnets(node, of: call)
        guard let first = subnets.first, let network = node.catalogue.network(holding: first) else {
            throw DriverError(.invalid, "network \(call.network.short) has no subnet; swift-overlay needs an IPv4 or IPv6 one")
        }
        let admission = Admissions.first(node, of: network, named: subnets.allSatisfy { node.addresses.isNamed($0) })
        // Two that are made at one moment, by a user and by this node, both come; this node's goes then.
        if let other = node.inventory.network(of: network.id),
            admission == .open || !node.mirror.isMaking(network.id) && !node.mirror.isMadeHere(other.id)
                || node.inventory.hasEndpoints(of: other.id)
        {
            throw DriverError(
                .conflict,
                "network \(network.title) is on this engine already, as \(other.id.short); remove that one first, or use it")
        }
        let settings = try Self.settings(node, of: call)
        if let known = network.settings {
            // Whichever network its name will turn out to mean, options that differ are refused.
            guard known == settings else {
                throw DriverError(.conflict, node.catalogue.difference(of: network, to: settings, except: node.identity.id))
            }
            let hasIPv6 = network.subnets.contains { $0.prefix.family == .v6 }
            guard hasIPv6 == !call.v6.isEmpty else {
                throw DriverError(
                    .conflict,
                    "network \(network.title) is on \(node.catalogue.hosts(of: network, except: node.identity.id)) with other options: "
                        + "--ipv6 is given \(hasIPv6 ? "there and not here" : "here and not there"); give the same options on every "
                        + "host, or remove the network there first")
            }
        }
        try RouteFollower.check(node, network, subnets, settings)
        let foreign = subnets.filter { node.catalogue.networkOfSubnet[$0] != network.id }
        guard network.settings == settings, foreign.isEmpty else {
            return .propose(.configure(network.id, adopting: foreign, settings))
        }
        var local = LocalNetwork(id: call.network, network: network.id, subnets: subnets, admission: admission)
        local.isAutomatic = admission == .undecided && subnets.allSatisfy { node.addresses.isAutomatic($0) }
        let row = node.inventory.put(local)
        for subnet in subnets { node.addresses.bound(subnet) }
        Leftovers.touch(&node, .network(local.id))
        // A user who names the network wants it here.
        let want = admission == .open ? node.inventory.want(network.id) : nil
        let stored = node.outbox.store([row] + [want].compactMap { $0 }, for: [.network(local.id)])
        // Blocks are asked for now, so that the first container need not wait for the writer.
        for subnet in subnets { AddressExchange.prefetchBlock(&node, of: subnet) }
        return .after([stored], .driver(.done), undo: .network(local.id))
    }

    /// Subnets of this host that a call names by their prefixes.
    private static func subnets(_ node: Node, of call: CreateNetwork) throws(DriverError) -> [SubnetID] {
        var subnets: [SubnetID] = []
        for data in call.v4 + call.v6 {
            guard let prefix = data.pool else { continue }
            let found = node.catalogue.networks.values.lazy.filter { !$0.isRemoved }.flatMap(\.subnets).first {
                $0.prefix == prefix.network && $0.users.contains(node.identity.id) && !node.closings.contains($0.id)
            }
            guard data.addressSpace == DriverRequest.addressSpace, let found else {
                throw DriverError(
                    .invalid,
                    "subnet \(prefix) of network \(call.network.short) was not given out by swift-overlay: the engine's own IPAM "
                        + "works per host and would give the same addresses on several. Create the network with "
                        + "`docker network create -d swift-overlay --ipam-driver swift-overlay …`")
            }
            subnets.append(found.id)
        }
        return subnets
    }

    /// Settings that a call asks for. Throws where they are not possible on this host.
    private static func settings(_ node: Node, of call: CreateNetwork) throws(DriverError) -> NetworkSettings {
        let generic = call.options[OptionName.generic]?.object ?? [:]
        var settings = NetworkSettings()
        settings.isInternal = call.options[OptionName.isInternal]?.bool ?? false
        // The presence of the key counts, as with the built-in overlay. A network that should be encrypted is never made without
        // it.
        if generic[OptionName.encrypted] != nil {
            throw DriverError(.invalid, "encrypted networks are not available in this version of swift-overlay")
        }
        settings.routesMulticast = try Self.flag(OptionName.multicastRoute, in: generic) ?? true
        settings.allowsOverlap = try Self.flag(OptionName.allowOverlap, in: generic) ?? false
        // IPv6 does not work below 1280 bytes (RFC 8200 §5).
        let most = node.identity.fittingMTU
        let least: UInt32 = call.v6.isEmpty ? 68 : 1280
        guard most >= least else {
            throw DriverError(
                .invalid,
                "the link of \(node.identity.vtep) carries \(node.identity.underlayMTU) bytes, which leaves \(most) to containers; "
                    + (call.v6.isEmpty ? "that is too little" : "IPv6 needs 1280, so leave out --ipv6, or raise the link's MTU"))
        }
        if let value = generic[OptionName.mtu] {
            guard let mtu = value.string.flatMap({ UInt32($0) }) else {
                throw DriverError(.invalid, "\(OptionName.mtu) is not a number of bytes")
            }
            guard mtu >= least, mtu <= most else {
                throw DriverError(
                    .invalid,
                    "an MTU of \(mtu) is not possible: \(least) to \(most) bytes fit, as the link of \(node.identity.vtep) carries "
                        + "\(node.identity.underlayMTU) and VXLAN takes \(node.identity.encapsulation) of them")
            }
            settings.mtu = mtu
        }
        return settings
    }

    /// Value of an option that is true or false; nil where it was not given.
    private static func flag(_ name: String, in options: [String: OptionValue]) throws(DriverError) -> Bool? {
        guard let value = options[name] else { return nil }
        guard let flag = value.bool else { throw DriverError(.invalid, "\(name) is true or false") }
        return flag
    }

    /// DeleteNetwork: ends the network here, and in the cluster where nobody else is on it.
    static func deleteNetwork(_ node: inout Node, _ id: EngineNetworkID) -> Step {
        guard let network = node.inventory.network(id) else {
            return .after(node.outbox.unfinished(.network(id)), .driver(.done), undo: nil)
        }
        var awaited: Set<EffectID> = []
        // Engines refuse to remove a network with endpoints, so those that are left are of an engine that was killed.
        for endpoint in node.inventory.endpoints(of: id) { awaited.formUnion(Self.removeEndpoint(&node, endpoint)) }
        let end = Mirroring.networkEnd(node, of: network)
        node.mirror.hide(id)
        node.mirror.setFormer(id)
        var writes = [node.inventory.remove(id)].compactMap { $0 }
        Admissions.wake(&node, id)
        // While it is not known whether the network goes from all engines, it counts as gone from this one.
        if end != .closed { writes.append(node.inventory.decline(network.network, as: id)) }
        let subnets = network.subnets.filter { !node.inventory.isBound($0) }
        if end == .removed { NetworkRemovals.begin(&node, network, subnets) }
        node.mirror.setConflict(nil, of: id)
        awaited.formUnion(
            CatalogueFollower.close(&node, subnets, with: writes, for: [.network(id)]))
        NetworkRemovals.conclude(&node, network.network)
        return .after(awaited, .driver(.done), undo: nil)
    }

    // MARK: Endpoints

    /// CreateEndpoint: checks the addresses, and announces the endpoint.
    static func createEndpoint(_ node: inout Node, _ call: CreateEndpoint, _ id: RequestID) throws(DriverError) -> Step {
        guard let local = node.inventory.network(call.network), let network = node.catalogue.networks[local.network] else {
            throw DriverError(
                .notFound,
                "network \(call.network.short) of endpoint \(call.endpoint.short) is not known to swift-overlay on this node")
        }
        if let known = node.inventory.endpoint(call.endpoint) {
            guard known.engineNetwork == call.network, known.v4 == call.v4, known.v6 == call.v6,
                call.mac == nil || call.mac == known.mac
            else { throw DriverError(.conflict, "endpoint \(call.endpoint.short) exists with other addresses") }
            Leftovers.touch(&node, .endpoint(known.id))
            return .after(
                node.outbox.unfinished(.endpoint(known.id)), .driver(.endpoint(mac: call.mac == nil ? known.mac : nil)), undo: nil)
        }
        if let step = try Admissions.check(&node, local, network, id) { return step }
        // The address may have been handed out before the state was found to be an old copy.
        try RollbackRecovery.checkState(node)
        guard call.v4 != nil || call.v6 != nil else {
            throw DriverError(.invalid, "endpoint \(call.endpoint.short) of network \(network.title) has no address")
        }
        let mac = call.mac ?? node.inventory.newMAC()
        guard !mac.isMulticast, mac != .zero else {
            throw DriverError(.invalid, "\(mac) is not the MAC of an interface")
        }
        for prefix in [call.v4, call.v6].compactMap({ $0 }) { try Self.check(node, prefix, mac: call.mac, for: call, on: network) }
        try Self.checkUnused(node, mac, for: call, on: network)
        var endpoint = LocalEndpoint(
            id: call.endpoint, engineNetwork: call.network, network: network.id, mac: mac, v4: call.v4, v6: call.v6)
        endpoint.givenName = call.options[OptionName.endpointName]?.string.flatMap { EndpointNames.isName($0) ? $0 : nil }
        if let name = node.names.takeExpected(mac, on: network.id) { endpoint.learned = EndpointNames(names: [name]) }
        let row = node.inventory.put(endpoint)
        Leftovers.touch(&node, .endpoint(endpoint.id))
        // Announced now, so that other hosts have their rows when the Join that follows is done. Leave or DeleteEndpoint withdraws
        // it.
        KernelFollower.announce(&node, endpoint)
        let stored = node.outbox.store([row], for: [.endpoint(endpoint.id)])
        return .after([stored], .driver(.endpoint(mac: call.mac == nil ? mac : nil)), undo: .endpoint(endpoint.id))
    }

    /// Throws unless this host leased the address to the endpoint's MAC, and no other endpoint has it.
    private static func check(
        _ node: Node,
        _ prefix: IPPrefix, mac: MACAddress?, for call: CreateEndpoint, on network: Network
    ) throws(DriverError) {
        let lease = network.subnets.lazy.compactMap { [addresses = node.addresses] in addresses[$0.id]?.lease(at: prefix.address) }
            .first
        guard let lease, mac == nil || lease.mac == mac else {
            throw DriverError(
                .invalid,
                "address \(prefix.address) of endpoint \(call.endpoint.short) was not given out by swift-overlay on this node "
                    + "for network "
                    + network.title)
        }
        if let other = node.inventory.endpoint(with: prefix.address, on: network.id) {
            throw DriverError(
                .conflict,
                "address \(prefix.address) of network \(network.title) is in use by endpoint \(other.id.short) on node "
                    + "\(node.identity.name)"
            )
        }
    }

    /// Throws if an endpoint of any host has the MAC on this network.
    private static func checkUnused(_ node: Node, _ mac: MACAddress, for call: CreateEndpoint, on network: Network)
        throws(DriverError)
    {
        let holder: String
        if let other = node.inventory.endpoint(with: mac, on: network.id) {
            holder = "endpoint \(other.id.short) on node \(node.identity.name)"
        } else if let (owner, record) = node.replication.endpoints(on: network.id).first(where: { $0.record.mac == mac }) {
            holder = "endpoint \(record.endpoint.short) on node \(node.name(of: owner))"
        } else {
            return
        }
        throw DriverError(
            .conflict, "MAC \(mac) of endpoint \(call.endpoint.short) is in use on network \(network.title) by \(holder)")
    }

    /// Join: makes the endpoint's veth pair, and with the first one the network's devices.
    static func join(_ node: inout Node, _ call: Join) throws(DriverError) -> Step {
        guard var endpoint = node.inventory.endpoint(call.endpoint), endpoint.engineNetwork == call.network else {
            throw DriverError(
                .notFound,
                "endpoint \(call.endpoint.short) of network \(call.network.short) is not known to swift-overlay on this node")
        }
        guard let network = node.catalogue.networks[endpoint.network] else {
            throw DriverError(.notFound, "network \(call.network.short) is no more in the cluster; remove it and create it again")
        }
        let link = KernelName.containerLink(endpoint.id)
        Leftovers.touch(&node, .endpoint(endpoint.id))
        if endpoint.isJoined, endpoint.hasPort {
            return .after(
                node.outbox.unfinished(.endpoint(endpoint.id)), .driver(SandboxRoutes.repeatedResponse(node, to: endpoint, link)),
                undo: nil)
        }
        endpoint.isJoined = true
        endpoint.hasPort = true
        endpoint.sandbox = call.sandboxKey.utf8.count <= Limits.stringBytes ? call.sandboxKey : ""
        endpoint.hasMulticastRoute = SandboxRoutes.areDue(node, to: endpoint)
        endpoint.joinedAt = node.outbox.now
        let stored = node.outbox.store([node.inventory.put(endpoint)], for: [.endpoint(endpoint.id)])
        let raised = KernelFollower.raise(&node, network)
        KernelFollower.announce(&node, endpoint)
        let applied = node.outbox.apply(
            raised + node.forwarding.addPort(of: endpoint, on: network.vni), for: [.endpoint(endpoint.id)])
        node.inventory.setPortEffect(applied, of: endpoint.id)
        ClaimFollower.listen(&node, endpoint.id)
        NameFollower.awaitNames(&node, of: endpoint)
        // Names are served before the answer where the namespace exists already, so that the first question is answered.
        let served = NameFollower.followSandbox(&node, endpoint.sandbox)
        let looked = SandboxRoutes.look(&node, for: endpoint)
        return .after(
            Set([stored, applied, served, looked].compactMap { $0 }),
            .driver(SandboxRoutes.response(to: endpoint, sourceName: link)), undo: .join(endpoint.id))
    }

    /// Undoes a Join that the kernel or the disk refused. The engine sends no Leave then.
    static func undoJoin(_ node: inout Node, _ id: EndpointID) {
        guard var endpoint = node.inventory.endpoint(id) else { return }
        node.outbox.apply(KernelFollower.removePort(&node, of: endpoint))
        SandboxRoutes.handOn(&node, from: endpoint)
        endpoint.isJoined = false
        endpoint.hasPort = false
        endpoint.hasMulticastRoute = false
        let row = node.inventory.put(endpoint)
        NameFollower.followSandbox(&node, endpoint.sandbox)
        ClaimFollower.listen(&node, id)
        node.outbox.store([row])
        KernelFollower.lowerIfUnused(&node, endpoint.network)
    }

    /// Leave: withdraws the endpoint. Its interface is still in the container, so the veth pair goes with DeleteEndpoint.
    static func leave(_ node: inout Node, _ id: EndpointID) -> Step {
        guard var endpoint = node.inventory.endpoint(id), endpoint.isJoined else { return .reply(.driver(.done)) }
        Leftovers.touch(&node, .endpoint(id))
        SandboxRoutes.handOn(&node, from: endpoint)
        endpoint.isJoined = false
        endpoint.hasMulticastRoute = false
        let row = node.inventory.put(endpoint)
        KernelFollower.withdraw(&node, endpoint)
        NameFollower.followSandbox(&node, endpoint.sandbox)
        node.outbox.store([row])
        return .reply(.driver(.done))
    }

    /// DeleteEndpoint: ends the endpoint.
    static func deleteEndpoint(_ node: inout Node, _ id: EndpointID) -> Step {
        guard let endpoint = node.inventory.endpoint(id) else {
            return .after(node.outbox.unfinished(.endpoint(id)), .driver(.done), undo: nil)
        }
        // The engine releases its addresses next.
        for subnet in node.catalogue.networks[endpoint.network]?.subnets ?? [] {
            for address in endpoint.addresses where subnet.prefix.contains(address) {
                Leftovers.touch(&node, .lease(subnet.id, address))
            }
        }
        return .after(Self.removeEndpoint(&node, endpoint), .driver(.done), undo: nil)
    }

    /// Ends an endpoint in any state. Its address stays leased until the engine releases it.
    ///
    /// - Returns: The effects to wait for.
    static func removeEndpoint(_ node: inout Node, _ endpoint: LocalEndpoint) -> Set<EffectID> {
        // The caller's copy may be from before another endpoint of the sandbox handed its routes on.
        let endpoint = node.inventory.endpoint(endpoint.id) ?? endpoint
        let row = node.inventory.remove(endpoint.id)
        SandboxRoutes.handOn(&node, from: endpoint)
        KernelFollower.withdraw(&node, endpoint)
        node.mirror.forget(endpoint.id)
        node.sandboxes.others.set(nil, of: endpoint.id)
        NameFollower.followSandbox(&node, endpoint.sandbox)
        Mirroring.mirrorLater(&node, for: endpoint.engineNetwork)
        var awaited: Set<EffectID> = [node.outbox.store([row].compactMap { $0 }, for: [.endpoint(endpoint.id)])]
        if let applied = node.outbox.apply(
            KernelFollower.removePort(&node, of: endpoint), for: [.endpoint(endpoint.id)])
        {
            awaited.insert(applied)
        }
        // The devices of a network take the kernel long to delete, and nobody waits for their end.
        KernelFollower.lowerIfUnused(&node, endpoint.network)
        return awaited
    }
}
