import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayReplication

/// Calls of the command line; among them init, join and leave, which begin and end a membership. Owns nothing.
enum ClusterCalls {
    /// Runs a round of a call of the command line.
    static func performControl(_ node: inout Node, _ call: ControlRequest, _ id: RequestID) throws(DriverError) -> Step {
        switch call {
        case .initialise(let call): return try Self.initialise(&node, call)
        case .join(let token, let host, let port): return try Self.contact(&node, token, host, port, id)
        case .leave(let force): return try Self.leaveCluster(&node, force: force, id)
        case .joinToken(let newSecret):
            try AddressCalls.checkCluster(node)
            if let newSecret, node.catalogue.cluster?.joinSecret != newSecret { return .propose(.setJoinSecret(newSecret)) }
            guard let report = Self.joinToken(node) else { throw Node.noCluster }
            return .reply(.control(.token(report)))
        case .removeNode(let name, let force, let now): return try RemovalCalls.removeNode(&node, name, force: force, isAtOnce: now)
        case .promote(let force): return try PromotionCalls.promote(&node, force: force, id)
        case .nodes:
            try AddressCalls.checkCluster(node)
            return .reply(.control(.nodes(Reports.nodeReports(node))))
        case .nodeChanges(let after):
            try AddressCalls.checkCluster(node)
            guard let changes = PeerFollower.changes(node, after: after) else {
                node.requests.wait(id, for: .nodeChange)
                return .wait
            }
            return .reply(.control(.nodeChanges(changes)))
        case .networks:
            try AddressCalls.checkCluster(node)
            return .reply(.control(.networks(Reports.networkReports(node))))
        case .network(let name):
            try AddressCalls.checkCluster(node)
            let reports = Reports.networkReports(node).filter {
                $0.name == name || !name.isEmpty && ($0.id.hasPrefix(name) || $0.engineID?.hasPrefix(name) == true)
            }
            guard let report = reports.first(where: { $0.name == name }) ?? reports.first(where: { !$0.isRemoved }) ?? reports.first
            else {
                throw DriverError(.notFound, "no such network: \(name)")
            }
            return .reply(.control(.network(report)))
        case .createNetwork(let network): return try NetworkCommands.createByCommand(&node, network, id)
        case .removeNetwork(let name): return try NetworkCommands.removeByCommand(&node, name, id)
        case .disconnect(let network, let endpoint, let force):
            return try DisconnectCalls.disconnect(&node, network, endpoint, force: force, id)
        case .status: return .reply(.control(.status(Reports.statusReport(node))))
        }
    }

    /// Goes on with a call whose proposal was accepted.
    static func decided(_ node: inout Node, _ call: ControlRequest, _ id: RequestID) {
        switch call {
        case .leave:
            // Applying the removal has made this node forget the cluster.
            node.finish(id, .control(.done("Node left the cluster.")))
        case .removeNode(let name, _, _): node.finish(id, .control(.done(name)))
        default: node.perform(id)
        }
    }

    // MARK: init

    /// Makes a cluster with this node as its writer.
    private static func initialise(_ node: inout Node, _ call: Initialise) throws(DriverError) -> Step {
        guard node.catalogue.cluster == nil else {
            throw DriverError(
                .conflict, "this node is in cluster \(node.clusterName) already; `swift-overlay leave` takes it out")
        }
        guard call.addressPool.family == .v4, call.addressPool.isNetwork,
            call.subnetLength >= call.addressPool.length, call.subnetLength <= 29
        else {
            throw DriverError(
                .invalid, "the default address pool must be an IPv4 subnet, and its mask length between the pool's and 29")
        }
        let cluster = Cluster(
            id: call.cluster, writer: node.identity.id, addressPool: call.addressPool, subnetLength: call.subnetLength,
            dataPathPort: call.dataPathPort, rootKey: call.rootKey, rootPublicKey: call.rootPublicKey, gossipKey: call.gossipKey,
            joinSecret: call.joinSecret)
        let member = node.member
        let stored = enterCluster(&node) { $0.initialise(cluster, member: member, into: &$1) }
        guard let report = Self.joinToken(node) else { throw Node.noCluster }
        return .after([stored], .control(.token(report)), undo: .cluster)
    }

