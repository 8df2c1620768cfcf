import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// A network that one engine has, the others get (design §5.6).
enum Mirroring {
    /// How a network of this engine ends.
    enum NetworkEnd: Sendable {
        /// Here, and that is all.
        case closed
        /// A user removed it here; others go on using it.
        case declined
        /// A user removed it, and nobody is on it anywhere.
        case removed
    }

    static func networkEnd(_ node: Node, of local: LocalNetwork) -> NetworkEnd {
        // What the engine never told of is a create that failed. What goes by our own call is no user's doing, nor what goes from an
        // engine that Swarm rules.
        guard local.name != nil, !node.mirror.isRemoving(local.id), node.mirror.mirrors, node.mirror.conflicts[local.id] == nil,
            let network = node.catalogue.networks[local.network], !network.isRemoved
        else { return .closed }
        return Mirroring.isEmpty(node, network) ? .removed : .declined
    }

    private static func isEmpty(_ node: Node, _ network: Network) -> Bool {
        !node.inventory.hasEndpoints(on: network.id) && Mirroring.keepers(node, of: network).isEmpty
    }

    /// The other hosts that have containers on it, or may have: of one that was not heard of, or cannot be reached, it is not known.
    static func keepers(_ node: Node, of network: Network) -> Set<NodeID> {
        let unknown = network.users.filter { user in
            let state = node.peers.state(of: user)
            return state == .unknown || state == .unreachable || !node.replication.isSynchronised(with: user, on: network.id)
        }
        return Set(node.replication.endpoints(on: network.id).map(\.owner)).union(unknown).subtracting([node.identity.id])
    }

    /// A removal that had to wait for the writer: is it still one?
    static func confirmRemoval(_ node: inout Node, of subnet: SubnetID) {
        guard node.closings.isRemoval(subnet), let network = node.catalogue.network(holding: subnet), !network.isRemoved, !Mirroring.isEmpty(node, network)
        else { return }
        node.outbox.log(
            .warning, "a network is not removed from other hosts, as containers are on it by now, or may be",
            ["network": network.title, "hosts": Mirroring.keepers(node, of: network).map { node.name(of: $0) }.sorted().joined(separator: " ")])
        node.outbox.store([node.inventory.decline(network.id)] + node.closings.keep(network.subnets.map(\.id)))
    }

    static func mirrorSoon(_ node: inout Node) { node.mirror.compareSoon(into: &node.outbox) }

    /// An endpoint of the network is gone.
    static func mirrorLater(_ node: inout Node, for id: EngineNetworkID) {
        let network = node.inventory.network(id)?.network
        let isRemoved = network.flatMap { node.catalogue.networks[$0]?.isRemoved } ?? false
        node.mirror.compareAfterRestart(of: id, network, isRemoved: isRemoved, into: &node.outbox)
    }

    /// Brings the engine's networks in line with the cluster's, and tells the cluster of the engine's.
    static func compareNetworks(_ node: inout Node) {
        node.outbox.timers.clear(.mirror)
        guard node.mirror.isConnected, node.mirror.isComplete, node.mirror.mirrors, node.isReady, node.catalogue.cluster != nil else { return }
        let present = node.inventory.present
        // What is neither here nor to be made here waits for nothing.
        node.mirror.keepFailures { [catalogue = node.catalogue, inventory = node.inventory] id in
            present.contains(id) || catalogue.networks[id]?.isRemoved == false && !inventory.declined.contains(id)
        }
        for (id, shown) in node.mirror.networks.sorted(by: { $0.key < $1.key }) {
            guard let local = node.inventory.network(id), let network = node.catalogue.networks[local.network] else { continue }
            // The other one may be gone.
            if node.mirror.conflicts[id] != nil, node.catalogue.network(named: shown.name).map({ $0.id == network.id }) ?? true {
                node.mirror.setConflict(nil, of: id)
            }
            if network.isRemoved || node.mirror.conflicts[id] != nil {
                Mirroring.remove(&node, id, network)
            } else if network.description != nil {
                node.mirror.clearFailure(of: network.id)
            } else if network.settings != nil {
                Mirroring.describe(&node, id, shown, network)
            }
        }
        let gone = node.inventory.declined.filter { node.catalogue.networks[$0] == nil }.sorted()
        if !gone.isEmpty { node.outbox.store(gone.compactMap { node.inventory.want($0) }) }
        for network in node.catalogue.networks.values.sorted(by: { $0.id < $1.id })
        where !present.contains(network.id) && !node.inventory.declined.contains(network.id) {
            Mirroring.make(&node, network)
        }
        node.mirror.schedule(known: node.inventory.networkIDs, into: &node.outbox)
    }

    private static func isPaused(_ node: Node, _ network: NetworkID) -> Bool { node.mirror.isPaused(network, at: node.now) }

    // MARK: This engine's, told to the cluster

    private static func describe(_ node: inout Node, _ id: EngineNetworkID, _ shown: EngineNetwork, _ network: Network) {
        let isProposed = node.proposals.contains { if case .description(id) = $0 { true } else { false } }
        guard !isProposed, !node.isWriterAway, !node.isStateOld, !Mirroring.isPaused(node, network.id) else { return }
        let auxiliary = shown.subnets.reduce(into: [String: String]()) { all, subnet in
            for (name, address) in subnet.auxiliary { all[name] = "\(address)" }
        }
        guard
            let description = NetworkDescription(
                name: shown.name, labels: shown.labels, options: shown.options, ipamOptions: shown.ipamOptions,
                auxiliary: auxiliary, isIPv6: shown.isIPv6, isAttachable: shown.isAttachable)
        else {
            return Mirroring.failNetwork(&node, 
                network.id,
                "it has more labels and options than the cluster takes (\(Limits.descriptionPairs) of a kind, "
                    + "\(Limits.descriptionBytes) bytes), and is not made on other engines")
        }
        node.propose(.describe(network.id, description), for: .description(id), deadline: node.now + Proposals.budget)
    }

