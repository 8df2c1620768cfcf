import OverlayModel

/// Port that Docker's resolver listens on by one transport, and the questions that wait until it is found.
struct ResolverPort<Waiter: Sendable>: Sendable {
    /// Least time between the starts of two searches: one costs as much as the container has sockets.
    private static var period: Interval { .milliseconds(200) }

    enum State: Hashable {
        case known(UInt16)
        /// A search is under way; the question waits for it.
        case searching(isNew: Bool)
        /// The last search found nothing, and it is too early for another.
        case unknown
    }

    private(set) var port: UInt16?
    private var searched: Instant?
    private var isSearching = false
    private var waiters: [Waiter] = []

    /// Where to send a question; it becomes a waiter while that is being found out.
    mutating func look(for waiter: Waiter, at now: Instant) -> State {
        if let port { return .known(port) }
        if !isSearching {
            if let searched, now - searched < Self.period { return .unknown }
            searched = now
        }
        waiters.append(waiter)
        defer { isSearching = true }
        return .searching(isNew: !isSearching)
    }

    /// Ends a search.
    ///
    /// - Parameter port: nil if nobody listens.
    /// - Returns: Those that waited, in the order in which they came.
    mutating func found(_ port: UInt16?) -> [Waiter] {
        self.port = port
        isSearching = false
        defer { waiters = [] }
        return waiters
    }

    /// Has the next question look for it.
    mutating func forget() { port = nil }

    /// Removes waiters that have been given up.
    mutating func keepWaiters(where isKept: (Waiter) -> Bool) { waiters.removeAll { !isKept($0) } }
}
