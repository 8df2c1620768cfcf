public import OverlayModel

/// The times of membership (control-plane notes §1.8). One set fits a LAN; tests and measurements vary it.
public struct MembershipParameters: Hashable, Sendable {
    /// Between probes of one node. Two pings and two answers a second, in a cluster of any size.
    public var period = Interval.milliseconds(500)
    /// A probe's answer is waited for four times as long as answers of that peer mostly take, within these.
    public var shortestTimeout = Interval.milliseconds(20)
    public var longestTimeout = Interval.milliseconds(200)
    /// Nodes that are asked to probe in our place.
    public var helpers = 3
    /// Between two questions to a suspect.
    public var inquiryRound = Interval.milliseconds(150)
    /// Unanswered rounds after which a node says so to others.
    public var roundsToAccuse = 2
    /// Unanswered rounds without which nobody is declared unreachable by an accuser; small clusters have little else to go by.
    public var roundsToDeclare = 8
    /// Unanswered rounds before a declaration of others is believed.
    public var roundsToBelieve = 2
    /// Rounds answered by stream alone after which UDP counts as blocked.
    public var roundsToBlock = 20
    /// The shortest time between accusation and declaration, for up to ten members; times log10 of their number above.
    public var suspicion = Interval.milliseconds(1200)
    /// An accusation that nobody confirms takes as many times longer.
    public var suspicionFactor: Int64 = 6
    /// Confirmations that bring it down to the shortest time.
    public var confirmations = 2
    /// Up to so many members all inquire after a suspect; above, `inquirers` chosen ones.
    public var allInquire = 50
    public var inquirers = 8
    /// Unacknowledged updates go out again.
    public var gossipTick = Interval.milliseconds(100)
    public var gossipAttempts = 10
    /// Up to so many members get an update from its source; above, `fanout` do, and each passes news on to half as many.
    public var flatGossip = 128
    public var fanout = 16
    /// So many of whom nothing was heard yet are probed each period, beside the one of the round.
    public var strangersPerPeriod = 4
    /// For so long news gathers before it is passed on.
    public var relayDelay = Interval.milliseconds(10)
    /// Of tries to reach an unreachable member.
    public var firstRetry = Interval.milliseconds(500)
    public var shortestRetry = Interval.seconds(1)
    public var longestRetry = Interval.seconds(10)
    /// A blocked UDP path is tried as often.
    public var pathRetry = Interval.seconds(2)
    /// A stream that failed although its peer is alive is tried again after the first, then every second of these.
    public var firstStreamCheck = Interval.seconds(1)
    public var nextStreamCheck = Interval.seconds(5)
    /// Views that differ are compared when they have had this long to become equal.
    public var syncDelay = Interval.milliseconds(50)
    /// After a stall, answers that wait in the socket are read before anything is concluded.
    public var grace = Interval.milliseconds(250)

    public init() {}

    /// The time from accusation to declaration.
    ///
    /// - Parameters:
    ///   - accusers: Distinct nodes that had no answer, 1 and up.
    ///   - members: All members with this node.
    func suspicionTime(accusers: Int, members: Int) -> Interval {
        let shortest = Double(suspicion.nanoseconds) * max(1, decimalLogarithm(members))
        // With so few members nobody could confirm.
        guard members - 2 >= confirmations else { return Interval(nanoseconds: Int64(shortest)) }
        let longest = shortest * Double(suspicionFactor)
        let confirmed = min(max(accusers - 1, 0), confirmations)
        let share = decimalLogarithm(confirmed + 1) / decimalLogarithm(confirmations + 1)
        return Interval(nanoseconds: Int64(longest - share * (longest - shortest)))
    }

    /// Between two tries of one node, so that all together try an unreachable member some five times a second.
    func retryTime(tries: Int, members: Int) -> Interval {
        let share = Interval(nanoseconds: Int64(max(members - 1, 1)) * 200_000_000)
        let bound = min(max(share, shortestRetry), longestRetry)
        return tries < 5 ? min(firstRetry * Int64(1 << tries), bound) : bound
    }
}

/// log10; the cores have no C library.
func decimalLogarithm(_ number: Int) -> Double {
    guard number > 1 else { return 0 }
    let value = Double(number)
    var binary = Double(value.exponent)
    var rest = value.significand
    var bit = 0.5
    for _ in 0..<40 {
        rest *= rest
        if rest >= 2 {
            rest /= 2
            binary += bit
        }
        bit /= 2
    }
    return binary * 0.301_029_995_663_981_2
}
