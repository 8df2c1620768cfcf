/// An IPv4 or IPv6 address. IPv4 addresses order before IPv6 ones, each family by value.
public struct IPAddress: Hashable, Sendable {
    public enum Family: UInt8, Sendable {
        case v4 = 4
        case v6 = 6

        /// Bits of an address: 32 or 128.
        public var bitWidth: Int { self == .v4 ? 32 : 128 }
    }

    public let family: Family
    /// The address as a number; at most 2³² − 1 for IPv4.
    public let bits: UInt128

    public init(family: Family, bits: UInt128) {
        self.family = family
        self.bits = family == .v4 ? bits & 0xFFFF_FFFF : bits
    }

    public init(v4 a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
        self.init(family: .v4, bits: UInt128(a) << 24 | UInt128(b) << 16 | UInt128(c) << 8 | UInt128(d))
    }

    /// Address from bytes in network order: 4 for IPv4, 16 for IPv6; nil for any other count.
    public init?(networkBytes: some Collection<UInt8>) {
        switch networkBytes.count {
        case 4: self.init(family: .v4, bits: networkBytes.reduce(0) { $0 << 8 | UInt128($1) })
        case 16: self.init(family: .v6, bits: networkBytes.reduce(0) { $0 << 8 | UInt128($1) })
        default: return nil
        }
    }

    /// Bytes in network order: 4 or 16.
    public var networkBytes: [UInt8] {
        let count = family.bitWidth / 8
        return (0..<count).map { UInt8(truncatingIfNeeded: bits >> UInt128(8 * (count - 1 - $0))) }
    }

    /// True if a host can have it: false for the unspecified address, multicast and broadcast (RFC 1122 §3.2.1.3, RFC 4291 §2.7).
    public var isHost: Bool {
        switch family {
        case .v4: bits >> 24 != 0 && bits >> 28 < 0xE
        case .v6: bits != 0 && bits >> 120 != 0xFF
        }
    }

    /// True if it means something on one link only (RFC 4291 §2.5.6), which is not part of it.
    public var isLinkLocal: Bool { family == .v6 && bits >> 118 == 0x3FA }

    /// The IPv4 address in an IPv6 one (RFC 4291 §2.5.5.2), as sockets of both families give it; else the address itself.
    public var unmapped: IPAddress {
        family == .v6 && bits >> 32 == 0xFFFF ? IPAddress(family: .v4, bits: bits & 0xFFFF_FFFF) : self
    }

    /// Source by which resources are counted: the address, or its /64 of IPv6, all of which one host may have.
    public var sourceGroup: IPAddress {
        let address = unmapped
        return address.family == .v4 ? address : IPAddress(family: .v6, bits: address.bits & ~UInt128(UInt64.max))
    }

    /// The address as a subnet of its own: /32 or /128.
    public var hostPrefix: IPPrefix { IPPrefix(host: self) }

    /// The address that is `offset` higher; nil past the end of the family.
    public func advanced(by offset: UInt128) -> IPAddress? {
        let (sum, overflow) = bits.addingReportingOverflow(offset)
        guard !overflow, family == .v6 || sum <= 0xFFFF_FFFF else { return nil }
        return IPAddress(family: family, bits: sum)
    }
}

extension IPAddress: Comparable {
    public static func < (lhs: IPAddress, rhs: IPAddress) -> Bool {
        (lhs.family.rawValue, lhs.bits) < (rhs.family.rawValue, rhs.bits)
    }
}

extension IPAddress: LosslessStringConvertible {
    /// Dotted quad without leading zeros, or any RFC 4291 §2.2 form (without a zone).
    public init?(_ text: String) {
        guard text.utf8.count <= 45 else { return nil }
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let bits = Self.parseV6(text) else { return nil }
            self.init(family: .v6, bits: bits)
        } else {
            guard let bits = Self.parseV4(text) else { return nil }
            self.init(family: .v4, bits: UInt128(bits))
        }
    }

    private static func parseV4(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.utf8.count == 1 || part.first != "0", let octet = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(octet)
        }
        return value
    }

    private static func parseV6(_ text: String) -> UInt128? {
        /// - Parameter isTail: The dotted form stands for the last four bytes only (RFC 4291 §2.2).
        func groups(_ part: Substring, isTail: Bool) -> [UInt16]? {
            if part.isEmpty { return [] }
            var result: [UInt16] = []
            let fields = part.split(separator: ":", omittingEmptySubsequences: false)
            for (index, field) in fields.enumerated() {
                if isTail, index == fields.count - 1, field.contains(".") {
                    guard let v4 = parseV4(field) else { return nil }
                    result.append(UInt16(v4 >> 16))
                    result.append(UInt16(v4 & 0xFFFF))
                } else {
                    guard (1...4).contains(field.utf8.count), field.allSatisfy(\.isHexDigit), let group = UInt16(field, radix: 16)
                    else { return nil }
                    result.append(group)
                }
            }
            return result
        }
        func join(_ groups: [UInt16]) -> UInt128 { groups.reduce(0) { $0 << 16 | UInt128($1) } }

        guard let gap = text.firstRange(of: "::") else {
            guard let all = groups(text[...], isTail: true), all.count == 8 else { return nil }
            return join(all)
        }
        guard let head = groups(text[..<gap.lowerBound], isTail: false), let tail = groups(text[gap.upperBound...], isTail: true),
            head.count + tail.count <= 7
        else { return nil }
        return join(head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail)
    }

    /// Dotted quad, or the RFC 5952 form.
    public var description: String {
        if family == .v4 { return networkBytes.map(String.init).joined(separator: ".") }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> UInt128(16 * (7 - $0))) }
        var best = 0..<0
        var index = 0
        while index < 8 {
            guard groups[index] == 0 else {
                index += 1
                continue
            }
            var end = index
            while end < 8, groups[end] == 0 { end += 1 }
            if end - index > best.count, end - index > 1 { best = index..<end }
            index = end
        }
        func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return best.isEmpty ? text(groups[...]) : text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
    }
}

