import OverlayCatalogue
import OverlayDNS
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Follow-up for names: brings the tables that the DNS shell answers from in line with the owner logs, and the scopes of sandboxes
/// in line with their networks. Owns nothing.
enum NameFollower {
    /// Entry of an endpoint in a name table.
    static func named(_ record: EndpointRecord, of owner: NodeID? = nil) -> NamedEndpoint {
        NamedEndpoint(
            endpoint: record.endpoint, names: record.names.names, addresses: record.addresses, ports: record.names.ports,
            owner: owner)
    }

    // MARK: Tables

    /// True if the names of an owner's endpoints are answered. Those of an unreachable host are not; those of a host whose daemon
    /// is down are, as its containers go on.
    private static func hasUsableNames(_ node: Node, _ owner: NodeID) -> Bool { node.peers.state(of: owner) != .unreachable }

    /// Follows a change of a record.
    static func followRecords(_ node: inout Node, _ effect: Replication.Effect) {
        switch effect {
        case .changed(let owner, let id, let record, let old):
            if Self.hasUsableNames(node, owner) {
                node.names.change(id, from: old.map { Self.named($0, of: owner) }, to: Self.named(record, of: owner))
            }
        case .gone(let owner, let id, let record):
            if Self.hasUsableNames(node, owner) { node.names.change(id, from: Self.named(record, of: owner), to: nil) }
        default: break
        }
    }

    /// Makes the tables of the networks that this node takes part in, and drops all others.
    static func followNames(_ node: inout Node) {
        node.names.keepOnly(node.following.networks)
        for id in node.following.networks where node.names.tables[id] == nil { Self.rebuildNames(&node, id) }
        node.names.setSubnets(node.catalogue.networks.values.flatMap { $0.subnets.map(\.prefix) }.sorted(), into: &node.outbox)
    }

    /// Adds or drops the names of a peer whose state has changed.
    static func followPeerNames(_ node: inout Node, of peer: NodeID, was old: PeerState) {
        let state = node.peers.state(of: peer)
        node.names.setSuspect(peer, state == .suspect)
        guard (old == .unreachable) != (state == .unreachable) else { return }
        for id in node.following.networks where !node.replication.endpoints(of: peer, on: id).isEmpty {
            Self.rebuildNames(&node, id)
        }
    }

    /// Follows a new name of a network.
    static func rename(_ node: inout Node, _ network: NetworkID) {
        guard let known = node.names.tables[network], let new = node.catalogue.networks[network],
            known.title != new.zone.lowercased()
        else {
            return
        }
        Self.rebuildNames(&node, network)
    }

    /// Names of a network, computed anew from the records.
    private static func expectedNames(_ node: Node, on id: NetworkID) -> [NamedEndpoint] {
        let others = node.replication.endpoints(on: id).filter {
            $0.owner != node.identity.id && Self.hasUsableNames(node, $0.owner)
        }.map { Self.named($0.record, of: $0.owner) }
        let own = node.inventory.endpoints(on: id).compactMap { node.names.own($0.id) }
        return others + own
    }

    private static func rebuildNames(_ node: inout Node, _ id: NetworkID) {
        node.names.rebuild(id, title: node.catalogue.networks[id]?.zone ?? "", from: Self.expectedNames(node, on: id))
    }

    /// Compares all tables with the records, and repairs those that differ.
    static func checkNames(_ node: inout Node) {
        Self.followNames(&node)
        for id in node.following.networks.sorted() {
            guard !node.names.holds(Self.expectedNames(node, on: id), on: id) else { continue }
            node.outbox.log(
                .warning, "names were not what the records say; they are made anew",
                [LogKey.network: node.catalogue.networks[id]?.title ?? ""])
            Self.rebuildNames(&node, id)
        }
    }

    // MARK: Sandboxes

