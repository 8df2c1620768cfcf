import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// What the engine's API tells.
extension Node {
    /// - Returns: nil where the same call is on its way, or there is no link.
    @discardableResult
    mutating func callEngine(_ call: EngineAPICall) -> EffectID? { mirror.ask(call, known: inventory.networkIDs, into: &outbox) }

    // MARK: What comes

    mutating func heardNews(_ news: EngineAPINews) {
        switch news {
        case .connected(let version):
            mirror.connected(version, into: &outbox)
            callEngine(.networks)
            callEngine(.containers)
        case .disconnected(let reason): mirror.disconnected(reason, into: &outbox)
        case .network(let id, let action, let container): heardNetwork(id, action, container)
        case .elsewhere(let id):
            if mirror.isInspected(id) { callEngine(.container(id)) }
        case .container(let id, .rename): callEngine(.container(id))
        case .container(let id, .start):
            // One that was being started when the link came up: its networks were told of before.
            let isAnyUnknown = inventory.allEndpoints.contains { $0.isJoined && !mirror.isInspected($0.id) }
            if isAnyUnknown, !mirror.isAsking(.container(id)) { callEngine(.container(id)) }
        // What a container has comes with its networks, and goes with them.
        case .container: break
        }
    }

    private mutating func heardNetwork(_ id: EngineNetworkID, _ action: EngineAPINews.NetworkAction, _ container: ContainerID?) {
        switch action {
        case .create: callEngine(.network(id))
        case .connect:
            // The network tells at once, the container when it has started.
            callEngine(.network(id))
            if let container { callEngine(.container(container)) }
        case .disconnect: break
        case .destroy: isGone(id)
        }
    }

    mutating func answered(_ id: EffectID, _ answer: EngineAPIAnswer) {
        guard let (call, isToBeAsked) = mirror.answered(id) else { return }
        switch answer {
        case .networks(let all): learnAll(all)
        case .containers(let all):
            for container in all {
                learnContainer(container, isWhole: false)
                let isOurs = container.attachments.contains { $0.endpoint.map { inventory.endpoint($0) != nil } ?? false }
                if isOurs { callEngine(.container(container.id)) }
            }
        case .network(let network):
            learnNetwork(network)
            for (endpoint, name) in network.endpoints { learnName(name, of: endpoint) }
            mirrorSoon()
        case .container(let container): learnContainer(container, isWhole: true)
        case .refused(let reason), .unavailable(let reason): mirror.notAnswered(call, reason, into: &outbox)
        case .created, .removed, .notFound: break
        }
        engineCallEnded(id, call, answer)
        if isToBeAsked { callEngine(call) }
    }

    mutating func askAgain() {
        for call in mirror.takeUnanswered() { callEngine(call) }
    }

    /// All that there are.
    private mutating func learnAll(_ all: [EngineNetwork]) {
        mirror.beginList()
        for network in all {
            learnNetwork(network)
            if let id = network.id, inventory.network(id) == nil { mirror.setStale(id, network.name) }
        }
        mirror.endList(known: inventory.networkIDs)
        for local in inventory.allNetworks
        where mirror.isGone(local.id, isNamed: local.name != nil, now: outbox.now) {
            outbox.log(
                .warning, "the engine does not have a network any more; it is taken as gone here",
                [LogKey.network: local.name ?? local.id.short])
            _ = inventory.setName(nil, of: local.id)
            _ = deleteNetwork(local.id)
        }
        mirror.watchMissing(into: &outbox)
        mirrorSoon()
    }

    private mutating func learnNetwork(_ network: EngineNetwork) {
        guard let id = network.id, let local = inventory.network(id) else { return }
        mirror.show(network, as: id)
        guard let row = inventory.setName(network.name, of: id) else { return }
        mirror.clearFailure(of: local.network)
        outbox.store([row])
    }

    // MARK: Reports

    func linkProblems() -> [String] {
        var problems: [String] = []
        if case .away(let reason, let since) = mirror.state {
            problems.append(
                "the engine's API is away since \((now - since).wholeSeconds) s (\(reason)): new containers have no names, and networks of "
                    + "other hosts are not made here")
        }
        for (id, failure) in mirror.failures.sorted(by: { $0.key < $1.key }) {
            problems.append("network \(catalogue.networks[id]?.title ?? id.short): \(failure.reason)")
        }
        for local in inventory.allNetworks where catalogue.networks[local.network]?.isRemoved == true {
            guard inventory.hasEndpoints(of: local.id) else { continue }
            problems.append(
                "network \(local.name ?? "") (\(local.id.short)) was removed on another host, and containers are on it here; remove them"
            )
        }
        for (id, reason) in mirror.conflicts.sorted(by: { $0.key < $1.key }) {
            problems.append(
                "network \(inventory.network(id)?.name ?? "") (\(id.short)) of this engine is on this host alone: \(reason); remove its containers "
                    + "here, and the cluster's takes its place")
        }
        for (path, reason) in sandboxes.failures.sorted(by: { $0.key < $1.key }) {
            problems.append("names are not answered in the container at \(path): \(reason)")
        }
        return problems
    }
}
