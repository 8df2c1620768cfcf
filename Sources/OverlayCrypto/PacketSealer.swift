import Crypto
public import OverlayModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Which way a packet travels; each has keys and counters of its own.
public enum PacketChannel: UInt8, Sendable {
    case datagram = 1
    case stream = 2
}

/// Why a packet was not opened. All are dropped without an answer; the counters of the transport tell how many.
public enum OpenError: Error, Hashable, Sendable {
    /// Too short, or of another version.
    case malformed
    /// The sender is no member that we know of.
    case unknownSender(NodeID)
    /// The seal is wrong: another key, or altered on the way.
    case notAuthentic
    /// Seen before, or older than the window.
    case replayed
    /// Authentic, and of a life of the sender below one that was heard: late, or the sender's state is an old copy.
    case earlierLife(NodeID)
}

/// The form of a sealed packet: version, channel, sender (16 bytes), counter (8 bytes), then AES-256-GCM ciphertext and tag. The first four
/// are authenticated too. Each sender has its own key, derived from the cluster's, so that counters of different nodes never meet under
/// one key; a sender's counter starts above those of all its earlier lives.
public enum PacketFormat {
    static let version: UInt8 = 1
    static let headerBytes = 26
    static let tagBytes = 16
    /// What sealing adds, in bytes.
    public static let overhead = headerBytes + tagBytes

    /// Who a packet claims to be from.
    public static func sender(of packet: [UInt8], on channel: PacketChannel) -> NodeID? {
        guard packet.count >= overhead, packet[0] == version, packet[1] == channel.rawValue else { return nil }
        return NodeID(bytes: packet[2..<18])
    }

    static func key(cluster: [UInt8], sender: NodeID, channel: PacketChannel) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: cluster),
            info: Data("swift-overlay packet v1".utf8) + Data([channel.rawValue]) + Data(sender.bytes), outputByteCount: 32)
    }

    /// Half of a life's counters are left, wherever it begins.
    static func counter(_ boot: UInt32, _ start: UInt64) -> UInt64 { UInt64(boot & 0xFF_FFFF) << 40 | start & (1 << 39 - 1) }

    static func nonce(_ counter: UInt64) -> [UInt8] { [0, 0, 0, 0] + counter.wireBytes }
}

/// Seals what this node sends.
public struct PacketSealer: Sendable {
    private let node: NodeID
    private var keys: [PacketChannel: SymmetricKey]
    private var counters: [PacketChannel: UInt64]

    /// - Parameters:
    ///   - boot: The node's boot counter: the high 24 bits of each packet counter, so that none is ever used twice.
    ///   - start: Where in the life the counters begin. At random, the counters of two starts from copies of one state hardly meet.
    ///   - previous: The sealer that this life used before, whose counters are gone on with.
    public init(clusterKey: [UInt8], node: NodeID, boot: UInt32, start: UInt64 = 0, after previous: PacketSealer? = nil) {
        self.node = node
        keys = [:]
        counters = [:]
        for channel in [PacketChannel.datagram, .stream] {
            keys[channel] = PacketFormat.key(cluster: clusterKey, sender: node, channel: channel)
            counters[channel] = previous?.counters[channel] ?? PacketFormat.counter(boot, start)
        }
    }

    /// Goes on above everything that lives below this one have sent.
    public mutating func raise(boot: UInt32, start: UInt64 = 0) {
        for (channel, counter) in counters { counters[channel] = max(counter, PacketFormat.counter(boot, start)) }
    }

    /// nil only if the cryptographic library refuses, which no input makes it do.
    public mutating func seal(_ plaintext: [UInt8], on channel: PacketChannel) -> [UInt8]? {
        guard let key = keys[channel], let counter = counters[channel] else { return nil }
        counters[channel] = counter + 1
        var header: [UInt8] = [PacketFormat.version, channel.rawValue]
        header += node.bytes
        header += counter.wireBytes
        guard let nonce = try? AES.GCM.Nonce(data: PacketFormat.nonce(counter)),
            let box = try? AES.GCM.seal(plaintext, using: key, nonce: nonce, authenticating: header)
        else { return nil }
        return header + box.ciphertext + box.tag
    }
}

