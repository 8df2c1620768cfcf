import Crypto
public import OverlayModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Transport of a packet. Each has its own keys and counters.
public enum PacketChannel: UInt8, Sendable, CaseIterable {
    case datagram = 1
    case stream = 2
}

/// Reason why a packet was not opened. Such packets are dropped without an answer and counted by the transport.
public enum OpenError: Error, Hashable, Sendable {
    /// The packet is too short, or of another version.
    case malformed
    /// The sender is no known member.
    case unknownSender(NodeID)
    /// The gossip key is unknown: too old, or not received yet.
    case unknownKey
    /// Authentication failed: another key, or altered on the way.
    case notAuthentic
    /// The packet was seen before, or is older than the window.
    case replayed
    /// The packet is authentic, but of an earlier life of the sender than was heard before. It is late, or the sender's state is an
    /// old copy.
    case earlierLife(NodeID)
}

/// Form of a sealed packet: version, channel, gossip key that it is sealed with, newest gossip key of the sender, sender (16
/// bytes), salt (4), counter (8), all authenticated; then AES-256-GCM ciphertext and tag.
///
/// Only the sender and the receiver can make the key of a packet, from their X25519 keys and the gossip key. So no member can speak
/// as another, and a removed node can read nothing. Gossip key 0 stands for none: with it a member comes back that was away for
/// longer than keys are kept.
///
/// The nonce is salt and counter. The counter starts above those of all earlier lives, and the salt is random in each life, for the
/// case that a restored backup counts a life twice.
public enum PacketFormat {
    static let version: UInt8 = 2
    static let headerBytes = 32
    static let tagBytes = 16
    /// Bytes that sealing adds.
    public static let overhead = Limits.sealBytes

    /// Notice to nodes that are no members and so have no key: version, 0, notice.
    public static func packet(notice: [UInt8]) -> [UInt8] { [version, 0] + notice }

    /// Notice in a packet; nil if it is none.
    public static func notice(in packet: [UInt8]) -> [UInt8]? {
        guard packet.count > 2, packet.count <= noticeBytes, packet[0] == version, packet[1] == 0 else { return nil }
        return Array(packet[2...])
    }

    /// Largest notice, in bytes.
    static let noticeBytes = 256

    /// Node that a packet claims to be from, unauthenticated.
    public static func sender(of packet: [UInt8], on channel: PacketChannel) -> NodeID? {
        guard packet.count >= overhead, packet[0] == version, packet[1] == channel.rawValue else { return nil }
        return NodeID(bytes: packet[4..<20])
    }
}

/// Seals packets to members and opens theirs. Packets are authenticated before they are parsed.
public struct PacketCipher: Sendable {
    /// Key of the ring, in which the newest is the first.
    public struct RingKey: Hashable, Sendable {
        public var id: UInt8
        /// 32 bytes. Never logged.
        public var bytes: [UInt8]

        public init(id: UInt8, bytes: [UInt8]) {
            self.id = id
            self.bytes = bytes
        }
    }

    private let node: NodeID
    private let identity: NodeKey
    private let salt: [UInt8]
    private var counters: [PacketChannel: UInt64] = [:]
    private var ring: [RingKey] = []
    private var peers: [NodeID: Peer] = [:]
    /// Replay windows of all nodes that ever were peers. They outlive a removal, so that old packets are not accepted after it.
    private var windows: [NodeID: [PacketChannel: ReplayWindow]] = [:]
    /// Salt of the latest life that was heard of each node.
    private var salts: [NodeID: [UInt8]] = [:]

    private struct Peer: Sendable {
        let agreementKey: [UInt8]
        /// Shared secret, made when first needed, as it costs as much as a hundred packets.
        var secret: SharedSecret??
        var sealing: [Purpose: SymmetricKey] = [:]
        var opening: [Purpose: SymmetricKey] = [:]
        /// Newest key of the peer, as it says.
        var newest: UInt8?
        /// True if the peer has none of the keys that are kept here.
        var isFarBehind = false
    }

    /// Stands for no gossip key.
    private static let base = RingKey(id: 0, bytes: [])

    private struct Purpose: Hashable, Sendable {
        var key: UInt8
        var channel: PacketChannel
    }

    /// - Parameters:
    ///   - boot: Boot counter of the node. It is the high 24 bits of each packet counter, so that no counter is used twice.
    ///   - salt: 4 random bytes.
    public init(identity: NodeKey, boot: UInt32, salt: [UInt8]) {
        node = identity.id
        self.identity = identity
        self.salt = Array((salt + [0, 0, 0, 0]).prefix(4))
        for channel in PacketChannel.allCases { counters[channel] = UInt64(boot & 0xFF_FFFF) << 40 }
    }

    /// Continues above all counters of lives below this boot counter.
    public mutating func raise(boot: UInt32) {
        for (channel, counter) in counters { counters[channel] = max(counter, UInt64(boot & 0xFF_FFFF) << 40) }
    }

    public var hasKey: Bool { !ring.isEmpty }
    public func isPeer(_ node: NodeID) -> Bool { peers[node] != nil }

