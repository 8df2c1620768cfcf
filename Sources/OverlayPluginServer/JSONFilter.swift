import OverlayDriver

/// Filter of JSON text (RFC 8259) that arrives in pieces: what is not selected is checked and dropped as it passes.
///
/// A container that publishes or exposes thousands of ports comes with megabytes of them, and none are needed. The memory of a filter is
/// what it keeps, which has a limit, and less than a kilobyte beside it, whatever comes. Text that it passes is JSON in its form; whether
/// the numbers in what is kept can be represented is checked by ``JSONText``.
struct JSONFilter {
    /// Longest name of a field that can be selected, in bytes as it is written. Where fields are selected, longer names are dropped.
    static let nameLimit = 512

    /// True if more was selected than may be kept. Nothing is kept then.
    private(set) var isOverLimit = false

    private let keptLimit: Int
    private var kept: [UInt8] = []
    /// Number of bytes that have come.
    private var offset = 0
    private var place = Place.value
    private var number = Number.minus
    private var utf8 = UTF8Check()
    /// Offset at which the text began that is being read.
    private var textStart = 0

    /// Number of arrays and objects that are open, and for each a bit that is set for objects.
    private var depth = 0
    private var objects: UInt64 = 0
    /// Selection of the value that comes next, while it is not decided.
    private var selection: JSONSelection
    /// Open objects whose fields are selected one by one: their selections, and whether a field was kept. They are the outermost.
    private var sieves: [(selection: JSONSelection, isEmpty: Bool)] = []
    /// Name of the field that is being read in such an object, as it is written.
    private var name: [UInt8] = []
    private var passage = Passage.deciding

    /// Handling of the value that is being read.
    private enum Passage: Hashable {
        /// No value has begun yet, or the value is an object whose fields are selected one by one.
        case deciding
        /// The value that began at this depth is kept, or dropped.
        case keeping(depth: Int)
        case dropping(depth: Int)
    }

    /// Grammar: what may come next.
    private enum Place: Hashable {
        case value
        /// First value of an array, or its end.
        case valueOrEnd
        case name
        /// First name of an object, or its end.
        case nameOrEnd
        case colon
        /// Comma, or the end of the array or object.
        case separator
        case text(isName: Bool)
        case escape(isName: Bool)
        /// Hexadecimal digits of an escape that are left.
        case unit(isName: Bool, left: Int)
        /// Rest of `true`, `false` or `null`, the next byte in the lowest place.
        case word(UInt32)
        case number
        case nothing
    }

    private enum Number: Hashable {
        case minus, zero, whole, point, fraction, exponent, sign, power

        /// True if the number may end here.
        var isComplete: Bool {
            switch self {
            case .zero, .whole, .fraction, .power: true
            case .minus, .point, .exponent, .sign: false
            }
        }
    }

    init(_ selection: JSONSelection, keptLimit: Int) {
        self.selection = selection
        self.keptLimit = keptLimit
    }

    /// Number of bytes that are kept.
    var keptBytes: Int { kept.count }

    /// Takes the next piece, which may end anywhere, within a character also.
    ///
    /// - Throws: The first place that is not JSON. Nothing may be taken after that.
    mutating func take(_ bytes: Span<UInt8>) throws(JSONFailure) {
        for index in bytes.indices {
            let byte = bytes[index]
            // Most bytes by far.
            if case .text(let isName) = place, byte >= 0x20, byte < 0x80, byte != quote, byte != backslash, !utf8.isOpen {
                pass(byte, isName: isName)
            } else {
                try step(byte)
            }
            offset += 1
        }
    }

    /// Ends the text, and returns what is kept: JSON, or nothing if nothing but space came.
    mutating func finish() throws(JSONFailure) -> [UInt8] {
        if place == .number, number.isComplete { endValue() }
        if place == .value, depth == 0 { return [] }
        guard place == .nothing else { throw JSONFailure(text: "the body is not JSON: it ends too early") }
        return kept
    }

    // MARK: Grammar

    private func unexpected(_ byte: UInt8) -> JSONFailure {
        JSONFailure(text: "the body is not JSON: byte \(byte) at offset \(offset) does not belong there")
    }

