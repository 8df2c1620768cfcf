import OverlayCatalogue
import OverlayDriver
import OverlayModel

/// A node that was removed while it was away would never hear of it: members open none of its packets. Whoever gets one of them answers
/// with a notice, signed by itself; the removed node knows the signer as a member, and that the catalogue went on from where its own is.
extension Node {
    // MARK: node rm

    mutating func removeNode(_ name: String, force: Bool, isAtOnce: Bool) throws(DriverError) -> Step {
        try checkCluster()
        let found = catalogue.members.values.filter { Self.names(name, $0.id, $0.name) }
        let gone = catalogue.departed.filter { Self.names(name, $0.key, $0.value) }.keys.sorted()
        // A host may have joined anew under its name: it is not meant where nothing but addresses can be.
        if !gone.isEmpty, found.isEmpty || (isAtOnce && !force) {
            guard isAtOnce else {
                throw DriverError(
                    .conflict,
                    "node \(name) is removed already; its addresses rest for ten minutes, unless `swift-overlay node rm --now \(name)` "
                        + "frees them")
            }
            return .propose(.endRest(gone))
        }
        guard let member = found.first, found.count == 1 else {
            throw DriverError(.notFound, found.isEmpty ? "no such node: \(name)" : "\(name) names \(found.count) nodes")
        }
        guard member.id != identity.id else { throw DriverError(.invalid, "this is \(name): use `swift-overlay leave`") }
        guard force || isLongAway(member.id) else { throw DriverError(.conflict, whyNotRemoved(member)) }
        return .propose(.remove(member.id, now: isAtOnce))
    }

    private func isLongAway(_ node: NodeID) -> Bool {
        peers[node].map { !$0.state.isReachable && now - $0.since >= Self.absence } ?? false
    }

    /// Why a node is not removed without `--force`, and what to run instead.
    private func whyNotRemoved(_ member: Member) -> String {
        let peer = peers[member.id] ?? PeerStatus(state: .unknown, since: now)
        let name = member.name
        let absence = "\(peer.state.word) for \((now - peer.since).wholeSeconds) s"
        if member.id == catalogueNode.writer {
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
            "node \(name) has been \(absence), not for \(Self.absence.wholeSeconds): wait, or run \(force) if it never comes back"
    }

    private static func names(_ text: String, _ id: NodeID, _ name: String) -> Bool {
        name == text || !text.isEmpty && id.description.hasPrefix(text)
    }

    // MARK: The rest of addresses

    mutating func followQuarantines() {
        writerDuties.followQuarantines(isWriter: isWriter, departed: catalogue.departed.keys, into: &outbox)
    }

    mutating func endQuarantines() {
        let ended = writerDuties.takeEnded(isWriter: isWriter, into: &outbox)
        if isWriter { propose(.endRest(ended), for: .quarantine, deadline: now + Proposals.budget) }
    }

    // MARK: Who was removed while it was away

    /// A packet came in the name of a node that is no member. That it is from there is not proven, nor need it be.
    mutating func answerStranger(_ stranger: NodeID, from source: SocketEndpoint) {
        guard let cluster = catalogue.cluster, catalogue.members[stranger] == nil, isReady else { return }
        guard notices.maySend(at: outbox.now) else { return }
        var notice = RemovalNotice(of: stranger, position: catalogue.position, signer: identity.id)
        notice.signature = signing.sign(notice.signed(in: cluster.id))
        outbox.append(.notify(source, notice.wireBytes))
    }

    /// Somebody says that this node was removed.
    mutating func noticed(_ bytes: [UInt8]) {
        guard let cluster = catalogue.cluster, catalogue.members[identity.id] != nil,
            let notice = try? RemovalNotice(wire: bytes), notice.node == identity.id, notice.signer != identity.id,
            // What is said of a time when this node was no member yet says nothing.
            notice.position > catalogue.position, let signer = catalogue.members[notice.signer]
        else { return }
        guard notices.mayCheck(at: outbox.now) else { return }
        guard signing.verify(notice.signature, of: notice.signed(in: cluster.id), by: signer.publicKey) else { return }
        outbox.log(
            .warning, "this node was removed from the cluster while it was away; its overlay links go down, and it must join again",
            ["told by": signer.name])
        forgetCluster()
    }
}

/// That the catalogue, at a position, has no such member.
struct RemovalNotice: Hashable, Sendable {
    var node: NodeID
    var position: CataloguePosition
    var signer: NodeID
    var signature: [UInt8] = []

    init(of node: NodeID, position: CataloguePosition, signer: NodeID) {
        self.node = node
        self.position = position
        self.signer = signer
    }

    /// What the signature is of.
    func signed(in cluster: ClusterID) -> [UInt8] {
        var writer = ByteWriter()
        writer.value(cluster)
        encodeSigned(to: &writer)
        return Array("swift-overlay removal v1".utf8) + writer.bytes
    }

    private func encodeSigned(to writer: inout ByteWriter) {
        writer.value(node)
        writer.value(position)
        writer.value(signer)
    }
}

extension RemovalNotice: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(of: try reader.value(), position: try reader.value(), signer: try reader.value())
        signature = try reader.sized(limit: 64)
    }

    func encode(to writer: inout ByteWriter) {
        encodeSigned(to: &writer)
        writer.sized(signature)
    }
}
