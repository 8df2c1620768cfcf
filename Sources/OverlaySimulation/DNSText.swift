import OverlayModel

/// DNS messages as containers write and read them (RFC 1035 §4): the little that a simulation needs, apart from the code that it checks.
enum DNSText {
    static let headerBytes = 12

    /// A question of type A, with recursion wanted.
    static func question(_ name: String, id: UInt16) -> [UInt8] {
        let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        return id.wireBytes + [1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + labels + [0, 0, 1, 0, 1]
    }

    static func id(of message: [UInt8]) -> UInt16? {
        message.count >= headerBytes ? UInt16(message[0]) << 8 | UInt16(message[1]) : nil
    }

    /// Response code; nil if it is no answer.
    static func code(of message: [UInt8]) -> UInt8? {
        message.count >= headerBytes && message[2] & 0x80 != 0 ? message[3] & 0x0F : nil
    }

    /// Name, type and class of the one question of a message, in lower case.
    static func section(of message: [UInt8]) -> [UInt8]? {
        guard message.count > headerBytes, message[4] == 0, message[5] == 1, let end = endOfName(message, from: headerBytes),
            end + 4 <= message.count
        else { return nil }
        let name = message[headerBytes..<end].map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        return name + message[end..<end + 4]
    }

    /// Name of the question of a message, with dots.
    static func name(of message: [UInt8]) -> String? {
        guard let section = section(of: message) else { return nil }
        var labels: [String] = []
        var position = 0
        while section[position] != 0 {
            let length = Int(section[position])
            labels.append(String(decoding: section[position + 1...position + length], as: UTF8.self))
            position += 1 + length
        }
        return labels.joined(separator: ".")
    }

    /// IPv4 addresses in the answer section; nil if it does not decode.
    static func addresses(of message: [UInt8]) -> [IPAddress]? {
        guard let section = section(of: message) else { return nil }
        var position = headerBytes + section.count
        var addresses: [IPAddress] = []
        for _ in 0..<Int(message[6]) << 8 | Int(message[7]) {
            guard let end = endOfName(message, from: position), end + 10 <= message.count else { return nil }
            let start = end + 10
            position = start + (Int(message[end + 8]) << 8 | Int(message[end + 9]))
            guard position <= message.count else { return nil }
            if message[end + 1] == 1, position == start + 4 {
                addresses.append(IPAddress(v4: message[start], message[start + 1], message[start + 2], message[start + 3]))
            }
        }
        return addresses
    }

    private static func endOfName(_ message: [UInt8], from start: Int) -> Int? {
        var position = start
        while position < message.count {
            let length = Int(message[position])
            if length == 0 { return position + 1 }
            if length & 0xC0 == 0xC0 { return position + 2 }
            position += 1 + length
        }
        return nil
    }
}
