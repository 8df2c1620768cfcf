/// Which of two statements about a node is the newer one: identity life, daemon life, and a counter within it, as one number
/// (16, 24 and 24 bits). The upper two are stored before use, so a restarted node is above everything that was ever said of it.
public struct Incarnation: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UInt64

    public init(value: UInt64) { self.value = value }

    /// - Parameters:
    ///   - epoch: The identity life; the lower 16 bits count.
    ///   - boot: Starts of the daemon; the lower 24 bits count.
    public init(epoch: UInt32, boot: UInt32, sequence: UInt32 = 0) {
        value = UInt64(epoch & 0xFFFF) << 48 | UInt64(boot & 0xFF_FFFF) << 24 | UInt64(sequence & 0xFF_FFFF)
    }

    /// Epoch and boot: two incarnations of one life differ in the counter alone.
    public var life: UInt64 { value >> 24 }
    /// The next in the same life. A life does not outlast 16 million of them; the last is kept rather than passed.
    public var next: Incarnation { value & 0xFF_FFFF == 0xFF_FFFF ? self : Incarnation(value: value + 1) }
    public static func < (lhs: Incarnation, rhs: Incarnation) -> Bool { lhs.value < rhs.value }
    /// `epoch.boot.sequence`.
    public var description: String { "\(value >> 48).\(value >> 24 & 0xFF_FFFF).\(value & 0xFF_FFFF)" }
}

extension Incarnation: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) { value = try reader.integer() }
    public func encode(to writer: inout ByteWriter) { writer.integer(value) }
}
