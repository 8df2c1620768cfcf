/// Which of two statements about a node is the newer one: identity life, daemon life, and a counter within it, as one number
/// (16, 24 and 24 bits). The upper two are stored before use, so a restarted node is above everything that was ever said of it.
public struct Incarnation: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UInt64

    public init(value: UInt64) { self.value = value }

    /// - Parameters:
    ///   - epoch: The identity life; the lower 16 bits count.
    ///   - boot: Starts of the daemon; the lower 24 bits count.
    ///   - sequence: Counter within the life; the lower 24 bits count.
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

/// How far a node's durable state has come, as others heard it of the node itself. As long as the state is kept, none of it ever goes
/// down: a node that is told of more than it knows has an old copy.
public struct StateMark: Hashable, Sendable {
    /// ``Incarnation/life``; 0 where nothing was heard.
    public var life: UInt64
    /// Drawn at random by each process: two of them in one life are two starts from the same copy.
    public var run: UInt32
    /// Counts the changes of what the node handed out.
    public var writes: UInt64

    public init(life: UInt64, run: UInt32, writes: UInt64) {
        self.life = life
        self.run = run
        self.writes = writes
    }

    public static let none = StateMark(life: 0, run: 0, writes: 0)

    public var epoch: UInt32 { UInt32(truncatingIfNeeded: life >> 24) & 0xFFFF }
    public var boot: UInt32 { UInt32(truncatingIfNeeded: life) & 0xFF_FFFF }

    /// Does it prove that a state of this mark is an old copy?
    public func exceeds(_ own: StateMark) -> Bool {
        life > own.life || (life == own.life && run != own.run) || writes > own.writes
    }

    /// Takes what was heard of a node into what was heard before. The first process of a life stays: it is the proof against the second.
    public mutating func take(_ heard: StateMark) {
        if heard.life > life {
            life = heard.life
            run = heard.run
        }
        writes = max(writes, heard.writes)
    }
}

extension StateMark: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        self.init(life: try reader.integer(), run: try reader.integer(), writes: try reader.counter())
        guard life < 1 << 40 else { throw .invalid("life") }
    }

    public func encode(to writer: inout ByteWriter) {
        writer.integer(life)
        writer.integer(run)
        writer.integer(writes)
    }
}
