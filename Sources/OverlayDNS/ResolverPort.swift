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
    /// True if the resolver may listen elsewhere by now.
    private var isDoubtful = false
    private var searched: Instant?
    private var isSearching = false
    private var waiters: [Waiter] = []

    /// Where to send a question; it becomes a waiter while that is being found out.
    mutating func look(for waiter: Waiter, at now: Instant) -> State {
        if let port, !isDoubtful { return .known(port) }
        if !isSearching {
            // While it is too early for another search, a doubtful port is better than none.
            if let searched, now - searched < Self.period { return port.map { .known($0) } ?? .unknown }
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
        isDoubtful = false
        isSearching = false
        defer { waiters = [] }
        return waiters
    }

    /// Nobody listens there: the next question searches, or fails if it is too early for that.
    mutating func forget() { port = nil }

    /// The resolver may listen elsewhere: the next question searches, if it is time.
    mutating func doubt() { isDoubtful = true }

    /// Removes waiters that have been given up.
    mutating func keepWaiters(where isKept: (Waiter) -> Bool) { waiters.removeAll { !isKept($0) } }
}