    private mutating func step(_ byte: UInt8) throws(JSONFailure) {
        switch place {
        case .text(let isName): try text(byte, isName: isName)
        case .escape(let isName):
            switch byte {
            case UInt8(ascii: "u"): place = .unit(isName: isName, left: 4)
            case quote, backslash, UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"),
                UInt8(ascii: "t"):
                place = .text(isName: isName)
            default: throw unexpected(byte)
            }
            pass(byte, isName: isName)
        case .unit(let isName, let left):
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                UInt8(ascii: "A")...UInt8(ascii: "F"):
                place = left == 1 ? .text(isName: isName) : .unit(isName: isName, left: left - 1)
            default: throw unexpected(byte)
            }
            pass(byte, isName: isName)
        case .word(let rest):
            guard UInt32(byte) == rest & 0xFF else { throw unexpected(byte) }
            keep(byte)
            place = .word(rest >> 8)
            if rest >> 8 == 0 { endValue() }
        case .number:
            if try digit(byte) { keep(byte) } else { try step(byte) }
        case .value, .valueOrEnd, .name, .nameOrEnd, .colon, .separator, .nothing:
            if byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { keep(byte) } else { try token(byte) }
        }
    }

    private mutating func token(_ byte: UInt8) throws(JSONFailure) {
        switch (place, byte) {
        case (.valueOrEnd, UInt8(ascii: "]")), (.nameOrEnd, UInt8(ascii: "}")): close(byte)
        case (.separator, UInt8(ascii: "]")) where !isInObject, (.separator, UInt8(ascii: "}")) where isInObject: close(byte)
        case (.separator, UInt8(ascii: ",")):
            place = isInObject ? .name : .value
            keep(byte)
        case (.colon, UInt8(ascii: ":")):
            place = .value
            if passage == .deciding, let sieve = sieves.last {
                selection = decodedName().map { sieve.selection.field($0) } ?? .nothing
            }
            keep(byte)
        case (.name, quote), (.nameOrEnd, quote):
            place = .text(isName: true)
            textStart = offset + 1
            name.removeAll(keepingCapacity: true)
            keep(byte)
        case (.value, _), (.valueOrEnd, _): try begin(byte)
        default: throw unexpected(byte)
        }
    }

    private mutating func begin(_ byte: UInt8) throws(JSONFailure) {
        let next: Place
        switch byte {
        case UInt8(ascii: "{"): next = .nameOrEnd
        case UInt8(ascii: "["): next = .valueOrEnd
        case quote: next = .text(isName: false)
        case UInt8(ascii: "t"): next = .word(0x65_7572)
        case UInt8(ascii: "f"): next = .word(0x6573_6C61)
        case UInt8(ascii: "n"): next = .word(0x6C_6C75)
        case UInt8(ascii: "-"): (next, number) = (.number, .minus)
        case UInt8(ascii: "0"): (next, number) = (.number, .zero)
        case UInt8(ascii: "1")...UInt8(ascii: "9"): (next, number) = (.number, .whole)
        default: throw unexpected(byte)
        }
        if passage == .deciding { decide(byte) }
        keep(byte)
        if next == .nameOrEnd || next == .valueOrEnd {
            guard depth < JSONText.depthLimit else { throw JSONText.tooDeep }
            depth += 1
            objects = objects << 1 | (next == .nameOrEnd ? 1 : 0)
        }
        textStart = offset + 1
        place = next
    }

    private var isInObject: Bool { objects & 1 == 1 }

    private mutating func close(_ byte: UInt8) {
        if passage == .deciding {
            // The innermost sieve ends. Its brace is the only byte of an object that is kept here.
            sieves.removeLast()
            append(byte)
        } else {
            keep(byte)
        }
        depth -= 1
        objects >>= 1
        endValue()
    }

    private mutating func endValue() {
        place = depth == 0 ? .nothing : .separator
        switch passage {
        case .keeping(depth), .dropping(depth): passage = .deciding
        default: break
        }
    }

    private mutating func text(_ byte: UInt8, isName: Bool) throws(JSONFailure) {
        guard utf8.take(byte) else {
            throw JSONFailure(text: "the body is not JSON: the text at offset \(textStart) is not UTF-8")
        }
        switch byte {
        case quote:
            keep(byte)
            if isName { place = .colon } else { endValue() }
        case backslash:
            place = .escape(isName: isName)
            pass(byte, isName: isName)
        case 0..<0x20: throw unexpected(byte)
        default: pass(byte, isName: isName)
        }
    }

    /// Takes a byte of a number; false if the number ended before it.
    private mutating func digit(_ byte: UInt8) throws(JSONFailure) -> Bool {
        switch (number, byte) {
        case (.minus, UInt8(ascii: "0")): number = .zero
        case (.minus, UInt8(ascii: "1")...UInt8(ascii: "9")), (.whole, UInt8(ascii: "0")...UInt8(ascii: "9")): number = .whole
        case (.zero, UInt8(ascii: ".")), (.whole, UInt8(ascii: ".")): number = .point
        case (.point, UInt8(ascii: "0")...UInt8(ascii: "9")), (.fraction, UInt8(ascii: "0")...UInt8(ascii: "9")): number = .fraction
        case (.zero, UInt8(ascii: "e")), (.zero, UInt8(ascii: "E")), (.whole, UInt8(ascii: "e")), (.whole, UInt8(ascii: "E")),
            (.fraction, UInt8(ascii: "e")), (.fraction, UInt8(ascii: "E")):
            number = .exponent
        case (.exponent, UInt8(ascii: "+")), (.exponent, UInt8(ascii: "-")): number = .sign
        case (.exponent, UInt8(ascii: "0")...UInt8(ascii: "9")), (.sign, UInt8(ascii: "0")...UInt8(ascii: "9")),
            (.power, UInt8(ascii: "0")...UInt8(ascii: "9")):
            number = .power
        default:
            guard number.isComplete else { throw unexpected(byte) }
            endValue()
            return false
        }
        return true
    }

    // MARK: What is kept

    /// Decides about the value that begins with a byte.
    private mutating func decide(_ byte: UInt8) {
        if selection == .nothing {
            passage = .dropping(depth: depth)
            return
        }
        if let sieve = sieves.last {
            if !sieve.isEmpty { append(UInt8(ascii: ",")) }
            sieves[sieves.count - 1].isEmpty = false
            append(quote)
            for byte in name { append(byte) }
            append(quote)
            append(UInt8(ascii: ":"))
        }
        if case .fields = selection, byte == UInt8(ascii: "{") {
            append(byte)
            sieves.append((selection, true))
        } else {
            passage = .keeping(depth: depth)
        }
    }

    /// Name of the field that was read; nil if it is too long to be selected.
    private func decodedName() -> String? {
        guard name.count <= Self.nameLimit else { return nil }
        guard name.contains(backslash) else { return String(decoding: name, as: UTF8.self) }
        return (try? JSONText.parse([quote] + name + [quote]))?.string
    }

    /// Takes a byte of a text: of a name that is to be compared, or of a value.
    private mutating func pass(_ byte: UInt8, isName: Bool) {
        if isName, passage == .deciding {
            if name.count <= Self.nameLimit { name.append(byte) }
        } else {
            keep(byte)
        }
    }

    private mutating func keep(_ byte: UInt8) {
        if case .keeping = passage { append(byte) }
    }

    private mutating func append(_ byte: UInt8) {
        guard !isOverLimit else { return }
        guard kept.count < keptLimit else {
            isOverLimit = true
            kept = []
            return
        }
        kept.append(byte)
    }
}

private let quote = UInt8(ascii: "\"")
private let backslash = UInt8(ascii: "\\")

/// Check of UTF-8 (RFC 3629 §4) byte by byte.
private struct UTF8Check {
    /// Number of bytes of the character that are to come, and the range of the next.
    private var left = 0
    private var range: ClosedRange<UInt8> = 0x80...0xBF

    /// True within a character.
    var isOpen: Bool { left > 0 }

    /// False if the byte cannot come here.
    mutating func take(_ byte: UInt8) -> Bool {
        if left > 0 {
            guard range.contains(byte) else { return false }
            left -= 1
            range = 0x80...0xBF
            return true
        }
        switch byte {
        case 0..<0x80: return true
        case 0xC2...0xDF: left = 1
        case 0xE0: (left, range) = (2, 0xA0...0xBF)
        case 0xED: (left, range) = (2, 0x80...0x9F)
        case 0xE1...0xEF: left = 2
        case 0xF0: (left, range) = (3, 0x90...0xBF)
        case 0xF4: (left, range) = (3, 0x80...0x8F)
        case 0xF1...0xF3: left = 3
        default: return false
        }
        return true
    }
}
