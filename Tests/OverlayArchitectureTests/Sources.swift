import FoundationEssentials
import Glibc
import Testing

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

    /// What git keeps; nil where there is no git or no repository.
    static var keptFiles: [String]? {
        guard let pipe = popen("git -C '\(root.path)' -c safe.directory='*' ls-files 2>/dev/null", "r") else { return nil }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            output += buffer[..<count]
        }
        guard pclose(pipe) == 0, !output.isEmpty else { return nil }
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
