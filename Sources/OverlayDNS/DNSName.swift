/// Domain name as it came in a question (RFC 1035 §3.1): its bytes, for the echo, and its text, for the look-up.
public struct DNSName: Hashable, Sendable {
    /// Most bytes of a label, and of a name on the wire (RFC 1035 §2.3.4).
    public static let labelBytes = 63
    public static let wireLimit = 255

    /// Length-prefixed labels and the root's 0, in the case of the sender (draft-vixie-dnsext-dns0x20).
    public let wire: [UInt8]
    /// Labels in lower case with dots between them, without the last dot; nil if a label holds a byte that no name of ours has, such
    /// as a dot: `a\.b` is not `a.b`.
    public let key: String?

    /// - Parameter wire: Labels that were checked when they were cut out of a message.
    init(wire: [UInt8], key: String?) {
        self.wire = wire
        self.key = key
    }

    /// Name of our own, such as the target of a PTR record; nil if it has no wire form.
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

    /// Number of labels.
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
