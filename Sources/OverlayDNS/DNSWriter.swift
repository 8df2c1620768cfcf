import OverlayModel

/// Message under construction (RFC 1035 §4.1).
struct DNSWriter {
    /// Bytes of a record without its data: owner, type, class, TTL and length. The owner is a pointer to the question.
    private static let recordBytes = 12
    /// Bytes of the OPT record.
    static let optBytes = 11
    /// Bytes of the SOA record: MNAME and RNAME are the root's, and five numbers follow.
    static let soaBytes = recordBytes + 2 + 20
    private static let ownerPointer = UInt16(0xC000 | DNSQuery.headerBytes)

    private var bytes: [UInt8]
    var count: Int { bytes.count }

    init(_ query: DNSQuery, code: ResponseCode, answers: Int) {
        bytes = []
        // The usual answer takes one allocation.
        bytes.reserveCapacity(96 + query.name.wire.count + 28 * min(answers, 64))
        for _ in 0..<DNSQuery.headerBytes { bytes.append(0) }
        bytes += query.name.wire
        number(query.type.rawValue)
        number(query.recordClass)
    }

    /// Bytes of a record.
    static func size(of data: RecordData) -> Int {
        switch data {
        case .address(let address): recordBytes + address.family.bitWidth / 8
        case .pointer(let name): recordBytes + name.wire.count
        case .service(_, _, _, let target): recordBytes + 6 + target.wire.count
        }
    }

    private mutating func number(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    private mutating func number(_ value: UInt32) {
        number(UInt16(truncatingIfNeeded: value >> 16))
        number(UInt16(truncatingIfNeeded: value))
    }

    /// Appends a record without its data.
    private mutating func head(_ type: RecordType, ttl: UInt32, length: Int) {
        number(Self.ownerPointer)
        number(type.rawValue)
        number(1 as UInt16)
        number(ttl)
        number(UInt16(length))
    }

    /// Appends a record.
    mutating func append(_ data: RecordData, ttl: UInt32) {
        head(data.type, ttl: ttl, length: Self.size(of: data) - Self.recordBytes)
        switch data {
        case .address(let address):
            var shift = address.family.bitWidth
            while shift > 0 {
                shift -= 8
                bytes.append(UInt8(truncatingIfNeeded: address.bits >> UInt128(shift)))
            }
        case .pointer(let name): bytes += name.wire
        case .service(let priority, let weight, let port, let target):
            number(priority)
            number(weight)
            number(port)
            // Targets of SRV are not compressed (RFC 2782).
            bytes += target.wire
        }
    }

    /// Appends the SOA record, whose MINIMUM is how long the answer may be kept (RFC 2308 §4).
    mutating func appendSOA(ttl: UInt32) {
        head(.soa, ttl: ttl, length: Self.soaBytes - Self.recordBytes)
        bytes += [0, 0]
        for value in [1, 3600, 600, 86_400, ttl] as [UInt32] { number(value) }
    }

    /// Appends the OPT record, if the sender has EDNS, and writes the header.
    mutating func finish(
        _ query: DNSQuery, answers: Int, hasSOA: Bool, isTruncated: Bool, _ code: ResponseCode
    ) -> [UInt8] {
        if let edns = query.edns {
            bytes.append(0)
            number(RecordType.opt.rawValue)
            number(UInt16(DNSResponse.datagramLimit))
            number(UInt32(code.rawValue >> 4) << 24 | (edns.isDNSSECOK ? 0x8000 : 0))
            number(0 as UInt16)
        }
        // QR, AA and RA: an authoritative answer of a server that can recurse.
        var flags: UInt16 = 0x8400 | 0x0080 | code.rawValue & 0x0F
        if isTruncated { flags |= 0x0200 }
        if query.wantsRecursion { flags |= 0x0100 }
        if query.isCheckingDisabled { flags |= 0x0010 }
        put(query.id, at: 0)
        put(flags, at: 2)
        put(1, at: 4)
        put(UInt16(answers), at: 6)
        put(hasSOA ? 1 : 0, at: 8)
        put(query.edns == nil ? 0 : 1, at: 10)
        return bytes
    }

    private mutating func put(_ value: UInt16, at position: Int) {
        bytes[position] = UInt8(truncatingIfNeeded: value >> 8)
        bytes[position + 1] = UInt8(truncatingIfNeeded: value)
    }
}
