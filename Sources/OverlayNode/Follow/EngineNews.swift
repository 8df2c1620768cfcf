import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Follow-up of the engine's API: its events and answers, for the parts that they concern. Owns nothing.
enum EngineNews {
    /// Calls the engine's API.
    ///
    /// - Returns: The effect; nil where the same call is on its way, or there is no link.
    @discardableResult
    static func callEngine(_ node: inout Node, _ call: EngineAPICall) -> EffectID? {
        node.mirror.ask(call, known: node.inventory.networkIDs, into: &node.outbox)
    }

    // MARK: Events and answers

    /// Handles an event of the engine.
    static func handle(_ node: inout Node, _ news: EngineAPINews) {
        switch news {
        case .connected(let version):
            node.mirror.connected(version, into: &node.outbox)
            Self.callEngine(&node, .networks)
            Self.callEngine(&node, .containers)
            Self.callEngine(&node, .configured)
            RouteFollower.connected(&node)
            for id in node.sandboxes.others.watched { Self.callEngine(&node, .containersOn(id)) }
            NameFollower.awaitNames(&node)
            Leftovers.connected(&node)
        case .otherNetworks: RouteFollower.networksChanged(&node)
        case .disconnected(let reason):
            node.mirror.disconnected(reason, into: &node.outbox)
            Leftovers.disconnected(&node)
        case .network(let id, let action, let container): Self.handleNetwork(&node, id, action, container)
        case .elsewhere(let network, let action, let id):
            let isWatched = node.sandboxes.others.isWatched(network)
            if isWatched, action == .connect { NameFollower.awaitNames(&node, of: id, on: network) }
            if isWatched, action == .disconnect { node.sandboxes.others.forget(id, on: network) }
            if node.mirror.isInspected(id) || (isWatched && action == .connect) { Self.callEngine(&node, .container(id)) }
        case .removedElsewhere:
            NetworkRemovals.prolong(&node)
            RouteFollower.networksChanged(&node)
        case .pruned: NetworkRemovals.pruned(&node)
        case .container(_, .create):
            // It may need a network that was removed from here.
            if !node.inventory.declined.isEmpty { Self.callEngine(&node, .configured) }
        case .container(let id, .rename): Self.callEngine(&node, .container(id))
        case .container(let id, .destroy): node.reconciliation.missed.drop(id)
        case .container(let id, .start):
            node.reconciliation.missed.drop(id)
            // A container that was being started when the link came up: its networks were reported before that.
            let isAnyUnknown = node.inventory.allEndpoints.contains { $0.isJoined && !node.mirror.isInspected($0.id) }
            if isAnyUnknown, !node.mirror.isAsking(.container(id)) { Self.callEngine(&node, .container(id)) }
        // The endpoints of a container come and go with events of their networks.
        case .container: break
        }
    }

    private static func handleNetwork(
        _ node: inout Node, _ id: EngineNetworkID, _ action: EngineAPINews.NetworkAction, _ container: ContainerID?
    ) {
        switch action {
        case .create: Self.callEngine(&node, .network(id))
        case .connect:
            // The network's inspection has the name at once, the container's only when it has started.
            Self.callEngine(&node, .network(id))
            if let container { Self.callEngine(&node, .container(container)) }
        case .disconnect: break
        case .destroy:
            NetworkRemovals.prolong(&node)
            Mirroring.networkIsGone(&node, id, isUserRemoval: true)
        }
    }

