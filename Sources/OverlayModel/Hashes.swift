/// Hash of 64-bit words: the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014)
/// after each. It spreads well and is cheap, and it does not withstand an attacker.
public struct SplitMix: Sendable {
    /// The increment of SplitMix64: 2⁶⁴ divided by the golden ratio.
    @usableFromInline static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    @usableFromInline var state = SplitMix.increment

    public init() {}

    @inlinable public var value: UInt64 { state }

    /// Hash of one word: what a generator with this state gives next.
    @inlinable
    public static func hash(_ word: UInt64) -> UInt64 {
        var z = word &+ increment
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    @inlinable public mutating func combine(_ word: UInt64) { state = Self.hash(state ^ word) }

    @inlinable
    public mutating func combine(_ id: some Identifier128) {
        combine(UInt64(truncatingIfNeeded: id.bits >> 64))
        combine(UInt64(truncatingIfNeeded: id.bits))
    }
}

/// Hash of bytes: FNV-1a (RFC 9923) with 32 or 64 bits. It finds differences, and it does not withstand an attacker.
public struct FNV1a<Word: FixedWidthInteger & UnsignedInteger & Sendable>: Hashable, Sendable {
    @usableFromInline var state: Word
    @usableFromInline let prime: Word

    @inlinable public var value: Word { state }

    @inlinable
    public mutating func combine(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { state = (state ^ Word(truncatingIfNeeded: byte)) &* prime }
    }
}

extension FNV1a<UInt32> {
    public init() { self.init(state: 0x811C_9DC5, prime: 0x0100_0193) }
}

extension FNV1a<UInt64> {
    public init() { self.init(state: 0xCBF2_9CE4_8422_2325, prime: 0x0000_0100_0000_01B3) }
}

/// SplitMix64: small, fast, seedable, so that a run can be replayed. Not for keys.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        defer { state &+= SplitMix.increment }
        return SplitMix.hash(state)
    }
}
