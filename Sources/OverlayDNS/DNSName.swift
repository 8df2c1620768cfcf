/// A domain name as it came in a question (RFC 1035 §3.1): its bytes, for the echo, and its text, for the look-up.
public struct DNSName: Hashable, Sendable {
    /// RFC 1035 §2.3.4.
    public static let labelBytes = 63
    public static let wireLimit = 255

    /// Length-prefixed labels and the root's 0, in the case of the sender (draft-vixie-dnsext-dns0x20).
    public let wire: [UInt8]
    /// Labels in lower case with dots between, without the last dot; nil where a label holds a byte that no name of ours has, such as a
    /// dot: `a\.b` is not `a.b`.
    public let key: String?

    /// - Parameter wire: Checked by whoever cut it out of a message.
    fileprivate init(wire: [UInt8], key: String?) {
        self.wire = wire
        self.key = key
    }

    /// A name that is ours to tell, such as the target of a PTR record; nil where it has no wire form.
    public init?(_ text: String) {
        var wire: [UInt8] = []
        for label in text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard (1...Self.labelBytes).contains(label.count) else { return nil }
            wire.append(UInt8(label.count))
            wire += label
        }
        wire.append(0)
        guard wire.count <= Self.wireLimit else { return nil }
        self.init(wire: wire, key: text.lowercased())
    }

    /// How many labels there are.
    public var labels: Int {
        var count = 0
        var position = 0
        while wire[position] != 0 {
            position += Int(wire[position]) + 1
            count += 1
        }
        return count
    }
}

/// A bounds-checked cursor over a DNS message.
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

    /// A name without compression: that of a question has nothing before it to point at.
    mutating func name() -> DNSName? {
        let start = position
        // Found first, so that there is one piece of memory for each of its forms.
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
                    // What is not plain need be no text, only UTF-8.
                    text[written] = isUpper ? byte | 0x20 : byte & 0x7F
                    written += 1
                }
                next += 1 + length
            }
            return written
        }
        return DNSName(wire: wire, key: isPlain ? key : nil)
    }

    /// The owner of a record that is of no interest: labels, or the start of a pointer (RFC 1035 §4.1.4).
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
