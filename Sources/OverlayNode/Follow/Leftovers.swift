import OverlayCatalogue
import OverlayDriver
import OverlayIPAM
import OverlayModel

/// Things that an engine, or this daemon, left behind when it died: endpoints that no container has, leases that no endpoint has, subnets
/// that no network has, and networks that no engine has. The engine is asked when the link comes up, and every minute; what it does not
/// have, twice, is given up. What cannot be asked is kept. Owns nothing.
enum Leftovers {
    /// Time from the link's beginning to the first look: the questions of the beginning come first.
    static let delay = Interval.milliseconds(500)

    // MARK: When

    /// The link came up.
    static func connected(_ node: inout Node) {
        node.reconciliation.forget()
        node.reconciliation.missed.forget()
        node.outbox.timers.set(.reconcile, at: node.now + Self.delay)
    }

    static func disconnected(_ node: inout Node) {
        node.reconciliation.forget()
        node.outbox.timers.clear(.reconcile)
    }

    /// A call of the engine made something that it has to write itself, so that it is not judged for a while.
    static func touch(_ node: inout Node, _ subject: Reconciliation.Subject) {
        node.reconciliation.touch(subject, at: node.now)
        guard node.mirror.isConnected else { return }
        node.outbox.timers.set(.reconcile, noLaterThan: node.now + Reconciliation.grace + Reconciliation.retry)
    }

    /// Looks soon, as something speaks for an endpoint's end: its interface is gone, or its address is wanted.
    static func lookSoon(_ node: inout Node) {
        guard node.mirror.isConnected, !node.reconciliation.isLooking else { return }
        node.outbox.timers.set(.reconcile, noLaterThan: node.now + Self.delay)
    }

    /// True if the engine can say whether it has an endpoint. Until it did, an endpoint is not to be taken as gone.
    static func canBeAsked(_ node: Node, about endpoint: LocalEndpoint) -> Bool {
        node.mirror.isConnected && node.reconciliation.failures[endpoint.engineNetwork] == nil
            && node.reconciliation.strays[endpoint.engineNetwork] == nil
    }

    // MARK: Questions

    /// Asks the engine for all that this host holds for it.
    static func look(_ node: inout Node) {
        guard node.mirror.isConnected else { return }
        guard node.isReady, node.catalogue.cluster != nil, !node.isRolledBack, !node.reconciliation.isLooking else {
            return node.outbox.timers.set(.reconcile, at: node.now + Reconciliation.retry)
        }
        let networks = node.inventory.allNetworks.filter { local in
            local.name == nil || node.inventory.hasEndpoints(of: local.id)
                || local.subnets.contains { !Self.lonely(node, $0).isEmpty }
        }
        let unbound = Self.unbound(node)
        node.reconciliation.begin(at: node.now)
        var isWhole = true
        for local in networks {
            if let effect = EngineNews.callEngine(&node, .network(local.id)) {
                node.reconciliation.ask(local.id, by: effect)
            } else {
                isWhole = false
            }
        }
        if !unbound.isEmpty {
            if let effect = EngineNews.callEngine(&node, .networks) {
                node.reconciliation.askNetworks(by: effect)
            } else {
                isWhole = false
            }
        }
        if node.reconciliation.hasSuspects {
            if let effect = EngineNews.callEngine(&node, .endpoints) {
                node.reconciliation.askEndpoints(by: effect)
            } else {
                isWhole = false
            }
        }
        if !node.reconciliation.missed.isEmpty { EngineNews.callEngine(&node, .configured) }
        if node.reconciliation.isAnswered { Self.conclude(&node, isWhole: isWhole) }
    }

    /// Handles an answer of the engine, after all others who asked did.
    static func answered(_ node: inout Node, _ id: EffectID, _ answer: EngineAPIAnswer) {
        guard node.reconciliation.isAsked(by: id) else { return }
        switch answer {
        case .network(let network):
            let shown = network.addresses.map { Reconciliation.Shown(endpoints: Set(network.endpoints.keys), addresses: $0) }
            _ = node.reconciliation.answered(id, shown, else: "its answer does not name all endpoints")
        case .notFound:
            guard let network = node.reconciliation.answeredMissing(id) else { break }
            // The engine may have lost its state, or have another one's beside it, while containers run on.
            for endpoint in node.inventory.endpoints(of: network) where endpoint.isJoined && !endpoint.sandbox.isEmpty {
                let effect = node.outbox.newEffect()
                node.outbox.append(.lookForRoutes(effect, endpoint.sandbox, []))
                node.reconciliation.askSandbox(of: endpoint.id, by: effect)
            }
        case .networks(let all):
            let prefixes = Set(all.flatMap { $0.subnets.map(\.subnet.network) })
            _ = node.reconciliation.answered(id, networks: (prefixes, Set(all.compactMap(\.id))))
        case .endpoints(let running): _ = node.reconciliation.answered(id, running: running)
        case .refused(let reason), .unavailable(let reason):
            _ =
                node.reconciliation.answered(id, nil, else: reason) || node.reconciliation.answered(id, networks: nil)
                || node.reconciliation.answered(id, running: nil)
        default: return
        }
        if node.reconciliation.isAnswered { Self.conclude(&node, isWhole: true) }
    }

