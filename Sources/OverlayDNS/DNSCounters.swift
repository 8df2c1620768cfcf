/// Counters of questions, since the start.
public struct DNSCounters: Hashable, Sendable {
    /// Messages that were looked at.
    public var queries: UInt64 = 0
    /// Questions answered from the tables, or refused as malformed.
    public var answered: UInt64 = 0
    /// Questions handed to Docker's resolver.
    public var forwarded: UInt64 = 0
    /// Questions answered with SERVFAIL, because Docker's resolver is not there or has enough to do.
    public var refused: UInt64 = 0
    /// Datagrams beyond the rate, or that are no question.
    public var dropped: UInt64 = 0

    public init() {}
}
