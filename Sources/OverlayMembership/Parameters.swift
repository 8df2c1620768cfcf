public import OverlayModel

/// Times and counts of membership. The defaults fit a LAN; tests and measurements vary them.
public struct MembershipParameters: Hashable, Sendable {
    /// Time between two probes of a node. That makes two pings and two answers a second in a cluster of any size.
    public var period = Interval.milliseconds(500)
    /// Bounds of the time to wait for the answer to a probe, which is four times what answers of that peer mostly take.
    public var shortestTimeout = Interval.milliseconds(20)
    public var longestTimeout = Interval.milliseconds(200)
    /// Number of nodes that are asked to probe in place of this one.
    public var helpers = 3
    /// Time between two questions to a suspect.
    public var inquiryRound = Interval.milliseconds(150)
    /// Number of unanswered rounds after which a node accuses.
    public var roundsToAccuse = 2
    /// Number of unanswered rounds that an accuser needs to declare a member unreachable. Small clusters have little other evidence.
    public var roundsToDeclare = 8
    /// Number of unanswered rounds before a declaration of others is believed.
    public var roundsToBelieve = 2
    /// Number of rounds answered only by stream after which UDP counts as blocked.
    public var roundsToBlock = 20
    /// Shortest time between accusation and declaration for up to ten members. Above, it is multiplied by log10 of their number.
    public var suspicion = Interval.milliseconds(1200)
    /// Factor of that time for an accusation that no other node confirms.
    public var suspicionFactor: Int64 = 6
    /// Number of confirmations that bring it down to the shortest time.
    public var confirmations = 2
    /// Number of members up to which all inquire after a suspect. Above, `inquirers` of them do.
    public var allInquire = 50
    public var inquirers = 8
    /// Time between two repeats of unacknowledged updates.
    public var gossipTick = Interval.milliseconds(100)
    public var gossipAttempts = 10
    /// Number of members up to which all get an update from its source. Above, `fanout` do, and each passes news on to half as many.
    public var flatGossip = 128
    public var fanout = 16
    /// Number of members without any news that are probed each period, in addition to the one of the round.
    public var strangersPerPeriod = 4
    /// Time for which news is collected before it is passed on.
    public var relayDelay = Interval.milliseconds(10)
    /// Pauses between tries to reach an unreachable member.
    public var firstRetry = Interval.milliseconds(500)
    public var shortestRetry = Interval.seconds(1)
    public var longestRetry = Interval.seconds(10)
    /// Pause between tries of a blocked UDP path.
    public var pathRetry = Interval.seconds(2)
    /// Pauses before the first and between further tries of a stream that failed although its peer is alive.
    public var firstStreamCheck = Interval.seconds(1)
    public var nextStreamCheck = Interval.seconds(5)
    /// Time that differing views get to become equal before they are compared.
    public var syncDelay = Interval.milliseconds(50)
    /// Time after a stall to read answers that wait in the socket, before anything is concluded.
    public var grace = Interval.milliseconds(250)

    public init() {}

    /// Time from accusation to declaration.
    ///
    /// - Parameters:
    ///   - accusers: Number of distinct nodes that had no answer, at least 1.
    ///   - members: Number of members, including this node.
    func suspicionTime(accusers: Int, members: Int) -> Interval {
        let shortest = Double(suspicion.nanoseconds) * max(1, decimalLogarithm(members))
        // So few members cannot confirm.
        guard members - 2 >= confirmations else { return Interval(nanoseconds: Int64(shortest)) }
        let longest = shortest * Double(suspicionFactor)
        let confirmed = min(max(accusers - 1, 0), confirmations)
        let share = decimalLogarithm(confirmed + 1) / decimalLogarithm(confirmations + 1)
        return Interval(nanoseconds: Int64(longest - share * (longest - shortest)))
    }

    /// Pause between two tries of a node. All together try an unreachable member some five times a second.
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
