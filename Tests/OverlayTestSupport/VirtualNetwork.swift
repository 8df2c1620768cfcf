public import OverlayModel

/// Direction between two nodes of a ``VirtualNetwork``.
public struct Link: Hashable, Sendable {
    public var from: Int
    public var to: Int

    public init(from: Int, to: Int) {
        self.from = from
        self.to = to
    }

    public var reversed: Link { Link(from: to, to: from) }
}

/// Virtual time and a network in it: messages are lost, doubled, delayed and cut off, in an order that the seed alone decides.
///
/// It delivers events and knows nothing of their meaning. Timers stay with the nodes; ``step(until:timer:)`` is told the earliest.
public struct VirtualNetwork<Event> {
    /// The next thing to do, which is now.
    public enum Step {
        case event(Event)
        case timer
    }

    public private(set) var now = Instant(nanoseconds: 0)
    /// Share of messages that get lost, 0 to 1.
    public var loss = 0.0
    /// Share that gets lost on the way to a node, in place of ``loss``.
    public var lossTo: [Int: Double] = [:]
    /// Share of messages that arrive three times.
    public var duplication = 0.0
    /// Microseconds under way. With one value nothing is overtaken.
    public var delay: ClosedRange<Int64>
    /// Nodes that neither send nor receive.
    public var cut: Set<Int> = []
    /// Links that lose everything.
    public var cutLinks: Set<Link> = []
    /// Side of a partition that each node is on; nodes without one are together.
    public var sides: [Int: Int] = [:]
    public var generator: SeededGenerator
    /// The next one last; of one instant the one scheduled first is later in the list.
    private var queue: [(at: Instant, event: Event)] = []

    public init(seed: UInt64, delay: ClosedRange<Int64>) {
        generator = SeededGenerator(seed: seed)
        self.delay = delay
    }

    /// True if nothing is under way or scheduled.
    public var isEmpty: Bool { queue.isEmpty }

    /// True if the link carries anything at all.
    public func isOpen(_ link: Link) -> Bool {
        !cut.contains(link.from) && !cut.contains(link.to) && !cutLinks.contains(link) && sides[link.from] == sides[link.to]
    }

    // MARK: Sending

    /// Sends over a link: nothing arrives, or one, or three copies, each after a delay of its own.
    ///
    /// - Parameter alter: Alters what is under way; nil loses it. Not called for what is lost anyway.
    public mutating func send(_ event: Event, over link: Link, altered alter: (Event) -> Event? = { $0 }) {
        guard isOpen(link), Double.random(in: 0..<1, using: &generator) >= lossTo[link.to] ?? loss, let event = alter(event) else {
            return
        }
        for _ in 0..<copies() { schedule(event, at: now + transit()) }
    }

    private mutating func copies() -> Int {
        duplication > 0 && Double.random(in: 0..<1, using: &generator) < duplication ? 3 : 1
    }

    /// Draws the time that one message is under way.
    public mutating func transit() -> Interval { .microseconds(Int64.random(in: delay, using: &generator)) }

    /// Schedules what no network stands in the way of.
    public mutating func schedule(_ event: Event, at instant: Instant) {
        var (low, high) = (0, queue.count)
        while low < high {
            let middle = (low + high) / 2
            if queue[middle].at > instant { low = middle + 1 } else { high = middle }
        }
        queue.insert((instant, event), at: low)
    }

    public mutating func schedule(_ event: Event, after time: Interval) { schedule(event, at: now + time) }

    // MARK: Time

    /// Moves the clock to the next event or to the timer, whichever is first; an event goes before a timer of the same instant.
    ///
    /// - Returns: nil when neither comes until `end`; the clock stays then.
    public mutating func step(until end: Instant, timer: Instant? = nil) -> Step? {
        if let at = queue.last?.at, at <= end, timer.map({ at <= $0 }) ?? true {
            now = max(now, at)
            return .event(queue.removeLast().event)
        }
        guard let timer, timer <= end else { return nil }
        now = max(now, timer)
        return .timer
    }

    /// Moves the clock on, when nothing is left to do until then.
    public mutating func rest(until end: Instant) { now = max(now, end) }
}
