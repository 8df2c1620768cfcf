import FoundationEssentials
import OverlayTestSupport

/// The repository as text.
enum Repository {
    /// Root of the repository, found from the path of this file.
    static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static var targets: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: root.path + "/Sources").filter { !$0.hasPrefix(".") }.sorted()
        }
    }

    /// Paths of all Swift files below a target.
    static func files(of target: String) throws -> [String] {
        let base = root.path + "/Sources/" + target
        return try FileManager.default.subpathsOfDirectory(atPath: base).filter { $0.hasSuffix(".swift") }.map { base + "/" + $0 }
            .sorted()
    }

    static func text(_ path: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    }

    /// Modules that a target imports, each with one file that does.
    static func imports(of target: String) throws -> [String: String] {
        var result: [String: String] = [:]
        for file in try files(of: target) {
            for module in imports(in: try text(file)) { result[module] = file }
        }
        return result
    }

    /// Modules named by the import declarations of a file: `public import struct A.B` is an import of A.
    static func imports(in text: String) -> [String] {
        let kinds: Set = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias", "actor"]
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == ";" })
            guard let position = words.firstIndex(of: "import"),
                words[..<position].allSatisfy({
                    ["public", "package", "internal", "fileprivate", "private"].contains($0) || $0.hasPrefix("@")
                })
            else { return nil }
            var rest = words[(position + 1)...]
            if let kind = rest.first, kinds.contains(String(kind)) { rest = rest.dropFirst() }
            return rest.first?.split(separator: ".").first.map(String.init)
        }
    }

    /// Git does not say what belongs to the repository.
    struct Unreadable: Error, CustomStringConvertible {
        var description: String
    }

    /// Names at the top that belong to the repository: what git keeps. Where there is no repository, as in an archive, all that is there
    /// but what a build makes.
    static func topLevel(of folder: String = root.path) throws -> Set<String> {
        guard FileManager.default.fileExists(atPath: folder + "/.git") else {
            return Set(try FileManager.default.contentsOfDirectory(atPath: folder)).subtracting([".build", "Package.resolved"])
        }
        let output = shell("git -C '\(folder)' -c safe.directory='*' ls-files")
        guard output.status == 0, !output.text.isEmpty else { throw Unreadable(description: output.text) }
        return Set(output.text.split(separator: "\n").map { String($0.prefix { $0 != "/" }) })
    }
}
