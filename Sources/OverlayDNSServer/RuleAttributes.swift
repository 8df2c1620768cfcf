/// Netlink attributes of nf_tables (linux/netfilter/nf_tables.h). Numbers are in network byte order.
struct RuleAttributes {
    /// Register that all expressions use: NFT_REG_1.
    static let register: UInt32 = 1
    /// Flag of an attribute that holds attributes (NLA_F_NESTED).
    private static let isNested: UInt16 = 0x8000

    private(set) var bytes: [UInt8] = []

    /// Appends bytes.
    mutating func raw(_ type: UInt16, _ value: [UInt8]) {
        withUnsafeBytes(of: UInt16(4 + value.count)) { bytes += $0 }
        withUnsafeBytes(of: type) { bytes += $0 }
        bytes += value
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    /// Appends a string.
    mutating func text(_ type: UInt16, _ value: String) { raw(type, Array(value.utf8) + [0]) }
    /// Appends a number.
    mutating func number(_ type: UInt16, _ value: UInt32) { raw(type, withUnsafeBytes(of: value.bigEndian) { Array($0) }) }

    /// Appends attributes within one.
    mutating func nest(_ type: UInt16, _ fill: (inout RuleAttributes) -> Void) {
        var inner = RuleAttributes()
        fill(&inner)
        raw(type | Self.isNested, inner.bytes)
    }

    /// Appends an expression of a rule.
    mutating func expression(_ name: String, _ fill: (inout RuleAttributes) -> Void) {
        nest(1) { element in
            element.text(1, name)
            element.nest(2, fill)
        }
    }

    /// Appends a load of bytes into the register.
    ///
    /// - Parameter base: 1 is the network header, 2 the transport header.
    mutating func load(base: UInt32, offset: UInt32, length: UInt32) {
        expression("payload") { payload in
            payload.number(1, Self.register)
            payload.number(2, base)
            payload.number(3, offset)
            payload.number(4, length)
        }
    }

    /// Appends a comparison of the register.
    mutating func compare(_ value: [UInt8]) {
        expression("cmp") { compare in
            compare.number(1, Self.register)
            compare.number(2, 0)
            compare.nest(3) { $0.raw(1, value) }
        }
    }
}
