import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlayReplication

/// Follow-up for the kernel: brings its desired state in line with local and remote endpoints. Owns nothing.
enum KernelFollower {
    // MARK: Local endpoints

    /// Puts a network up.
    ///
    /// - Returns: The operations for its devices and its remote rows; none where it is up already.
    static func raise(_ node: inout Node, _ network: Network) -> [KernelOperation] {
        guard !node.forwarding.isUp(network.vni) else { return [] }
        let base = Self.base(node, of: network)
        var operations = node.forwarding.raise(network, base, Self.remotes(node, on: network.id))
        operations += ClaimFollower.rows(&node, on: network)
        NameFollower.followGateway(&node, network)
        if let attachment = Attachment(vtep: node.identity.vtep, mtu: base.mtu) {
            node.withReplication { [now = node.now] in $0.attach(attachment, to: network.id, now: now, into: &$1) }
        }
        return operations
    }

    /// Devices of a network.
    static func base(_ node: Node, of network: Network) -> NetworkState.Base {
        NetworkState.Base(
            vni: network.vni, local: node.identity.vtep, port: node.catalogue.cluster?.dataPathPort ?? DefaultPort.vxlan,
            mtu: network.settings?.mtu ?? max(node.identity.fittingMTU, HostFollower.leastMTU(of: network)))
    }

    /// Endpoints of an owner on a network, behind its VTEP.
    private static func remote(_ node: Node, _ owner: NodeID, _ vtep: IPAddress, on network: NetworkID) -> Forwarding.Remote {
        Forwarding.Remote(vtep: vtep, records: node.replication.endpoints(of: owner, on: network))
    }

    /// Endpoints of all owners that are attached to a network.
    private static func remotes(_ node: Node, on network: NetworkID) -> [Forwarding.Remote] {
        node.replication.attachments(on: network).map { Self.remote(node, $0.owner, $0.attachment.vtep, on: network) }
    }

    /// Removes the port of an endpoint. Its link ends a little later, with those of others.
    ///
    /// - Returns: The operations for that.
    static func removePort(_ node: inout Node, of endpoint: LocalEndpoint) -> [KernelOperation] {
        guard let vni = Self.vni(node, of: endpoint.network) else { return [] }
        let operations = node.forwarding.removePort(of: endpoint, on: vni)
        if !operations.isEmpty { node.outbox.timers.set(.reap, noLaterThan: node.now + Forwarding.reapDelay) }
        return operations
    }

    private static func vni(_ node: Node, of network: NetworkID) -> VNI? { node.catalogue.networks[network]?.vni }

    /// Takes a network down if it has no local port.
    ///
    /// - Returns: The operations for that; none where it is in use.
    static func lower(_ node: inout Node, _ id: NetworkID) -> [KernelOperation] {
        guard let network = node.catalogue.networks[id], node.forwarding.isUnused(network.vni) else { return [] }
        node.withReplication { [now = node.now] in $0.detach(from: id, now: now, into: &$1) }
        let operations = node.forwarding.lower(network.vni)
        NameFollower.followGateway(&node, network)
        return operations
    }

    /// Takes a network down, in the kernel too, if it has no local port.
    static func lowerIfUnused(_ node: inout Node, _ id: NetworkID) { node.outbox.apply(Self.lower(&node, id)) }

    /// Record of an endpoint as other nodes get it.
    static func record(_ node: Node, of endpoint: LocalEndpoint) -> EndpointRecord {
        EndpointRecord(
            endpoint: endpoint.id, mac: endpoint.mac, v4: endpoint.v4?.address, v6: endpoint.v6?.address, names: endpoint.names)
    }

    /// Announces an endpoint to the subscribers of its network, and to the own name table.
    static func announce(_ node: inout Node, _ endpoint: LocalEndpoint) {
        let record = Self.record(node, of: endpoint)
        node.names.setOwn(NameFollower.named(record), on: endpoint.network)
        node.withReplication { [now = node.now] in $0.put(record, on: endpoint.network, now: now, into: &$1) }
        ClaimFollower.announce(&node, endpoint)
    }

    /// Withdraws an endpoint that was announced.
    static func withdraw(_ node: inout Node, _ endpoint: LocalEndpoint) {
        node.names.dropOwn(endpoint.id, on: endpoint.network)
        ClaimFollower.withdraw(&node, endpoint)
        node.withReplication { [now = node.now] in $0.remove(endpoint.id, from: endpoint.network, now: now, into: &$1) }
    }

    // MARK: Remote endpoints

