import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel

/// A new catalogue writer, in the place of one that is gone for good.
extension Node {
    /// After which a node is replaced or removed without `--force`: whoever restarts a host should not find that it was, meanwhile.
    static let absence = Interval.seconds(60)

    /// Does it commit, as far as it knows?
    public var isCatalogueWriter: Bool { catalogueNode.isWriter && !catalogueNode.isBehind }

    mutating func promote(force: Bool, _ id: RequestID) throws(DriverError) -> Step {
        try checkCluster()
        guard !catalogueNode.isWriter || catalogueNode.isBehind else {
            throw DriverError(
                .conflict,
                "this node writes the catalogue already, as generation \(catalogueNode.heard.number); run `swift-overlay promote` on "
                    + "another one, when this is gone")
        }
        try checkWriterIsAway(force: force)
        if !force {
            try checkIsNewest()
            let reached = 1 + catalogue.members.keys.count { $0 != identity.id && peers.isReached($0) }
            guard 2 * reached >= catalogue.members.count else {
                throw DriverError(
                    .unavailable,
                    "\(reached) of \(catalogue.members.count) nodes are reachable from here, less than half: run it on a node that reaches "
                        + "the others, or use --force if these are gone too")
            }
        }
        let metadata = ["index": "\(catalogue.index)", "force": "\(force)"]
        outbox.log(.warning, "this node takes over the catalogue from \(writerName)", metadata)
        var out: [CatalogueNode.Effect] = []
        let proposal = catalogueNode.promote(now: now, into: &out)
        proposals.add(proposal, for: .promotion(id))
        runCatalogue(out)
        return .wait
    }

    private func checkWriterIsAway(force: Bool) throws(DriverError) {
        guard let writer = catalogueNode.writer, writer != identity.id, catalogue.members[writer] != nil else { return }
        guard let peer = peers[writer], peer.state != .unknown else {
            throw DriverError(
                .unavailable,
                "node \(writerName) writes the catalogue, and this node has not tried for long enough whether it answers; try again in a "
                    + "few seconds")
        }
        guard !peer.state.isReachable else {
            let answers = peer.silentSince == nil ? "answers" : PeerStatus.silentReason
            throw DriverError(
                .conflict,
                "node \(writerName) writes the catalogue and \(answers); if it is to be replaced all the same, stop the daemon there first"
            )
        }
        let absence = now - peer.since
        guard force || absence >= Self.absence else {
            throw DriverError(
                .conflict,
                "node \(writerName), which writes the catalogue, has been \(peer.state.word) for \(absence.wholeSeconds) s, not for "
                    + "\(Self.absence.wholeSeconds); wait, or use --force if it never comes back")
        }
    }

    /// What only another node knows would be lost.
    private mutating func checkIsNewest() throws(DriverError) {
        let others = peers.positions.filter { peers.isReached($0.key) && $0.value > catalogue.position }
        guard let (peer, position) = others.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else { return }
        let mine = catalogue.position
        withCatalogue { [now] in $0.catchUp(with: peer, at: position, now: now, into: &$1) }
        throw DriverError(
            .conflict,
            "node \(name(of: peer)) knows the catalogue to index \(position.index) of generation \(position.term.number), this one "
                + "to \(mine.index) of \(mine.term.number), and asks it for the rest now: try again in a moment, or use --force to "
                + "lose it")
    }

    mutating func settlePromotion(_ id: RequestID, _ outcome: CatalogueNode.Outcome) {
        switch outcome {
        case .decided(.refused(let refusal)): fail(id, DriverError(refusal))
        case .decided:
            // What was kept for want of a writer.
            if !closings.isEmpty { outbox.timers[.close] = now }
            if !handovers.isEmpty { outbox.timers[.handOver] = now }
            let generation = catalogue.term.number
            finish(
                id,
                .control(
                    .done(
                        "This node writes the catalogue now, as generation \(generation). Remove the old writer with `swift-overlay node rm`, "
                            + "with --force before it has been away for \(Self.absence.wholeSeconds) s; if it comes back before, it follows this one."
                    )))
        case .writerFailed:
            fail(id, DriverError(.system, "this node cannot write its state, and is not the writer; see its log"))
        case .timedOut, .noCluster: fail(id, Self.noCluster)
        }
    }

    /// - Parameter index: Of the term's first entry; nil where this node has its state alone.
    mutating func logTerm(since index: UInt64? = nil) {
        let term = catalogue.term
        guard writerStatus.logs(term) else { return }
        let since = index.map { "since index \($0)" } ?? "and at index \(catalogue.index)"
        outbox.log(
            .warning,
            "catalogue generation \(term.number) is written by \(name(of: term.writer)) \(since); "
                + (term.writer == identity.id ? "that is this node" : "this node follows it"))
    }

    var behindText: String {
        "this node writes the catalogue, but others know more of it than this node, whose state is of the past: nothing is committed; run "
            + "`swift-overlay promote` here, or stop this daemon and run it on another node"
    }

    // MARK: What was lost

    /// What this host had from an old term's last entries, and the new one does not have.
    ///
    /// Addresses of endpoints that are not in this host's blocks (rule R7): none of them is handed out any more, but what runs with one
    /// goes on. And networks that the cluster does not have, or not on this host.
    func losses() -> [String] {
        let origin = "a catalogue writer that was replaced"
        var texts: [String] = []
        var lost: Set<EngineNetworkID> = []
        for local in inventory.allNetworks {
            let kept = local.subnets.allSatisfy { id in
                closings.contains(id) || catalogue.subnet(id)?.users.contains(identity.id) == true
            }
            guard !kept || catalogue.networks[local.network] == nil else { continue }
            lost.insert(local.id)
            texts.append(
                "network \(catalogue.networks[local.network]?.title ?? local.id.short) of this engine was agreed on with \(origin), and is "
                    + "not in the cluster now: its containers here are cut off; remove it with `docker network rm`, and create it again"
            )
        }
        for endpoint in inventory.allEndpoints where !lost.contains(endpoint.engineNetwork) {
            let network = catalogue.networks[endpoint.network]
            for address in endpoint.addresses {
                let subnet = network?.subnets.first { $0.prefix.contains(address) }
                if let subnet, closings.contains(subnet.id) || subnet.block(holding: address)?.owner == identity.id { continue }
                texts.append(
                    "address \(address) of network \(network?.title ?? endpoint.network.short) was given to this node by \(origin), and "
                        + "may be given to another container now: disconnect the one that has it here from the network, and connect it "
                        + "again")
            }
        }
        return texts
    }

    /// After the state was replaced as a whole.
    mutating func endLosses() {
        guard catalogue.term.number > 1 else { return }
        logTerm()
        for text in losses() { outbox.log(.error, text) }
        // Nobody answers for their VNIs any more: another network may get them. Their endpoints go with the next look at the kernel.
        let known = Set(catalogue.networks.values.map(\.vni))
        outbox.apply(forwarding.vnis.filter { !known.contains($0) }.flatMap { forwarding.lower($0) })
    }
}