    /// Handles an answer of the engine.
    static func handleAnswer(_ node: inout Node, _ id: EffectID, _ answer: EngineAPIAnswer) {
        guard let (call, isToBeAsked) = node.mirror.answered(id) else { return }
        switch answer {
        case .networks(let all): Self.learnNetworks(&node, all)
        case .containers(let all):
            if case .containersOn(let network) = call {
                for id in node.sandboxes.others.listed(Set(all.map(\.id)), on: network) { Self.callEngine(&node, .container(id)) }
                break
            }
            for container in all {
                NameFollower.learnContainer(&node, container, isWhole: false)
                let isOurs = container.attachments.contains { $0.endpoint.map { node.inventory.endpoint($0) != nil } ?? false }
                if isOurs { Self.callEngine(&node, .container(container.id)) }
            }
        case .network(let network):
            Self.learnNetwork(&node, network)
            for (endpoint, name) in network.endpoints { NameFollower.learnName(&node, name, of: endpoint) }
            Mirroring.mirrorSoon(&node)
        case .container(let container): NameFollower.learnContainer(&node, container, isWhole: true)
        case .configured(let all):
            NetworkRemovals.learn(&node, all)
            Leftovers.learn(&node, all)
        case .interfaces(let interfaces):
            if case .interfaces(let container) = call { NetworkRemovals.reconnect(&node, container, interfaces) }
        case .refused(let reason), .unavailable(let reason):
            if call == .configured { NetworkRemovals.learn(&node, nil) }
            if case .start(let container) = call {
                node.outbox.log(
                    .warning, "the engine did not start a container", [LogKey.container: container.short, LogKey.reason: reason])
            }
            node.mirror.notAnswered(call, reason, into: &node.outbox)
        case .notFound:
            if case .container(let id) = call { node.sandboxes.others.forget(id, on: nil) }
            if case .lastStart(let id) = call { node.reconciliation.missed.drop(id) }
        case .connected: if case .connect(_, let container, _) = call { Self.callEngine(&node, .lastStart(container)) }
        case .lastStart(let start):
            if case .lastStart(let container) = call {
                NetworkRemovals.startAgain(&node, container, start)
                Leftovers.learn(&node, container, start)
            }
        case .created, .removed, .started, .otherNetworks, .addressPools, .endpoints: break
        }
        RouteFollower.handle(&node, id, answer)
        Mirroring.engineCallEnded(&node, id, call, answer)
        Leftovers.answered(&node, id, answer)
        if isToBeAsked, let effect = Self.callEngine(&node, call) { DisconnectCalls.asked(&node, call, effect) }
    }

    /// Repeats questions that the engine did not answer.
    static func askAgain(_ node: inout Node) {
        for call in node.mirror.takeUnanswered() { Self.callEngine(&node, call) }
    }

    /// Learns from the list of all networks of this driver, and ends those that the engine does not have any more.
    private static func learnNetworks(_ node: inout Node, _ all: [EngineNetwork]) {
        node.mirror.beginList()
        for network in all {
            Self.learnNetwork(&node, network)
            if let id = network.id, node.inventory.network(id) == nil { node.mirror.setStale(id, network.name) }
        }
        node.mirror.endList(known: node.inventory.networkIDs)
        for local in node.inventory.allNetworks
        where node.mirror.isGone(local.id, isNamed: local.name != nil, now: node.outbox.now) {
            if Leftovers.isInhabited(node, local.id) { Leftovers.lookSoon(&node) } else { Leftovers.end(&node, local) }
        }
        node.mirror.watchMissing(into: &node.outbox)
        Mirroring.mirrorSoon(&node)
    }

    /// Learns a network's name.
    private static func learnNetwork(_ node: inout Node, _ network: EngineNetwork) {
        guard let id = network.id, let local = node.inventory.network(id) else { return }
        node.mirror.show(network, as: id)
        guard let row = node.inventory.setName(network.name, of: id) else { return }
        // Containers that do not run may name it by the id that it had before.
        if node.mirror.hasFormer { Self.callEngine(&node, .configured) }
        node.mirror.clearFailure(of: local.network)
        node.outbox.store([row])
    }

    // MARK: Reports

    /// Sentences about what is wrong between this node and its engine.
    static func linkProblems(_ node: Node) -> [String] {
        var problems: [String] = []
        if case .away(let reason, let since) = node.mirror.state {
            problems.append(
                "the engine's API is away since \((node.now - since).wholeSeconds) s (\(reason)): new containers have no names, "
                    + "networks of other hosts are not made here, and what containers that are gone left behind is kept")
        }
        for (id, failure) in node.mirror.failures.sorted(by: { $0.key < $1.key }) {
            problems.append("network \(node.catalogue.networks[id]?.title ?? id.short): \(failure.reason)")
        }
        for local in node.inventory.allNetworks where node.catalogue.networks[local.network]?.isRemoved == true {
            guard node.inventory.hasEndpoints(of: local.id) else { continue }
            problems.append(
                "network \(local.name ?? "") (\(local.id.short)) was removed on another host, and containers are on it here; "
                    + "remove them"
            )
        }
        for (id, reason) in node.mirror.conflicts.sorted(by: { $0.key < $1.key }) {
            problems.append(
                "network \(node.inventory.network(id)?.name ?? "") (\(id.short)) of this engine is on this host alone: "
                    + "\(reason); remove its containers here, and the cluster's takes its place")
        }
        problems += Leftovers.problems(node)
        problems += Admissions.problems(node)
        for (path, reason) in node.sandboxes.failures.sorted(by: { $0.key < $1.key }) {
            problems.append("names are not answered in the container at \(path): \(reason)")
        }
        return problems + node.names.cuts.sorted { $0.key < $1.key }.map(\.value)
    }
}
