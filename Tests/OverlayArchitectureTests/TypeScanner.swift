/// Size of a type, over its declaration and extensions.
struct TypeSize: Equatable {
    /// Names of stored properties of instances; those of both branches of an `#if`, each once.
    var properties: Set<String> = []
    /// Lines from the keyword to the closing brace, without those of types in it.
    var lines = 0
    /// True if the declaration was seen, and not only extensions.
    var isDeclared = false

    static func += (one: inout TypeSize, other: TypeSize) {
        one.properties.formUnion(other.properties)
        one.lines += other.lines
        one.isDeclared = one.isDeclared || other.isDeclared
    }
}

/// Measures the types of a file by its words, without a compiler.
struct TypeScanner {
    private let tokens: [Token]
    private var position = 0
    private(set) var sizes: [String: TypeSize] = [:]

    /// Sizes by name; `A.B` is B in A. An extension counts for the type that it names, wherever that is declared.
    static func sizes(in text: String) -> [String: TypeSize] {
        var scanner = TypeScanner(tokens: Lexer.tokens(of: text))
        _ = scanner.scanMembers(of: nil)
        return scanner.sizes
    }

    /// Names of the types that a file declares outside of other types.
    static func declared(in text: String) -> Set<String> {
        Set(sizes(in: text).filter { $0.value.isDeclared && !$0.key.contains(".") }.keys)
    }

    private init(tokens: [Token]) { self.tokens = tokens }

    private static let kinds: Set = ["struct", "class", "enum", "actor", "protocol", "extension"]
    private static let opening: Set = ["(", "[", "{"]
    private static let closing: Set = [")", "]", "}"]

    private var current: Token? { position < tokens.count ? tokens[position] : nil }
    private var next: Token? { position + 1 < tokens.count ? tokens[position + 1] : nil }

    /// Scans to the end of a body or of the file.
    ///
    /// - Returns: Lines of types in it.
    private mutating func scanMembers(of type: String?) -> Int {
        var nested = 0
        /// True after `static` or `class`, until the declaration that it belongs to.
        var isOfType = false
        while let token = current, token.text != "}" {
            guard token.kind == .word else {
                skipOne()
                continue
            }
            switch token.text {
            case "static":
                isOfType = true
                position += 1
            case "class" where next.map { ["func", "var", "let", "subscript"].contains($0.text) } ?? false:
                isOfType = true
                position += 1
            case _ where Self.kinds.contains(token.text) && next?.kind == .word:
                nested += scanType(in: type)
                isOfType = false
            case "var", "let":
                position += 1
                let names = scanProperty()
                if let type, !isOfType { sizes[type, default: TypeSize()].properties.formUnion(names) }
                isOfType = false
            case "func", "init", "subscript", "deinit", "case", "typealias":
                isOfType = false
                position += 1
            default: position += 1
            }
        }
        return nested
    }

    private mutating func scanType(in outer: String?) -> Int {
        guard let keyword = current else { return 0 }
        position += 1
        var name = ""
        while let token = current, token.kind == .word || token.text == "." {
            name += token.text
            position += 1
            if current?.text != ".", token.text != "." { break }
        }
        let isExtension = keyword.text == "extension"
        let full = isExtension ? name : (outer.map { $0 + "." } ?? "") + name
        while let token = current, token.text != "{" { skipOne() }
        position += 1
        // A protocol declares what others store.
        let members = keyword.text == "protocol" ? nil : full
        let nested = scanMembers(of: members)
        let lines = (current ?? tokens[tokens.count - 1]).line - keyword.line + 1
        position += 1
        sizes[full, default: TypeSize()] += TypeSize(lines: lines - nested, isDeclared: !isExtension)
        return lines
    }

    /// Skips a token, and with an opening one all until it is closed.
    private mutating func skipOne() {
        var depth = 0
        repeat {
            guard let token = current else { return }
            if token.kind == .sign, Self.opening.contains(token.text) { depth += 1 }
            if token.kind == .sign, Self.closing.contains(token.text) { depth -= 1 }
            position += 1
        } while depth > 0
    }

    // MARK: Properties

    /// Scans what follows `var` or `let`.
    ///
    /// - Returns: Names that are stored.
    private mutating func scanProperty() -> Set<String> {
        var stored: Set<String> = []
        repeat {
            let names = scanPattern()
            if current?.text == ":", skipType() {
                stored.formUnion(names)
                return stored
            }
            if current?.text == "{" {
                // `var x: T { … }`: with observers it is stored, else it is computed.
                if let first = next?.text, ["willSet", "didSet"].contains(first) { stored.formUnion(names) }
                skipOne()
                return stored
            }
            stored.formUnion(names)
            if current?.text == "=" { skipInitialiser() }
            guard current?.text == "," else { return stored }
            position += 1
        } while true
    }

    private mutating func scanPattern() -> Set<String> {
        guard let token = current else { return [] }
        if token.text != "(" {
            position += 1
            return [token.text]
        }
        let start = position
        skipOne()
        return Set(tokens[start..<position].filter { $0.kind == .word && $0.text != "_" }.map(\.text))
    }

    /// Skips a type annotation.
    ///
    /// - Returns: True if the declaration ends with it.
    private mutating func skipType() -> Bool {
        var angles = 0
        position += 1
        var expectsMore = true
        while let token = current {
            if angles == 0 {
                if token.text == "}" || token.text == ";" { return true }
                if token.text == "=" || token.text == "{" || token.text == "," { return false }
                let continues = ["->", "&", ".", "?", "throws", "async", "where"].contains(token.text)
                if token.isFirst, !expectsMore, !continues { return true }
            }
            if token.text == "<" { angles += 1 }
            if token.text == ">" { angles -= 1 }
            expectsMore =
                ["->", "&", ".", "any", "some", "throws", "async", "rethrows", "inout", "borrowing", "consuming", "sending"]
                .contains(token.text) || token.text.hasPrefix("@")
            if token.text == "@" {
                // An attribute of the type, such as @Sendable.
                position += 1
                expectsMore = true
            }
            skipOne()
        }
        return true
    }

    /// Skips `= …` to the end of the expression, observers included.
    private mutating func skipInitialiser() {
        var expectsMore = true
        position += 1
        while let token = current {
            if token.text == "}" || token.text == ";" { return }
            if token.text == ",", startsPattern(at: position + 1) { return }
            let isSign = token.kind == .sign && !Self.opening.contains(token.text)
            // On a new line only what cannot begin a declaration goes on: an operator, a member, a word such as `else`.
            if token.isFirst, !expectsMore, !(isSign && token.text != "@"), !["else", "as", "is"].contains(token.text),
                token.text != "{"
            {
                return
            }
            expectsMore =
                isSign && token.text != ">"
                || ["if", "switch", "try", "await", "any", "some", "as", "is", "else", "in"].contains(token.text)
            // An operator at the end of a value: `x!`, `[Int]?`.
            if token.text == "!" || token.text == "?" { expectsMore = false }
            skipOne()
        }
    }

    /// True if a comma is followed by another name of the declaration, and not by an argument in angle brackets.
    private func startsPattern(at index: Int) -> Bool {
        guard index + 1 < tokens.count, tokens[index].kind == .word else { return false }
        let after = tokens[index + 1]
        return [":", "=", ",", "{", "}"].contains(after.text) || after.isFirst
    }
}
