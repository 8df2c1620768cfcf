import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// A node that was removed while it was away would never hear of it: members open none of its packets. Whoever gets one of them answers
/// with a notice, signed by itself; the removed node knows the signer as a member, and that the catalogue went on from where its own is.
enum RemovalCalls {
    // MARK: node rm

    static func removeNode(_ node: inout Node, _ name: String, force: Bool, isAtOnce: Bool) throws(DriverError) -> Step {
        try AddressCalls.checkCluster(node)
        let found = node.catalogue.members.values.filter { Self.names(name, $0.id, $0.name) }
        let gone = node.catalogue.departed.filter { Self.names(name, $0.key, $0.value) }.keys.sorted()
        // A host may have joined anew under its name: it is not meant where nothing but addresses can be.
        if !gone.isEmpty, found.isEmpty || (isAtOnce && !force) {
            guard isAtOnce else {
                throw DriverError(
                    .conflict,
                    "node \(name) is removed already; its addresses rest for ten minutes, unless `swift-overlay node rm --now \(name)` "
                        + "frees them")
            }
            return .propose(.endQuarantine(gone))
        }
        guard let member = found.first, found.count == 1 else {
            throw DriverError(.notFound, found.isEmpty ? "no such node: \(name)" : "\(name) names \(found.count) nodes")
        }
        guard member.id != node.identity.id else { throw DriverError(.invalid, "this is \(name): use `swift-overlay leave`") }
        guard force || RemovalCalls.isLongAway(node, member.id) else { throw DriverError(.conflict, RemovalCalls.whyNotRemoved(node, member)) }
        return .propose(.remove(member.id, now: isAtOnce))
    }

    private static func isLongAway(_ node: Node, _ peer: NodeID) -> Bool {
        node.peers[peer].map { !$0.state.isReachable && node.now - $0.since >= PromotionCalls.absence } ?? false
    }

    /// Why a node is not removed without `--force`, and what to run instead.
    private static func whyNotRemoved(_ node: Node, _ member: Member) -> String {
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
            "node \(name) has been \(absence), not for \(PromotionCalls.absence.wholeSeconds): wait, or run \(force) if it never comes back"
    }

    private static func names(_ text: String, _ id: NodeID, _ name: String) -> Bool {
        name == text || !text.isEmpty && id.description.hasPrefix(text)
    }

    // MARK: The rest of addresses

    static func followQuarantines(_ node: inout Node) {
        node.writerDuties.followQuarantines(isWriter: node.isWriter, departed: node.catalogue.departed.keys, into: &node.outbox)
    }

    static func endQuarantines(_ node: inout Node) {
        let ended = node.writerDuties.takeEnded(isWriter: node.isWriter, into: &node.outbox)
        if node.isWriter { node.propose(.endQuarantine(ended), for: .quarantine, deadline: node.now + Proposals.budget) }
    }

    // MARK: Who was removed while it was away

    /// A packet came in the name of a node that is no member. That it is from there is not proven, nor need it be.
    static func answerStranger(_ node: inout Node, _ stranger: NodeID, from source: SocketEndpoint) {
        guard let cluster = node.catalogue.cluster, node.catalogue.members[stranger] == nil, node.isReady else { return }
        guard node.notices.maySend(at: node.outbox.now) else { return }
        var notice = RemovalNotice(of: stranger, position: node.catalogue.position, signer: node.identity.id)
        notice.signature = node.signing.sign(notice.signed(in: cluster.id))
        node.outbox.append(.notify(source, notice.wireBytes))
    }

    /// Somebody says that this node was removed.
    static func noticed(_ node: inout Node, _ bytes: [UInt8]) {
        guard let cluster = node.catalogue.cluster, node.catalogue.members[node.identity.id] != nil,
            let notice = try? RemovalNotice(wire: bytes), notice.node == node.identity.id, notice.signer != node.identity.id,
            // What is said of a time when this node was no member yet says nothing.
            notice.position > node.catalogue.position, let signer = node.catalogue.members[notice.signer]
        else { return }
        guard node.notices.mayCheck(at: node.outbox.now) else { return }
        guard node.signing.verify(notice.signature, of: notice.signed(in: cluster.id), by: signer.publicKey) else { return }
        node.outbox.log(
            .warning, "this node was removed from the cluster while it was away; its overlay links go down, and it must join again",
            ["told by": signer.name])
        ClusterCalls.forgetCluster(&node)
    }
}