    static func described(_ node: inout Node, _ id: EngineNetworkID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)) where refusal.code == .conflict:
            // It may be gone meanwhile.
            guard let local = node.inventory.network(id) else { break }
            node.outbox.log(.warning, "a network has the name of another one", ["network": local.name ?? "", "reason": refusal.message])
            node.mirror.setConflict(refusal.message, of: id)
            // Who makes one of this name here wants that one here.
            if let name = local.name, let other = node.catalogue.network(named: name) { Mirroring.wantNetwork(&node, other) }
        case .decided:
            if let network = node.inventory.network(id)?.network { node.mirror.clearFailure(of: network) }
        case .timedOut, .writerFailed, .noCluster:
            if let network = node.inventory.network(id)?.network { Mirroring.failNetwork(&node, network, "its name could not be told to the cluster: \(node.writerText)") }
        }
        Mirroring.mirrorSoon(&node)
    }

    // MARK: The cluster's, made on this engine

    private static func make(_ node: inout Node, _ network: Network) {
        guard let request = Mirroring.mirrorRequest(node, of: network), !network.subnets.contains(where: { node.closings.contains($0.id) }),
            !node.isWriterAway, !node.isStateOld, !Mirroring.isPaused(node, network.id),
            !node.mirror.isMaking(network.id)
        else { return }
        guard let id = EngineNews.callEngine(&node, .createNetwork(request)) else { return }
        node.mirror.make(network.id, by: id)
    }

    /// What an engine makes the same network of; nil while that is not known.
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

    /// The network that is being made here and has this subnet: a call that asks for it means that one and no other.
    static func networkBeingMade(_ node: Node, with prefix: IPPrefix?) -> NetworkID? {
        guard let prefix else { return nil }
        return node.mirror.beingMade.first { id in node.catalogue.networks[id]?.subnets.contains { $0.prefix == prefix } ?? false }
    }

    /// A user of this host wants it here, whoever wanted it gone.
    static func wantNetwork(_ node: inout Node, _ network: Network) {
        let writes = [node.inventory.want(network.id)].compactMap { $0 } + node.closings.keep(network.subnets.map(\.id))
        if !writes.isEmpty { node.outbox.store(writes) }
    }

    // MARK: What is removed

    private static func remove(_ node: inout Node, _ id: EngineNetworkID, _ network: Network) {
        guard !Mirroring.isPaused(node, network.id), !node.mirror.isKept(id, at: node.now),
            !node.inventory.hasEndpoints(of: id)
        else { return }
        guard EngineNews.callEngine(&node, .removeNetwork(id)) != nil else { return }
        if node.mirror.conflicts[id] != nil {
            node.outbox.log(.warning, "a network of this engine gives way to the cluster's of that name", ["network": node.inventory.network(id)?.name ?? ""])
        }
    }

    // MARK: Ends of calls

    static func engineCallEnded(_ node: inout Node, _ id: EffectID, _ call: EngineAPICall, _ answer: EngineAPIAnswer) {
        let made = node.mirror.takeMade(id)
        let request = node.mirror.takeWaiting(id)
        if let request { NetworkCommands.finishCommand(&node, request, answer) }
        switch (call, answer) {
        case (.createNetwork, .created(let id)):
            if let made { node.mirror.clearFailure(of: made) }
            EngineNews.callEngine(&node, .network(id))
        case (.createNetwork(let network), .refused(let reason)), (.createNetwork(let network), .unavailable(let reason)):
            // What is in the way may be this driver's own, of a cluster that the node has left since. While containers are on it the
            // engine keeps it.
            if made != nil, let stale = node.mirror.stale(network.name) { EngineNews.callEngine(&node, .removeNetwork(stale)) }
            if let made { Mirroring.failNetwork(&node, made, "this host's engine does not make it: \(reason)") }
        case (.removeNetwork(let id), .refused(let reason)), (.removeNetwork(let id), .unavailable(let reason)):
            // To the user it was said already; a container that came in between keeps it.
            guard request == nil, let network = node.inventory.network(id)?.network,
                !node.inventory.hasEndpoints(of: id)
            else { break }
            Mirroring.failNetwork(&node, network, "this host's engine does not remove it: \(reason)")
        case (.removeNetwork(let id), .removed): Mirroring.isGone(&node, id)
        case (.removeNetwork(let id), .notFound):
            // The engine knows nothing of it, so nothing of it will come.
            Mirroring.isGone(&node, id)
            if node.inventory.network(id) != nil { _ = NetworkCalls.deleteNetwork(&node, id) }
        default: break
        }
    }

    /// The engine has it no more.
    static func isGone(_ node: inout Node, _ id: EngineNetworkID) {
        node.mirror.dropped(id, now: node.outbox.now)
        Mirroring.mirrorSoon(&node)
    }

    private static func failNetwork(_ node: inout Node, _ network: NetworkID, _ reason: String) {
        node.mirror.fail(network, node.catalogue.networks[network]?.title ?? "", reason, into: &node.outbox)
    }
}
