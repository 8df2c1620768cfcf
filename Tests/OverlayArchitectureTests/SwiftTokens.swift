/// A word or sign of Swift code.
struct Token: Equatable {
    enum Kind { case word, sign, literal }

    var kind: Kind
    var text: String
    /// Counted from 1.
    var line: Int
    /// True if it is the first on its line.
    var isFirst: Bool
}

/// Splits Swift code into words and signs. Comments and directives (`#if`) are left out; a string is one literal, whatever is in it.
///
/// Regular expressions between bare slashes are not known; this repository has none.
struct Lexer {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private var tokens: [Token] = []

    static func tokens(of text: String) -> [Token] {
        var lexer = Lexer(bytes: Array(text.utf8))
        lexer.run()
        return lexer.tokens
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private static let operators = Set("/=-+!*%&|^~?".utf8)
    private static let quote = UInt8(ascii: "\"")
    private static let hash = UInt8(ascii: "#")
    private static let newline = UInt8(ascii: "\n")

    private func byte(_ offset: Int = 0) -> UInt8 { position + offset < bytes.count ? bytes[position + offset] : 0 }

    private func starts(with text: StaticString) -> Bool {
        guard position + text.utf8CodeUnitCount <= bytes.count else { return false }
        for offset in 0..<text.utf8CodeUnitCount where bytes[position + offset] != text.utf8Start[offset] { return false }
        return true
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte >= 128 || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "$") || (48...57).contains(byte)
            || (65...90).contains(byte) || (97...122).contains(byte)
    }

    private mutating func skip(_ count: Int = 1) {
        for _ in 0..<count {
            if byte() == Self.newline { line += 1 }
            position += 1
        }
    }

    private mutating func add(_ kind: Token.Kind, from start: Int, line: Int) {
        let text = String(decoding: bytes[start..<min(position, bytes.count)], as: UTF8.self)
        tokens.append(Token(kind: kind, text: text, line: line, isFirst: tokens.last.map { $0.line < line } ?? true))
    }

    private mutating func run() {
        while position < bytes.count {
            let start = position
            let began = line
            if byte() <= 32 {
                skip()
            } else if starts(with: "//") {
                while position < bytes.count, byte() != Self.newline { skip() }
            } else if starts(with: "/*") {
                skipComment()
            } else if isString {
                skipString()
                add(.literal, from: start, line: began)
            } else if byte() == Self.hash {
                skip()
                while Self.isWord(byte()) { skip() }
                let word = String(decoding: bytes[start..<position], as: UTF8.self)
                if ["#if", "#elseif", "#else", "#endif", "#warning", "#error"].contains(word) {
                    while position < bytes.count, byte() != Self.newline { skip() }
                } else {
                    add(.word, from: start, line: began)
                }
            } else if byte() == UInt8(ascii: "`") {
                skip()
                while position < bytes.count, byte() != UInt8(ascii: "`") { skip() }
                skip()
                add(.word, from: start, line: began)
            } else if Self.isWord(byte()) {
                while Self.isWord(byte()) { skip() }
                add((48...57).contains(bytes[start]) ? .literal : .word, from: start, line: began)
            } else if starts(with: "->") {
                skip(2)
                add(.sign, from: start, line: began)
            } else if Self.operators.contains(byte()) {
                while Self.operators.contains(byte()), !starts(with: "//"), !starts(with: "/*") { skip() }
                add(.sign, from: start, line: began)
            } else {
                skip()
                add(.sign, from: start, line: began)
            }
        }
    }

    private mutating func skipComment() {
        var depth = 0
        repeat {
            if starts(with: "/*") {
                depth += 1
                skip(2)
            } else if starts(with: "*/") {
                depth -= 1
                skip(2)
            } else {
                skip()
            }
        } while depth > 0 && position < bytes.count
    }

    private var isString: Bool {
        var offset = 0
        while byte(offset) == Self.hash { offset += 1 }
        return byte(offset) == Self.quote
    }

    /// Skips a string with its interpolations, which may hold strings themselves.
    private mutating func skipString() {
        var hashes = 0
        while byte() == Self.hash {
            hashes += 1
            skip()
        }
        let isLong = starts(with: "\"\"\"")
        skip(isLong ? 3 : 1)
        while position < bytes.count {
            if byte() == UInt8(ascii: "\\"), (0..<hashes).allSatisfy({ byte(1 + $0) == Self.hash }) {
                skip(1 + hashes)
                if byte() == UInt8(ascii: "(") { skipInterpolation() } else { skip() }
            } else if isLong ? starts(with: "\"\"\"") : byte() == Self.quote {
                let length = isLong ? 3 : 1
                let ends = (0..<hashes).allSatisfy { byte(length + $0) == Self.hash }
                skip(ends ? length + hashes : 1)
                if ends { return }
            } else if !isLong, byte() == Self.newline {
                return
            } else {
                skip()
            }
        }
    }

    private mutating func skipInterpolation() {
        var depth = 0
        repeat {
            if isString {
                skipString()
                continue
            }
            if byte() == UInt8(ascii: "(") { depth += 1 }
            if byte() == UInt8(ascii: ")") { depth -= 1 }
            skip()
        } while depth > 0 && position < bytes.count
    }
}
