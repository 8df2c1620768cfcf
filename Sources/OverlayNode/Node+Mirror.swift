import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// A network that one engine has, the others get (design §5.6).
extension Node {
    /// How a network of this engine ends.
    enum NetworkEnd: Sendable {
        /// Here, and that is all.
        case closed
        /// A user removed it here; others go on using it.
        case declined
        /// A user removed it, and nobody is on it anywhere.
        case removed
    }

    func networkEnd(of local: LocalNetwork) -> NetworkEnd {
        // What the engine never told of is a create that failed. What goes by our own call is no user's doing, nor what goes from an
        // engine that Swarm rules.
        guard local.name != nil, !mirror.isRemoving(local.id), mirror.mirrors, mirror.conflicts[local.id] == nil,
            let network = catalogue.networks[local.network], !network.isRemoved
        else { return .closed }
        return isEmpty(network) ? .removed : .declined
    }

    private func isEmpty(_ network: Network) -> Bool {
        !inventory.hasEndpoints(on: network.id) && keepers(of: network).isEmpty
    }

    /// The other hosts that have containers on it, or may have: of one that was not heard of, or cannot be reached, it is not known.
    func keepers(of network: Network) -> Set<NodeID> {
        let unknown = network.users.filter { user in
            let state = peers.state(of: user)
            return state == .unknown || state == .unreachable || !replication.isSynchronised(with: user, on: network.id)
        }
        return Set(replication.endpoints(on: network.id).map(\.owner)).union(unknown).subtracting([identity.id])
    }

    /// A removal that had to wait for the writer: is it still one?
    mutating func confirmRemoval(of subnet: SubnetID) {
        guard closings.isRemoval(subnet), let network = catalogue.network(holding: subnet), !network.isRemoved, !isEmpty(network)
        else { return }
        outbox.log(
            .warning, "a network is not removed from other hosts, as containers are on it by now, or may be",
            ["network": network.title, "hosts": keepers(of: network).map { name(of: $0) }.sorted().joined(separator: " ")])
        outbox.store([inventory.decline(network.id)] + closings.keep(network.subnets.map(\.id)))
    }

    mutating func mirrorSoon() { mirror.compareSoon(into: &outbox) }

    /// An endpoint of the network is gone.
    mutating func mirrorLater(for id: EngineNetworkID) {
        let network = inventory.network(id)?.network
        let isRemoved = network.flatMap { catalogue.networks[$0]?.isRemoved } ?? false
        mirror.compareAfterRestart(of: id, network, isRemoved: isRemoved, into: &outbox)
    }

    /// Brings the engine's networks in line with the cluster's, and tells the cluster of the engine's.
    mutating func compareNetworks() {
        outbox.timers.clear(.mirror)
        guard mirror.isConnected, mirror.isComplete, mirror.mirrors, isReady, catalogue.cluster != nil else { return }
        let present = inventory.present
        // What is neither here nor to be made here waits for nothing.
        mirror.keepFailures { [catalogue, inventory] id in
            present.contains(id) || catalogue.networks[id]?.isRemoved == false && !inventory.declined.contains(id)
        }
        for (id, shown) in mirror.networks.sorted(by: { $0.key < $1.key }) {
            guard let local = inventory.network(id), let network = catalogue.networks[local.network] else { continue }
            // The other one may be gone.
            if mirror.conflicts[id] != nil, catalogue.network(named: shown.name).map({ $0.id == network.id }) ?? true {
                mirror.setConflict(nil, of: id)
            }
            if network.isRemoved || mirror.conflicts[id] != nil {
                remove(id, network)
            } else if network.description != nil {
                mirror.clearFailure(of: network.id)
            } else if network.settings != nil {
                describe(id, shown, network)
            }
        }
        let gone = inventory.declined.filter { catalogue.networks[$0] == nil }.sorted()
        if !gone.isEmpty { outbox.store(gone.compactMap { inventory.want($0) }) }
        for network in catalogue.networks.values.sorted(by: { $0.id < $1.id })
        where !present.contains(network.id) && !inventory.declined.contains(network.id) {
            make(network)
        }
        mirror.schedule(known: inventory.networkIDs, into: &outbox)
    }

    private func isPaused(_ network: NetworkID) -> Bool { mirror.isPaused(network, at: now) }

    // MARK: This engine's, told to the cluster

