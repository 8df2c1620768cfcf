import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Mirroring: a network of one engine is made on all others, and removed with it. Owns nothing.
enum Mirroring {
    /// End of a network of this engine.
    enum NetworkEnd: Sendable {
        /// The network ended here, without a user's will.
        case closed
        /// A user removed it here; others go on using it.
        case declined
        /// A user removed it, and nobody is on it anywhere.
        case removed
    }

    /// End of a network that the engine deletes now.
    static func networkEnd(_ node: Node, of local: LocalNetwork) -> NetworkEnd {
        // No user removed a network that the engine never named, as its create failed; nor one that this node removes; nor one of
        // an engine in Swarm mode.
        guard local.name != nil, !node.mirror.isRemoving(local.id), node.mirror.mirrors, node.mirror.conflicts[local.id] == nil,
            local.admission == .open, let network = node.catalogue.networks[local.network], !network.isRemoved
        else { return .closed }
        // A prune shows in the engine's events alone. Where they do not arrive, the network stays elsewhere.
        return Self.isEmpty(node, network) && node.mirror.isConnected ? .removed : .declined
    }

    /// True if no container of any host is on the network, as far as is known.
    static func isEmpty(_ node: Node, _ network: Network) -> Bool {
        !node.inventory.hasEndpoints(on: network.id) && Self.possibleUsers(node, of: network).isEmpty
    }

    /// Other hosts that have containers on the network, or may have, as they were not heard of or cannot be reached.
    static func possibleUsers(_ node: Node, of network: Network) -> Set<NodeID> {
        let unknown = network.users.filter { user in
            let state = node.peers.state(of: user)
            return state == .unknown || state == .unreachable || !node.replication.isSynchronised(with: user, on: network.id)
        }
        return Set(node.replication.endpoints(on: network.id).map(\.owner)).union(unknown).subtracting([node.identity.id])
    }

    /// Makes a removal a mere closing here if containers came onto the network while the writer was away.
    static func confirmRemoval(_ node: inout Node, of subnet: SubnetID) {
        guard node.closings.isRemoval(subnet), let network = node.catalogue.network(holding: subnet), !network.isRemoved,
            !Self.isEmpty(node, network)
        else { return }
        node.outbox.log(
            .warning, "a network is not removed from other hosts, as containers are on it by now, or may be",
            [
                LogKey.network: network.title,
                LogKey.hosts: Self.possibleUsers(node, of: network).map { node.name(of: $0) }.sorted().joined(separator: " "),
            ])
        node.outbox.store([node.inventory.decline(network.id)] + node.closings.keep(network.subnets.map(\.id)))
    }

    /// Compares networks soon.
    static func mirrorSoon(_ node: inout Node) { node.mirror.compareSoon(into: &node.outbox) }

    /// Compares networks after the end of an endpoint; a little later where its container may only start anew.
    static func mirrorLater(_ node: inout Node, for id: EngineNetworkID) {
        let local = node.inventory.network(id)
        if local?.aliases.isEmpty == false { node.mirror.keep(id, for: Adoptions.idleTime, into: &node.outbox) }
        let network = local?.network
        let isRemoved = network.flatMap { node.catalogue.networks[$0]?.isRemoved } ?? false
        node.mirror.compareAfterRestart(of: id, network, isRemoved: isRemoved, into: &node.outbox)
    }

