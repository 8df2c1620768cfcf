/// Netlink attributes of nf_tables under construction (linux/netfilter/nf_tables.h). Numbers are in network byte order.
public struct NFTAttributes: Sendable {
    /// Flag of an attribute that holds attributes (NLA_F_NESTED).
    private static let isNested: UInt16 = 0x8000

    /// Encoded attributes.
    public private(set) var bytes: [UInt8] = []

    /// Creates an empty list.
    public init() {}

    /// Appends bytes.
    public mutating func raw(_ type: UInt16, _ value: [UInt8]) {
        withUnsafeBytes(of: UInt16(4 + value.count)) { bytes += $0 }
        withUnsafeBytes(of: type) { bytes += $0 }
        bytes += value
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    /// Appends a string.
    public mutating func text(_ type: UInt16, _ value: String) { raw(type, Array(value.utf8) + [0]) }

    /// Appends a number.
    public mutating func number(_ type: UInt16, _ value: UInt32) { raw(type, withUnsafeBytes(of: value.bigEndian) { Array($0) }) }

    /// Appends attributes within one. They must be shorter than 64 KiB together.
    public mutating func nest(_ type: UInt16, _ fill: (inout NFTAttributes) -> Void) {
        var inner = NFTAttributes()
        fill(&inner)
        raw(type | Self.isNested, inner.bytes)
    }

    // MARK: Expressions of rules

    /// Register that most expressions use: NFT_REG_1, 16 bytes long.
    public static let register: UInt32 = 1

    /// Part of a packet that an offset counts from (NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER).
    public enum Base: UInt32, Sendable {
        case network = 1
        case transport = 2
    }

    /// Fact about a packet that is not in it (NFT_META_IIF, …).
    public enum Meta: UInt32, Sendable {
        case inputInterface = 4
        /// User of the socket that sends; a packet without one matches no comparison.
        case user = 10
        /// NFPROTO_IPV4 is 2, NFPROTO_IPV6 is 10.
        case family = 15
        case transport = 16
    }

    /// Comparison (NFT_CMP_EQ, NFT_CMP_GTE).
    public enum Comparison: UInt32, Sendable {
        case equal = 0
        case atLeast = 5
    }

    /// Verdict of a rule (NF_DROP, NF_ACCEPT).
    public enum Verdict: UInt32, Sendable {
        case drop = 0
        case accept = 1
    }

    /// Appends an expression.
    public mutating func expression(_ name: String, _ fill: (inout NFTAttributes) -> Void = { _ in }) {
        nest(1) { element in
            element.text(1, name)
            element.nest(2, fill)
        }
    }

    /// Appends a load of bytes of the packet into a register.
    public mutating func load(_ base: Base, offset: UInt32, length: UInt32, into register: UInt32 = Self.register) {
        expression("payload") { payload in
            payload.number(1, register)
            payload.number(2, base.rawValue)
            payload.number(3, offset)
            payload.number(4, length)
        }
    }

    /// Appends a load of a fact about the packet into the register.
    public mutating func load(_ meta: Meta) {
        expression("meta") { expression in
            expression.number(1, Self.register)
            expression.number(2, meta.rawValue)
        }
    }

    /// Appends a comparison of the register. What does not compare ends the rule.
    public mutating func compare(_ value: [UInt8], _ comparison: Comparison = .equal) {
        expression("cmp") { compare in
            compare.number(1, Self.register)
            compare.number(2, comparison.rawValue)
            compare.nest(3) { $0.raw(1, value) }
        }
    }

    /// Appends a verdict.
    public mutating func verdict(_ verdict: Verdict) { decide(code: verdict.rawValue, chain: nil) }

    /// Appends a jump to a chain of the same table (NFT_JUMP).
    public mutating func jump(to chain: String) { decide(code: UInt32(bitPattern: -3), chain: chain) }

    private mutating func decide(code: UInt32, chain: String?) {
        expression("immediate") { immediate in
            immediate.number(1, 0)
            immediate.nest(2) { data in
                data.nest(2) { verdict in
                    verdict.number(1, code)
                    if let chain { verdict.text(2, chain) }
                }
            }
        }
    }
}