    private mutating func describe(_ id: EngineNetworkID, _ shown: EngineNetwork, _ network: Network) {
        let isProposed = proposals.contains { if case .description(id) = $0 { true } else { false } }
        guard !isProposed, !isWriterAway, !isStateOld, !isPaused(network.id) else { return }
        let auxiliary = shown.subnets.reduce(into: [String: String]()) { all, subnet in
            for (name, address) in subnet.auxiliary { all[name] = "\(address)" }
        }
        guard
            let description = NetworkDescription(
                name: shown.name, labels: shown.labels, options: shown.options, ipamOptions: shown.ipamOptions,
                auxiliary: auxiliary, isIPv6: shown.isIPv6, isAttachable: shown.isAttachable)
        else {
            return failNetwork(
                network.id,
                "it has more labels and options than the cluster takes (\(Limits.descriptionPairs) of a kind, "
                    + "\(Limits.descriptionBytes) bytes), and is not made on other engines")
        }
        propose(.describe(network.id, description), for: .description(id), deadline: now + Proposals.budget)
    }

    mutating func described(_ id: EngineNetworkID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)) where refusal.code == .conflict:
            // It may be gone meanwhile.
            guard let local = inventory.network(id) else { break }
            outbox.log(.warning, "a network has the name of another one", ["network": local.name ?? "", "reason": refusal.message])
            mirror.setConflict(refusal.message, of: id)
            // Who makes one of this name here wants that one here.
            if let name = local.name, let other = catalogue.network(named: name) { wantNetwork(other) }
        case .decided:
            if let network = inventory.network(id)?.network { mirror.clearFailure(of: network) }
        case .timedOut, .writerFailed, .noCluster:
            if let network = inventory.network(id)?.network { failNetwork(network, "its name could not be told to the cluster: \(writerText)") }
        }
        mirrorSoon()
    }

    // MARK: The cluster's, made on this engine

    private mutating func make(_ network: Network) {
        guard let request = mirrorRequest(of: network), !network.subnets.contains(where: { closings.contains($0.id) }),
            !isWriterAway, !isStateOld, !isPaused(network.id),
            !mirror.isMaking(network.id)
        else { return }
        guard let id = callEngine(.createNetwork(request)) else { return }
        mirror.make(network.id, by: id)
    }

    /// What an engine makes the same network of; nil while that is not known.
    func mirrorRequest(of network: Network) -> EngineNetwork? {
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
    func networkBeingMade(with prefix: IPPrefix?) -> NetworkID? {
        guard let prefix else { return nil }
        return mirror.beingMade.first { id in catalogue.networks[id]?.subnets.contains { $0.prefix == prefix } ?? false }
    }

    /// A user of this host wants it here, whoever wanted it gone.
    mutating func wantNetwork(_ network: Network) {
        let writes = [inventory.want(network.id)].compactMap { $0 } + closings.keep(network.subnets.map(\.id))
        if !writes.isEmpty { outbox.store(writes) }
    }

    // MARK: What is removed

    private mutating func remove(_ id: EngineNetworkID, _ network: Network) {
        guard !isPaused(network.id), !mirror.isKept(id, at: now),
            !inventory.hasEndpoints(of: id)
        else { return }
        guard callEngine(.removeNetwork(id)) != nil else { return }
        if mirror.conflicts[id] != nil {
            outbox.log(.warning, "a network of this engine gives way to the cluster's of that name", ["network": inventory.network(id)?.name ?? ""])
        }
    }

    // MARK: Ends of calls

    mutating func engineCallEnded(_ id: EffectID, _ call: EngineAPICall, _ answer: EngineAPIAnswer) {
        let made = mirror.takeMade(id)
        let request = mirror.takeWaiting(id)
        if let request { finishCommand(request, answer) }
        switch (call, answer) {
        case (.createNetwork, .created(let id)):
            if let made { mirror.clearFailure(of: made) }
            callEngine(.network(id))
        case (.createNetwork(let network), .refused(let reason)), (.createNetwork(let network), .unavailable(let reason)):
            // What is in the way may be this driver's own, of a cluster that the node has left since. While containers are on it the
            // engine keeps it.
            if made != nil, let stale = mirror.stale(network.name) { callEngine(.removeNetwork(stale)) }
            if let made { failNetwork(made, "this host's engine does not make it: \(reason)") }
        case (.removeNetwork(let id), .refused(let reason)), (.removeNetwork(let id), .unavailable(let reason)):
            // To the user it was said already; a container that came in between keeps it.
            guard request == nil, let network = inventory.network(id)?.network,
                !inventory.hasEndpoints(of: id)
            else { break }
            failNetwork(network, "this host's engine does not remove it: \(reason)")
        case (.removeNetwork(let id), .removed): isGone(id)
        case (.removeNetwork(let id), .notFound):
            // The engine knows nothing of it, so nothing of it will come.
            isGone(id)
            if inventory.network(id) != nil { _ = deleteNetwork(id) }
        default: break
        }
    }

    /// The engine has it no more.
    mutating func isGone(_ id: EngineNetworkID) {
        mirror.dropped(id, now: outbox.now)
        mirrorSoon()
    }

    private mutating func failNetwork(_ network: NetworkID, _ reason: String) {
        mirror.fail(network, catalogue.networks[network]?.title ?? "", reason, into: &outbox)
    }
}
