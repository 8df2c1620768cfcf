import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel

/// A new catalogue writer, in the place of one that is gone for good.
enum PromotionCalls {
    /// After which a node is replaced or removed without `--force`: whoever restarts a host should not find that it was, meanwhile.
    static let absence = Interval.seconds(60)

    static func promote(_ node: inout Node, force: Bool, _ id: RequestID) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        guard !node.catalogueNode.isWriter || node.catalogueNode.isBehind else {
            throw DriverError(
                .conflict,
                "this node writes the catalogue already, as generation \(node.catalogueNode.heard.number); run `swift-overlay promote` on "
                    + "another one, when this is gone")
        }
        try PromotionCalls.checkWriterIsAway(node, force: force)
        if !force {
            try PromotionCalls.checkIsNewest(&node)
            let reached = 1 + node.catalogue.members.keys.count { $0 != node.identity.id && node.peers.isReached($0) }
            guard 2 * reached >= node.catalogue.members.count else {
                throw DriverError(
                    .unavailable,
                    "\(reached) of \(node.catalogue.members.count) nodes are reachable from here, less than half: run it on a node that reaches "
                        + "the others, or use --force if these are gone too")
            }
        }
        let metadata = ["index": "\(node.catalogue.index)", "force": "\(force)"]
        node.outbox.log(.warning, "this node takes over the catalogue from \(node.writerName)", metadata)
        var out: [CatalogueNode.Effect] = []
        let proposal = node.catalogueNode.promote(now: node.now, into: &out)
        node.proposals.add(proposal, for: .promotion(id))
        node.runCatalogue(out)
        return .wait
    }

    private static func checkWriterIsAway(_ node: Node, force: Bool) throws(DriverError) {
        guard let writer = node.catalogueNode.writer, writer != node.identity.id, node.catalogue.members[writer] != nil else { return }
        guard let peer = node.peers[writer], peer.state != .unknown else {
            throw DriverError(
                .unavailable,
                "node \(node.writerName) writes the catalogue, and this node has not tried for long enough whether it answers; try again in a "
                    + "few seconds")
        }
        guard !peer.state.isReachable else {
            let answers = peer.silentSince == nil ? "answers" : PeerStatus.silentReason
            throw DriverError(
                .conflict,
                "node \(node.writerName) writes the catalogue and \(answers); if it is to be replaced all the same, stop the daemon there first"
            )
        }
        let absence = node.now - peer.since
        guard force || absence >= Self.absence else {
            throw DriverError(
                .conflict,
                "node \(node.writerName), which writes the catalogue, has been \(peer.state.word) for \(absence.wholeSeconds) s, not for "
                    + "\(Self.absence.wholeSeconds); wait, or use --force if it never comes back")
        }
    }

    /// What only another node knows would be lost.
    private static func checkIsNewest(_ node: inout Node) throws(DriverError) {
        let others = node.peers.positions.filter { node.peers.isReached($0.key) && $0.value > node.catalogue.position }
        guard let (peer, position) = others.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else { return }
        let mine = node.catalogue.position
        node.withCatalogue { [now = node.now] in $0.catchUp(with: peer, at: position, now: now, into: &$1) }
        throw DriverError(
            .conflict,
            "node \(node.name(of: peer)) knows the catalogue to index \(position.index) of generation \(position.term.number), this one "
                + "to \(mine.index) of \(mine.term.number), and asks it for the rest now: try again in a moment, or use --force to "
                + "lose it")
    }

    static func settlePromotion(_ node: inout Node, _ id: RequestID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)): node.fail(id, DriverError(refusal))
        case .decided:
            // What was kept for want of a writer.
            if !node.closings.isEmpty { node.outbox.timers[.close] = node.now }
            if !node.handovers.isEmpty { node.outbox.timers[.handOver] = node.now }
            let generation = node.catalogue.term.number
            node.finish(
                id,
                .control(
                    .done(
                        "This node writes the catalogue now, as generation \(generation). Remove the old writer with `swift-overlay node rm`, "
                            + "with --force before it has been away for \(Self.absence.wholeSeconds) s; if it comes back before, it follows this one."
                    )))
        case .writerFailed:
            node.fail(id, DriverError(.system, "this node cannot write its state, and is not the writer; see its log"))
        case .timedOut, .noCluster: node.fail(id, Node.noCluster)
        }
    }

    /// - Parameter index: Of the term's first entry; nil where this node has its state alone.
    static func logTerm(_ node: inout Node, since index: UInt64? = nil) {
        let term = node.catalogue.term
        guard node.writerStatus.logs(term) else { return }
        let since = index.map { "since index \($0)" } ?? "and at index \(node.catalogue.index)"
        node.outbox.log(
            .warning,
            "catalogue generation \(term.number) is written by \(node.name(of: term.writer)) \(since); "
                + (term.writer == node.identity.id ? "that is this node" : "this node follows it"))
    }

    // MARK: What was lost

    /// What this host had from an old term's last entries, and the new one does not have.
    ///
    /// Addresses of endpoints that are not in this host's blocks (rule R7): none of them is handed out any more, but what runs with one
    /// goes on. And networks that the cluster does not have, or not on this host.
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
                "network \(node.catalogue.networks[local.network]?.title ?? local.id.short) of this engine was agreed on with \(origin), and is "
                    + "not in the cluster now: its containers here are cut off; remove it with `docker network rm`, and create it again"
            )
        }
        for endpoint in node.inventory.allEndpoints where !lost.contains(endpoint.engineNetwork) {
            let network = node.catalogue.networks[endpoint.network]
            for address in endpoint.addresses {
                let subnet = network?.subnets.first { $0.prefix.contains(address) }
                if let subnet, node.closings.contains(subnet.id) || subnet.block(holding: address)?.owner == node.identity.id { continue }
                texts.append(
                    "address \(address) of network \(network?.title ?? endpoint.network.short) was given to this node by \(origin), and "
                        + "may be given to another container now: disconnect the one that has it here from the network, and connect it "
                        + "again")
            }
        }
        return texts
    }

    /// After the state was replaced as a whole.
    static func endLosses(_ node: inout Node) {
        guard node.catalogue.term.number > 1 else { return }
        PromotionCalls.logTerm(&node)
        for text in PromotionCalls.losses(node) { node.outbox.log(.error, text) }
        // Nobody answers for their VNIs any more: another network may get them. Their endpoints go with the next look at the kernel.
        let known = Set(node.catalogue.networks.values.map(\.vni))
        node.outbox.apply(node.forwarding.vnis.filter { !known.contains($0) }.flatMap { node.forwarding.lower($0) })
    }
}