    /// Handles whether the sandbox of an endpoint exists.
    static func seen(_ node: inout Node, _ id: EffectID, _ sight: SandboxSight) {
        guard node.reconciliation.answered(id, isHoused: sight != .missing), node.reconciliation.isAnswered else { return }
        Self.conclude(&node, isWhole: true)
    }

    // MARK: Verdicts

    /// Judges everything by the look, and gives up what is left over.
    private static func conclude(_ node: inout Node, isWhole: Bool) {
        let busy = Busy(node)
        for local in node.inventory.allNetworks {
            if let shown = node.reconciliation.shown(local.id) {
                for endpoint in node.inventory.endpoints(of: local.id) { Self.judge(&node, endpoint, shown, busy) }
                for subnet in local.subnets {
                    for lease in Self.lonely(node, subnet) { Self.judge(&node, lease, shown, busy) }
                }
                node.reconciliation.setStrays([], of: local.id)
            } else if node.reconciliation.isMissing(local.id) {
                Self.judge(&node, local, busy)
            }
        }
        if let list = node.reconciliation.list { Self.judge(&node, Self.unbound(node), list.prefixes, busy) }
        let next = node.reconciliation.end(at: node.now, isWhole: isWhole) {
            [inventory = node.inventory, addresses = node.addresses] in
            switch $0 {
            case .endpoint(let id): inventory.endpoint(id) != nil
            case .lease(let subnet, let address): addresses.isLeased(address, of: subnet)
            case .subnet(let id): addresses[id] != nil
            case .network(let id): inventory.network(id) != nil
            }
        }
        node.reconciliation.keepOnly { [inventory = node.inventory] in inventory.network($0) != nil }
        node.outbox.timers.set(.reconcile, noLaterThan: next)
    }

    private static func judge(
        _ node: inout Node, _ endpoint: LocalEndpoint, _ shown: Reconciliation.Shown, _ busy: Busy
    ) {
        let isBusy = busy.endpoints.contains(endpoint.id) || !node.outbox.unfinished(.endpoint(endpoint.id)).isEmpty
        let verdict = node.reconciliation.judge(
            .endpoint(endpoint.id), isHeld: shown.endpoints.contains(endpoint.id), isBusy: isBusy, isWritten: endpoint.hasPort)
        guard verdict == .left else { return }
        node.outbox.log(
            .warning, "no container of the engine has an endpoint any more; it is given up",
            [
                LogKey.endpoint: endpoint.id.short, LogKey.network: node.catalogue.networks[endpoint.network]?.title ?? "",
                LogKey.address: endpoint.addresses.map { "\($0)" }.joined(separator: " "),
            ])
        _ = Self.giveUp(&node, endpoint, except: shown.addresses)
    }

    private static func judge(_ node: inout Node, _ lease: Lease, _ shown: Reconciliation.Shown, _ busy: Busy) {
        let isBusy =
            busy.concerns(lease) || !node.outbox.unfinished(.lease(lease.subnet, lease.address)).isEmpty
        let verdict = node.reconciliation.judge(
            .lease(lease.subnet, lease.address), isHeld: shown.addresses.contains(lease.address), isBusy: isBusy)
        guard verdict == .left else { return }
        node.outbox.log(
            .warning, "no endpoint of the engine has an address that was handed out; it is free again",
            [LogKey.address: "\(lease.address)"])
        _ = Self.free(&node, lease)
    }

    /// Judges a network that the engine does not have.
    private static func judge(_ node: inout Node, _ local: LocalNetwork, _ busy: Busy) {
        let endpoints = node.inventory.endpoints(of: local.id)
        let housed = endpoints.filter { node.reconciliation.isHoused($0.id) }.map(\.id)
        node.reconciliation.setStrays(Set(housed), of: local.id)
        let isBusy = busy.networks.contains(local.id) || !node.outbox.unfinished(.network(local.id)).isEmpty
        let verdict = node.reconciliation.judge(
            .network(local.id), isHeld: !housed.isEmpty, isBusy: isBusy, isWritten: local.name != nil)
        guard verdict == .left else { return }
        Self.end(&node, local)
    }

