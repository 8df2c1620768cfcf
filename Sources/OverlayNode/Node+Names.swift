import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Who is called what, and who sees it: what the owner logs say, as tables that the DNS shell answers from.
extension Node {
    func named(_ record: EndpointRecord) -> NamedEndpoint {
        NamedEndpoint(
            endpoint: record.endpoint, names: record.names.names, addresses: record.addresses, ports: record.names.ports)
    }

    // MARK: Tables

    /// Does what an owner has count? The containers of a host that cannot be reached are of no use to anybody; those of one whose daemon
    /// is down are.
    private func counts(_ owner: NodeID) -> Bool { peers.state(of: owner) != .unreachable }

    mutating func followRecords(_ effect: Replication.Effect) {
        switch effect {
        case .changed(let owner, let id, let record, let old):
            if counts(owner) { names.change(id, from: old.map { named($0) }, to: named(record)) }
        case .gone(let owner, let id, let record):
            if counts(owner) { names.change(id, from: named(record), to: nil) }
        default: break
        }
    }

    /// The tables of those networks that this node takes part in, and no others.
    mutating func followNames() {
        names.keepOnly(subscribed)
        for id in subscribed where names.tables[id] == nil { rebuildNames(id) }
        names.setSubnets(catalogue.networks.values.flatMap { $0.subnets.map(\.prefix) }.sorted(), into: &outbox)
    }

    mutating func followPeerNames(of peer: NodeID, was old: PeerState) {
        let state = peers.state(of: peer)
        guard (old == .unreachable) != (state == .unreachable) else { return }
        for id in subscribed where !replication.endpoints(of: peer, on: id).isEmpty { rebuildNames(id) }
    }

    /// It is called something else.
    mutating func rename(_ network: NetworkID) {
        guard let known = names.tables[network], let new = catalogue.networks[network], known.title != new.zone.lowercased() else {
            return
        }
        rebuildNames(network)
    }

    /// What is right by the records, from the beginning.
    private func expectedNames(on id: NetworkID) -> [NamedEndpoint] {
        let others = replication.endpoints(on: id).filter { $0.owner != identity.id && counts($0.owner) }.map { named($0.record) }
        let own = inventory.endpoints(on: id).compactMap { names.own($0.id) }
        return others + own
    }

    private mutating func rebuildNames(_ id: NetworkID) {
        names.rebuild(id, title: catalogue.networks[id]?.zone ?? "", from: expectedNames(on: id))
    }

    /// Names that were missed, or kept too long, are found at the latest now.
    mutating func checkNames() {
        followNames()
        for id in subscribed.sorted() {
            guard !names.holds(expectedNames(on: id), on: id) else { continue }
            outbox.log(
                .warning, "names were not what the records say; they are made anew",
                ["network": catalogue.networks[id]?.title ?? ""])
            rebuildNames(id)
        }
    }

    // MARK: Sandboxes

    /// Brings what a sandbox sees in line with the networks that it is on.
    ///
    /// - Returns: The effect that ends when it does; nil where nothing is to be done.
    @discardableResult
    mutating func followSandbox(_ path: String) -> EffectID? {
        guard !path.isEmpty else { return nil }
        let joined = inventory.endpoints(in: path).filter(\.isJoined)
        let networks = Set(joined.map(\.network)).compactMap { catalogue.networks[$0] }.sorted {
            ($0.zone, $0.id) < ($1.zone, $1.id)
        }
        guard !networks.isEmpty else { return sandboxes.set(nil, of: path, into: &outbox) }
        let forwards = joined.contains(where: \.isElsewhere) || networks.contains { $0.settings?.isInternal != true }
        return sandboxes.set(SandboxScope(networks: networks.map(\.id), forwards: forwards), of: path, into: &outbox)
    }

    // MARK: What the engine tells of containers

    mutating func learnContainer(_ container: EngineContainer, isWhole: Bool) {
        let isElsewhere = container.attachments.contains { inventory.network($0.network) == nil }
        let services = ["com.docker.swarm.service.name", "com.docker.compose.service"].compactMap { container.labels[$0] }
        let short = String(container.id.text.prefix(12))
        for attachment in container.attachments {
            guard let id = attachment.endpoint, let known = inventory.endpoint(id), known.engineNetwork == attachment.network else {
                continue
            }
            var endpoint = known
            let learned = EndpointNames(
                names: [container.name] + attachment.aliases + [container.hostname, short] + services
                    + services.map { "tasks.\($0)" },
                ports: container.ports)
            // A list tells less than is known of one that was inspected.
            if isWhole || known.learned.names.isEmpty { endpoint.learned = learned }
            if isWhole {
                endpoint.isElsewhere = isElsewhere
                mirror.inspected(id, of: container.id)
            }
            update(endpoint, from: known)
        }
    }

    /// An endpoint has its container's name.
    mutating func learnName(_ name: String, of id: EndpointID) {
        guard let known = inventory.endpoint(id), known.learned.names.isEmpty else { return }
        var endpoint = known
        endpoint.learned = EndpointNames(names: [name])
        update(endpoint, from: known)
    }

    private mutating func update(_ endpoint: LocalEndpoint, from known: LocalEndpoint) {
        guard endpoint != known else { return }
        outbox.store([inventory.put(endpoint)])
        if endpoint.isAnnounced, endpoint.names != known.names { announce(endpoint) }
        if endpoint.isElsewhere != known.isElsewhere { followSandbox(endpoint.sandbox) }
    }
}