    /// Enters a cluster. All rows are written in one transaction, so that after a crash all or none of them are there.
    ///
    /// - Returns: The transaction.
    private static func enterCluster(_ node: inout Node, _ body: (inout CatalogueNode, inout [CatalogueNode.Effect]) -> Void)
        -> EffectID
    {
        var out: [CatalogueNode.Effect] = []
        node.withReplication { $0.leaveAll(into: &$1) }
        node.life.joined()
        node.replication.setLife(node.life.spoken.life)
        // No peer of this cluster has heard of an earlier life: that was in another cluster, or ended with the node's removal.
        node.outbox.assure()
        body(&node.catalogueNode, &out)
        var writes: [StoreWrite] = [node.life.row]
        out.removeAll { effect in
            guard case .store(nil, let rows) = effect else { return false }
            writes += rows
            return true
        }
        let stored = node.outbox.store(writes)
        node.runCatalogue(out)
        return stored
    }

    private static func storeEpoch(_ node: inout Node) -> EffectID {
        node.outbox.store([node.life.row])
    }

    /// Join command and its token; nil outside a cluster.
    static func joinToken(_ node: Node) -> JoinTokenReport? {
        guard let cluster = node.catalogue.cluster else { return nil }
        let pin = Array(node.signing.hash(cluster.rootPublicKey).prefix(JoinToken.pinBytes))
        let token = JoinToken(pin: pin, secret: cluster.joinSecret.secret).description
        let host = node.identity.address.family == .v6 ? "[\(node.identity.address)]" : "\(node.identity.address)"
        // The port is always told: hosts of another version may have another default.
        return JoinTokenReport(
            token: token, command: "swift-overlay join --token \(token) \(host):\(node.identity.port)",
            expires: cluster.joinSecret.expires)
    }

    // MARK: join

    /// Begins a join: a new epoch first, durably, and then the other node is asked.
    private static func contact(_ node: inout Node, _ text: String, _ host: String, _ port: UInt16?, _ id: RequestID)
        throws(DriverError) -> Step
    {
        guard node.catalogue.cluster == nil else {
            throw DriverError(
                .conflict, "this node is in cluster \(node.clusterName) already; `swift-overlay leave` takes it out")
        }
        guard let token = JoinToken(text) else {
            throw DriverError(.invalid, "the token is malformed; `swift-overlay join-token` on a member prints it")
        }
        node.life.beginEpoch()
        let contact = JoinContact(
            host: host, ports: NodePort.joining(given: port), pin: token.pin, secret: token.secret, member: node.member)
        // Durable before others hear of the epoch, together with the end of an earlier membership: else, after a crash, addresses
        // of its blocks would be handed out in the name of the new one.
        return .after([Self.storeEpoch(&node)], .contact(contact), undo: nil)
    }

    /// Handles the answer to a join: enters the cluster, or fails the call.
    static func joined(_ node: inout Node, _ id: RequestID, _ answer: JoinAnswer) {
        switch answer {
        case .refused(let reason): node.fail(id, DriverError(.unavailable, reason))
        case .admitted(let snapshot):
            guard node.catalogue.cluster == nil else { return node.fail(id, DriverError(.conflict, "this node joined meanwhile")) }
            guard snapshot.members[node.identity.id]?.epoch == node.life.epoch else {
                return node.fail(id, DriverError(.invalid, "the answer does not admit this node"))
            }
            // A member of an earlier release does not look at versions.
            if let reason = VersionRules.obstacle(to: node.member, in: snapshot) {
                let advice =
                    "; then remove this one there (`swift-overlay node rm --force --now \(node.identity.name)`) and join again"
                return node.fail(id, DriverError(.conflict, reason + advice))
            }
            let stored = enterCluster(&node) { [life = node.life] in $0.join(snapshot, epoch: life.epoch, into: &$1) }
            let done = "This node joined cluster \(node.clusterName) as \(node.identity.name).\(Self.portHint(node, in: snapshot))"
            node.requests.wait(id, for: .effects([stored], .control(.done(done)), undo: .cluster))
        }
    }

