import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Who is called what, and who sees it: what the owner logs say, as tables that the DNS shell answers from.
enum NameFollower {
    static func named(_ node: Node, _ record: EndpointRecord) -> NamedEndpoint {
        NamedEndpoint(
            endpoint: record.endpoint, names: record.names.names, addresses: record.addresses, ports: record.names.ports)
    }

    // MARK: Tables

    /// Does what an owner has count? The containers of a host that cannot be reached are of no use to anybody; those of one whose daemon
    /// is down are.
    private static func counts(_ node: Node, _ owner: NodeID) -> Bool { node.peers.state(of: owner) != .unreachable }

    static func followRecords(_ node: inout Node, _ effect: Replication.Effect) {
        switch effect {
        case .changed(let owner, let id, let record, let old):
            if NameFollower.counts(node, owner) { node.names.change(id, from: old.map { NameFollower.named(node, $0) }, to: NameFollower.named(node, record)) }
        case .gone(let owner, let id, let record):
            if NameFollower.counts(node, owner) { node.names.change(id, from: NameFollower.named(node, record), to: nil) }
        default: break
        }
    }

    /// The tables of those networks that this node takes part in, and no others.
    static func followNames(_ node: inout Node) {
        node.names.keepOnly(node.following.networks)
        for id in node.following.networks where node.names.tables[id] == nil { NameFollower.rebuildNames(&node, id) }
        node.names.setSubnets(node.catalogue.networks.values.flatMap { $0.subnets.map(\.prefix) }.sorted(), into: &node.outbox)
    }

    static func followPeerNames(_ node: inout Node, of peer: NodeID, was old: PeerState) {
        let state = node.peers.state(of: peer)
        guard (old == .unreachable) != (state == .unreachable) else { return }
        for id in node.following.networks where !node.replication.endpoints(of: peer, on: id).isEmpty { NameFollower.rebuildNames(&node, id) }
    }

    /// It is called something else.
    static func rename(_ node: inout Node, _ network: NetworkID) {
        guard let known = node.names.tables[network], let new = node.catalogue.networks[network], known.title != new.zone.lowercased() else {
            return
        }
        NameFollower.rebuildNames(&node, network)
    }

    /// What is right by the records, from the beginning.
    private static func expectedNames(_ node: Node, on id: NetworkID) -> [NamedEndpoint] {
        let others = node.replication.endpoints(on: id).filter { $0.owner != node.identity.id && NameFollower.counts(node, $0.owner) }.map { NameFollower.named(node, $0.record) }
        let own = node.inventory.endpoints(on: id).compactMap { node.names.own($0.id) }
        return others + own
    }

    private static func rebuildNames(_ node: inout Node, _ id: NetworkID) {
        node.names.rebuild(id, title: node.catalogue.networks[id]?.zone ?? "", from: NameFollower.expectedNames(node, on: id))
    }

    /// Names that were missed, or kept too long, are found at the latest now.
    static func checkNames(_ node: inout Node) {
        NameFollower.followNames(&node)
        for id in node.following.networks.sorted() {
            guard !node.names.holds(NameFollower.expectedNames(node, on: id), on: id) else { continue }
            node.outbox.log(
                .warning, "names were not what the records say; they are made anew",
                ["network": node.catalogue.networks[id]?.title ?? ""])
            NameFollower.rebuildNames(&node, id)
        }
    }

    // MARK: Sandboxes

    /// Brings what a sandbox sees in line with the networks that it is on.
    ///
    /// - Returns: The effect that ends when it does; nil where nothing is to be done.
    @discardableResult
    static func followSandbox(_ node: inout Node, _ path: String) -> EffectID? {
        guard !path.isEmpty else { return nil }
        let joined = node.inventory.endpoints(in: path).filter(\.isJoined)
        let networks = Set(joined.map(\.network)).compactMap { node.catalogue.networks[$0] }.sorted {
            ($0.zone, $0.id) < ($1.zone, $1.id)
        }
        guard !networks.isEmpty else { return node.sandboxes.set(nil, of: path, into: &node.outbox) }
        let forwards = joined.contains(where: \.isElsewhere) || networks.contains { $0.settings?.isInternal != true }
        return node.sandboxes.set(SandboxScope(networks: networks.map(\.id), forwards: forwards), of: path, into: &node.outbox)
    }

    // MARK: What the engine tells of containers

    static func learnContainer(_ node: inout Node, _ container: EngineContainer, isWhole: Bool) {
        let isElsewhere = container.attachments.contains { node.inventory.network($0.network) == nil }
        let services = ["com.docker.swarm.service.name", "com.docker.compose.service"].compactMap { container.labels[$0] }
        let short = String(container.id.text.prefix(12))
        for attachment in container.attachments {
            guard let id = attachment.endpoint, let known = node.inventory.endpoint(id), known.engineNetwork == attachment.network else {
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
                node.mirror.inspected(id, of: container.id)
            }
            NameFollower.update(&node, endpoint, from: known)
        }
    }

    /// An endpoint has its container's name.
    static func learnName(_ node: inout Node, _ name: String, of id: EndpointID) {
        guard let known = node.inventory.endpoint(id), known.learned.names.isEmpty else { return }
        var endpoint = known
        endpoint.learned = EndpointNames(names: [name])
        NameFollower.update(&node, endpoint, from: known)
    }

    private static func update(_ node: inout Node, _ endpoint: LocalEndpoint, from known: LocalEndpoint) {
        guard endpoint != known else { return }
        node.outbox.store([node.inventory.put(endpoint)])
        if endpoint.isAnnounced, endpoint.names != known.names { KernelFollower.announce(&node, endpoint) }
        if endpoint.isElsewhere != known.isElsewhere { NameFollower.followSandbox(&node, endpoint.sandbox) }
    }
}
