/// How a message between members travels.
public enum MessagePath: UInt8, Hashable, Sendable {
    /// UDP; a packet each.
    case datagram
    /// TCP; one connection to each peer, opened when it is first needed.
    case stream
}

/// What a node thinks of another one's being there. None of these removes anybody: only the catalogue does.
public enum PeerState: UInt8, Hashable, Sendable, CaseIterable {
    /// Not heard of since this daemon started.
    case unknown
    case alive
    /// Answers by stream alone: a firewall on the way drops UDP. Everything goes by stream until datagrams pass again.
    case udpBlocked
    /// Did not answer a probe by any path; it is asked again and again, and may refute.
    case suspect
    /// The host answers that nothing listens on the port: its containers may live. Nothing of it is withdrawn.
    case daemonDown
    /// Nobody has had an answer for longer than chance allows. It is tried for ever.
    case unreachable

    /// May it be expected to answer?
    public var isReachable: Bool {
        switch self {
        case .unknown, .alive, .udpBlocked, .suspect: true
        case .daemonDown, .unreachable: false
        }
    }

    /// As `node ls` prints it.
    public var word: String {
        switch self {
        case .unknown: "unknown"
        case .alive: "alive"
        case .udpBlocked: "udp-blocked"
        case .suspect: "suspect"
        case .daemonDown: "daemon-down"
        case .unreachable: "unreachable"
        }
    }
}

public struct PeerStatus: Hashable, Sendable {
    public var state: PeerState
    /// Of the state.
    public var since: Instant
    /// What the state rests on, or what is wrong although it is alive; empty when all is well.
    public var reason: String
    /// Smoothed, of datagrams; nil before the first answer.
    public var roundTrip: Interval?
    /// Since when it has answered other nodes, but no question of this one; nil where it answers.
    public var silentSince: Instant?
    /// How well the peer says it does itself, 0 (well) to 7 (Lifeguard's local health).
    public var healthScore: UInt8

    /// The reason where only others have answers of it.
    public static let silentReason = "answers other nodes, but not this one"

    public init(
        state: PeerState, since: Instant, reason: String = "", roundTrip: Interval? = nil, silentSince: Instant? = nil,
        healthScore: UInt8 = 0
    ) {
        self.state = state
        self.since = since
        self.reason = reason
        self.roundTrip = roundTrip
        self.silentSince = silentSince
        self.healthScore = healthScore
    }
}

/// Why a stream to a peer could not be used.
public enum StreamFailure: Hashable, Sendable {
    /// Its host answered that nothing listens there (RST).
    case refused
    /// Nothing came back, or no way leads there: what the system said.
    case failed(String)
}

/// Where a packet came from, or goes.
public struct SocketEndpoint: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}
