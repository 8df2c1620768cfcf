/// Cursor over a DNS message that checks all bounds. Its readers return nil where the message ends too early.
struct DNSReader {
    let bytes: [UInt8]
    private(set) var position: Int

    init(_ bytes: [UInt8], from position: Int) {
        self.bytes = bytes
        self.position = position
    }

    var remaining: Int { bytes.count - position }

    mutating func byte() -> UInt8? {
        guard position < bytes.count else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func number16() -> UInt16? {
        guard let high = byte(), let low = byte() else { return nil }
        return UInt16(high) << 8 | UInt16(low)
    }

    mutating func number32() -> UInt32? {
        guard let high = number16(), let low = number16() else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }

    mutating func skip(_ count: Int) -> Bool {
        guard count >= 0, remaining >= count else { return false }
        position += count
        return true
    }

    /// Reads a name without compression: that of a question has nothing before it to point at.
    mutating func name() -> DNSName? {
        let start = position
        // The end is found first, so that each form of the name takes one allocation.
        var end = start
        while true {
            guard end < bytes.count else { return nil }
            let length = Int(bytes[end])
            if length == 0 { break }
            guard length <= DNSName.labelBytes, end + 1 + length < bytes.count, end - start + 1 + length < DNSName.wireLimit else {
                return nil
            }
            end += 1 + length
        }
        position = end + 1
        let wire = Array(bytes[start...end])
        guard end > start else { return DNSName(wire: wire, key: "") }
        var isPlain = true
        let key = String(unsafeUninitializedCapacity: end - start - 1) { text in
            var next = start
            var written = 0
            while bytes[next] != 0 {
                let length = Int(bytes[next])
                if written > 0 {
                    text[written] = UInt8(ascii: ".")
                    written += 1
                }
                for index in next + 1...next + length {
                    let byte = bytes[index]
                    let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
                    isPlain = isPlain && byte >= 0x21 && byte <= 0x7E && byte != UInt8(ascii: ".")
                    // The key of a name that is not plain is dropped, but must be UTF-8.
                    text[written] = isUpper ? byte | 0x20 : byte & 0x7F
                    written += 1
                }
                next += 1 + length
            }
            return written
        }
        return DNSName(wire: wire, key: isPlain ? key : nil)
    }

    /// Skips the owner of a record: labels, or the start of a pointer (RFC 1035 §4.1.4).
    mutating func skipName() -> Bool {
        let start = position
        while let length = byte() {
            if length == 0 { return true }
            if length & 0xC0 == 0xC0 { return skip(1) }
            guard length <= DNSName.labelBytes, skip(Int(length)), position - start < DNSName.wireLimit else { return false }
        }
        return false
    }
}
