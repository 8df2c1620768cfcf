import OverlayModel

/// Replaces SHA-256 and Ed25519: as strict about differences, and fast without optimisation. Anybody who knows a public key could
/// forge; the attackers of these tests do not.
struct TestSigning: RecordSigning {
    let node: NodeID

    static func key(of node: NodeID) -> [UInt8] { Array(repeating: 0xA5, count: 16) + node.bytes }

    func hash(_ bytes: [UInt8]) -> [UInt8] {
        var lanes: (UInt64, UInt64) = (0x243F_6A88_85A3_08D3 ^ UInt64(bytes.count), 0x1319_8A2E_0370_7344)
        bytes.withUnsafeBytes { raw in
            var offset = 0
            while offset + 8 <= raw.count {
                let word = raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                lanes.0 = (lanes.0 ^ word) &* 0x9E37_79B9_7F4A_7C15
                lanes.0 ^= lanes.0 >> 29
                lanes.1 = (lanes.1 &+ lanes.0) &* 0xBF58_476D_1CE4_E5B9
                offset += 8
            }
            while offset < raw.count {
                lanes.0 = (lanes.0 ^ UInt64(raw[offset])) &* 0x94D0_49BB_1331_11EB
                lanes.0 ^= lanes.0 >> 31
                lanes.1 = (lanes.1 &+ lanes.0) &* 0xBF58_476D_1CE4_E5B9
                offset += 1
            }
        }
        var generator = SeededGenerator(seed: lanes.0)
        var writer = ByteWriter()
        for lane in [lanes.0, lanes.1, generator.next() ^ lanes.1, generator.next()] { writer.integer(lane) }
        return writer.bytes
    }

    func sign(_ bytes: [UInt8]) -> [UInt8] { signature(of: bytes, by: Self.key(of: node)) }

    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        signature == self.signature(of: bytes, by: publicKey)
    }

    private func signature(of bytes: [UInt8], by key: [UInt8]) -> [UInt8] {
        let first = hash(key + bytes)
        return first + hash(first + key)
    }
}