    /// Carries out effects of the replication core.
    static func runReplication(_ node: inout Node, _ replicationEffects: [Replication.Effect]) {
        var operations: [KernelOperation] = []
        var claimed: [NetworkID: Set<Claims.Thing>] = [:]
        // Former VTEPs of owners that are attached elsewhere now, or nowhere. Rows of endpoints that went with them point there.
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
                    operations += node.forwarding.leave(Self.remote(node, owner, old.vtep, on: id), on: network)
                    Self.repairSoon(&node)
                }
                operations += node.forwarding.follow(Self.remote(node, owner, attachment.vtep, on: id), on: network)
                // Its endpoints have rows from now on, or none any more. Claims of what they have count by that.
                claimed[id, default: []].formUnion(node.claims.things(on: id))
            case .detached(let owner, let id, let attachment):
                guard let network = node.catalogue.networks[id] else { continue }
                operations += node.forwarding.leave(Self.remote(node, owner, attachment.vtep, on: id), on: network)
                // Its endpoints have rows from now on, or none any more. Claims of what they have count by that.
                claimed[id, default: []].formUnion(node.claims.things(on: id))
            case .changed(let owner, let id, let record, let old):
                for one in [record, old].compactMap({ $0 }) { claimed[id, default: []].formUnion(ClaimFollower.things(of: one)) }
                guard let network = node.catalogue.networks[id], let vtep = node.replication.attachment(of: owner, on: id)?.vtep
                else {
                    continue
                }
                // Names come and go in parts, and are nothing to the kernel.
                if let old, old.mac == record.mac, old.addresses == record.addresses { continue }
                if let old { operations += node.forwarding.forget(old, at: vtep, on: network) }
                operations += node.forwarding.locate(record, at: vtep, on: network)
            case .gone(let owner, let id, let record):
                claimed[id, default: []].formUnion(ClaimFollower.things(of: record))
                guard let network = node.catalogue.networks[id] else { continue }
                guard let vtep = former[id]?[owner] ?? node.replication.attachment(of: owner, on: id)?.vtep else { continue }
                operations += node.forwarding.forget(record, at: vtep, on: network)
            case .claimed(let owner, let id, let claims, _):
                claimed[id, default: []].formUnion(ClaimFollower.follow(&node, claims, of: owner, on: id))
            case .synchronised:
                // Rows were spared while this owner's log was not complete. They may go now.
                Self.repairSoon(&node)
            case .rejected(let peer, let owner, let id, let reason):
                // Only this node writes its own log, so changes beyond it are from before the state was put back.
                if owner == node.identity.id, reason == .ownLogAhead {
                    RollbackRecovery.detect(
                        &node, "node \(node.name(of: peer)) holds more of this node's records than this node has")
                }
                guard node.peers.logsRejection(of: peer, now: node.outbox.now, every: Forwarding.repairPeriod) else { continue }
                node.outbox.log(
                    .warning, "a record was not believed",
                    [
                        LogKey.from: node.name(of: peer), LogKey.owner: node.name(of: owner), LogKey.network: id.short,
                        LogKey.reason: "\(reason)",
                    ])
            }
        }
        node.outbox.apply(operations)
        for (id, things) in claimed.sorted(by: { $0.key < $1.key }) { ClaimFollower.settle(&node, things, on: id) }
    }

    // MARK: Repair

    /// Reads and repairs the kernel soon.
    static func repairSoon(_ node: inout Node) { node.forwarding.repairSoon(into: &node.outbox) }

    /// Handles the start: tells the shell the members, and reads the kernel.
    static func start(_ node: inout Node) {
        CatalogueFollower.setPeers(&node)
        // A node without peers has nobody to wait for, and no other node has addresses.
        if node.catalogue.members.count > 1 {
            node.outbox.timers[.assure] = node.now + RollbackRecovery.assurancePause
        } else {
            node.outbox.assure()
        }
        if node.life.isRolledBack { RollbackRecovery.proposeNewEpoch(&node) }
        CatalogueFollower.followTerm(&node)
        // A daemon that died when it had stored its removal goes on with it.
        if node.catalogue.cluster != nil, node.catalogue.members[node.identity.id] == nil {
            node.outbox.timers.set(.follow, at: node.now)
        }
        RollbackRecovery.checkOwnLife(&node)
        node.forwarding.repair(of: node.inventory.portSandboxes, into: &node.outbox)
        node.surroundings.read(into: &node.outbox)
    }

    /// Handles an observation of the kernel. The first one makes the node ready; each drops dead endpoints and repairs the rest.
    static func observed(_ node: inout Node, _ id: EffectID, _ state: ObservedState) {
        guard let isFirst = node.forwarding.observed(id) else { return }
        let lost = Self.lostEndpoints(&node, node.inventory.allEndpoints, state, since: id)
        if isFirst {
            node.forwarding.recall(state)
            for endpoint in node.inventory.allEndpoints {
                guard let network = node.catalogue.networks[endpoint.network] else { continue }
                if endpoint.hasPort {
                    _ = Self.raise(&node, network)
                    _ = node.forwarding.addPort(of: endpoint, on: network.vni)
                }
                // Announced before subscriptions, so that the first digest others get in this life is complete.
                if endpoint.isAnnounced { Self.announce(&node, endpoint) }
                // Which networks its container was on is not stored.
                if endpoint.isElsewhere { NameFollower.awaitNames(&node, of: endpoint, isLinked: true) }
            }
            if !node.claims.orphans.isEmpty { node.outbox.store(node.claims.orphans) }
            node.claims.forgetOrphans()
            for path in node.inventory.sandboxes { NameFollower.followSandbox(&node, path) }
            CatalogueFollower.followSubnets(&node)
            CatalogueFollower.proposeClosing(&node)
            AddressExchange.proposeHandovers(&node)
            for id in node.addresses.subnets where node.inventory.isBound(id) {
                AddressExchange.prefetchBlock(&node, of: id)
            }
        } else {
            Self.rebuild(&node)
        }
        node.forwarding.repair(state, sparing: node.unsynchronisedVTEPs, into: &node.outbox)
        let ids = Set(lost.map(\.id))
        node.forwarding.restorations.settle { ids.contains($0) }
        for endpoint in lost { Self.restore(&node, endpoint) }
        HostFollower.followMTUs(&node, of: node.inventory.allEndpoints, state)
        ClaimFollower.settleEverywhere(&node)
        RollbackRecovery.finishRollback(&node)
        CatalogueFollower.proposeOwnChange(&node)
        CatalogueFollower.closeOrphans(&node)
        Self.dropUnjoinedEndpoints(&node)
        AddressExchange.giveBackIdleBlocks(&node)
        NameFollower.checkNames(&node)
        Mirroring.mirrorSoon(&node)
    }

    /// Handles a look at one network, which somebody changed.
    static func seen(_ node: inout Node, _ id: EffectID, _ state: ObservedState) {
        guard let vni = node.forwarding.seen(id), let network = node.catalogue.networks.values.first(where: { $0.vni == vni })
        else { return }
        let endpoints = node.inventory.endpoints(on: network.id)
        let lost = Self.lostEndpoints(&node, endpoints, state, since: id)
        // The last endpoint may have ended just now, and the network with it.
        guard node.forwarding.isUp(vni) else { return }
        node.forwarding.repair(
            vni, state, sparing: node.unsynchronisedVTEPs[vni] ?? [], isLost: !lost.isEmpty, into: &node.outbox)
        for endpoint in lost { Self.restore(&node, endpoint) }
        HostFollower.followMTUs(&node, of: endpoints, state)
        // A port that was down is not listened at any more.
        for endpoint in endpoints where node.claims.deafness[endpoint.id] != nil { ClaimFollower.listen(&node, endpoint.id) }
    }

    // MARK: Lost ports

    /// True if an endpoint without its port is over: its container has left it, or has no namespace any more. The kernel destroys the
    /// interfaces of a namespace together with it. As long as the namespace is there, the container runs, and its port is made again.
    ///
    /// - Parameter missing: Paths of sandboxes that do not exist.
    static func isOver(_ endpoint: LocalEndpoint, missing: Set<String>) -> Bool {
        !endpoint.isJoined || endpoint.sandbox.isEmpty || missing.contains(endpoint.sandbox)
    }

    /// Ends those of the endpoints that are over, and returns those whose port is to be made again.
    private static func lostEndpoints(
        _ node: inout Node, _ endpoints: [LocalEndpoint], _ state: ObservedState, since observation: EffectID
    ) -> [LocalEndpoint] {
        var lost: [LocalEndpoint] = []
        for endpoint in endpoints where endpoint.hasPort {
            if let made = endpoint.portEffect, made > observation || !node.outbox.unfinished(.endpoint(endpoint.id)).isEmpty {
                continue
            }
            if let vni = Self.vni(node, of: endpoint.network), state.hasPort(KernelName.port(endpoint.id), on: vni) { continue }
            if Self.isOver(endpoint, missing: state.missingSandboxes) {
                Self.end(&node, endpoint)
            } else {
                lost.append(endpoint)
            }
        }
        return lost
    }

    private static func end(_ node: inout Node, _ endpoint: LocalEndpoint) {
        node.outbox.log(
            .warning, "the interface of an endpoint is gone together with its container's namespace; the endpoint is taken as gone",
            [LogKey.endpoint: endpoint.id.short, LogKey.sandbox: endpoint.sandbox])
        _ = NetworkCalls.removeEndpoint(&node, endpoint)
        // Its lease stays until the engine releases it, or says that it has no such endpoint.
        Leftovers.lookSoon(&node)
    }

    /// Makes the port of an endpoint again, now or when it may be.
    private static func restore(_ node: inout Node, _ endpoint: LocalEndpoint) {
        guard let vni = Self.vni(node, of: endpoint.network), let (port, mtu) = node.forwarding.port(of: endpoint.id, on: vni)
        else { return }
        if let later = node.forwarding.restorations.begin(endpoint.id, at: node.now) {
            return node.forwarding.lookAgain(vni, at: later, into: &node.outbox)
        }
        let id = node.outbox.newEffect(for: [.endpoint(endpoint.id)])
        node.inventory.setPortEffect(id, of: endpoint.id)
        node.forwarding.restorations.setEffect(id, of: endpoint.id)
        node.outbox.append(
            .restore(
                id,
                LostPort(
                    vni: vni, name: KernelName.port(endpoint.id), port: port, mtu: mtu, sandbox: endpoint.sandbox,
                    addresses: [endpoint.v4, endpoint.v6].compactMap { $0 },
                    routes: endpoint.hasMulticastRoute ? SandboxRoutes.destinations : [])))
    }

    /// Handles the end of making a port again.
    static func restored(_ node: inout Node, _ id: EffectID, _ outcome: RestoreOutcome) {
        var failure: KernelFailure?
        if case .failed(let one) = outcome { failure = one }
        guard let (endpointID, next) = node.forwarding.restorations.end(id, failure: failure?.description),
            let endpoint = node.inventory.endpoint(endpointID), endpoint.hasPort,
            let vni = Self.vni(node, of: endpoint.network)
        else { return }
        switch outcome {
        case .restored:
            node.outbox.log(
                .warning, "the interface of a running container was deleted, and was made again",
                [LogKey.endpoint: endpoint.id.short, LogKey.sandbox: endpoint.sandbox])
            node.outbox.apply(node.forwarding.rows(to: endpoint.id, on: vni), for: [.endpoint(endpoint.id)])
            ClaimFollower.listen(&node, endpoint.id)
        case .sandboxIsGone: Self.end(&node, endpoint)
        case .failed(let failure):
            node.outbox.log(
                .error, "the interface of a running container was deleted, and could not be made again",
                [
                    LogKey.endpoint: endpoint.id.short, LogKey.sandbox: endpoint.sandbox, LogKey.operation: failure.operation,
                    LogKey.reason: failure.reason,
                ])
            if let next { node.forwarding.lookAgain(vni, at: next, into: &node.outbox) }
        }
    }

    /// Sentences about ports that could not be made again.
    static func problems(_ node: Node) -> [String] {
        node.forwarding.restorations.failures.sorted { $0.key < $1.key }.compactMap { id, failure in
            guard let endpoint = node.inventory.endpoint(id) else { return nil }
            let network = node.catalogue.networks[endpoint.network]?.title ?? endpoint.network.short
            let name = endpoint.learned.names.first
            return "container \(name ?? "of endpoint \(id.short)") has lost its interface on network \(network), which could not "
                + "be made again: \(failure); it is tried again, and `docker restart \(name ?? "CONTAINER")` gives it a new one"
        }
    }

    /// Ends endpoints that were not joined for long: an engine that was killed left them behind.
    private static func dropUnjoinedEndpoints(_ node: inout Node) {
        for endpoint in node.inventory.orphans(at: node.outbox.now) {
            node.outbox.log(.warning, "an endpoint that was never joined is taken as gone", [LogKey.endpoint: endpoint.id.short])
            _ = NetworkCalls.removeEndpoint(&node, endpoint)
        }
    }

    /// Computes the desired state of all networks anew, from the records that are known.
    private static func rebuild(_ node: inout Node) {
        for network in node.catalogue.networks.values where node.forwarding.isUp(network.vni) {
            let endpoints = node.inventory.endpoints(on: network.id).filter(\.hasPort)
            node.forwarding.rebuild(network, Self.base(node, of: network), Self.remotes(node, on: network.id), endpoints)
            _ = ClaimFollower.rows(&node, on: network)
        }
    }

}
