/// Connections of one socket, and which of them gives way: to a new one when there are too many, and to the others when the requests that
/// are arriving hold too much.
///
/// A client that holds its connections must not keep an engine out. First goes the request that has not moved for the longest time,
/// then a connection that was never used, then one that is idle. One whose request is being worked on never does, nor one whose answer is
/// just being written: its client would lose what was done for it.
struct ConnectionTable<ID: Hashable & Sendable> {
    struct Limits: Sendable {
        /// Number of connections.
        var connections = 256
        /// Number of bytes that unfinished requests hold together.
        var keptBytes = 32 << 20
        /// Time in nanoseconds for a request to arrive after its first byte, and for its answer to be read.
        var arrival: UInt64 = 30_000_000_000
        /// Time in nanoseconds in which an answer may be read before its connection gives way.
        var reading: UInt64 = 100_000_000
    }

    private enum Stage: Hashable {
        /// No request; true if there was one before.
        case idle(used: Bool)
        /// Request that has begun to arrive and is not complete.
        case arriving
        /// Request that is being worked on.
        case working
        /// Answer that is being written.
        case answering
    }

    private struct Connection {
        var stage = Stage.idle(used: false)
        /// Order of the last progress.
        var moved: UInt64
        /// Time at which the request began to arrive, or its answer to be written.
        var since: UInt64 = 0

        /// Nanoseconds that the request arrives, or its answer is written.
        func age(at now: UInt64) -> UInt64 { now - min(now, since) }
        var keptBytes = 0
        /// True if bytes came while a request was worked on: the next request has begun.
        var isAhead = false
    }

    private let limits: Limits
    private var connections: [ID: Connection] = [:]
    private var order: UInt64 = 0
    private var keptBytes = 0
    /// True from the moment at which all connections were in work, until there is room.
    private var isStarved = false

    init(limits: Limits) { self.limits = limits }

    var count: Int { connections.count }

    /// True if a request is on its way, so that its time has to be watched, or a client waits for room.
    var isWaiting: Bool { isStarved || connections.values.contains { $0.stage == .arriving || $0.stage == .answering } }

    // MARK: Connections

    /// True if a new connection may come: there is room for it, or a connection that gives way.
    mutating func hasRoom(at now: UInt64) -> Bool {
        isStarved = connections.count >= limits.connections && victim(at: now) == nil
        return !isStarved
    }

    /// Adds a connection, and returns the one that has to be closed for it, if any.
    mutating func open(_ id: ID, at now: UInt64) -> ID? {
        let leaving = connections.count >= limits.connections ? victim(at: now) : nil
        connections[id] = Connection(moved: nextOrder())
        return leaving
    }

    mutating func close(_ id: ID) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        keptBytes -= connection.keptBytes
        isStarved = false
    }

    private mutating func nextOrder() -> UInt64 {
        order += 1
        return order
    }

    /// Connection that gives way to a new one; nil if all are in work.
    private func victim(at now: UInt64) -> ID? {
        func oldest(_ stages: Set<Stage>) -> ID? {
            connections.filter { _, connection in
                stages.contains(connection.stage) && (connection.stage != .answering || connection.age(at: now) >= limits.reading)
            }.min { $0.value.moved < $1.value.moved }?.key
        }
        return oldest([.arriving, .answering]) ?? oldest([.idle(used: false)]) ?? oldest([.idle(used: true)])
    }

    // MARK: Requests

    /// Notes that bytes came.
    mutating func received(_ id: ID, at now: UInt64) {
        guard var connection = connections[id] else { return }
        switch connection.stage {
        case .idle: begin(&connection, .arriving, now)
        case .arriving: connection.moved = nextOrder()
        case .working, .answering: connection.isAhead = true
        }
        connections[id] = connection
    }

    /// Notes that the head of a request is there. It may have come together with the request before it.
    mutating func began(_ id: ID, at now: UInt64) {
        guard var connection = connections[id] else { return }
        if connection.stage != .arriving { begin(&connection, .arriving, now) }
        connections[id] = connection
    }

    /// Notes how much an unfinished request holds.
    ///
    /// - Returns: Connections that have to be closed, as all together hold too much: those whose request has not moved for longest, among
    ///   those that hold more than an equal share. Closing the others would free nothing.
    mutating func holds(_ bytes: Int, _ id: ID) -> [ID] {
        guard let held = connections[id]?.keptBytes else { return [] }
        keptBytes += bytes - held
        connections[id]?.keptBytes = bytes
        guard keptBytes > limits.keptBytes else { return [] }
        var leaving: [ID] = []
        var freed = 0
        let share = limits.keptBytes / limits.connections
        for (id, connection) in connections.filter({ $0.value.stage == .arriving && $0.value.keptBytes > share })
            .sorted(by: { $0.value.moved < $1.value.moved })
        {
            guard keptBytes - freed > limits.keptBytes else { break }
            leaving.append(id)
            freed += connection.keptBytes
        }
        return leaving
    }

    /// Notes that the whole request is there.
    mutating func complete(_ id: ID) {
        connections[id]?.stage = .working
        connections[id]?.isAhead = false
    }

    /// Notes that the answer is there.
    ///
    /// - Returns: Number of the answer.
    mutating func answering(_ id: ID, at now: UInt64) -> UInt64 {
        guard var connection = connections[id] else { return 0 }
        keptBytes -= connection.keptBytes
        connection.keptBytes = 0
        begin(&connection, .answering, now)
        connections[id] = connection
        return connection.moved
    }

    /// True if an answer is being written. A request that came together with the one before it may have begun, or may be answered by now.
    func isAnswering(_ id: ID, _ answer: UInt64) -> Bool {
        connections[id].map { $0.stage == .answering && $0.moved == answer } ?? false
    }

    /// Notes that the answer was written.
    ///
    /// - Returns: True if the connection has to be closed, as others wait and all are in work.
    mutating func answered(_ id: ID, _ answer: UInt64, at now: UInt64) -> Bool {
        guard isAnswering(id, answer), var connection = connections[id] else { return false }
        if connection.isAhead {
            begin(&connection, .arriving, now)
        } else {
            connection.stage = .idle(used: true)
            connection.moved = nextOrder()
        }
        connection.isAhead = false
        connections[id] = connection
        return isStarved
    }

    private mutating func begin(_ connection: inout Connection, _ stage: Stage, _ now: UInt64) {
        connection.stage = stage
        connection.moved = nextOrder()
        connection.since = now
    }

    /// Connections that have to be closed, as a request did not arrive in time, or an answer was not read. Where others wait for room, one
    /// whose answer is not read makes it.
    ///
    /// - Parameter arrival: Time for that, where it is not the usual one.
    func expired(at now: UInt64, arrival: UInt64? = nil) -> [ID] {
        let expired = connections.filter { _, connection in
            (connection.stage == .arriving || connection.stage == .answering)
                && connection.age(at: now) >= arrival ?? limits.arrival
        }
        guard expired.isEmpty, isStarved, let leaving = victim(at: now) else { return Array(expired.keys) }
        return [leaving]
    }
}
