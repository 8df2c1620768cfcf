/// Path of a message between members.
public enum MessagePath: UInt8, Hashable, Sendable {
    /// UDP, one packet per message.
    case datagram
    /// TCP, one connection to each peer, opened when it is first needed.
    case stream
}

/// Reachability of a peer, as one node sees it. No state removes a member: only the catalogue does.
public enum PeerState: UInt8, Hashable, Sendable, CaseIterable {
    /// Nothing was heard of it since this daemon started.
    case unknown
    case alive
    /// It answers by stream only: a firewall on the way drops UDP. Everything goes by stream until datagrams pass again.
    case udpBlocked
    /// It did not answer a probe by any path. It is asked again, and may refute.
    case suspect
    /// Its host answers that nothing listens on the port. Its containers may run, so nothing of it is withdrawn.
    case daemonDown
    /// No node has had an answer for longer than chance allows. It is tried for ever.
    case unreachable

    /// True if it can be expected to answer.
    public var isReachable: Bool {
        switch self {
        case .unknown, .alive, .udpBlocked, .suspect: true
        case .daemonDown, .unreachable: false
        }
    }

    /// Word that `node ls` prints.
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
    /// Start of the state.
    public var since: Instant
    /// Evidence for the state, or what is wrong although the peer is alive; empty if all is well.
    public var reason: String
    /// Smoothed round trip of datagrams; nil before the first answer.
    public var roundTrip: Interval?
    /// Instant since which it has answered other nodes but not this one; nil if it answers.
    public var silentSince: Instant?
    /// Health score that the peer reports about itself, 0 (well) to 7 (Lifeguard's local health).
    public var healthScore: UInt8

    /// Reason if only other nodes have answers from it.
    public static let silentReason = "answers other nodes, but not this one"

    /// Reason if a stream was opened to a peer whose daemon was down, and it is silent all the same: it has lost its state.
    public static let strangerReason = "a daemon listens there, and does not answer as this member"

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

/// Reason why a stream to a peer could not be used.
public enum StreamFailure: Hashable, Sendable {
    /// Its host answered that nothing listens there (RST).
    case refused
    /// Nothing came back, or there is no route: the text of the system.
    case failed(String)
}

/// Source or destination of a packet.
public struct SocketEndpoint: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// True if a datagram from here can be answered. The kernel delivers those of port 0 and of no host, and refuses to answer them.
    public var isAnswerable: Bool { port != 0 && address.unmapped.isHost && !address.isLinkLocal }
}
