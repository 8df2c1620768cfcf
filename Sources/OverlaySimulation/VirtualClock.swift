import OverlayModel

/// Clock of a node, which may run faster or slower than the world's and may jump.
struct VirtualClock {
    private var base = Instant(nanoseconds: 0)
    private var since = Instant(nanoseconds: 0)
    private var rate = 1.0

    func read(_ now: Instant) -> Instant {
        let passed = (now - since).nanoseconds
        return base + Interval(nanoseconds: rate == 1 ? passed : Int64(Double(passed) * rate))
    }

    /// World's time at which the clock shows a time.
    func time(of raw: Instant) -> Instant {
        let left = (raw - base).nanoseconds
        return since + Interval(nanoseconds: rate == 1 ? left : Int64((Double(left) / rate).rounded(.up)))
    }

    mutating func jump(by interval: Interval, now: Instant) {
        base = read(now) + interval
        since = now
    }

    mutating func setRate(_ new: Double, now: Instant) {
        base = read(now)
        since = now
        rate = new
    }
}
