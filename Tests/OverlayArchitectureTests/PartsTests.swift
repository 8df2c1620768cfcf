import FoundationEssentials
import Testing

/// The parts of a node stand side by side: each sees the outbox and value types, and never another part. What concerns two of them is
/// written where the parts are held.
enum Parts {
    /// Finds where a file of a folder names a type of another file.
    ///
    /// - Parameters:
    ///   - files: Texts by file name.
    ///   - module: Name of the module, with which a type can be written in full.
    ///   - allowed: Types that other files may name, each with those files; nil stands for every file.
    /// - Returns: Lines such as `Names.swift:12 names Addresses (Addresses.swift)`, in order.
    static func violations(in files: [String: String], module: String, allowed: [String: Set<String>?]) -> [String] {
        var homes: [String: String] = [:]
        for (file, text) in files {
            for type in TypeScanner.declared(in: text) { homes[type] = file }
        }
        var found: [String] = []
        for (file, text) in files.sorted(by: { $0.key < $1.key }) {
            let tokens = Lexer.tokens(of: text)
            for (index, token) in tokens.enumerated() where token.kind == .word {
                guard let home = homes[token.text], home != file else { continue }
                if let files = allowed[token.text], files?.contains(file) ?? true { continue }
                // `Other.Names` is another type than `Names`, and `.names` no type at all; `Module.Names` is this one.
                let isMember = index > 0 && tokens[index - 1].text == "."
                guard !isMember || index > 1 && tokens[index - 2].text == module else { continue }
                found.append("\(file):\(token.line) names \(token.text) (\(home))")
            }
        }
        return found
    }

    /// Texts of the Swift files in a folder by name; nil if there is none.
    static func files(in folder: String) throws -> [String: String]? {
        guard FileManager.default.fileExists(atPath: folder) else { return nil }
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder).filter { $0.hasSuffix(".swift") }
        return try Dictionary(uniqueKeysWithValues: names.map { ($0, try Repository.text(folder + "/" + $0)) })
    }
}

@Suite struct PartsTests {
    private static let module = "OverlayNode"
    private static let folder = "Sources/\(module)/Parts"
    /// Parts that others may name. The outbox is lent to all; the others are parts of one part.
    private static let allowed: [String: Set<String>?] = [
        "Looks": ["Forwarding.swift"], "MissedStarts": ["Reconciliation.swift"], "NodeHistory": ["Peers.swift"],
        "OtherNetworks": ["Sandboxes.swift"], "Outbox": nil, "OwnAddresses": ["Surroundings.swift"],
        "Restorations": ["Forwarding.swift"], "Settling": ["Names.swift"],
        "StoreLedger": ["Outbox.swift"], "WriteJournal": ["Outbox.swift"], "WriterDuties": ["Writer.swift"],
        "WriterStatus": ["Writer.swift"],
    ]

    @Test func noPartNamesAnother() throws {
        let files = try #require(
            try Parts.files(in: Repository.root.path + "/" + Self.folder), "there is no \(Self.folder)")
        #expect(files.count > 1, "\(Self.folder) holds \(files.count) files")
        for violation in Parts.violations(in: files, module: Self.module, allowed: Self.allowed) { Issue.record("\(violation)") }
        let declared = Set(files.values.flatMap(TypeScanner.declared))
        let unknown = Set(Self.allowed.keys).subtracting(declared).sorted()
        #expect(unknown.isEmpty, "no such types: \(unknown)")
        // A type that no other file names needs no entry.
        let withoutEntries = Set(
            Parts.violations(in: files, module: Self.module, allowed: [:]).map { $0.split(separator: " ")[2] }.map(String.init))
        let unneeded = Set(Self.allowed.keys).subtracting(withoutEntries).sorted()
        #expect(unneeded.isEmpty, "entries that are not needed: \(unneeded)")
    }

    private static let names = "struct Names {}"

    @Test(
        arguments: [
            ("struct A { var names: Names }", 1), ("struct A { var names = OverlayNode.Names() }", 1), ("extension Names {}", 1),
            ("struct A { func f(_ x: inout [Names.Row]) {} }", 1), ("struct A: Names {}\nlet b: Names?", 2),
            ("struct A { var value: Value }", 0), ("struct A { var x: Other.Names }", 0), ("struct A { var x = f(.Names) }", 0),
            ("struct A {} // Names", 0), ("struct A { let x = \"Names\" }", 0), ("struct A { var names: Int }", 0),
            ("struct A { var a: A }", 0),
        ] as [(String, Int)])
    func namesOfOtherPartsAreFound(text: String, count: Int) {
        let files = ["A.swift": text, "Names.swift": Self.names, "Value.swift": "struct Value {}"]
        let found = Parts.violations(in: files, module: "OverlayNode", allowed: ["Value": nil])
        #expect(found.count == count, "\(found)")
        #expect(found.allSatisfy { $0.hasPrefix("A.swift:") && $0.hasSuffix("names Names (Names.swift)") })
    }

    @Test func aPartOfOnePartIsNamedByThatOneAlone() {
        let files = ["A.swift": "let a: Value", "B.swift": "let b: Value", "Value.swift": "struct Value {}"]
        let found = Parts.violations(in: files, module: "OverlayNode", allowed: ["Value": ["A.swift"]])
        #expect(found == ["B.swift:1 names Value (Value.swift)"])
    }
}
