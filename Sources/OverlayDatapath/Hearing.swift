public import OverlayModel

/// Frames of a container that are to be heard at its port. All others are thrown away by the kernel, uncopied.
public struct Hearing: Hashable, Sendable {
    /// Address and MAC that the container is known to give for it.
    public struct Known: Hashable, Sendable {
        public var address: IPAddress
        public var mac: MACAddress

        public init(_ address: IPAddress, at mac: MACAddress) {
            self.address = address
            self.mac = mac
        }
    }

    /// MACs from which the container is known to send. Frames from others are heard.
    public var macs: Set<MACAddress>
    /// Announcements that bring nothing new.
    public var known: Set<Known>
    /// True if no more MACs are wanted, as the container claims enough of them.
    public var isFull: Bool

    public init(macs: Set<MACAddress>, known: Set<Known>, isFull: Bool) {
        self.macs = macs
        self.known = known
        self.isFull = isFull
    }

    /// True if something heard is news. The filter of the kernel (``program``) decides alike, from the frame.
    public func passes(_ heard: Heard) -> Bool {
        if let claim = heard.claim, !known.contains(claim) { return true }
        return !isFull && !macs.contains(heard.source)
    }
}

/// Content of one frame of a container, as far as it matters here.
public struct Heard: Hashable, Sendable {
    /// Source of the frame.
    public var source: MACAddress
    /// Address that the frame claims to be at a MAC.
    public var claim: Hearing.Known?

    public init(source: MACAddress, claim: Hearing.Known? = nil) {
        self.source = source
        self.claim = claim
    }

    /// Number of bytes of a frame that can matter: a neighbour advertisement with its option.
    public static let frameBytes = 94
    /// Number of bytes of a frame of which the source alone matters.
    static let headerBytes = 14

    /// Reads a frame, or its beginning. Nil where it has no sender.
    ///
    /// - ARP (RFC 826): the sender's addresses, in requests and replies alike, as every host takes them. A probe (RFC 5227 §2.1.1)
    ///   has none and claims nothing.
    /// - Neighbour advertisements (RFC 4861 §4.4): the target, at the MAC of its option, or else at the source of the frame. Those
    ///   with extension headers are not read.
    /// - Everything else, tagged frames (IEEE 802.1Q) included, tells its source alone.
    public init?(frame: [UInt8]) {
        guard frame.count >= Self.headerBytes, let source = MACAddress(bytes: frame[6..<12]), source.isInterface else { return nil }
        self.source = source
        switch UInt16(frame[12]) << 8 | UInt16(frame[13]) {
        case 0x0806: claim = Self.arp(frame)
        case 0x86DD: claim = Self.advertisement(frame, source)
        default: claim = nil
        }
    }

    private static func arp(_ frame: [UInt8]) -> Hearing.Known? {
        // Ethernet and IPv4, with their lengths of address; request or reply.
        guard frame.count >= 32, Array(frame[14..<21]) == [0, 1, 8, 0, 6, 4, 0], frame[21] == 1 || frame[21] == 2,
            let mac = MACAddress(bytes: frame[22..<28]), mac.isInterface,
            let address = IPAddress(networkBytes: frame[28..<32]), address.isHost
        else { return nil }
        return Hearing.Known(address, at: mac)
    }

    private static func advertisement(_ frame: [UInt8], _ source: MACAddress) -> Hearing.Known? {
        // Version 6, ICMPv6, hop limit 255 (RFC 4861 §7.1.2), type and code.
        guard frame.count >= 78, frame[14] >> 4 == 6, frame[20] == 58, frame[21] == 255, frame[54] == 136, frame[55] == 0,
            let address = IPAddress(networkBytes: frame[62..<78]), address.isHost
        else { return nil }
        var position = 78
        // Options by units of eight bytes.
        while position + 8 <= frame.count {
            let length = Int(frame[position + 1]) * 8
            guard length > 0 else { return nil }
            if frame[position] == 2 {
                guard let mac = MACAddress(bytes: frame[(position + 2)..<(position + 8)]), mac.isInterface else { return nil }
                return Hearing.Known(address, at: mac)
            }
            position += length
        }
        return Hearing.Known(address, at: source)
    }
}

extension MACAddress {
    /// True for the address of an interface: neither zero nor of a group.
    fileprivate var isInterface: Bool { !isMulticast && self != .zero }
}
