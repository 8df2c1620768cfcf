/// Anti-replay window (RFC 4303 §3.4.3) over the last 1024 counters of a sender.
public struct ReplayWindow: Hashable, Sendable {
    static let size: UInt64 = 1024
    private var highest: UInt64 = 0
    private var isEmpty = true
    private var seen = [UInt64](repeating: 0, count: Int(size / 64))

    public init() {}

    public func accepts(_ counter: UInt64) -> Bool {
        if isEmpty || counter > highest { return true }
        guard highest - counter < Self.size else { return false }
        return seen[word(counter)] & bit(counter) == 0
    }

    /// Marks a counter as seen. Only for authenticated packets.
    public mutating func insert(_ counter: UInt64) {
        if isEmpty {
            highest = counter
            isEmpty = false
        } else if counter > highest {
            if counter - highest >= Self.size {
                seen = [UInt64](repeating: 0, count: seen.count)
            } else {
                for passed in (highest + 1)...counter { seen[word(passed)] &= ~bit(passed) }
            }
            highest = counter
        }
        seen[word(counter)] |= bit(counter)
    }

    private func word(_ counter: UInt64) -> Int { Int(counter % Self.size / 64) }
    private func bit(_ counter: UInt64) -> UInt64 { 1 << (counter % 64) }
}
