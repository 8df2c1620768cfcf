import OverlayModel

/// Refusals of streams to one member, and what they tell of its daemon.
///
/// A host refuses a stream where no daemon listens. So does a firewall before a daemon that runs. It is told by an answer to a later
/// datagram in the same life: the daemon ran all the time.
struct StreamRefusals: Hashable, Sendable {
    /// Life of the member, and the last number that this node had used, at the last refusal.
    private var life: UInt64?
    private var number: UInt32 = 0
    /// True if they are a firewall's, and tell nothing of the daemon.
    private(set) var areOfFirewall = false

    mutating func refused(in life: UInt64, after number: UInt32) {
        self.life = life
        self.number = number
    }

    /// Takes note of an answer.
    ///
    /// - Parameters:
    ///   - number: Number of the question.
    ///   - life: Life in which the member speaks.
    mutating func answered(_ number: UInt32, by path: MessagePath, in life: UInt64) {
        switch path {
        case .stream: self = StreamRefusals()
        // Numbers wrap around.
        case .datagram where life == self.life && number != self.number && number &- self.number < 1 << 31: areOfFirewall = true
        case .datagram: break
        }
    }
}

extension StreamFailure {
    /// Reason that is told of a member which answers datagrams.
    var reason: String {
        switch self {
        case .refused: "TCP to it is refused, UDP passes"
        case .failed(let text): "TCP to it fails, UDP passes: \(text)"
        }
    }
}

extension Membership.Inquiry {
    /// Counts the round that ends.
    mutating func judgeRound() {
        if answeredByStream {
            byStream += 1
            unanswered = 0
        } else {
            unanswered += 1
        }
    }
}