    /// - Parameter keys: Gossip keys, the newest first; empty outside of a cluster. A new key is used towards each peer as soon as
    ///   the peer has it.
    public mutating func setKeys(_ keys: [RingKey]) {
        guard keys != ring else { return }
        let gone = Set(ring).subtracting(keys).map(\.id)
        peers = peers.mapValues { peer in
            var peer = peer
            peer.sealing = peer.sealing.filter { !gone.contains($0.key.key) }
            peer.opening = peer.opening.filter { !gone.contains($0.key.key) }
            return peer
        }
        ring = keys
    }

    /// Sets the nodes whose packets are opened, with their X25519 keys.
    public mutating func setPeers(_ nodes: [NodeID: [UInt8]]) {
        for (node, peer) in peers where nodes[node] != peer.agreementKey { peers[node] = nil }
        for (node, key) in nodes where peers[node] == nil { peers[node] = Peer(agreementKey: key) }
    }

    /// Seals a packet; nil if the receiver is no peer.
    public mutating func seal(_ plaintext: [UInt8], to receiver: NodeID, on channel: PacketChannel) -> [UInt8]? {
        guard let counter = counters[channel], let ringKey = sealingKey(for: receiver), let newest = ring.first else { return nil }
        let purpose = Purpose(key: ringKey.id, channel: channel)
        guard let key = peers[receiver]?.sealing[purpose] ?? makeKey(ringKey, purpose, from: node, to: receiver, with: receiver)
        else { return nil }
        peers[receiver]?.sealing[purpose] = key
        counters[channel] = counter + 1
        var header: [UInt8] = [PacketFormat.version, channel.rawValue, ringKey.id, newest.id]
        header += node.bytes
        header += salt
        header += counter.wireBytes
        guard let nonce = try? AES.GCM.Nonce(data: header[20..<32]),
            let box = try? AES.GCM.seal(plaintext, using: key, nonce: nonce, authenticating: header)
        else { return nil }
        return header + box.ciphertext + box.tag
    }

    private func sealingKey(for receiver: NodeID) -> RingKey? {
        guard let peer = peers[receiver] else { return nil }
        if peer.isFarBehind { return Self.base }
        // A key that only the peer has is newer than all here, so the peer has this node's newest as well.
        return ring.first { $0.id == peer.newest } ?? ring.first
    }

    private func key(_ id: UInt8) -> RingKey? {
        ring.isEmpty ? nil : id == 0 ? Self.base : ring.first { $0.id == id }
    }

    public mutating func open(_ packet: [UInt8], on channel: PacketChannel) throws(OpenError) -> (
        sender: NodeID, plaintext: [UInt8]
    ) {
        guard let sender = PacketFormat.sender(of: packet, on: channel) else { throw .malformed }
        guard let peer = peers[sender] else { throw .unknownSender(sender) }
        guard let ringKey = key(packet[2]) else {
            // The peer may have been away for long. Anybody can make this node think so, at no cost: the key is still known to the
            // two alone.
            peers[sender]?.isFarBehind = true
            throw .unknownKey
        }
        let counter = packet[24..<32].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let salt = Array(packet[20..<24])
        let isNew = (windows[sender]?[channel] ?? ReplayWindow()).accepts(counter)
        guard isNew || salts[sender].map({ $0 != salt }) == true else { throw .replayed }
        let purpose = Purpose(key: ringKey.id, channel: channel)
        guard let key = peer.opening[purpose] ?? makeKey(ringKey, purpose, from: sender, to: node, with: sender) else {
            throw .notAuthentic
        }
        // The key depends on nothing in the packet, and making it costs more than a refusal.
        peers[sender]?.opening[purpose] = key
        let header = packet[..<PacketFormat.headerBytes]
        let split = packet.count - PacketFormat.tagBytes
        guard let nonce = try? AES.GCM.Nonce(data: header[20..<32]),
            let box = try? AES.GCM.SealedBox(
                nonce: nonce, ciphertext: packet[PacketFormat.headerBytes..<split], tag: packet[split...]),
            let plaintext = try? AES.GCM.open(box, using: key, authenticating: header)
        else { throw .notAuthentic }
        guard isNew else { throw .earlierLife(sender) }
        salts[sender] = salt
        windows[sender, default: [:]][channel, default: ReplayWindow()].insert(counter)
        peers[sender]?.newest = packet[3]
        peers[sender]?.isFarBehind = ringKey.id == 0 && !ring.contains { $0.id == packet[3] }
        return (sender, Array(plaintext))
    }

    private mutating func makeKey(
        _ ringKey: RingKey, _ purpose: Purpose, from sender: NodeID, to receiver: NodeID, with peer: NodeID
    ) -> SymmetricKey? {
        guard let known = peers[peer] else { return nil }
        let secret = known.secret ?? identity.secret(with: known.agreementKey)
        peers[peer]?.secret = .some(secret)
        return secret?.hkdfDerivedSymmetricKey(
            using: SHA256.self, salt: Data(ringKey.bytes),
            sharedInfo: Data("swift-overlay packet v2".utf8) + [purpose.channel.rawValue] + Data(sender.bytes)
                + Data(receiver.bytes),
            outputByteCount: 32)
    }
}
