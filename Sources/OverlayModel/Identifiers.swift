/// A 48-bit Ethernet address.
public struct MACAddress: Hashable, Sendable {
    public let bits: UInt64

    public init(bits: UInt64) { self.bits = bits & 0xFFFF_FFFF_FFFF }

    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.init(bits: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    public var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: bits >> UInt64(8 * (5 - $0))) } }
    /// True if the group bit is set (IEEE 802, I/G). No interface may have such an address.
    public var isMulticast: Bool { bits & 0x0100_0000_0000 != 0 }
    public static let zero = MACAddress(bits: 0)

    /// A random unicast address with the locally-administered bit. Never derived from an IP address: a reused address would be a
    /// reused MAC, and events of two endpoints would collide.
    public static func random(using generator: inout SeededGenerator) -> MACAddress {
        MACAddress(bits: generator.next() & ~0x0100_0000_0000 | 0x0200_0000_0000)
    }
}

extension MACAddress: LosslessStringConvertible {
    /// Address from six hexadecimal pairs with `:` or `-` between them.
    public init?(_ text: String) {
        guard text.utf8.count == 17 else { return nil }
        let parts = text.split(omittingEmptySubsequences: false) { $0 == ":" || $0 == "-" }
        guard parts.count == 6 else { return nil }
        var bits: UInt64 = 0
        for part in parts {
            guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit), let byte = UInt8(part, radix: 16) else { return nil }
            bits = bits << 8 | UInt64(byte)
        }
        self.init(bits: bits)
    }

    public var description: String { bytes.map { hexadecimal([$0]) }.joined(separator: ":") }
}

extension MACAddress: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let high = UInt64(try reader.integer(UInt16.self))
        self.init(bits: high << 32 | UInt64(try reader.integer(UInt32.self)))
    }

    public func encode(to writer: inout ByteWriter) { writer.raw(bytes) }
}

/// A VXLAN network identifier (RFC 7348 §5), 24 bits. Ours start at 1 048 576: the built-in overlay counts up from 4096, and both
/// may share a port.
public struct VNI: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let value: UInt32

    public init?(_ value: UInt32) {
        guard Self.all.contains(value) else { return nil }
        self.value = value
    }

    /// VNIs that a cluster gives out.
    public static let all: ClosedRange<UInt32> = 1_048_576...0xFF_FFFF
    public static func < (lhs: VNI, rhs: VNI) -> Bool { lhs.value < rhs.value }
    public var description: String { String(value) }
}

extension VNI: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        guard let vni = VNI(try reader.integer(UInt32.self)) else { throw .invalid("VNI") }
        self = vni
    }

    public func encode(to writer: inout ByteWriter) { writer.integer(value) }
}

/// Lower-case hexadecimal.
public func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}

/// Bytes from hexadecimal of even length; nil for anything else.
public func bytes(hexadecimal text: String) -> [UInt8]? {
    let raw = Array(text.utf8)
    guard raw.count.isMultiple(of: 2) else { return nil }
    func digit(_ c: UInt8) -> UInt8? {
        switch c {
        case 48...57: c - 48
        case 97...102: c - 87
        case 65...70: c - 55
        default: nil
        }
    }
    var result: [UInt8] = []
    for index in stride(from: 0, to: raw.count, by: 2) {
        guard let high = digit(raw[index]), let low = digit(raw[index + 1]) else { return nil }
        result.append(high << 4 | low)
    }
    return result
}

/// 128 bits that name one thing of the cluster.
public protocol Identifier128: Hashable, Comparable, Sendable, LosslessStringConvertible, Wire {
    var bits: UInt128 { get }
    init(bits: UInt128)
}

extension Identifier128 {
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.bits < rhs.bits }

    public var bytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: bits >> UInt128(8 * (15 - $0))) } }
    /// 32 hexadecimal digits.
    public var description: String { hexadecimal(bytes) }
    /// The first 12 digits, as `docker` shows ids.
    public var short: String { String(description.prefix(12)) }

    public init?(_ text: String) {
        guard text.utf8.count == 32, let raw = OverlayModel.bytes(hexadecimal: text) else { return nil }
        self.init(bytes: raw)
    }

    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        self.init(bits: bytes.reduce(0) { $0 << 8 | UInt128($1) })
    }

    public init(from reader: inout ByteReader) throws(DecodeError) { self.init(bits: try reader.integer(UInt128.self)) }
    public func encode(to writer: inout ByteWriter) { writer.integer(bits) }
}

/// A node: the first 128 bits of SHA-256 of its public key. Never its name or address.
public struct NodeID: Identifier128 {
    public let bits: UInt128
    public init(bits: UInt128) { self.bits = bits }
}

/// A network of the cluster. Engines know it by ids of their own (``EngineNetworkID``).
public struct NetworkID: Identifier128 {
    public let bits: UInt128
    public init(bits: UInt128) { self.bits = bits }
}

/// A cluster.
public struct ClusterID: Identifier128 {
    public let bits: UInt128
    public init(bits: UInt128) { self.bits = bits }
}

/// A subnet of a network; its text is the PoolID that engines keep for ever, so it is never used again for another subnet.
public struct SubnetID: Hashable, Comparable, Sendable, Wire, LosslessStringConvertible {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static func < (lhs: SubnetID, rhs: SubnetID) -> Bool { lhs.value < rhs.value }
    public var description: String {
        let digits = String(value, radix: 16)
        return "pool-" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    public init?(_ text: String) {
        guard text.utf8.count == 21, text.hasPrefix("pool-"), let value = UInt64(text.dropFirst(5), radix: 16) else { return nil }
        self.init(value)
        // Only the text that was given out is taken: no capitals, no sign.
        guard description == text else { return nil }
    }

    public init(from reader: inout ByteReader) throws(DecodeError) { self.init(try reader.integer(UInt64.self)) }
    public func encode(to writer: inout ByteWriter) { writer.integer(value) }
}

/// An id that an engine chose: 12 to 64 letters and digits (64 hexadecimal digits; 25 base-36 ones in Swarm).
public protocol EngineIdentifier: Hashable, Comparable, Sendable, CustomStringConvertible, Wire {
    var text: String { get }
    init(unchecked text: String)
}

extension EngineIdentifier {
    public init?(_ text: String) {
        guard (12...64).contains(text.utf8.count),
            text.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0) || (65...90).contains($0) })
        else { return nil }
        self.init(unchecked: text)
    }

    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.text < rhs.text }
    public var description: String { text }
    /// The first 12 characters, as `docker` shows ids.
    public var short: String { String(text.prefix(12)) }

    public init(from reader: inout ByteReader) throws(DecodeError) {
        guard let id = Self(try reader.string(limit: 64)) else { throw .invalid("engine id") }
        self = id
    }

    public func encode(to writer: inout ByteWriter) { writer.string(text) }
}

/// A network as one engine names it; random per engine.
public struct EngineNetworkID: EngineIdentifier {
    public let text: String
    public init(unchecked text: String) { self.text = text }
}

/// An endpoint (one container interface on one network) as its engine names it.
public struct EndpointID: EngineIdentifier {
    public let text: String
    public init(unchecked text: String) { self.text = text }
}
