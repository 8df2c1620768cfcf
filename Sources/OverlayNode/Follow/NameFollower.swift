import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Follow-up for names: brings the tables that the DNS shell answers from in line with the owner logs, and the scopes of sandboxes
/// in line with their networks. Owns nothing.
enum NameFollower {
    /// Entry of an endpoint in a name table.
    static func named(_ node: Node, _ record: EndpointRecord) -> NamedEndpoint {
        NamedEndpoint(
            endpoint: record.endpoint, names: record.names.names, addresses: record.addresses, ports: record.names.ports)
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
                node.names.change(id, from: old.map { Self.named(node, $0) }, to: Self.named(node, record))
            }
        case .gone(let owner, let id, let record):
            if Self.hasUsableNames(node, owner) { node.names.change(id, from: Self.named(node, record), to: nil) }
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
        }.map { Self.named(node, $0.record) }
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
        let joined = node.inventory.joined(in: path)
        let networks = joined.networks.compactMap { node.catalogue.networks[$0] }.sorted {
            ($0.zone, $0.id) < ($1.zone, $1.id)
        }
        guard !networks.isEmpty else { return node.sandboxes.set(nil, of: path, into: &node.outbox) }
        let forwards = joined.isElsewhere || networks.contains { $0.settings?.isInternal != true }
        return node.sandboxes.set(SandboxScope(networks: networks.map(\.id), forwards: forwards), of: path, into: &node.outbox)
    }

    // MARK: Containers

    /// Learns the names of a container's endpoints.
    ///
    /// - Parameter isWhole: True for an inspection; a list tells less.
    static func learnContainer(_ node: inout Node, _ container: EngineContainer, isWhole: Bool) {
        let isElsewhere = container.attachments.contains { node.inventory.network($0.network) == nil }
        let services = ["com.docker.swarm.service.name", "com.docker.compose.service"].compactMap { container.labels[$0] }
        let short = String(container.id.text.prefix(12))
        for attachment in container.attachments {
            guard let id = attachment.endpoint, let known = node.inventory.endpoint(id), known.engineNetwork == attachment.network
            else {
                continue
            }
            var endpoint = known
            let learned = EndpointNames(
                names: [container.name] + attachment.aliases + [container.hostname, short] + services
                    + services.map { "tasks.\($0)" },
                ports: container.ports)
            // An inspection knows more names than a list, so a list does not replace it.
            if isWhole || known.learned.names.isEmpty { endpoint.learned = learned }
            if isWhole {
                endpoint.isElsewhere = isElsewhere
                node.mirror.inspected(id, of: container.id)
            }
            Self.update(&node, endpoint, from: known)
        }
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
        if endpoint.isElsewhere != known.isElsewhere { Self.followSandbox(&node, endpoint.sandbox) }
    }
}