/// Opens what members send: authentication first, parsing after.
public struct PacketOpener: Sendable {
    private let clusterKey: [UInt8]
    private var peers: [NodeID: Peer] = [:]

    private struct Peer: Sendable {
        var keys: [PacketChannel: SymmetricKey]
        var windows: [PacketChannel: ReplayWindow]
    }

    public init(clusterKey: [UInt8]) { self.clusterKey = clusterKey }

    /// Whose packets are opened.
    public mutating func setPeers(_ nodes: some Sequence<NodeID>) {
        let wanted = Set(nodes)
        for node in peers.keys where !wanted.contains(node) { peers[node] = nil }
        for node in wanted where peers[node] == nil {
            var peer = Peer(keys: [:], windows: [:])
            for channel in [PacketChannel.datagram, .stream] {
                peer.keys[channel] = PacketFormat.key(cluster: clusterKey, sender: node, channel: channel)
                peer.windows[channel] = ReplayWindow()
            }
            peers[node] = peer
        }
    }

    public mutating func open(_ packet: [UInt8], on channel: PacketChannel) throws(OpenError) -> (
        sender: NodeID, plaintext: [UInt8]
    ) {
        guard let sender = PacketFormat.sender(of: packet, on: channel) else { throw .malformed }
        let counter = packet[18..<26].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard let key = peers[sender]?.keys[channel], let window = peers[sender]?.windows[channel] else {
            throw .unknownSender(sender)
        }
        let isEarlier = window.isOfEarlierLife(counter)
        guard window.accepts(counter) || isEarlier else { throw .replayed }
        let header = packet[..<PacketFormat.headerBytes]
        let split = packet.count - PacketFormat.tagBytes
        guard let nonce = try? AES.GCM.Nonce(data: PacketFormat.nonce(counter)),
            let box = try? AES.GCM.SealedBox(
                nonce: nonce, ciphertext: packet[PacketFormat.headerBytes..<split], tag: packet[split...]),
            let plaintext = try? AES.GCM.open(box, using: key, authenticating: header)
        else { throw .notAuthentic }
        guard !isEarlier else { throw .earlierLife(sender) }
        peers[sender]?.windows[channel]?.insert(counter)
        return (sender, Array(plaintext))
    }
}

/// Which counters of a sender were seen (RFC 4303 §3.4.3), for the last 1024.
public struct ReplayWindow: Hashable, Sendable {
    static let size: UInt64 = 1024
    private var highest: UInt64 = 0
    private var isEmpty = true
    private var seen = [UInt64](repeating: 0, count: Int(size / 64))

    public init() {}

    public func accepts(_ counter: UInt64) -> Bool {
        if isEmpty || counter > highest { return true }
        guard highest - counter < Self.size else { return false }
        return seen[word(counter)] & bit(counter) == 0
    }

    /// Is it of a life below the one of the highest counter?
    func isOfEarlierLife(_ counter: UInt64) -> Bool { !isEmpty && counter >> 40 < highest >> 40 }

    /// Marks a counter as seen, after its packet was found authentic.
    public mutating func insert(_ counter: UInt64) {
        if isEmpty {
            highest = counter
            isEmpty = false
        } else if counter > highest {
            if counter - highest >= Self.size {
                seen = [UInt64](repeating: 0, count: seen.count)
            } else {
                for passed in (highest + 1)...counter { seen[word(passed)] &= ~bit(passed) }
            }
            highest = counter
        }
        seen[word(counter)] |= bit(counter)
    }

    private func word(_ counter: UInt64) -> Int { Int(counter % Self.size / 64) }
    private func bit(_ counter: UInt64) -> UInt64 { 1 << (counter % 64) }
}
