import OverlayModel

/// One line of the table of the control plane's targets.
public struct Measurement: Sendable {
    public var name: String
    public var what: String
    /// Value of comparable systems, as measured or published.
    public var anchor: String
    public var target: String
    public var result: String
    public var passed: Bool
}

/// A set of samples.
struct Samples {
    private var values: [Interval] = []
    private var isSorted = false

    var count: Int { values.count }

    mutating func add(_ value: Interval) {
        values.append(value)
        isSorted = false
    }

    /// - Parameter share: 0…1.
    mutating func percentile(_ share: Double) -> Interval {
        if !isSorted {
            values.sort()
            isSorted = true
        }
        guard let last = values.indices.last else { return Interval(nanoseconds: 0) }
        return values[min(last, Int((share * Double(values.count)).rounded(.up)) - (share > 0 ? 1 : 0))]
    }

    mutating func summary() -> String {
        "p50 \(percentile(0.5).text), p99 \(percentile(0.99).text), max \(percentile(1).text) (\(count) samples)"
    }
}

extension Interval {
    /// Text in the unit that fits, with three digits.
    var text: String {
        let (value, unit) = abs(nanoseconds) >= 1_000_000_000 ? (Double(nanoseconds) / 1e9, "s") : (Double(nanoseconds) / 1e6, "ms")
        let rounded = (value * 100).rounded() / 100
        return "\(rounded) \(unit)"
    }
}
