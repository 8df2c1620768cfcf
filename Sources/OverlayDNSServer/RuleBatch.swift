/// Netlink messages that make the rules of a sandbox (linux/netfilter/nf_tables.h, nfnetlink.h). They are written by hand, because a
/// context of libnftables holds some 600 kB, and each sandbox would need one as long as it is served.
struct RuleBatch {
    /// AF_INET: Docker's resolver has an IPv4 address.
    private static let family: UInt8 = 2
    /// NFNL_SUBSYS_NFTABLES.
    private static let tables: UInt16 = 10
    private static let table = "swift_overlay_dns"
    private static let chain = "output"

    private(set) var bytes: [UInt8] = []
    /// Number of messages, each of which is acknowledged.
    private(set) var requests = 0

    /// Makes rules by which packets to port 53 of Docker's resolver go to our ports, and answers come back as if from there: untracked,
    /// by rewriting the port.
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

    /// Appends a rule that rewrites a port.
    ///
    /// - Parameters:
    ///   - address: Offset of 127.0.0.11 in the IPv4 header.
    ///   - port: Offset of the port in the transport header.
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
                    meta.number(1, RuleAttributes.register)
                    meta.number(2, 16)
                }
                all.compare([transport])
                all.load(base: 2, offset: port, length: 2)
                all.compare([UInt8(from >> 8), UInt8(from & 0xFF)])
                all.expression("notrack") { _ in }
                all.expression("immediate") { immediate in
                    immediate.number(1, RuleAttributes.register)
                    immediate.nest(2) { $0.raw(1, [UInt8(to >> 8), UInt8(to & 0xFF)]) }
                }
                // The port is written back, and the checksum updated (NFT_PAYLOAD_CSUM_INET).
                all.expression("payload") { payload in
                    payload.number(5, RuleAttributes.register)
                    payload.number(2, 2)
                    payload.number(3, port)
                    payload.number(4, 2)
                    payload.number(6, 1)
                    payload.number(7, checksum)
                }
            }
        }
    }

    /// Appends a message.
    ///
    /// - Parameter flags: Flags beside NLM_F_REQUEST, NLM_F_ACK and NLM_F_CREATE.
    private mutating func message(
        _ type: UInt16, family: UInt8 = Self.family, resource: UInt16 = 0, flags: UInt16 = 0, isRequest: Bool = true,
        _ fill: (inout RuleAttributes) -> Void
    ) {
        var attributes = RuleAttributes()
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