    /// Ends a network that the engine does not have any more. That is no removal by a user.
    static func end(_ node: inout Node, _ local: LocalNetwork) {
        node.outbox.log(
            .warning, "the engine does not have a network any more; it is taken as gone here",
            [LogKey.network: local.name ?? local.id.short])
        _ = node.inventory.setName(nil, of: local.id)
        _ = NetworkCalls.deleteNetwork(&node, local.id)
    }

    /// True if containers are on a network that the engine does not tell of, as far as this host knows. Their sandboxes are looked for
    /// before it ends.
    static func isInhabited(_ node: Node, _ id: EngineNetworkID) -> Bool {
        node.inventory.endpoints(of: id).contains { $0.isJoined && !$0.sandbox.isEmpty }
    }

    /// Judges subnets that no network of this host was made of.
    private static func judge(_ node: inout Node, _ unbound: [SubnetID], _ prefixes: Set<IPPrefix>, _ busy: Busy) {
        var left: [SubnetID] = []
        for id in unbound {
            guard let prefix = node.catalogue.subnet(id)?.prefix else { continue }
            let isMade = node.mirror.beingMade.contains { [catalogue = node.catalogue] in
                catalogue.networks[$0]?.subnets.contains { $0.id == id } ?? false
            }
            let isBusy = isMade || busy.isMaking || busy.subnets.contains(id)
            let verdict = node.reconciliation.judge(.subnet(id), isHeld: prefixes.contains(prefix), isBusy: isBusy)
            if verdict == .left { left.append(id) }
        }
        guard !left.isEmpty else { return }
        node.outbox.log(
            .warning, "pools without a network are given up", [LogKey.pools: left.map(\.description).joined(separator: " ")])
        _ = CatalogueFollower.close(&node, left)
    }

    /// Subnets of this host that no network of its engine was made of. One with addresses in quarantine may have a network that this
    /// node does not know of.
    private static func unbound(_ node: Node) -> [SubnetID] {
        let bound = node.inventory.boundSubnets.union(node.inventory.allNetworks.flatMap(\.subnets))
        return node.catalogue.networks.values.flatMap(\.subnets).filter {
            $0.users.contains(node.identity.id) && !bound.contains($0.id) && !node.closings.contains($0.id)
                && node.addresses.quarantined[$0.id] == nil
        }.map(\.id).sorted()
    }

    /// Leases of a subnet that no endpoint of this host has.
    private static func lonely(_ node: Node, _ id: SubnetID) -> [Lease] {
        guard let network = node.catalogue.networkOfSubnet[id], let subnet = node.catalogue.subnet(id) else { return [] }
        return (node.addresses[id]?.leases ?? [:]).values.filter {
            node.inventory.endpoint(with: $0.address, on: network) == nil && $0.address != subnet.gateway
                && !subnet.auxiliary.contains($0.address)
        }.sorted { $0.address < $1.address }
    }

    // MARK: Giving up

    /// Ends an endpoint, and frees its addresses.
    ///
    /// - Parameter held: Addresses that other endpoints of the engine have.
    /// - Returns: The effects to wait for.
    static func giveUp(_ node: inout Node, _ endpoint: LocalEndpoint, except held: Set<IPAddress>) -> Set<EffectID> {
        var awaited = NetworkCalls.removeEndpoint(&node, endpoint)
        for subnet in node.catalogue.networks[endpoint.network]?.subnets ?? [] {
            for address in endpoint.addresses where !held.contains(address) {
                // The address may be another endpoint's by now, and the lease that of a container that is being started.
                guard let lease = node.addresses[subnet.id]?.lease(at: address), lease.mac == endpoint.mac,
                    node.inventory.endpoint(with: address, on: endpoint.network) == nil
                else { continue }
                awaited.formUnion(Self.free(&node, lease))
            }
        }
        return awaited
    }

    /// Frees an address that no endpoint has.
    ///
    /// - Returns: The effects to wait for.
    static func free(_ node: inout Node, _ lease: Lease) -> Set<EffectID> {
        guard let row = node.addresses.release(lease.address, of: lease.subnet, now: node.now) else { return [] }
        node.reconciliation.setGivenUp(.lease(lease.subnet, lease.address), at: node.now)
        return [node.outbox.store([row], for: [.lease(lease.subnet, lease.address)])]
    }

    // MARK: Containers that did not start

