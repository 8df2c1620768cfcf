import OverlayModel
import Testing

@Suite struct HashTests {
    /// Test vectors of the FNV algorithm (RFC 9923, appendix C).
    @Test(
        arguments: [
            ("", 0x811C_9DC5, 0xCBF2_9CE4_8422_2325), ("a", 0xE40C_292C, 0xAF63_DC4C_8601_EC8C),
            ("foobar", 0xBF9C_F968, 0x8594_4171_F739_67E8),
        ] as [(String, UInt32, UInt64)])
    func fnvIsThatOfTheStandard(text: String, short: UInt32, long: UInt64) {
        var first = FNV1a<UInt32>()
        first.combine(text.utf8)
        #expect(first.value == short)
        var second = FNV1a<UInt64>()
        for byte in text.utf8 { second.combine([byte]) }
        #expect(second.value == long)
    }

    @Test func aWordIsWhatTheGeneratorGives() {
        for seed in [0, 1, 0x1234_5678_9ABC_DEF0, .max] as [UInt64] {
            var generator = SeededGenerator(seed: seed)
            #expect(SplitMix.hash(seed) == generator.next())
        }
        // The first output for seed 0, as published with the algorithm.
        #expect(SplitMix.hash(0) == 0xE220_A839_7B1D_CDAF)
    }

    @Test func theOrderOfWordsMatters() {
        func hash(_ words: UInt64...) -> UInt64 {
            var hash = SplitMix()
            for word in words { hash.combine(word) }
            return hash.value
        }
        #expect(hash(1, 2) == hash(1, 2))
        #expect(Set([hash(), hash(0), hash(1, 2), hash(2, 1), hash(1), hash(2)]).count == 6)
        var id = SplitMix()
        id.combine(NodeID(bits: 1 << 64 | 2))
        #expect(id.value == hash(1, 2))
    }

    @Test func percentEncodingEscapesAllButLettersAndDigits() {
        #expect(percentEncoded("/run/swift-overlay.sock") == "%2frun%2fswift%2doverlay%2esock")
        #expect(percentEncoded("a b\n%ä", keeping: "-._") == "a%20b%0a%25%c3%a4")
        #expect(percentEncoded("A-z.0_9", keeping: "-._") == "A-z.0_9")
    }
}
