public import OverlayModel

/// Bounds of streams that other nodes open.
public struct StreamLimits: Sendable {
    /// Number of streams that have proven nothing: from one source (an address, or a /64 of IPv6), and in all from sources at which no
    /// member is.
    public var strangersPerSource = 8
    public var strangers = 128
    /// Number of streams of one member. It needs one; a second may be half dead.
    public var perMember = 2
    /// Connections that a source at which no member is may open in a second. What is above is closed unseen.
    public var connectionsPerSecond = 50
    /// Time from the connection to the first authentic frame.
    public var firstFrame = Interval.seconds(5)
    /// Time from the connection to the end of a join.
    public var join = Interval.seconds(10)

    public init() {}
}

/// Account of the streams that other nodes opened. Those that have proven nothing share a small budget, in which a new one takes the place
/// of the oldest; those of members are outside of it.
struct InboundStreams {
    private struct Stranger {
        let source: IPAddress?
        /// True if a member is at the source. Such streams are bounded by source only, as nobody else can take up their places.
        let isHome: Bool
    }

    let limits: StreamLimits
    private var nextNumber: UInt64 = 1
    private var strangers: [UInt64: Stranger] = [:]
    /// Strangers by source, the oldest first.
    private var sources: [IPAddress?: [UInt64]] = [:]
    private var foreign = 0
    private var owners: [UInt64: NodeID] = [:]
    /// Streams of members, the oldest first.
    private var members: [NodeID: [UInt64]] = [:]
    /// Connections of the present second by source.
    private var connections: [IPAddress?: Int] = [:]
    private var second: Instant?

    /// Number of sources whose connections are counted within one second.
    static let countedSources = 4096

    init(_ limits: StreamLimits) { self.limits = limits }

    /// Number of streams that have proven nothing.
    var strangersCount: Int { strangers.count }
    var membersCount: Int { owners.count }

    /// True if a connection from this source may be looked at; counts it.
    mutating func mayConnect(from source: IPAddress?, isHome: Bool, at now: Instant) -> Bool {
        guard !isHome else { return true }
        if second.map({ now - $0 >= .seconds(1) }) ?? true {
            second = now
            connections.removeAll(keepingCapacity: true)
        }
        let group = source?.sourceGroup
        let count = connections[group] ?? 0
        // Somebody who has so many addresses is not stopped by counting.
        guard count > 0 || connections.count < Self.countedSources else { return true }
        connections[group] = count + 1
        return count < limits.connectionsPerSecond
    }

    /// Opens a stream.
    ///
    /// - Returns: Its number, and that of a stream to be closed for it.
    mutating func open(from source: IPAddress?, isHome: Bool) -> (number: UInt64, evicted: UInt64?) {
        let group = source?.sourceGroup
        var evicted: UInt64?
        if let known = sources[group], known.count >= limits.strangersPerSource {
            evicted = known.first
        } else if !isHome, foreign >= limits.strangers {
            evicted = oldestOfTheMost
        }
        if let evicted { end(evicted) }
        let number = nextNumber
        nextNumber += 1
        strangers[number] = Stranger(source: group, isHome: isHome)
        sources[group, default: []].append(number)
        if !isHome { foreign += 1 }
        return (number, evicted)
    }

    /// Oldest stream of the source that has the most of them; of several such sources, of the one whose oldest is the oldest.
    private var oldestOfTheMost: UInt64? {
        sources.values.lazy.compactMap { numbers -> (count: Int, oldest: UInt64)? in
            guard let oldest = numbers.first, self.strangers[oldest]?.isHome == false else { return nil }
            return (numbers.count, oldest)
        }.max { ($0.count, $1.oldest) < ($1.count, $0.oldest) }?.oldest
    }

    /// Takes the proof that a stream is a member's.
    ///
    /// - Returns: True if it may go on, as a stream is of one member; and a stream of the same member to be closed for it.
    mutating func prove(_ number: UInt64, of member: NodeID) -> (isGood: Bool, evicted: UInt64?) {
        if let owner = owners[number] { return (owner == member, nil) }
        guard strangers[number] != nil else { return (false, nil) }
        end(number)
        owners[number] = member
        members[member, default: []].append(number)
        guard let all = members[member], all.count > limits.perMember, let evicted = all.first else { return (true, nil) }
        end(evicted)
        return (true, evicted)
    }

    func isProven(_ number: UInt64) -> Bool { owners[number] != nil }

    /// Takes a stream out of the budget, as its joiner has proven to know the token.
    mutating func release(_ number: UInt64) { end(number) }

    /// Streams of nodes that are no members any more; they are ended here.
    mutating func endStreams(except isMember: (NodeID) -> Bool) -> [UInt64] {
        let gone = members.filter { !isMember($0.key) }.values.joined().sorted()
        for number in gone { end(number) }
        return gone
    }

    mutating func end(_ number: UInt64) {
        if let stranger = strangers.removeValue(forKey: number) {
            if !stranger.isHome { foreign -= 1 }
            sources[stranger.source]?.removeAll { $0 == number }
            if sources[stranger.source]?.isEmpty == true { sources[stranger.source] = nil }
        }
        if let owner = owners.removeValue(forKey: number) {
            members[owner]?.removeAll { $0 == number }
            if members[owner]?.isEmpty == true { members[owner] = nil }
        }
    }
}
