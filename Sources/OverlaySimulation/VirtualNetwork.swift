public import OverlayModel

/// Network between the nodes: delay, loss, duplication, reordering and cut links, separately for datagrams and streams.
public struct VirtualNetwork {
    /// One-way delay.
    public var delay = Interval.microseconds(200)
    /// Longest random delay added to a datagram, so that later ones overtake earlier ones.
    public var jitter = Interval(nanoseconds: 0)
    /// Share of datagrams that is lost, 0…1.
    public var loss = 0.0
    /// Share of stream segments that is lost, 0…1. TCP repeats them, which takes time.
    public var streamLoss = 0.0
    public var duplication = 0.0
    /// Share of datagrams and segments that is lost at a receiver, by its index.
    public var ingressLoss: [Int: Double] = [:]
    /// Links on which nothing passes.
    public var cuts: Set<Link> = []
    /// Links on which no datagram passes.
    public var datagramCuts: Set<Link> = []
    /// Links on which no stream passes.
    public var streamCuts: Set<Link> = []

    public struct Link: Hashable, Sendable {
        public var from: Int
        public var to: Int

        public init(_ from: Int, _ to: Int) {
            self.from = from
            self.to = to
        }
    }

    /// Bytes sent by each node, with headers and seals.
    public internal(set) var sentBytes: [Int: Int] = [:]
    public internal(set) var sentPackets = 0
    /// Time at which the last bytes of each open stream arrive. Later ones do not overtake them.
    private var streams: [Link: Instant] = [:]

    /// Bytes of the IP and UDP headers and of the seal.
    static let overhead = 28 + Limits.sealBytes
    /// Time until TCP repeats a segment for the first time. Each later wait is twice as long.
    static let retransmission = Interval.milliseconds(200)
    static let handshakeRetransmission = Interval.seconds(1)
    /// Time without an acknowledgement after which TCP gives a connection up, when it is opened or in use.
    static let patience = Interval.seconds(2)

    public init() {}

    // MARK: Faults

    /// Cuts two groups off from one another, both ways.
    public mutating func split(_ left: some Collection<Int>, _ right: some Collection<Int>) {
        for a in left {
            for b in right {
                cuts.insert(Link(a, b))
                cuts.insert(Link(b, a))
            }
        }
    }

    public mutating func heal() {
        cuts = []
        datagramCuts = []
        streamCuts = []
    }

    /// Forgets the connections of a process that ended.
    mutating func forgetStreams(of node: Int) { streams = streams.filter { $0.key.from != node && $0.key.to != node } }

    // MARK: Carrying

    /// Delays after which the copies of a datagram arrive; empty if it is lost.
    mutating func datagram(_ link: Link, bytes: Int, _ random: inout SeededGenerator) -> [Interval] {
        sentPackets += 1
        sentBytes[link.from, default: 0] += bytes + Self.overhead
        guard !cuts.contains(link), !datagramCuts.contains(link) else { return [] }
        var arrivals: [Interval] = []
        for _ in 0..<(duplication > 0 && random.chance(duplication) ? 2 : 1) {
            guard !isLost(link, loss, &random) else { continue }
            let extra = jitter.nanoseconds > 0 ? Int64(random.next(upperBound: UInt64(jitter.nanoseconds))) : 0
            arrivals.append(Interval(nanoseconds: delay.nanoseconds + extra))
        }
        return arrivals
    }

    enum StreamOutcome {
        case arrives(Interval, opened: Bool)
        case fails(Interval, StreamFailure)
    }

