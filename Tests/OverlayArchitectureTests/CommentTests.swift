import FoundationEssentials
import Testing

/// Comments that a reader can follow: they cite what is at hand, and say what a thing is.
@Suite struct CommentTests {
    /// Lines by file that cite a document that is not in the repository. Only ever made shorter.
    private static let citations: [String: Int] = [:]

    /// Comment lines by target that begin with a bare Of, Who, What or Whether. Only ever made shorter.
    private static let relatives: [String: Int] = [:]

    /// Texts of what people write and read: Sources, Tests, contrib, .github. Not this file, which holds the examples.
    private static func texts() throws -> [String: String] {
        var result: [String: String] = [:]
        let endings: [String] = [".swift", ".c", ".h", ".py", ".sh", ".md", ".service", ".yml"]
        for folder in ["Sources", "Tests", "contrib", ".github"] {
            let base = Repository.root.path + "/" + folder
            // An archive may come without what concerns its host.
            guard folder != ".github" || FileManager.default.fileExists(atPath: base) else { continue }
            for path in try FileManager.default.subpathsOfDirectory(atPath: base) {
                let name = String(path.split(separator: "/").last ?? "")
                let isScript = !name.contains(".") && !path.contains("corpus/")
                guard isScript || endings.contains(where: { name.hasSuffix($0) }) else { continue }
                if path.contains(".build") || path.hasPrefix("fuzz/Product") || name == "CommentTests.swift" { continue }
                var isFolder = false
                guard FileManager.default.fileExists(atPath: base + "/" + path, isDirectory: &isFolder), !isFolder else { continue }
                result["\(folder)/\(path)"] = try Repository.text(base + "/" + path)
            }
        }
        return result
    }

    /// `Sources/OverlayNode/Parts/Names.swift` → `Sources/OverlayNode`.
    private static func target(of path: String) -> String { path.split(separator: "/").prefix(2).joined(separator: "/") }

    /// Compares counts with a table that may only shrink; prints the table as it would be now where they differ.
    private static func expect(_ counts: [String: Int], within table: [String: Int], _ what: String) {
        guard counts != table else { return }
        for key in Set(counts.keys).union(table.keys).sorted() where counts[key] != table[key] {
            let (count, limit) = (counts[key, default: 0], table[key, default: 0])
            let advice = count > limit ? "\(limit) allowed" : "lower the limit of \(limit)"
            Issue.record("\(key): \(count) \(what), \(advice)")
        }
        print("the table as it would be now:")
        for (key, count) in counts.sorted(by: { $0.key < $1.key }) { print("        \"\(key)\": \(count),") }
    }

    // MARK: Citations

    /// The documents that can be cited: names of files, and numbers of the rules page.
    struct Documents {
        var names: Set<String>
        var rules: String

        static func inRepository(_ paths: some Sequence<String>) throws -> Documents {
            var documents = Documents(names: ["README.md"], rules: "")
            for path in paths where path.hasSuffix(".md") {
                let name = String(path.split(separator: "/").last ?? "")
                documents.names.insert(name)
                if name == "Rules.md" { documents.rules = try Repository.text(Repository.root.path + "/" + path) }
            }
            return documents
        }

        /// True if a line cites something that nobody who has the repository can read.
        func isMissing(in line: String) -> Bool {
            var words: [String] = []
            for part in line.split(whereSeparator: Self.isBetweenWords) {
                var word = String(part)
                while let last = word.last, last == "." || last == "-" { word.removeLast() }
                words.append(word)
            }
            for (index, word) in words.enumerated() {
                let before = index > 0 ? words[index - 1] : ""
                if word.hasPrefix("§"), !Self.isOfStandard(words[..<index]) { return true }
                if word.hasSuffix(".md"), word != ".md", !names.contains(word) { return true }
                if word == "control-plane" { return true }
                if before.lowercased() == "rule", word.isRuleNumber, !rules.contains(word) { return true }
            }
            return false
        }

        private static func isBetweenWords(_ character: Character) -> Bool {
            if character.isLetter || character.isNumber { return false }
            return !"-_.§".contains(character)
        }

        /// True after words such as `RFC 7348` or `file format`: a section of those can be looked up.
        private static func isOfStandard(_ words: ArraySlice<String>) -> Bool {
            guard let last = words.last else { return false }
            if last == "format" { return true }
            guard let body = words.dropLast().last else { return false }
            return ["RFC", "POSIX", "IEEE"].contains(body) && last.allSatisfy(\.isNumber)
        }
    }

    @Test func whatIsCitedIsAtHand() throws {
        let texts = try Self.texts()
        let documents = try Documents.inRepository(texts.keys)
        var counts: [String: Int] = [:]
        for (path, text) in texts {
            let count = text.split(separator: "\n").filter { documents.isMissing(in: String($0)) }.count
            if count > 0 { counts[path] = count }
        }
        #expect(texts.count > 300, "files are not found")
        Self.expect(counts, within: Self.citations, "citations of what is not in the repository")
    }

    @Test(
        arguments: [
            ("/// As said (design §5.6).", true), ("// control-plane notes", true), ("/// Rule R5: nobody", true),
            ("// (rule R4)", true), ("// see house.md", true), ("/// §7.2.4", true), ("# design.md says", true),
            ("/// (rule R1).", false), ("// RFC 7348 §4.1 says", false), ("// (SQLite file format §1.3)", false),
            ("// see contrib/fuzz/README.md.", false), ("for file in *.md", false), ("let r = \"R5\"", false),
            ("// the rule: R5", true), ("// rules R", false),
        ] as [(String, Bool)])
    func missingDocumentsAreFound(line: String, isMissing: Bool) {
        let documents = Documents(names: ["README.md"], rules: "**R1** Answers are durable.")
        #expect(documents.isMissing(in: line) == isMissing)
    }

    // MARK: Nouns

    private static func beginsWithRelative(_ line: Substring) -> Bool {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count > 1, ["///", "//", "#"].contains(words[0]) else { return false }
        return ["Of", "Who", "What", "Whether"].contains(words[1])
    }

    @Test func commentsBeginWithANoun() throws {
        var counts: [String: Int] = [:]
        for (path, text) in try Self.texts() {
            let count = text.split(separator: "\n").filter { Self.beginsWithRelative($0) }.count
            if count > 0 { counts[Self.target(of: path), default: 0] += count }
        }
        Self.expect(counts, within: Self.relatives, "comment lines that begin with Of, Who, What or Whether")
    }

    @Test(
        arguments: [
            ("    /// What a node is told.", true), ("// Of one target", true), ("# Who is", true), ("/// Whether it is so", true),
            ("/// The node that writes.", false), ("    // Offers", false), ("/// - Returns: What", false),
            ("let a = 1 // What b", false),
            ("print(\"What\")", false),
        ] as [(String, Bool)])
    func relativesAreFound(line: String, isFound: Bool) { #expect(Self.beginsWithRelative(Substring(line)) == isFound) }
}

extension String {
    /// True for `R5`.
    fileprivate var isRuleNumber: Bool { hasPrefix("R") && count > 1 && dropFirst().allSatisfy(\.isNumber) }
}