    /// Brings the scope of a sandbox in line with the networks that it is on.
    ///
    /// - Returns: The effect that ends when its questions are answered; nil where nothing changes.
    @discardableResult
    static func followSandbox(_ node: inout Node, _ path: String) -> EffectID? {
        guard !path.isEmpty else { return nil }
        let endpoints = node.inventory.endpoints(in: path).filter { $0.isJoined && node.catalogue.networks[$0.network] != nil }
        let places = Self.places(node, endpoints)
        let others = Set(places.compactMap { if case .other(let id) = $0 { id } else { nil } })
        for id in node.sandboxes.others.need(others, in: path, now: node.now) {
            EngineNews.callEngine(&node, .containersOn(id))
            Self.scheduleSettling(&node)
        }
        guard !endpoints.isEmpty else { return node.sandboxes.set(nil, of: path, into: &node.outbox) }
        let forwards = endpoints.contains {
            $0.isElsewhere || node.catalogue.networks[$0.network]?.settings?.isInternal != true
        }
        let isSettled = endpoints.allSatisfy { node.names.settling.isSettled($0.id) }
        return node.sandboxes.set(
            SandboxScope(places: places, forwards: forwards, isSettled: isSettled), of: path, into: &node.outbox)
    }

    /// Networks of a sandbox in the order in which libnetwork asks them (`Endpoint.Less`): by priority, internal ones last, those of both
    /// families first, then by name. Those of other drivers behind all of ours are left out: what ours do not have is asked of Docker in
    /// any case.
    private static func places(_ node: Node, _ endpoints: [LocalEndpoint]) -> [SandboxScope.Place] {
        var all: [(rank: NetworkRank, id: String, place: SandboxScope.Place)] = []
        var seen: Set<SandboxScope.Place> = []
        for endpoint in endpoints {
            let surroundings = node.sandboxes.others.surroundings(of: endpoint.id)
            let ours = SandboxScope.Place.ours(endpoint.network)
            let network = node.catalogue.networks[endpoint.network]
            let name = surroundings?.name ?? network?.zone ?? ""
            if seen.insert(ours).inserted {
                let rank = NetworkRank(network, name: name, priority: surroundings?.priority ?? 0)
                all.append((rank, endpoint.network.description, ours))
            }
            for other in surroundings?.others ?? [] where seen.insert(.other(other.network)).inserted {
                let shown = node.surroundings.networks?.first { $0.id == other.network }
                let rank = NetworkRank(
                    name: other.name, priority: other.priority, isInternal: shown?.isInternal ?? false,
                    families: max(1, Set((shown?.subnets ?? []).map(\.subnet.family)).count))
                all.append((rank, other.network.text, .other(other.network)))
            }
        }
        all.sort { ($0.rank, $0.id) < ($1.rank, $1.id) }
        var places = all.map(\.place)
        while case .other = places.last { places.removeLast() }
        return places
    }

    /// Has the gateway of a network answer its names where the network is up, for programs that do not ask Docker's resolver. It
    /// answers nothing else, and asks nobody.
    static func followGateway(_ node: inout Node, _ network: Network) {
        let gateway = network.subnets.lazy.map(\.gateway).first { $0.family == .v4 }
        let scope = gateway.map { SandboxScope(places: [.ours(network.id)], forwards: false, gateway: $0) }
        let path = "/run/netns/" + KernelName.namespace(network.vni)
        _ = node.sandboxes.set(node.forwarding.isUp(network.vni) ? scope : nil, of: path, into: &node.outbox)
    }

    // MARK: What is to come

    /// Takes note that the engine's API is to tell more of an endpoint.
    ///
    /// - Parameter isLinked: True if there is an engine to be asked, even if it was not heard of yet.
    static func awaitNames(_ node: inout Node, of endpoint: LocalEndpoint, isLinked: Bool = false) {
        guard isLinked || node.mirror.hasLink, !node.mirror.isInspected(endpoint.id) else { return }
        node.names.settling.begin(endpoint.id, on: endpoint.network, now: node.now)
        Self.scheduleSettling(&node)
    }

    /// The engine answers, and tells more of endpoints that have no name yet.
    static func awaitNames(_ node: inout Node) {
        for endpoint in node.inventory.allEndpoints where endpoint.isAnnounced && endpoint.learned.names.isEmpty {
            Self.awaitNames(&node, of: endpoint)
            Self.followSandbox(&node, endpoint.sandbox)
        }
    }

    /// A container was connected to a network of another driver, whose names are needed.
    static func awaitNames(_ node: inout Node, of container: ContainerID, on network: EngineNetworkID) {
        node.sandboxes.others.connected(container, on: network, now: node.now)
        Self.scheduleSettling(&node)
    }

