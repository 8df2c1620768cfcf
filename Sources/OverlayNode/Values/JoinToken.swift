/// Join token: a pin of the cluster's root key, by which a joining host recognises the cluster, and a secret that lets it in.
/// Written as `SOVT1-` pin `-` secret, both in base 32.
public struct JoinToken: Hashable, Sendable, LosslessStringConvertible {
    static let pinBytes = 20
    /// The first 160 bits of SHA-256 of the root key's public half.
    public var pin: [UInt8]
    /// Join secret, 16 bytes. Never logged.
    public var secret: [UInt8]

    public init(pin: [UInt8], secret: [UInt8]) {
        self.pin = pin
        self.secret = secret
    }

    public init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "SOVT1", let pin = Self.decode(parts[1]), pin.count == Self.pinBytes,
            let secret = Self.decode(parts[2]), secret.count == 16
        else { return nil }
        self.init(pin: pin, secret: secret)
    }

    public var description: String { "SOVT1-\(Self.encode(pin))-\(Self.encode(secret))" }

    private static let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    /// Base 32 (RFC 4648 §6), in lower case, without padding.
    private static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for byte in bytes {
            buffer = (buffer << 8 | UInt32(byte)) & 0xFFFF
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(digits[Int(buffer >> UInt32(bits)) & 31])
            }
        }
        if bits > 0 { text.append(digits[Int(buffer << UInt32(5 - bits)) & 31]) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func decode(_ text: Substring) -> [UInt8]? {
        guard text.utf8.count <= 64 else { return nil }
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for character in text.lowercased().utf8 {
            guard let digit = digits.firstIndex(of: character) else { return nil }
            buffer = (buffer << 5 | UInt32(digit)) & 0xFFF
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
            }
        }
        return bytes
    }
}
