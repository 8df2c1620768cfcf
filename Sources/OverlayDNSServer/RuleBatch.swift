/// The messages that make the rules of a sandbox, for one netlink socket (linux/netfilter/nf_tables.h, nfnetlink.h). Written by hand,
/// because a context of libnftables holds some 600 kB, and each sandbox would need one for as long as it is served.
struct RuleBatch {
    /// AF_INET: the rules are of IPv4, as Docker's resolver is.
    private static let family: UInt8 = 2
    private static let tables: UInt16 = 10
    private static let table = "swift_overlay_dns"
    private static let chain = "output"

    private(set) var bytes: [UInt8] = []
    /// Messages that are each acknowledged.
    private(set) var requests = 0

    /// What is sent to port 53 of Docker's resolver goes to ours, and comes back as if from there: untracked, by rewriting the port. The
    /// table goes with the socket that made it.
    init(udp: UInt16, tcp: UInt16) {
        // NFNL_MSG_BATCH_BEGIN
        message(0x10, family: 0, resource: Self.tables, isRequest: false) { _ in }
        // NFT_MSG_NEWTABLE; NFTA_TABLE_FLAGS: NFT_TABLE_F_OWNER
        message(Self.tables << 8 | 0) { body in
            body.text(1, Self.table)
            body.number(2, 2)
        }
        // NFT_MSG_NEWCHAIN; hook NF_INET_LOCAL_OUT, priority raw, policy NF_ACCEPT
        message(Self.tables << 8 | 3) { body in
            body.text(1, Self.table)
            body.text(3, Self.chain)
            body.nest(4) { hook in
                hook.number(1, 3)
                hook.number(2, UInt32(bitPattern: -300))
            }
            body.number(5, 1)
            body.text(7, "filter")
        }
        // Offsets of the checksum: RFC 768, RFC 9293 §3.1.
        for (transport, port, checksum) in [(UInt8(17), udp, UInt32(6)), (6, tcp, 16)] {
            rule(transport, address: 16, port: 2, from: 53, to: port, checksum)
            rule(transport, address: 12, port: 0, from: port, to: 53, checksum)
        }
        // NFNL_MSG_BATCH_END
        message(0x11, family: 0, resource: Self.tables, isRequest: false) { _ in }
    }

    /// - Parameters:
    ///   - address: Offset of 127.0.0.11 in the IPv4 header.
    ///   - port: Offset in the header behind.
    private mutating func rule(
        _ transport: UInt8, address: UInt32, port: UInt32, from: UInt16, to: UInt16, _ checksum: UInt32
    ) {
        // NFT_MSG_NEWRULE
        message(Self.tables << 8 | 6, flags: 0x800) { body in
            body.text(1, Self.table)
            body.text(2, Self.chain)
            body.nest(4) { all in
                all.load(base: 1, offset: address, length: 4)
                all.compare([127, 0, 0, 11])
                // NFT_META_L4PROTO
                all.expression("meta") { meta in
                    meta.number(1, Attributes.register)
                    meta.number(2, 16)
                }
                all.compare([transport])
                all.load(base: 2, offset: port, length: 2)
                all.compare([UInt8(from >> 8), UInt8(from & 0xFF)])
                all.expression("notrack") { _ in }
                all.expression("immediate") { immediate in
                    immediate.number(1, Attributes.register)
                    immediate.nest(2) { $0.raw(1, [UInt8(to >> 8), UInt8(to & 0xFF)]) }
                }
                // Written back, with the checksum put right (NFT_PAYLOAD_CSUM_INET).
                all.expression("payload") { payload in
                    payload.number(5, Attributes.register)
                    payload.number(2, 2)
                    payload.number(3, port)
                    payload.number(4, 2)
                    payload.number(6, 1)
                    payload.number(7, checksum)
                }
            }
        }
    }

    /// - Parameter flags: Beside NLM_F_REQUEST, NLM_F_ACK and NLM_F_CREATE.
    private mutating func message(
        _ type: UInt16, family: UInt8 = Self.family, resource: UInt16 = 0, flags: UInt16 = 0, isRequest: Bool = true,
        _ fill: (inout Attributes) -> Void
    ) {
        var attributes = Attributes()
        fill(&attributes)
        if isRequest { requests += 1 }
        let all = flags | (isRequest ? 0x1 | 0x4 | 0x400 : 0x1)
        host(UInt32(20 + attributes.bytes.count))
        host(type)
        host(all)
        host(UInt32(requests))
        host(UInt32(0))
        bytes += [family, 0, UInt8(resource >> 8), UInt8(resource & 0xFF)]
        bytes += attributes.bytes
    }

    private mutating func host(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value) { bytes += $0 } }
}

/// Netlink attributes; numbers of nf_tables are in network byte order.
private struct Attributes {
    /// NFT_REG_1
    static let register: UInt32 = 1
    private static let isNested: UInt16 = 0x8000

    private(set) var bytes: [UInt8] = []

    mutating func raw(_ type: UInt16, _ value: [UInt8]) {
        withUnsafeBytes(of: UInt16(4 + value.count)) { bytes += $0 }
        withUnsafeBytes(of: type) { bytes += $0 }
        bytes += value
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    mutating func text(_ type: UInt16, _ value: String) { raw(type, Array(value.utf8) + [0]) }
    mutating func number(_ type: UInt16, _ value: UInt32) { raw(type, withUnsafeBytes(of: value.bigEndian) { Array($0) }) }

    mutating func nest(_ type: UInt16, _ fill: (inout Attributes) -> Void) {
        var inner = Attributes()
        fill(&inner)
        raw(type | Self.isNested, inner.bytes)
    }

    mutating func expression(_ name: String, _ fill: (inout Attributes) -> Void) {
        nest(1) { element in
            element.text(1, name)
            element.nest(2, fill)
        }
    }

    /// From the network header (1) or the transport header (2).
    mutating func load(base: UInt32, offset: UInt32, length: UInt32) {
        expression("payload") { payload in
            payload.number(1, Self.register)
            payload.number(2, base)
            payload.number(3, offset)
            payload.number(4, length)
        }
    }

    mutating func compare(_ value: [UInt8]) {
        expression("cmp") { compare in
            compare.number(1, Self.register)
            compare.number(2, 0)
            compare.nest(3) { $0.raw(1, value) }
        }
    }
}