    private static func scheduleSettling(_ node: inout Node) {
        let deadlines = [node.names.settling.nextDeadline, node.sandboxes.others.nextDeadline].compactMap { $0 }
        if let next = deadlines.min() { node.outbox.timers.set(.settle, noLaterThan: next) }
    }

    /// Takes what was awaited for long as it is known.
    static func settle(_ node: inout Node) {
        node.sandboxes.others.expire(at: node.now)
        for id in node.names.settling.expire(at: node.now) {
            if let endpoint = node.inventory.endpoint(id) { Self.followSandbox(&node, endpoint.sandbox) }
        }
        Self.scheduleSettling(&node)
    }

    // MARK: Containers

    /// Learns the names of a container's endpoints.
    ///
    /// - Parameter isWhole: True for an inspection; a list tells less.
    static func learnContainer(_ node: inout Node, _ container: EngineContainer, isWhole: Bool) {
        let isElsewhere = container.attachments.contains { node.inventory.network($0.network) == nil }
        let others = OtherNetworks.places(of: container) { node.inventory.network($0) != nil }
        if isWhole { node.sandboxes.others.learn(container) }
        var sandboxes: Set<String> = []
        for attachment in container.attachments {
            guard let id = attachment.endpoint, let known = node.inventory.endpoint(id), known.engineNetwork == attachment.network
            else {
                continue
            }
            var endpoint = known
            let names = Self.names(of: container, at: attachment)
            // An inspection knows more names than a list, so a list does not replace it.
            if isWhole || known.learned.names.isEmpty { endpoint.learned = EndpointNames(names: names, ports: container.ports) }
            if isWhole {
                endpoint.isElsewhere = isElsewhere
                Self.followRoom(&node, for: names, of: container.name, endpoint)
                node.mirror.inspected(id, of: container.id)
                node.sandboxes.others.set(
                    .init(name: attachment.networkName, priority: attachment.priority, others: others), of: id)
                node.names.settling.end(id)
                sandboxes.insert(endpoint.sandbox)
            }
            Self.update(&node, endpoint, from: known)
        }
        for path in sandboxes { Self.followSandbox(&node, path) }
    }

    /// Names of a container on a network, as the user gave them. Labels give none, as an image can have any label; that of a Compose
    /// service counts where the endpoint has the service's alias. So a container of `docker-compose run` is not taken for one of the
    /// service's. Aliases are last: where there are too many names, those are cut that the user chose.
    private static func names(of container: EngineContainer, at attachment: EngineContainer.Attachment) -> [String] {
        let service = container.labels["com.docker.compose.service"].flatMap { attachment.aliases.contains($0) ? $0 : nil }
        return [container.name, container.hostname, container.id.short] + [service.map { "tasks.\($0)" }].compactMap { $0 }
            + attachment.aliases
    }

    /// Takes note of names for which there is no room.
    private static func followRoom(_ node: inout Node, for names: [String], of container: String, _ endpoint: LocalEndpoint) {
        let given = [endpoint.givenName].compactMap { $0 } + names
        let cut = EndpointNames.fitting(given).cut
        let title = node.catalogue.networks[endpoint.network]?.title ?? endpoint.network.short
        node.names.setCut(cut, of: endpoint.id, container: container, network: title, into: &node.outbox)
    }

    /// Learns the name of an endpoint's container, where no name is known yet.
    static func learnName(_ node: inout Node, _ name: String, of id: EndpointID) {
        guard let known = node.inventory.endpoint(id), known.learned.names.isEmpty else { return }
        var endpoint = known
        endpoint.learned = EndpointNames(names: [name])
        Self.update(&node, endpoint, from: known)
    }

    /// Stores an endpoint that has changed, and announces its new names.
    private static func update(_ node: inout Node, _ endpoint: LocalEndpoint, from known: LocalEndpoint) {
        guard endpoint != known else { return }
        node.outbox.store([node.inventory.put(endpoint)])
        if endpoint.isAnnounced, endpoint.names != known.names { KernelFollower.announce(&node, endpoint) }
    }
}
