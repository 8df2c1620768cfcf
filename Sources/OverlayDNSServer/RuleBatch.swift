import OverlayLinux

/// Rules of a sandbox.
enum RuleBatch {
    private static let table = "swift_overlay_dns"
    private static let chain = "output"

    /// Rules by which packets to port 53 of Docker's resolver go to our ports, and answers come back as if from there: untracked, by
    /// rewriting the port. Docker's resolver has an IPv4 address.
    static func make(udp: UInt16, tcp: UInt16) -> NFTBatch {
        var batch = NFTBatch(.ipv4)
        batch.add(.newTable) { table in
            table.text(1, Self.table)
            // NFT_TABLE_F_OWNER
            table.number(2, 2)
        }
        batch.add(.newChain) { chain in
            chain.text(1, Self.table)
            chain.text(3, Self.chain)
            // NF_INET_LOCAL_OUT, priority raw
            chain.nest(4) { hook in
                hook.number(1, 3)
                hook.number(2, UInt32(bitPattern: -300))
            }
            // NF_ACCEPT
            chain.number(5, 1)
            chain.text(7, "filter")
        }
        // Offsets of the checksum: RFC 768, RFC 9293 §3.1.
        for (transport, port, checksum) in [(UInt8(17), udp, UInt32(6)), (6, tcp, 16)] {
            addRule(to: &batch, transport, address: 16, port: 2, from: 53, to: port, checksum)
            addRule(to: &batch, transport, address: 12, port: 0, from: port, to: 53, checksum)
        }
        return batch
    }

    /// Appends a rule that rewrites a port.
    ///
    /// - Parameters:
    ///   - address: Offset of 127.0.0.11 in the IPv4 header.
    ///   - port: Offset of the port in the transport header.
    private static func addRule(
        to batch: inout NFTBatch, _ transport: UInt8, address: UInt32, port: UInt32, from: UInt16, to: UInt16, _ checksum: UInt32
    ) {
        batch.addRule(to: chain, of: table) { all in
            all.load(.network, offset: address, length: 4)
            all.compare([127, 0, 0, 11])
            all.load(.transport)
            all.compare([transport])
            all.load(.transport, offset: port, length: 2)
            all.compare([UInt8(from >> 8), UInt8(from & 0xFF)])
            all.expression("notrack")
            all.expression("immediate") { immediate in
                immediate.number(1, NFTAttributes.register)
                immediate.nest(2) { $0.raw(1, [UInt8(to >> 8), UInt8(to & 0xFF)]) }
            }
            // The port is written back, and the checksum updated (NFT_PAYLOAD_CSUM_INET).
            all.expression("payload") { payload in
                payload.number(5, NFTAttributes.register)
                payload.number(2, 2)
                payload.number(3, port)
                payload.number(4, 2)
                payload.number(6, 1)
                payload.number(7, checksum)
            }
        }
    }
}
