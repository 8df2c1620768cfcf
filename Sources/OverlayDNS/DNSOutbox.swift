/// Effects of one event, in the order in which they are to be carried out, and counters of all events.
public struct DNSOutbox: Sendable {
    /// Effects; whoever carries them out removes them.
    public var effects: [DNSEffect] = []
    public internal(set) var counters = DNSCounters()

    public init() {}

    mutating func append(_ effect: DNSEffect) { effects.append(effect) }
}
