/// Timers of a core as data: for each key at most one instant at which it is due.
///
/// A core names its timers in an enum, sets and clears them where its state changes, and has one switch over the enum that says what
/// each of them does. What is set is what ``next`` reports, so no timer is listed twice.
///
/// Timers can be taken in three orders. By time, when the order of equal instants is the order in which they were set:
/// ```swift
/// while let timer = timers.takeDue(at: now) { fire(timer) }
/// ```
/// In a fixed order, whatever their instants:
/// ```swift
/// for timer in Timer.allCases where timers.takeDue(timer, at: now) { fire(timer) }
/// ```
/// And kind by kind, when there are several timers of a kind: ``takeDue(at:where:)``.
///
/// Setting, clearing and taking cost O(log n), ``next`` costs O(1). It is a binary heap in which entries that were moved or cleared
/// stay until they come to the top.
public struct Deadlines<Key: Hashable & Sendable>: Sendable {
    @usableFromInline
    struct Entry: Sendable {
        @usableFromInline let at: Instant
        /// Number of the call that set it, to order equal instants.
        @usableFromInline let serial: UInt64
        @usableFromInline let key: Key

        @inlinable
        init(at: Instant, serial: UInt64, key: Key) {
            self.at = at
            self.serial = serial
            self.key = key
        }
    }

    @usableFromInline var heap: [Entry] = []
    @usableFromInline var current: [Key: Entry] = [:]
    @usableFromInline var serial: UInt64 = 0

    public init() {}

    /// The earliest instant of all timers; nil if none is set.
    // The top of the heap is never out of date.
    @inlinable public var next: Instant? { heap.first?.at }

    /// The timers that are set, in no order.
    @inlinable public var keys: some Collection<Key> { current.keys }

    /// The instant of a timer; nil if it is not set. Setting nil clears it.
    @inlinable
    public subscript(key: Key) -> Instant? {
        get { current[key]?.at }
        set { if let newValue { set(key, at: newValue) } else { clear(key) } }
    }

    /// Sets a timer, or moves it.
    @inlinable
    public mutating func set(_ key: Key, at: Instant) {
        if current[key]?.at == at { return }
        serial += 1
        let entry = Entry(at: at, serial: serial, key: key)
        current[key] = entry
        heap.append(entry)
        siftUp(heap.count - 1)
        prune()
    }

    /// Sets a timer, unless it is due earlier already.
    @inlinable
    public mutating func set(_ key: Key, noLaterThan at: Instant) {
        if let old = current[key]?.at, old <= at { return }
        set(key, at: at)
    }

    /// Clears a timer. Does nothing if it is not set.
    @inlinable
    public mutating func clear(_ key: Key) {
        guard current.removeValue(forKey: key) != nil else { return }
        prune()
    }

    /// Clears all timers.
    @inlinable
    public mutating func clearAll() {
        heap = []
        current = [:]
    }

    /// Clears and returns the timer that has been due for the longest time; nil if none is due.
    @inlinable
    public mutating func takeDue(at now: Instant) -> Key? {
        guard let first = heap.first, first.at <= now else { return nil }
        current[first.key] = nil
        prune()
        return first.key
    }

    /// Clears a timer if it is due.
    /// - Returns: True if it was due.
    @inlinable
    public mutating func takeDue(_ key: Key, at now: Instant) -> Bool {
        guard let next, next <= now, let at = current[key]?.at, at <= now else { return false }
        clear(key)
        return true
    }

    /// Clears and returns all due timers that satisfy a predicate, in no order.
    @inlinable
    public mutating func takeDue(at now: Instant, where predicate: (Key) -> Bool) -> [Key] {
        var due: [Key] = []
        // In a heap whatever is below an entry is later: of the entries that are not due only the uppermost are looked at.
        var open = [0]
        while let index = open.popLast() {
            guard index < heap.count, heap[index].at <= now else { continue }
            let entry = heap[index]
            if current[entry.key]?.serial == entry.serial, predicate(entry.key) { due.append(entry.key) }
            open.append(2 * index + 1)
            open.append(2 * index + 2)
        }
        for key in due { current[key] = nil }
        if !due.isEmpty { prune() }
        return due
    }

    @inlinable
    mutating func prune() {
        if heap.count > 64, heap.count > 2 * current.count {
            heap = current.values.sorted(by: Self.isEarlier)
            return
        }
        while let first = heap.first, current[first.key]?.serial != first.serial {
            heap.swapAt(0, heap.count - 1)
            heap.removeLast()
            siftDown(0)
        }
    }

    @inlinable
    static func isEarlier(_ lhs: Entry, _ rhs: Entry) -> Bool { (lhs.at, lhs.serial) < (rhs.at, rhs.serial) }

    @inlinable
    mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isEarlier(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    @inlinable
    mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && Self.isEarlier(heap[child], heap[least]) {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
