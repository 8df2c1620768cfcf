import Testing

/// A type that a reader can hold in the head: few stored properties, few lines, over all its extensions.
@Suite struct TypeSizeTests {
    private static let mostProperties = 25
    private static let mostLines = 800
    private static let limits = "\(mostProperties) and \(mostLines)"

    /// Types above a limit, with what they are today. Only ever made shorter: an entry that could be smaller, or is not needed, fails.
    private static let allowed: [String: Measure] = [
        "OverlayMembership.Membership": .init(properties: 30, lines: 1026),
        "OverlayMembership.MembershipParameters": .init(properties: 28, lines: 75),
        "OverlayReplication.Replication": .init(properties: 12, lines: 983),
        "OverlaySimulation.World": .init(properties: 20, lines: 876),
    ]

    struct Measure: Equatable, CustomStringConvertible {
        var properties: Int
        var lines: Int

        var description: String { ".init(properties: \(properties), lines: \(lines))" }
    }

    /// All types of Sources by `Target.Type`. Extensions in another target count for the target that declares the type.
    private static func measured() throws -> [String: Measure] {
        var sizes: [String: [String: TypeSize]] = [:]
        for target in try Repository.targets {
            for file in try Repository.files(of: target) {
                for (name, size) in TypeScanner.sizes(in: try Repository.text(file)) {
                    sizes[target, default: [:]][name, default: TypeSize()] += size
                }
            }
        }
        var total: [String: TypeSize] = [:]
        for (target, types) in sizes {
            for (name, size) in types {
                let plain = sizes[String(name.prefix { $0 != "." })] == nil ? name : String(name.drop { $0 != "." }.dropFirst())
                let homes = sizes.filter { $0.value[plain]?.isDeclared == true }.map(\.key)
                // A type of the standard library or of a package.
                guard let home = homes.contains(target) ? target : homes.min() else { continue }
                total["\(home).\(plain)", default: TypeSize()] += size
            }
        }
        return total.mapValues { Measure(properties: $0.properties.count, lines: $0.lines) }
    }

    @Test func typesStayReadable() throws {
        let measured = try Self.measured()
        #expect(measured.count > 300, "types are not found")
        let large = measured.filter { $0.value.properties > Self.mostProperties || $0.value.lines > Self.mostLines }
        for (name, size) in large.sorted(by: { $0.key < $1.key }) {
            guard let limit = Self.allowed[name] else {
                Issue.record(
                    "\(name) has \(size.properties) stored properties and \(size.lines) lines; the limits are \(Self.limits)"
                )
                continue
            }
            #expect(size.properties <= limit.properties && size.lines <= limit.lines, "\(name) grew to \(size)")
            #expect(size.properties >= limit.properties && size.lines >= limit.lines, "\(name) shrank: make its entry \(size)")
        }
        for name in Self.allowed.keys.sorted() where large[name] == nil {
            Issue.record("\(name) needs no entry any more: \(measured[name].map { "\($0)" } ?? "there is no such type")")
        }
    }

    @Test(arguments: Snippet.all) func typesAreMeasured(snippet: Snippet) {
        let found = TypeScanner.sizes(in: snippet.code).mapValues { [$0.properties.count, $0.lines] }
        #expect(found == snippet.expected)
    }
}
