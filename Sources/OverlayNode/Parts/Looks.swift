import OverlayModel

/// Looks at single networks that were changed by others: when each is due, and which are under way.
///
/// A network that is changed without end is looked at five times a second at most. When its looks find nothing wrong, as when a
/// container plays with its own interface, they come less and less often. No network delays another one.
struct Looks: Sendable {
    /// Least pause between two looks at a network.
    static let pause = Interval.milliseconds(200)
    /// Number of times that the pause is doubled, at most, while looks find nothing wrong: to 3.2 s.
    private static let mostDoublings = 4
    /// Time without news after which the pause is the least one again.
    private static let quiet = Interval.seconds(10)

    private struct Record: Sendable {
        var due: Instant?
        var last: Instant?
        /// Number of looks in a row that found nothing wrong.
        var vain = 0
    }

    private var records: [VNI: Record] = [:]
    private var underWay: [EffectID: VNI] = [:]

    /// Time at which the next look is due; nil for none.
    var next: Instant? { records.values.lazy.compactMap(\.due).min() }

    /// A network was changed.
    mutating func changed(_ vni: VNI, at now: Instant) {
        var record = records[vni, default: Record()]
        guard record.due == nil else { return }
        if let last = record.last, now - last > Self.quiet { record.vain = 0 }
        let pause = Self.pause * Int64(1 << min(record.vain, Self.mostDoublings))
        record.due = record.last.map { max(now, $0 + pause) } ?? now
        records[vni] = record
    }

    /// A network is to be looked at at a time, or before.
    mutating func demand(_ vni: VNI, at time: Instant) {
        let due = records[vni]?.due
        records[vni, default: Record()].due = due.map { min($0, time) } ?? time
    }

    /// Networks whose looks are due now, which are under way from then on. One at which a look is under way waits for its end.
    mutating func takeDue(at now: Instant) -> [VNI] {
        let busy = Set(underWay.values)
        let due = records.filter { ($0.value.due.map { $0 <= now } ?? false) }.keys.sorted()
        for vni in due where busy.contains(vni) { records[vni]?.due = now + Self.pause }
        let free = due.filter { !busy.contains($0) }
        for vni in free {
            records[vni]?.due = nil
            records[vni]?.last = now
        }
        return free
    }

    mutating func begin(_ id: EffectID, at vni: VNI) { underWay[id] = vni }

    /// Takes note of the end of a look.
    ///
    /// - Returns: The network; nil if the look was not asked for in this life.
    mutating func end(_ id: EffectID) -> VNI? { underWay.removeValue(forKey: id) }

    /// Takes note of what a look found.
    mutating func found(_ isWrong: Bool, at vni: VNI) {
        guard let vain = records[vni]?.vain else { return }
        records[vni]?.vain = isWrong ? 0 : vain + 1
    }

    /// Forgets a network that is not here any more.
    mutating func forget(_ vni: VNI) { records[vni] = nil }
}
