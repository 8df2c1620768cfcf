import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// Removal of nodes: the command, the quarantine of their addresses, and removal notices. Owns nothing.
///
/// A node that was removed while it was away would never hear of it, as members open none of its packets. A member that gets one
/// answers with a signed notice. The removed node knows the signer as a member, and sees that the catalogue went on from its own
/// position.
enum RemovalCalls {
    // MARK: node rm

    /// Removes a member, or ends the quarantine of one that was removed before.
    static func removeNode(_ node: inout Node, _ name: String, force: Bool, isAtOnce: Bool) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        let found = node.catalogue.members.values.filter { Self.names(name, $0.id, $0.name) }
        let gone = node.catalogue.departed.filter { Self.names(name, $0.key, $0.value) }.keys.sorted()
        // A host may have joined anew under the same name. `--now` without `--force` means the removed one's addresses.
        if !gone.isEmpty, found.isEmpty || (isAtOnce && !force) {
            guard isAtOnce else {
                throw DriverError(
                    .conflict,
                    "node \(name) is removed already; its addresses are in quarantine for ten minutes, unless "
                        + "`swift-overlay node rm --now \(name)` frees them")
            }
            return .propose(.endQuarantine(gone))
        }
        guard let member = found.first, found.count == 1 else {
            throw DriverError(.notFound, found.isEmpty ? "no such node: \(name)" : "\(name) names \(found.count) nodes")
        }
        guard member.id != node.identity.id else { throw DriverError(.invalid, "this is \(name): use `swift-overlay leave`") }
        guard force || Self.isAwayForLong(node, member.id) else { throw DriverError(.conflict, Self.refusalToRemove(node, member)) }
        return .propose(.remove(member.id, now: isAtOnce))
    }

    /// True if a peer has been away for long enough to be removed without `--force`.
    private static func isAwayForLong(_ node: Node, _ peer: NodeID) -> Bool {
        node.peers[peer].map { !$0.state.isReachable && node.now - $0.since >= PromotionCalls.absence } ?? false
    }

    /// Reason why a node is not removed without `--force`, and what to run instead.
    private static func refusalToRemove(_ node: Node, _ member: Member) -> String {
        let peer = node.peers[member.id] ?? PeerStatus(state: .unknown, since: node.now)
        let name = member.name
        let absence = "\(peer.state.word) for \((node.now - peer.since).wholeSeconds) s"
        if member.id == node.catalogueNode.writer {
            let way = "run `swift-overlay promote --force` here, and then `swift-overlay node rm --force \(name)`"
            return peer.state.isReachable
                ? "node \(name) writes the catalogue and is \(peer.state.word): stop the daemon there, \(way)"
                : "node \(name) writes the catalogue, and has been \(absence): if it never comes back, \(way)"
        }
        let force = "`swift-overlay node rm --force \(name)`"
        guard !peer.state.isReachable else {
            let state = peer.state == .unknown ? "was not heard of since this daemon started" : "is \(peer.state.word)"
            return "node \(name) \(state): run `swift-overlay leave` on that host, with --force while it has containers on overlay "
                + "networks; or, to cut it off as it is, \(force) here"
        }
        return
            "node \(name) has been \(absence), not for \(PromotionCalls.absence.wholeSeconds): wait, or run \(force) if it never "
            + "comes back"
    }

    /// True if the text is the node's name or the beginning of its id.
    private static func names(_ text: String, _ id: NodeID, _ name: String) -> Bool {
        name == text || !text.isEmpty && id.description.hasPrefix(text)
    }

    // MARK: Quarantine

    /// Follows which removed nodes have addresses in quarantine.
    static func followQuarantines(_ node: inout Node) {
        node.writer.duties.followQuarantines(isWriter: node.isWriter, departed: node.catalogue.departed.keys, into: &node.outbox)
    }

    /// Proposes the end of quarantines that have lasted for long enough; the writer only.
    static func endQuarantines(_ node: inout Node) {
        let ended = node.writer.duties.takeEnded(isWriter: node.isWriter, into: &node.outbox)
        if node.isWriter { node.propose(.endQuarantine(ended), for: .quarantine, deadline: node.now + Proposals.budget) }
    }

    // MARK: Notices

    /// Sends a removal notice to the source of a packet in the name of a node that is no member. The notice tells nothing secret,
    /// so the sender need not be proven. A source that cannot be answered gets none.
    static func sendNotice(_ node: inout Node, to stranger: NodeID, at source: SocketEndpoint) {
        guard let cluster = node.catalogue.cluster, node.catalogue.members[stranger] == nil, node.isReady else { return }
        let isKnown = node.catalogue.departed[stranger] != nil
        guard source.isAnswerable, node.notices.maySend(to: source.address, isKnown: isKnown, at: node.outbox.now) else { return }
        var notice = RemovalNotice(of: stranger, position: node.catalogue.position, signer: node.identity.id)
        notice.signature = node.signing.sign(notice.signed(in: cluster.id))
        node.outbox.append(.notify(source, notice.wireBytes))
    }

    /// Handles a removal notice: leaves the cluster if a member signed it and its catalogue is newer than this node's.
    static func receiveNotice(_ node: inout Node, _ bytes: [UInt8]) {
        guard let cluster = node.catalogue.cluster, node.catalogue.members[node.identity.id] != nil,
            let notice = try? RemovalNotice(wire: bytes), notice.node == node.identity.id, notice.signer != node.identity.id,
            // A notice of an older position may be from before this node joined.
            notice.position > node.catalogue.position, let signer = node.catalogue.members[notice.signer]
        else { return }
        guard node.notices.mayCheck(of: notice.signer, at: node.outbox.now) else { return }
        guard node.signing.verify(notice.signature, of: notice.signed(in: cluster.id), by: signer.publicKey) else { return }
        node.outbox.log(
            .warning, "this node was removed from the cluster while it was away; its overlay links go down, and it must join again",
            [LogKey.signer: signer.name])
        ClusterCalls.forgetCluster(&node)
    }
}
