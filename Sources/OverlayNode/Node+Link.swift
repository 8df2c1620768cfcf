import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayReplication

/// What is known of the engine by its own API. Nothing that the engine waits for ever waits for this.
struct EngineLink: Sendable {
    enum State: Sendable {
        /// There is no link (`--engine none`).
        case none
        case away(String, since: Instant)
        case connected(apiVersion: String, since: Instant)
    }

    var state = State.none
    var mirrors = true
    /// Our networks of the engine, as it shows them.
    var networks: [EngineNetworkID: EngineNetwork] = [:]
    /// Has the engine told of all networks since it was connected?
    var isComplete = false
    /// Calls that are on their way.
    var calls: [EffectID: EngineAPICall] = [:]
    /// Of those, what is to be asked again when the answer is there, as something has changed since.
    var again: Set<EngineAPICall> = []
    /// What was asked and not answered.
    var unanswered: Set<EngineAPICall> = []
    /// Networks that are being made here because they are elsewhere.
    var making: [EffectID: NetworkID] = [:]
    /// What the command line waits for.
    var waiting: [EffectID: RequestID] = [:]
    /// Which networks were known when all were asked for: only one of those can be missing.
    var asked: Set<EngineNetworkID> = []
    /// Networks that the engine has not told of, though it was asked for all, and since when: it is making them, or was killed when it did.
    var missing: [EngineNetworkID: Instant] = [:]
    /// A container that was on it here may come back to it until then.
    var keptUntil: [EngineNetworkID: Instant] = [:]
    /// Why a network cannot be made here, or the other way round, and when it is tried again.
    var failures: [NetworkID: Failure] = [:]
    /// Networks of this driver, by name, that this node knows nothing of: of an earlier life in a cluster.
    var stale: [String: EngineNetworkID] = [:]
    /// Endpoints whose containers were inspected.
    var inspected: [EndpointID: ContainerID] = [:]
    /// Networks of this engine whose name another network of the cluster has.
    var conflicts: [EngineNetworkID: String] = [:]

    struct Failure: Sendable {
        var reason: String
        var pause: Interval
        var until: Instant
    }

    var isConnected: Bool { if case .connected = state { true } else { false } }

    mutating func forget() {
        for (id, network) in networks { stale[network.name] = id }
        networks = [:]
        inspected = [:]
        failures = [:]
        conflicts = [:]
        making = [:]
        missing = [:]
        keptUntil = [:]
    }
}

extension Node {
    static let retryPause = Interval.seconds(1)
    /// No engine takes so long from CreateNetwork to a network.
    static let creationTime = Interval.seconds(60)
    static let longestMirrorPause = Interval.seconds(60)

    // MARK: Calls

    /// - Returns: nil where the same is on its way, or there is no link.
    @discardableResult
    mutating func ask(_ call: EngineAPICall) -> EffectID? {
        guard link.isConnected else { return nil }
        guard !link.calls.values.contains(call) else {
            // What is being answered may be from before.
            link.again.insert(call)
            return nil
        }
        let id = outbox.newEffect()
        link.calls[id] = call
        if call == .networks { link.asked = inventory.networkIDs }
        outbox.append(.engineCall(id, call))
        return id
    }

    // MARK: What comes

    mutating func heard(_ news: EngineAPINews) {
        switch news {
        case .connected(let version):
            outbox.log(.info, "the engine answers", ["api": version])
            link.state = .connected(apiVersion: version, since: now)
            link.isComplete = false
            // What was asked of the engine before is lost with its process.
            link.again = []
            link.unanswered = []
            outbox.timers[.askEngine] = nil
            ask(.networks)
            ask(.containers)
        case .disconnected(let reason):
            if case .away(let known, _) = link.state, known == reason { return }
            outbox.log(.warning, "the engine's API is away; names and networks of others wait for it", ["reason": reason])
            link.state = .away(reason, since: now)
            link.isComplete = false
        case .network(let id, let action, let container): heard(id, action, container)
        case .elsewhere(let id):
            if link.inspected.values.contains(id) { ask(.container(id)) }
        case .container(let id, .rename): ask(.container(id))
        case .container(let id, .start):
            // One that was being started when the link came up: its networks were told of before.
            let isAnyUnknown = inventory.allEndpoints.contains { $0.isJoined && link.inspected[$0.id] == nil }
            if isAnyUnknown, !link.calls.values.contains(.container(id)) { ask(.container(id)) }
        // What a container has comes with its networks, and goes with them.
        case .container: break
        }
    }

