import OverlayModel

/// Events in order of their time; those of one time in the order in which they were inserted.
///
/// A binary heap of small entries. The events, which are large, stay in the slot that they were put in.
struct EventQueue<Event> {
    private var heap: [(at: Int64, order: UInt64, slot: Int32)] = []
    private var events: [Event?] = []
    private var free: [Int32] = []
    private var order: UInt64 = 0

    var first: Instant? { heap.first.map { Instant(nanoseconds: $0.at) } }

    mutating func insert(_ event: Event, at: Instant) {
        order += 1
        let slot: Int32
        if let reused = free.popLast() {
            slot = reused
            events[Int(slot)] = event
        } else {
            slot = Int32(events.count)
            events.append(event)
        }
        heap.append((at.nanoseconds, order, slot))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard precedes(child, parent) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func removeFirst() -> Event? {
        guard let slot = heap.first?.slot else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        free.append(slot)
        return events[Int(slot)].take()
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in 2 * parent + 1...2 * parent + 2 where child < heap.count && precedes(child, least) { least = child }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        (heap[left].at, heap[left].order) < (heap[right].at, heap[right].order)
    }
}