    /// Looks at containers of ours that do not run: their start may have failed as this daemon was not there.
    static func learn(_ node: inout Node, _ all: [ConfiguredContainer]) {
        let names = Set(node.inventory.allNetworks.compactMap(\.name))
        let ended = all.filter { container in
            container.hasEnded
                && container.references.contains { reference in
                    names.contains(reference.name) || reference.network.map { node.inventory.network($0) != nil } ?? false
                }
        }
        let named = ended.map { ($0.id, $0.name.isEmpty ? $0.id.short : $0.name) }
        for id in node.reconciliation.missed.learn(Dictionary(named) { first, _ in first }) {
            EngineNews.callEngine(&node, .lastStart(id))
        }
    }

    /// Learns how the last start of a container ended, and starts it where that is wanted.
    static func learn(_ node: inout Node, _ container: ContainerID, _ start: ContainerStart) {
        guard node.reconciliation.missed.learn(container, isMissed: start.isMissed && start.hasEnded) else { return }
        node.outbox.log(
            .info, "a container is started whose start failed as this daemon was not there", [LogKey.container: container.short])
        EngineNews.callEngine(&node, .start(container))
    }

    // MARK: Reports

    private static let mostNames = 10

    /// Sentences about what is kept as the engine cannot be asked, and about containers that should run.
    static func problems(_ node: Node) -> [String] {
        var problems: [String] = []
        for (id, reason) in node.reconciliation.failures.sorted(by: { $0.key < $1.key }) {
            let count = node.inventory.endpoints(of: id).count
            problems.append(
                "the engine does not say which containers are on network \(Self.title(node, id)) (\(reason)): \(count) endpoint(s) and "
                    + "all addresses of it are kept, also those of containers that are gone")
        }
        for (id, endpoints) in node.reconciliation.strays.sorted(by: { $0.key < $1.key }) {
            let title = Self.title(node, id)
            let names = endpoints.sorted().prefix(Self.mostNames).map(\.short).joined(separator: " ")
            problems.append(
                "the engine does not have network \(title), but containers seem to be on it: \(endpoints.count) endpoint(s) are kept "
                    + "(\(names)); if their containers are gone, `swift-overlay network disconnect --force \(title) ENDPOINT` frees each"
            )
        }
        let missed = node.reconciliation.missed.names
        if !missed.isEmpty {
            let names = missed.values.sorted().prefix(Self.mostNames).joined(separator: " ")
            let others = missed.count > Self.mostNames ? " (the first of \(missed.count))" : ""
            problems.append(
                "containers do not run, as this daemon was not there when they were started: `docker start \(names)`\(others)")
        }
        return problems
    }

    private static func title(_ node: Node, _ id: EngineNetworkID) -> String {
        guard let local = node.inventory.network(id) else { return id.short }
        return node.catalogue.networks[local.network]?.title ?? local.name ?? id.short
    }

    // MARK: Open calls

    /// Things that open calls of the engine concern.
    private struct Busy {
        var endpoints: Set<EndpointID> = []
        var networks: Set<EngineNetworkID> = []
        var subnets: Set<SubnetID> = []
        var addresses: Set<IPAddress> = []
        var macs: Set<MACAddress> = []
        /// True while a network is being created.
        var isMaking = false

        init(_ node: Node) {
            for case .driver(let call) in node.requests.all.map(\.value.call) {
                switch call {
                case .createEndpoint(let call):
                    endpoints.insert(call.endpoint)
                    networks.insert(call.network)
                    addresses.formUnion([call.v4?.address, call.v6?.address].compactMap { $0 })
                case .join(let call): endpoints.insert(call.endpoint)
                case .leave(_, let endpoint), .deleteEndpoint(_, let endpoint): endpoints.insert(endpoint)
                case .createNetwork(let call):
                    networks.insert(call.network)
                    isMaking = true
                case .deleteNetwork(let id): networks.insert(id)
                case .requestPool: isMaking = true
                case .releasePool(let subnet): subnets.insert(subnet)
                case .requestAddress(let call):
                    subnets.insert(call.pool)
                    if let address = call.address { addresses.insert(address) }
                    if case .endpoint(let mac) = call.purpose { macs.insert(mac) }
                case .releaseAddress(let subnet, let address):
                    subnets.insert(subnet)
                    addresses.insert(address)
                default: break
                }
            }
            // A command creates a network through the engine, which has not asked for its pool yet.
            if node.requests.all.contains(where: { if case .control(.createNetwork) = $0.value.call { true } else { false } }) {
                isMaking = true
            }
        }

        func concerns(_ lease: Lease) -> Bool { addresses.contains(lease.address) || macs.contains(lease.mac) }
    }
}
