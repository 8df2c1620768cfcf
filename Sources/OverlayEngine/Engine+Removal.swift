import OverlayCatalogue
import OverlayModel

/// A node that was removed while it was away would never hear of it: members open none of its packets. Whoever gets one of them answers
/// with a notice, signed by itself; the removed node knows the signer as a member, and that the catalogue went on from where its own is.
extension Engine {
    /// Both ends work for strangers no more often than this.
    static let noticePause = Interval.milliseconds(50)

    /// A packet came in the name of a node that is no member. That it is from there is not proven, nor need it be.
    mutating func heard(stranger: NodeID, from source: SocketEndpoint) {
        guard let cluster = catalogue.cluster, catalogue.members[stranger] == nil, isReady else { return }
        guard noticeSent.map({ now - $0 >= Self.noticePause }) ?? true else { return }
        noticeSent = now
        var notice = RemovalNotice(of: stranger, position: catalogue.position, signer: identity.id)
        notice.signature = signing.sign(notice.signed(in: cluster.id))
        effects.append(.notify(source, notice.wireBytes))
    }

    /// Somebody says that this node was removed.
    mutating func noticed(_ bytes: [UInt8]) {
        guard let cluster = catalogue.cluster, catalogue.members[identity.id] != nil,
            let notice = try? RemovalNotice(wire: bytes), notice.node == identity.id, notice.signer != identity.id,
            // What is said of a time when this node was no member yet says nothing.
            notice.position > catalogue.position, let signer = catalogue.members[notice.signer]
        else { return }
        guard noticeChecked.map({ now - $0 >= Self.noticePause }) ?? true else { return }
        noticeChecked = now
        guard signing.verify(notice.signature, of: notice.signed(in: cluster.id), by: signer.publicKey) else { return }
        log(
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
