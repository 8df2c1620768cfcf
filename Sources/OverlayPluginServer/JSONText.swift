import OverlayDriver

/// Parser and printer of JSON text (RFC 8259).
///
/// Written by hand, because the option maps of engines hold any value: `JSONDecoder`, trying type after type, took 20 s for 1 MiB of small
/// values, and a published range of a few thousand ports is such a body. This takes linear time and bounded depth.
enum JSONText {
    /// Number of levels of nested arrays and objects. Engines send four. The parser recurses, so this bounds its stack.
    static let depthLimit = 64
    static let tooDeep = JSONFailure(text: "the body nests arrays and objects deeper than \(depthLimit) levels")

    /// Parses one value with nothing after it. Of two fields with the same name the later counts, as in Go.
    static func parse(_ bytes: [UInt8]) throws(JSONFailure) -> OptionValue {
        var parser = Parser(bytes: bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.unexpected() }
        return value
    }

    /// Text of a value, with object fields sorted by name.
    static func render(_ value: OptionValue) -> [UInt8] {
        var output: [UInt8] = []
        write(value, to: &output)
        return output
    }

    private static func write(_ value: OptionValue, to output: inout [UInt8]) {
        switch value {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        // A whole number has no fraction, which Go would not read into an integer.
        case .number(let value) where value == value.rounded() && value.magnitude < 0x1p53: output += "\(Int64(value))".utf8
        // JSON has no infinity.
        case .number(let value): output += (value.isFinite ? "\(value)" : "null").utf8
        case .string(let text): write(text, to: &output)
        case .list(let items):
            output.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                write(item, to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let fields):
            output.append(UInt8(ascii: "{"))
            for (index, field) in fields.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                write(field.key, to: &output)
                output.append(UInt8(ascii: ":"))
                write(field.value, to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
            case 0x0A: output += #"\n"#.utf8
            case 0..<0x20, 0x7F: output += #"\u00"#.utf8 + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}

/// Reason why bytes are not JSON.
struct JSONFailure: Error, Hashable {
    var text: String
}

private struct Parser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    func unexpected() -> JSONFailure {
        guard let next else { return JSONFailure(text: "the body is not JSON: it ends too early") }
        return JSONFailure(text: "the body is not JSON: byte \(next) at offset \(position) does not belong there")
    }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    mutating func value(depth: Int) throws(JSONFailure) -> OptionValue {
        skipSpace()
        guard let next else { throw unexpected() }
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1))
        case UInt8(ascii: "["): return .list(try list(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try text())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw unexpected()
        }
    }

    private func checkDepth(_ depth: Int) throws(JSONFailure) {
        guard depth <= JSONText.depthLimit else { throw JSONText.tooDeep }
    }

    /// Reads one byte that must come next, and space before it.
    private mutating func expect(_ byte: UInt8) throws(JSONFailure) {
        skipSpace()
        guard next == byte else { throw unexpected() }
        position += 1
    }

    /// Reads a comma, or the end of a list or object; false at the end.
    private mutating func another(before end: UInt8) throws(JSONFailure) -> Bool {
        skipSpace()
        switch next {
        case end:
            position += 1
            return false
        case UInt8(ascii: ","):
            position += 1
            return true
        default: throw unexpected()
        }
    }

    private mutating func object(depth: Int) throws(JSONFailure) -> [String: OptionValue] {
        try checkDepth(depth)
        try expect(UInt8(ascii: "{"))
        var fields: [String: OptionValue] = [:]
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return fields
        }
        repeat {
            skipSpace()
            let name = try text()
            try expect(UInt8(ascii: ":"))
            fields[name] = try value(depth: depth)
        } while try another(before: UInt8(ascii: "}"))
        return fields
    }

    private mutating func list(depth: Int) throws(JSONFailure) -> [OptionValue] {
        try checkDepth(depth)
        try expect(UInt8(ascii: "["))
        var items: [OptionValue] = []
        skipSpace()
        if next == UInt8(ascii: "]") {
            position += 1
            return items
        }
        repeat { items.append(try value(depth: depth)) } while try another(before: UInt8(ascii: "]"))
        return items
    }

    private mutating func word(_ word: String, _ value: OptionValue) throws(JSONFailure) -> OptionValue {
        for byte in word.utf8 {
            guard next == byte else { throw unexpected() }
            position += 1
        }
        return value
    }

    private mutating func digits() throws(JSONFailure) {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw unexpected() }
    }

    private mutating func number() throws(JSONFailure) -> Double {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        guard let value = Double(String(decoding: bytes[start..<position], as: UTF8.self)), value.isFinite else {
            throw JSONFailure(text: "the number at offset \(start) of the body is too large")
        }
        return value
    }

    private mutating func text() throws(JSONFailure) -> String {
        guard next == UInt8(ascii: "\"") else { throw unexpected() }
        position += 1
        let start = position
        var content: [UInt8] = []
        while true {
            guard let byte = next, byte >= 0x20 else { throw unexpected() }
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: content, as: UTF8.self) else {
                    throw JSONFailure(text: "the body is not JSON: the text at offset \(start) is not UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): try escape(into: &content)
            default: content.append(byte)
            }
        }
    }

    private mutating func escape(into content: inout [UInt8]) throws(JSONFailure) {
        guard let byte = next else { throw unexpected() }
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
        case UInt8(ascii: "b"): content.append(0x08)
        case UInt8(ascii: "f"): content.append(0x0C)
        case UInt8(ascii: "n"): content.append(0x0A)
        case UInt8(ascii: "r"): content.append(0x0D)
        case UInt8(ascii: "t"): content.append(0x09)
        case UInt8(ascii: "u"):
            position += 1
            var units = [try unit()]
            // A pair of surrogates is one character; half a pair becomes U+FFFD, as in Go.
            if (0xD800..<0xDC00).contains(units[0]), position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                position += 2
                units.append(try unit())
            }
            content += String(decoding: units, as: UTF16.self).utf8
            return
        default: throw unexpected()
        }
        position += 1
    }

    /// Reads four hexadecimal digits.
    private mutating func unit() throws(JSONFailure) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(UnicodeScalar(byte)).hexDigitValue else { throw unexpected() }
            value = value << 4 | UInt16(digit)
            position += 1
        }
        return value
    }
}