    private mutating func heard(_ id: EngineNetworkID, _ action: EngineAPINews.NetworkAction, _ container: ContainerID?) {
        switch action {
        case .create: ask(.network(id))
        case .connect:
            // The network tells at once, the container when it has started.
            ask(.network(id))
            if let container { ask(.container(container)) }
        case .disconnect: break
        case .destroy: isGone(id)
        }
    }

    mutating func answered(_ id: EffectID, _ answer: EngineAPIAnswer) {
        guard let call = link.calls.removeValue(forKey: id) else { return }
        let isToBeAsked = link.again.remove(call) != nil
        switch answer {
        case .networks(let all): learn(all)
        case .containers(let all):
            for container in all {
                learn(container, isWhole: false)
                let isOurs = container.attachments.contains { $0.endpoint.map { inventory.endpoint($0) != nil } ?? false }
                if isOurs { ask(.container(container.id)) }
            }
        case .network(let network):
            learn(network)
            for (endpoint, name) in network.endpoints { learn(name, of: endpoint) }
            mirrorSoon()
        case .container(let container): learn(container, isWhole: true)
        case .refused(let reason), .unavailable(let reason): notAnswered(call, reason)
        case .created, .removed, .notFound: break
        }
        ended(id, call, answer)
        if isToBeAsked { ask(call) }
    }

    /// What is to be known is asked for again; what was to be done is seen to elsewhere.
    private mutating func notAnswered(_ call: EngineAPICall, _ reason: String) {
        guard link.isConnected else { return }
        switch call {
        case .createNetwork, .removeNetwork: return
        case .networks, .containers, .network, .container: break
        }
        outbox.log(.warning, "the engine did not answer, and is asked again", ["reason": reason])
        askLater(call, in: Self.retryPause)
    }

    private mutating func askLater(_ call: EngineAPICall, in pause: Interval) {
        link.unanswered.insert(call)
        outbox.timers[.askEngine] = min(outbox.timers[.askEngine] ?? now + pause, now + pause)
    }

    mutating func askAgain() {
        outbox.timers[.askEngine] = nil
        let calls = link.unanswered
        link.unanswered = []
        for call in calls { ask(call) }
    }

    /// All that there are.
    private mutating func learn(_ all: [EngineNetwork]) {
        link.networks = [:]
        link.stale = [:]
        for network in all {
            learn(network)
            if let id = network.id, inventory.network(id) == nil { link.stale[network.name] = id }
        }
        link.isComplete = true
        // Removed while nobody was told, or with the engine's state: it may come again. What a call has just made is on no list yet.
        link.missing = link.missing.filter { inventory.network($0.key) != nil && link.networks[$0.key] == nil }
        for local in inventory.allNetworks where link.networks[local.id] == nil && link.asked.contains(local.id) {
            let id = local.id
            let since = link.missing[id] ?? now
            link.missing[id] = since
            guard local.name != nil || now - since >= Self.creationTime else { continue }
            outbox.log(
                .warning, "the engine does not have a network any more; it is taken as gone here",
                ["network": local.name ?? local.id.short])
            link.missing[id] = nil
            _ = inventory.setName(nil, of: id)
            _ = deleteNetwork(id)
        }
        if !link.missing.isEmpty { askLater(.networks, in: Self.creationTime) }
        mirrorSoon()
    }

    private mutating func learn(_ network: EngineNetwork) {
        guard let id = network.id, let local = inventory.network(id) else { return }
        link.networks[id] = network
        guard let row = inventory.setName(network.name, of: id) else { return }
        link.failures[local.network] = nil
        outbox.store([row])
    }

    // MARK: Reports

    func linkReport() -> EngineLinkReport {
        switch link.state {
        case .none: EngineLinkReport(state: "none", apiVersion: nil, reason: nil)
        case .away(let reason, _): EngineLinkReport(state: "away", apiVersion: nil, reason: reason)
        case .connected(let version, _): EngineLinkReport(state: "connected", apiVersion: version, reason: nil)
        }
    }

    func linkProblems() -> [String] {
        var problems: [String] = []
        if case .away(let reason, let since) = link.state {
            problems.append(
                "the engine's API is away since \((now - since).wholeSeconds) s (\(reason)): new containers have no names, and networks of "
                    + "other hosts are not made here")
        }
        for (id, failure) in link.failures.sorted(by: { $0.key < $1.key }) {
            problems.append("network \(catalogue.networks[id]?.title ?? id.short): \(failure.reason)")
        }
        for local in inventory.allNetworks where catalogue.networks[local.network]?.isRemoved == true {
            guard inventory.hasEndpoints(of: local.id) else { continue }
            problems.append(
                "network \(local.name ?? "") (\(local.id.short)) was removed on another host, and containers are on it here; remove them"
            )
        }
        for (id, reason) in link.conflicts.sorted(by: { $0.key < $1.key }) {
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