    /// Carries bytes over the link's stream, which is opened if necessary.
    ///
    /// - Parameters:
    ///   - isListening: True if a process holds the port at the other end.
    ///   - isHostUp: True if the other host runs. If not, not even a refusal comes back.
    mutating func stream(
        _ link: Link, bytes: Int, now: Instant, isListening: Bool, isHostUp: Bool, _ random: inout SeededGenerator
    ) -> StreamOutcome {
        let back = Link(link.to, link.from)
        sentBytes[link.from, default: 0] += bytes + 54 + Limits.sealBytes
        let isOpen = streams[link] != nil
        var wait = Interval(nanoseconds: 0)
        if !isOpen {
            // If the SYN or its answer is lost, both are sent again.
            var pause = Self.handshakeRetransmission
            while !isHostUp || blocks(link) || blocks(back) || isLost(link, streamLoss, &random)
                || isLost(back, streamLoss, &random)
            {
                wait = wait + pause
                pause = pause * 2
                guard wait < Self.patience else { return .fails(Self.patience, .failed("timed out")) }
            }
            wait = wait + delay * 2
            guard isListening else { return .fails(wait, .refused) }
        } else if !isListening {
            streams[link] = nil
            return isHostUp && !blocks(link) && !blocks(back)
                ? .fails(delay * 2, .refused) : .fails(Self.patience, .failed("timed out"))
        }
        var pause = Self.retransmission
        var sending = wait
        while blocks(link) || blocks(back) || isLost(link, streamLoss, &random) {
            sending = sending + pause
            pause = pause * 2
            guard sending - wait < Self.patience else {
                streams[link] = nil
                return .fails(sending, .failed("timed out"))
            }
        }
        let arrival = max(now + sending + delay, streams[link] ?? now)
        streams[link] = arrival
        return .arrives(arrival - now, opened: !isOpen)
    }

    private func blocks(_ link: Link) -> Bool { cuts.contains(link) || streamCuts.contains(link) }

    private func isLost(_ link: Link, _ share: Double, _ random: inout SeededGenerator) -> Bool {
        if share > 0, random.chance(share) { return true }
        if let ingress = ingressLoss[link.to], ingress > 0, random.chance(ingress) { return true }
        return false
    }
}

extension SeededGenerator {
    /// True with this probability.
    mutating func chance(_ share: Double) -> Bool { Double(next(upperBound: UInt64(1 << 24))) < share * Double(1 << 24) }

    mutating func below(_ bound: Int) -> Int { bound <= 0 ? 0 : Int(next(upperBound: UInt64(bound))) }

    mutating func pick<T>(_ values: [T]) -> T? { values.isEmpty ? nil : values[below(values.count)] }
}

/// Signatures as a value: fast, and wrong as soon as anything differs from what was signed.
///
/// They can be forged by anybody who knows the algorithm, so they are of no use outside a simulation.
public struct VirtualSigning: RecordSigning {
    private let key: [UInt8]

    public init(key: [UInt8]) { self.key = key }

    public func hash(_ bytes: [UInt8]) -> [UInt8] {
        var lanes: (UInt64, UInt64) = (0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F)
        var word: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            word = word << 8 | UInt64(byte)
            guard index & 7 == 7 || index == bytes.count - 1 else { continue }
            lanes.0 = (lanes.0 ^ word) &* 0x0000_0100_0000_01B3
            lanes.1 = (lanes.1 &+ word) &* 0x9FB2_1C65_1E98_DF25
            lanes.0 ^= lanes.1 >> 29
            lanes.1 ^= lanes.0 >> 31
            word = 0
        }
        var first = SeededGenerator(seed: lanes.0 &+ UInt64(bytes.count))
        var second = SeededGenerator(seed: lanes.1)
        return first.next().wireBytes + second.next().wireBytes + first.next().wireBytes + second.next().wireBytes
    }

    public func sign(_ bytes: [UInt8]) -> [UInt8] { Self.signature(self, bytes, key) }

    public func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        signature == Self.signature(self, bytes, publicKey)
    }

    private static func signature(_ signing: VirtualSigning, _ bytes: [UInt8], _ key: [UInt8]) -> [UInt8] {
        let half = signing.hash(key + bytes)
        return half + half
    }
}
