import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Promotion: a new catalogue writer takes the place of one that is gone for good. Owns nothing.
enum PromotionCalls {
    /// Absence after which a node is replaced or removed without `--force`. A host that only restarts is back before.
    static let absence = Interval.seconds(60)

    /// Makes this node the writer of a new term, where the old writer is away and nothing is lost, or by `--force`.
    static func promote(_ node: inout Node, force: Bool, _ id: RequestID) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        guard !node.catalogueNode.isWriter || node.catalogueNode.isBehind else {
            throw DriverError(
                .conflict,
                "this node writes the catalogue already, in term \(node.catalogueNode.heard.number); run `swift-overlay promote` "
                    + "on another one, when this is gone")
        }
        try Self.checkWriterIsAway(node, force: force)
        if !force {
            if let text = CopiedMachine.text(node) { throw DriverError(.conflict, text) }
            try Self.checkIsNewest(&node)
            let reached = 1 + node.catalogue.members.keys.count { $0 != node.identity.id && node.peers.isReached($0) }
            guard 2 * reached >= node.catalogue.members.count else {
                throw DriverError(
                    .unavailable,
                    "\(reached) of \(node.catalogue.members.count) nodes are reachable from here, less than half: run it on a node "
                        + "that reaches the others, or use --force if these are gone too")
            }
        }
        let metadata = [LogKey.writer: node.writerName, LogKey.index: "\(node.catalogue.index)", LogKey.force: "\(force)"]
        node.outbox.log(.warning, "this node takes over the catalogue from its writer", metadata)
        var out: [CatalogueNode.Effect] = []
        let proposal = node.catalogueNode.promote(now: node.now, into: &out)
        node.proposals.add(proposal, for: .promotion(id))
        node.runCatalogue(out)
        return .wait
    }

    /// Throws unless the writer has been away for long, or is away and the user insists.
    private static func checkWriterIsAway(_ node: Node, force: Bool) throws(DriverError) {
        guard let writer = node.catalogueNode.writer, writer != node.identity.id, node.catalogue.members[writer] != nil else {
            return
        }
        guard let peer = node.peers[writer], peer.state != .unknown else {
            throw DriverError(
                .unavailable,
                "node \(node.writerName) writes the catalogue, and this node has not tried for long enough whether it answers; try "
                    + "again in a few seconds")
        }
        guard !peer.state.isReachable else {
            let answers = peer.silentSince == nil ? "answers" : PeerStatus.silentReason
            throw DriverError(
                .conflict,
                "node \(node.writerName) writes the catalogue and \(answers); if it is to be replaced all the same, stop the "
                    + "daemon there first"
            )
        }
        let absence = node.now - peer.since
        guard force || absence >= Self.absence else {
            throw DriverError(
                .conflict,
                "node \(node.writerName), which writes the catalogue, has been \(peer.state.word) for \(absence.wholeSeconds) s, "
                    + "not for \(Self.absence.wholeSeconds); wait, or use --force if it never comes back")
        }
    }

    /// Throws if a reachable node knows more of the catalogue than this one, and fetches that from it.
    private static func checkIsNewest(_ node: inout Node) throws(DriverError) {
        let others = node.peers.positions.filter { node.peers.isReached($0.key) && $0.value > node.catalogue.position }
        guard let (peer, position) = others.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else { return }
        let mine = node.catalogue.position
        node.withCatalogue { [now = node.now] in $0.catchUp(with: peer, at: position, now: now, into: &$1) }
        throw DriverError(
            .conflict,
            "node \(node.name(of: peer)) knows the catalogue to index \(position.index) of term \(position.term.number), this one "
                + "to \(mine.index) of \(mine.term.number), and asks it for the rest now: try again in a moment, or use --force to "
                + "lose it")
    }

    /// Handles the outcome of a promotion.
    static func settlePromotion(_ node: inout Node, _ id: RequestID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)): node.fail(id, DriverError(refusal))
        case .decided:
            // Closings and handovers had to wait for a writer.
            if !node.closings.isEmpty { node.outbox.timers[.close] = node.now }
            if !node.handovers.isEmpty { node.outbox.timers[.handOver] = node.now }
            let term = node.catalogue.term.number
            node.finish(
                id,
                .control(
                    .done(
                        "This node writes the catalogue now, in term \(term). Remove the old writer with `swift-overlay node rm`, "
                            + "with --force before it has been away for \(Self.absence.wholeSeconds) s; if it comes back before, "
                            + "it follows this one."
                    )))
        case .writerFailed:
            node.fail(id, DriverError(.system, "this node cannot write its state, and is not the writer; see its log"))
        case .timedOut, .noCluster: node.fail(id, Node.noCluster)
        }
    }

    /// Logs a new term, once.
    ///
    /// - Parameter index: Position of the term's first entry; nil where this node has a snapshot only.
    static func logTerm(_ node: inout Node, since index: UInt64? = nil) {
        let term = node.catalogue.term
        guard node.writer.status.logs(term) else { return }
        let isOwn = term.writer == node.identity.id
        node.outbox.log(
            .warning,
            isOwn ? "this node writes the catalogue in a new term" : "the catalogue has a new writer; this node follows it",
            [
                LogKey.term: "\(term.number)", LogKey.writer: node.name(of: term.writer),
                LogKey.index: "\(index ?? node.catalogue.index)",
            ])
    }

    // MARK: Losses

    /// Sentences about what this host had by the last entries of an old term that the new term does not have.
    ///
    /// They are about networks that the cluster does not have, or not on this host; and addresses of endpoints that are in no block
    /// of this host (rule R7): none of them is handed out any more, but a container that has one keeps it.
    static func losses(_ node: Node) -> [String] {
        let origin = "a catalogue writer that was replaced"
        var texts: [String] = []
        var lost: Set<EngineNetworkID> = []
        for local in node.inventory.allNetworks {
            let kept = local.subnets.allSatisfy { id in
                node.closings.contains(id) || node.catalogue.subnet(id)?.users.contains(node.identity.id) == true
            }
            guard !kept || node.catalogue.networks[local.network] == nil else { continue }
            lost.insert(local.id)
            texts.append(
                "network \(node.catalogue.networks[local.network]?.title ?? local.id.short) of this engine was agreed on with "
                    + "\(origin), and is not in the cluster now: its containers here are cut off; remove it with "
                    + "`docker network rm`, and create it again"
            )
        }
        for endpoint in node.inventory.allEndpoints where !lost.contains(endpoint.engineNetwork) {
            let network = node.catalogue.networks[endpoint.network]
            for address in endpoint.addresses {
                let subnet = network?.subnets.first { $0.prefix.contains(address) }
                if let subnet, node.closings.contains(subnet.id) || subnet.block(holding: address)?.owner == node.identity.id {
                    continue
                }
                texts.append(
                    "address \(address) of network \(network?.title ?? endpoint.network.short) was given to this node by "
                        + "\(origin), and may be given to another container now: disconnect the one that has it here from the "
                        + "network, and connect it again")
            }
        }
        return texts
    }

    /// Follows a catalogue that was replaced as a whole: logs what was lost, and removes lost networks from the kernel.
    static func followReplacedState(_ node: inout Node) {
        guard node.catalogue.term.number > 1 else { return }
        Self.logTerm(&node)
        for text in Self.losses(node) {
            node.outbox.log(.error, "a grant of a replaced catalogue writer is lost", [LogKey.reason: text])
        }
        // Another network may get the VNIs of lost networks. Their endpoints go with the next observation of the kernel.
        let known = Set(node.catalogue.networks.values.map(\.vni))
        node.outbox.apply(node.forwarding.vnis.filter { !known.contains($0) }.flatMap { node.forwarding.lower($0) })
    }
}
