import OverlayModel

/// Timers by key, at most one each: a binary heap in which what was moved or cleared stays until it comes to the top. Equal times
/// keep the order in which they were set.
struct Deadlines<Key: Hashable & Sendable>: Sendable {
    private struct Entry: Sendable {
        var at: Instant
        var serial: UInt64
        var key: Key
    }

    private var heap: [Entry] = []
    private var current: [Key: Entry] = [:]
    private var serial: UInt64 = 0

    /// The earliest. The top of the heap is never out of date.
    var next: Instant? { heap.first?.at }

    var keys: some Collection<Key> { current.keys }

    subscript(key: Key) -> Instant? { current[key]?.at }

    mutating func set(_ key: Key, at: Instant) {
        if current[key]?.at == at { return }
        serial += 1
        let entry = Entry(at: at, serial: serial, key: key)
        current[key] = entry
        heap.append(entry)
        siftUp(heap.count - 1)
        prune()
    }

    /// Sets the timer unless it is to fire earlier.
    mutating func set(_ key: Key, noLaterThan at: Instant) {
        if let old = current[key]?.at, old <= at { return }
        set(key, at: at)
    }

    mutating func clear(_ key: Key) {
        guard current.removeValue(forKey: key) != nil else { return }
        prune()
    }

    /// Removes and returns a timer that is due.
    mutating func takeDue(at now: Instant) -> Key? {
        guard let first = heap.first, first.at <= now else { return nil }
        current[first.key] = nil
        prune()
        return first.key
    }

    private mutating func prune() {
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

    private static func isEarlier(_ lhs: Entry, _ rhs: Entry) -> Bool { (lhs.at, lhs.serial) < (rhs.at, rhs.serial) }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isEarlier(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
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