    /// Brings the engine's networks in line with the cluster's, and tells the cluster of the engine's.
    static func compareNetworks(_ node: inout Node) {
        node.outbox.timers.clear(.mirror)
        guard node.mirror.isConnected, node.mirror.isComplete, node.mirror.mirrors, node.isReady, node.catalogue.cluster != nil
        else { return }
        let present = node.inventory.present
        // A network that is not here, nor to be made here, has no failure.
        node.mirror.keepFailures { [catalogue = node.catalogue, inventory = node.inventory] id in
            present.contains(id) || catalogue.networks[id]?.isRemoved == false && !inventory.declined.contains(id)
        }
        for (id, shown) in node.mirror.networks.sorted(by: { $0.key < $1.key }) {
            guard let local = node.inventory.network(id), let network = node.catalogue.networks[local.network] else { continue }
            guard Admissions.decide(&node, local, shown, network), let local = node.inventory.network(id) else { continue }
            if network.isRemoved || node.mirror.conflicts[id] != nil {
                Self.remove(&node, id, network)
            } else if local.admission == .different {
                continue
            } else if network.description != nil {
                node.mirror.clearFailure(of: network.id)
                Adoptions.leaveOne(&node, local, network)
            } else if network.settings != nil, Admissions.mayDescribe(&node, local, network) {
                Self.describe(&node, id, shown, network)
            }
        }
        let gone = node.inventory.declined.filter { node.catalogue.networks[$0] == nil }.sorted()
        if !gone.isEmpty { node.outbox.store(gone.compactMap { node.inventory.want($0) }) }
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id })
        where node.inventory.network(of: network.id) == nil && !node.inventory.declined.contains(network.id) {
            Self.make(&node, network)
        }
        node.mirror.schedule(known: node.inventory.networkIDs, into: &node.outbox)
    }

    private static func isPaused(_ node: Node, _ network: NetworkID) -> Bool { node.mirror.isPaused(network, at: node.now) }

    // MARK: From this engine to the cluster

    /// Proposes the description of a network of this engine.
    private static func describe(_ node: inout Node, _ id: EngineNetworkID, _ shown: EngineNetwork, _ network: Network) {
        let isProposed = node.proposals.contains { if case .description(id) = $0 { true } else { false } }
        guard !isProposed, !node.isWriterAway, !node.isRolledBack, !Self.isPaused(node, network.id) else { return }
        let auxiliary = shown.subnets.reduce(into: [String: String]()) { all, subnet in
            for (name, address) in subnet.auxiliary { all[name] = "\(address)" }
        }
        guard
            let description = NetworkDescription(
                name: shown.name, labels: shown.labels, options: shown.options, ipamOptions: shown.ipamOptions,
                auxiliary: auxiliary, isIPv6: shown.isIPv6, isAttachable: shown.isAttachable)
        else {
            return Self.failNetwork(
                &node,
                network.id,
                "it has more labels and options than the cluster takes (\(Limits.descriptionPairs) of a kind, "
                    + "\(Limits.descriptionBytes) bytes), and is not made on other engines")
        }
        node.propose(.describe(network.id, description), for: .description(id), deadline: node.now + Proposals.budget)
    }

    /// Handles the outcome of a description's proposal.
    static func described(_ node: inout Node, _ id: EngineNetworkID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)) where refusal.code == .conflict:
            // The comparison that follows sees why.
            node.outbox.log(.warning, "the name of a network was refused", [LogKey.reason: refusal.message])
        case .decided:
            if let network = node.inventory.network(id)?.network { node.mirror.clearFailure(of: network) }
        case .timedOut, .writerFailed, .noCluster:
            if let network = node.inventory.network(id)?.network {
                Self.failNetwork(&node, network, "its name could not be told to the cluster: \(node.writerText)")
            }
        }
        Self.mirrorSoon(&node)
    }

    // MARK: From the cluster to this engine

    /// Makes a network of the cluster on this engine.
    private static func make(_ node: inout Node, _ network: Network) {
        guard let request = Self.mirrorRequest(node, of: network),
            !network.subnets.contains(where: { node.closings.contains($0.id) }),
            !node.isWriterAway, !node.isRolledBack, !Self.isPaused(node, network.id),
            !node.mirror.isMaking(network.id)
        else { return }
        // A user makes a network of its subnet here at this moment, mostly this one.
        guard !network.subnets.contains(where: { node.addresses.isExpected($0.id, at: node.now) }) else {
            return node.outbox.timers.set(.mirror, noLaterThan: node.now + .milliseconds(100))
        }
        if let end = node.mirror.wait(toMake: network.id, at: node.now) {
            return node.outbox.timers.set(.mirror, noLaterThan: end)
        }
        // It is to be adopted by one that is here.
        guard !Adoptions.isUnderWay(node, named: request.name) else { return }
        guard let id = EngineNews.callEngine(&node, .createNetwork(request)) else { return }
        node.mirror.make(network.id, by: id)
    }

    /// Request by which this engine makes the same network; nil while the network is not described.
    static func mirrorRequest(_ node: Node, of network: Network) -> EngineNetwork? {
        guard let description = network.description, let settings = network.settings, !network.isRemoved else { return nil }
        let auxiliary = description.auxiliary.map
        let subnets = network.subnets.sorted { ($0.prefix.family == .v4 ? 0 : 1, $0.id) < ($1.prefix.family == .v4 ? 0 : 1, $1.id) }
        return EngineNetwork(
            name: description.name, labels: description.labels.map, options: description.options.map,
            ipamOptions: description.ipamOptions.map,
            subnets: subnets.map { subnet in
                EngineNetwork.Subnet(
                    subnet: subnet.prefix, range: subnet.range, gateway: subnet.gateway,
                    auxiliary: auxiliary.compactMapValues { IPAddress($0) }.filter { subnet.prefix.contains($0.value) })
            },
            isInternal: settings.isInternal, isIPv6: description.isIPv6, isAttachable: description.isAttachable)
    }

    /// Network that this node is making here and that has this subnet. The engine's call for the subnet means that one.
    static func networkBeingMade(_ node: Node, with prefix: IPPrefix?) -> NetworkID? {
        guard let prefix else { return nil }
        return node.mirror.beingMade.first { id in node.catalogue.networks[id]?.subnets.contains { $0.prefix == prefix } ?? false }
    }

    /// True if a call for a pool may be for a network that this node makes now.
    static func isMaking(_ node: Node, _ call: RequestPool) -> Bool {
        guard let name = call.networkName else { return Self.networkBeingMade(node, with: call.pool) != nil }
        return node.catalogue.network(named: name).map { node.mirror.isMaking($0.id) } ?? false
    }

    /// Records that a user of this host wants the network here, even if it was removed from here before.
    static func wantNetwork(_ node: inout Node, _ network: Network) {
        let writes = [node.inventory.want(network.id)].compactMap { $0 } + node.closings.keep(network.subnets.map(\.id))
        if !writes.isEmpty { node.outbox.store(writes) }
        NetworkRemovals.end(&node, network.id)
    }

    // MARK: Removal

    /// Removes a network from this engine, unless containers are on it.
    private static func remove(_ node: inout Node, _ id: EngineNetworkID, _ network: Network) {
        guard !Self.isPaused(node, network.id), !node.mirror.isKept(id, at: node.now),
            !node.inventory.hasEndpoints(of: id)
        else { return }
        guard EngineNews.callEngine(&node, .removeNetwork(id)) != nil else { return }
        if node.mirror.conflicts[id] != nil {
            node.outbox.log(
                .warning, "a network of this engine gives way to the cluster's of that name",
                [LogKey.network: node.inventory.network(id)?.name ?? ""])
        }
    }

    // MARK: Answers

    /// Handles the end of a call that made or removed a network.
    static func engineCallEnded(_ node: inout Node, _ id: EffectID, _ call: EngineAPICall, _ answer: EngineAPIAnswer) {
        let made = node.mirror.takeMade(id)
        let request = node.mirror.takeWaiting(id)
        if let request { NetworkCommands.finishCommand(&node, request, answer) }
        switch (call, answer) {
        case (.createNetwork, .created(let id)):
            if let made {
                node.mirror.clearFailure(of: made)
                node.mirror.setMadeHere(id)
            }
            EngineNews.callEngine(&node, .network(id))
            // Asked now, as containers may wait for the network that was pruned.
            if made != nil, node.mirror.hasFormer { EngineNews.callEngine(&node, .configured) }
        case (.createNetwork(let network), .refused(let reason)), (.createNetwork(let network), .unavailable(let reason)):
            // A network of this driver, of a cluster that the node has left, may be in the way. The engine keeps it while
            // containers are on it.
            if made != nil, let stale = node.mirror.stale(network.name) { EngineNews.callEngine(&node, .removeNetwork(stale)) }
            if let made { Self.failNetwork(&node, made, "this host's engine does not make it: \(reason)") }
        case (.removeNetwork(let id), .refused(let reason)), (.removeNetwork(let id), .unavailable(let reason)):
            // A command has told its user already. A network with containers stays, which is no failure.
            guard request == nil, let network = node.inventory.network(id)?.network,
                !node.inventory.hasEndpoints(of: id)
            else { break }
            Self.failNetwork(&node, network, "this host's engine does not remove it: \(reason)")
        // The engine does not know the network, so it will not delete it any more.
        case (.removeNetwork(let id), .removed), (.removeNetwork(let id), .notFound):
            Self.networkIsGone(&node, id, isUserRemoval: request != nil)
        default: break
        }
    }

    /// Handles that the engine has no such network any more.
    ///
    /// It was deleted before, except where the call was lost: engines remove a network whatever the driver answers (libnetwork's
    /// `network.deleteNetwork`), and never call again.
    /// - Parameter isUserRemoval: False where this node removed it.
    static func networkIsGone(_ node: inout Node, _ id: EngineNetworkID, isUserRemoval: Bool) {
        if let local = node.inventory.network(id), node.catalogue.cluster != nil, node.isReady {
            if Leftovers.isInhabited(node, id) {
                Leftovers.lookSoon(&node)
            } else if isUserRemoval, !node.mirror.isRemoving(id) {
                _ = NetworkCalls.deleteNetwork(&node, id)
            } else {
                Leftovers.end(&node, local)
            }
        }
        node.mirror.dropped(id, now: node.outbox.now)
        Self.mirrorSoon(&node)
    }

    /// Records why a network is not made, removed or described.
    private static func failNetwork(_ node: inout Node, _ network: NetworkID, _ reason: String) {
        node.mirror.fail(network, node.catalogue.networks[network]?.title ?? "", reason, into: &node.outbox)
    }
}