    /// Sentence for a node that listens where nobody else of its cluster does, as firewalls may not know of its port; else nothing.
    private static func portHint(_ node: Node, in cluster: Catalogue) -> String {
        let own = node.identity.port
        let others = Set(cluster.members.values.filter { $0.id != node.identity.id }.map(\.port)).sorted()
        guard let other = others.first, !others.contains(own) else { return "" }
        let theirs = others.prefix(3).map { "\($0)" }.joined(separator: ", ")
        return " It listens on port \(own), and the others on \(theirs): open all of them between the hosts, TCP and UDP, or give "
            + "this daemon another port (--listen-addr 0.0.0.0:\(other))."
    }

    /// Admits a node that has proved to know the join secret.
    static func admit(_ node: inout Node, _ member: Member) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        if let reason = VersionRules.obstacle(to: member, in: node.catalogue) { throw DriverError(.conflict, reason) }
        guard Member.isName(member.name) else {
            throw DriverError(
                .invalid,
                "the host is called \(member.name.printable()): give it a name of letters, digits, dots, hyphens and underscores, and start "
                    + "its daemon anew")
        }
        let pool = node.catalogue.cluster?.addressPool
        if let pool, node.catalogue.members[member.id] == member.limited(to: pool) {
            return .reply(.admission(.admitted(node.catalogue)))
        }
        return .propose(.admit(member))
    }

    // MARK: leave

    /// Leaves the cluster: by its catalogue, or without it where the writer is away and the user insists.
    private static func leaveCluster(_ node: inout Node, force: Bool, _ id: RequestID) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        guard force || node.inventory.endpointCount == 0 else {
            throw DriverError(
                .conflict,
                "\(node.inventory.endpointCount) container interface(s) of this host are on overlay networks; disconnect them, "
                    + "or use --force"
            )
        }
        if node.isWriterAway, force {
            node.outbox.log(
                .warning, "left without telling the cluster; remove this node there with `swift-overlay node rm --force`")
            Self.forgetCluster(&node)
            return .reply(
                .control(
                    .done(
                        "Node left the cluster, which could not be told; remove it there with `swift-overlay node rm --force "
                            + "\(node.identity.name)`."
                    )))
        }
        return .propose(.remove(node.identity.id, now: true))
    }

    /// Removes everything of the cluster from this host.
    static func forgetCluster(_ node: inout Node) {
        for endpoint in node.inventory.allEndpoints { _ = NetworkCalls.removeEndpoint(&node, endpoint) }
        var operations: [KernelOperation] = []
        for vni in node.forwarding.vnis { operations += node.forwarding.lower(vni) }
        node.outbox.apply(operations)
        node.withReplication { $0.leaveAll(into: &$1) }
        node.following.subscribe(to: [])
        node.addresses = Addresses()
        node.inventory.forgetAll()
        node.closings = Closings()
        node.mirror.forget()
        node.handovers = Handovers()
        node.claims = Claims(of: node.identity.id)
        node.peers.forgetAll()
        node.life.forgetRollback(into: &node.outbox)
        node.writer.status.answered()
        node.outbox.store([
            .clear(.network), .clear(.endpoint), .clear(.lease), .clear(.closing), .clear(.handover), .clear(.quarantine),
            .clear(.declined), .clear(.claim),
            .delete(.node, key: NodeRow.rollback),
        ])
        node.withCatalogue { $0.leave(into: &$1) }
        CatalogueFollower.setPeers(&node)
        // Outside a cluster there is no peer to wait for.
        RollbackRecovery.assure(&node)
    }
}