extension IPAddress: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        guard let family = Family(rawValue: try reader.byte()) else { throw .invalid("address family") }
        self.init(family: family, bits: family == .v4 ? UInt128(try reader.integer(UInt32.self)) : try reader.integer(UInt128.self))
    }

    public func encode(to writer: inout ByteWriter) {
        writer.byte(family.rawValue)
        writer.raw(networkBytes)
    }
}

/// An address with the length of its network part: a subnet if the host bits are zero, an interface address otherwise.
public struct IPPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// Bits of the network part: 0…32 or 0…128.
    public let length: Int

    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.family.bitWidth).contains(length) else { return nil }
        self.address = address
        self.length = length
    }

    public var family: IPAddress.Family { address.family }
    public var hostBits: Int { family.bitWidth - length }
    private var mask: UInt128 {
        let all = family == .v4 ? UInt128(0xFFFF_FFFF) : UInt128.max
        return hostBits >= 128 ? 0 : all & (UInt128.max << UInt128(hostBits))
    }

    /// Subnet that contains this address: the host bits are cleared.
    public var network: IPPrefix { IPPrefix(unchecked: first, length: length) }
    public var isNetwork: Bool { first == address }
    public var first: IPAddress { IPAddress(family: family, bits: address.bits & mask) }
    public var last: IPAddress { IPAddress(family: family, bits: first.bits | ~mask) }

    init(host address: IPAddress) { self.init(unchecked: address, length: address.family.bitWidth) }

    private init(unchecked address: IPAddress, length: Int) {
        self.address = address
        self.length = length
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.family == family && other.bits & mask == address.bits & mask
    }

    public func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }

    public func overlaps(_ other: IPPrefix) -> Bool { contains(other.first) || other.contains(first) }

    /// Addresses that a host may have: without network and broadcast address in an IPv4 subnet larger than a /31 (RFC 3021), without
    /// the subnet-router anycast address in an IPv6 subnet larger than a /127 (RFC 4291 §2.6.1).
    public var usable: AddressRange {
        switch family {
        case .v4 where hostBits >= 2:
            AddressRange(
                first: IPAddress(family: .v4, bits: first.bits + 1), last: IPAddress(family: .v4, bits: last.bits - 1))
        case .v6 where hostBits >= 2: AddressRange(first: IPAddress(family: .v6, bits: first.bits + 1), last: last)
        default: AddressRange(first: first, last: last)
        }
    }
}

extension IPPrefix: LosslessStringConvertible {
    public init?(_ text: String) {
        guard text.utf8.count <= 49 else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(parts[0])), (1...3).contains(parts[1].utf8.count),
            parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }

    public var description: String { "\(address)/\(length)" }
}

extension IPPrefix: Comparable {
    public static func < (lhs: IPPrefix, rhs: IPPrefix) -> Bool { (lhs.address, lhs.length) < (rhs.address, rhs.length) }
}

extension IPPrefix: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let address = try reader.value(IPAddress.self)
        guard let prefix = IPPrefix(address, length: Int(try reader.byte())) else { throw .invalid("prefix length") }
        self = prefix
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(address)
        writer.byte(UInt8(length))
    }
}

/// Addresses from `first` to `last`, both included, of one family.
public struct AddressRange: Hashable, Sendable {
    public let first: IPAddress
    public let last: IPAddress

    /// - Precondition: one family, `first` ≤ `last`.
    public init(first: IPAddress, last: IPAddress) {
        precondition(first.family == last.family && first <= last, "range \(first)…\(last)")
        self.first = first
        self.last = last
    }

    public init(_ prefix: IPPrefix) { self.init(first: prefix.first, last: prefix.last) }
    public init(_ address: IPAddress) { self.init(first: address, last: address) }

    public func contains(_ address: IPAddress) -> Bool { first <= address && address <= last && address.family == first.family }
    public func overlaps(_ other: AddressRange) -> Bool { first <= other.last && other.first <= last }

    /// Remainder of this range without others, in order.
    public func subtracting(_ others: some Sequence<AddressRange>) -> [AddressRange] {
        var left: [AddressRange] = []
        var start: IPAddress? = first
        for other in others.filter({ overlaps($0) }).sorted(by: { $0.first < $1.first }) {
            guard let from = start else { break }
            if from < other.first {
                left.append(AddressRange(first: from, last: IPAddress(family: from.family, bits: other.first.bits - 1)))
            }
            start = other.last < last ? other.last.advanced(by: 1).map { max(from, $0) } : nil
        }
        if let from = start, from <= last { left.append(AddressRange(first: from, last: last)) }
        return left
    }

    /// Number of addresses; 2¹²⁸ − 1 stands for the whole of IPv6.
    public var count: UInt128 {
        let span = last.bits - first.bits
        return span == UInt128.max ? span : span + 1
    }
}

extension AddressRange: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        let first = try reader.value(IPAddress.self)
        let last = try reader.value(IPAddress.self)
        guard first.family == last.family, first <= last else { throw .invalid("address range") }
        self.init(first: first, last: last)
    }

    public func encode(to writer: inout ByteWriter) {
        writer.value(first)
        writer.value(last)
    }
}

extension AddressRange: CustomStringConvertible {
    public var description: String { first == last ? "\(first)" : "\(first)–\(last)" }
}
