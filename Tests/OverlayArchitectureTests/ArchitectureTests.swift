import FoundationEssentials
import Testing

/// The arrows between targets, held against the sources.
@Suite struct ArchitectureTests {
    /// Targets of a kind see the same things.
    private enum Kind { case model, core, node, simulation, leaf, shell, app }

    /// Every target with its kind, and the targets of ours that it may import. `.shell` and `.core` are those of the kind.
    private static let places: [String: (kind: Kind, sees: Set<String>)] = [
        "OverlayModel": (.model, []),

        "OverlayMembership": (.core, ["OverlayModel"]),
        "OverlayReplication": (.core, ["OverlayModel"]),
        "OverlayCatalogue": (.core, ["OverlayModel"]),
        "OverlayIPAM": (.core, ["OverlayModel"]),
        "OverlayDatapath": (.core, ["OverlayModel"]),
        "OverlayDNS": (.core, ["OverlayModel"]),
        "OverlayDriver": (.core, ["OverlayModel"]),

        "OverlayNode": (.node, cores.union(["OverlayModel"])),
        "OverlaySimulation": (.simulation, pure),

        "OverlayLinux": (.leaf, []),
        "OverlayCrypto": (.leaf, ["OverlayModel"]),

        // A shell knows the words of the core that it serves, and leaves.
        "OverlayNetlink": (.shell, cores.union(leaves).union(["OverlayModel"])),
        "OverlayGossip": (.shell, cores.union(leaves).union(["OverlayModel"])),
        "OverlayDNSServer": (.shell, cores.union(leaves).union(["OverlayModel"])),
        "OverlayStore": (.shell, cores.union(leaves).union(["OverlayModel"])),
        "OverlayPluginServer": (.shell, cores.union(leaves).union(["OverlayModel"])),
        "OverlayDocker": (.shell, cores.union(leaves).union(["OverlayModel"])),

        "OverlayDaemon": (.app, pure.union(leaves).union(shells).subtracting(["OverlaySimulation"])),
        "swift-overlay": (.app, ["OverlayDaemon", "OverlayNode", "OverlayModel"]),
        "swift-overlay-sim": (.app, ["OverlaySimulation", "OverlayModel"]),
        "swift-overlay-bench": (.app, pure.union(leaves).union(["OverlayStore"])),
    ]
    /// Targets that import the model and nothing else.
    private static let cores: Set = [
        "OverlayMembership", "OverlayReplication", "OverlayCatalogue", "OverlayIPAM", "OverlayDatapath", "OverlayDNS",
        "OverlayDriver",
    ]
    private static let nodes: Set = ["OverlayNode"]
    /// Targets that see nothing of the outside world.
    private static let pure = cores.union(nodes).union(["OverlayModel", "OverlaySimulation"])
    private static let leaves: Set = ["OverlayLinux", "OverlayCrypto"]
    private static let shells: Set = [
        "OverlayNetlink", "OverlayGossip", "OverlayDNSServer", "OverlayStore", "OverlayPluginServer", "OverlayDocker",
    ]

    private static func isC(_ module: String) -> Bool {
        module.hasPrefix("C") && module.dropFirst().first?.isUppercase == true && module != "Crypto"
    }

    private static func targets(_ kinds: Kind...) -> Set<String> { Set(places.filter { kinds.contains($0.value.kind) }.keys) }

    private static var overlayTargets: [String] {
        get throws { try Repository.targets.filter { !isC($0) } }
    }

    @Test func everyTargetHasItsPlace() throws {
        #expect(Set(try Self.overlayTargets) == Set(Self.places.keys))
        #expect(Self.targets(.core) == Self.cores && Self.targets(.node) == Self.nodes && Self.targets(.leaf) == Self.leaves)
        #expect(Self.targets(.shell) == Self.shells && Self.targets(.model, .core, .node, .simulation) == Self.pure)
        let package = try Repository.text(Repository.root.path + "/Package.swift")
        for target in try Repository.targets {
            #expect(package.contains("\"\(target)\""), "Sources/\(target) is no target of the package")
        }
    }

    @Test func coresSeeNothingOfTheOutsideWorld() throws {
        for target in Self.pure {
            for (module, file) in try Repository.imports(of: target) {
                #expect(module.hasPrefix("Overlay"), "\(file) imports \(module)")
            }
        }
    }

    @Test func everyImportIsAnArrow() throws {
        for target in try Self.overlayTargets {
            for (module, file) in try Repository.imports(of: target) where module.hasPrefix("Overlay") {
                #expect(Self.places[target]?.sees.contains(module) == true, "\(file): \(target) → \(module)")
            }
        }
    }

    @Test func shellsDoNotSeeOneAnother() throws {
        for target in try Self.overlayTargets {
            let seen = Set(try Repository.imports(of: target).keys).intersection(Self.shells)
            if Self.shells.contains(target) { #expect(seen.isEmpty, "\(target) imports \(seen.sorted())") }
            if target != "OverlayDaemon" { #expect(seen.count <= 1, "\(target) sees several shells: \(seen.sorted())") }
        }
    }

    @Test func aCModuleHasOneUser() throws {
        var users: [String: [String]] = [:]
        for target in try Self.overlayTargets {
            for module in try Repository.imports(of: target).keys where Self.isC(module) {
                users[module, default: []].append(target)
            }
        }
        for module in try Repository.targets where Self.isC(module) {
            #expect(users[module]?.count == 1, "\(module) is imported by \(users[module] ?? [])")
        }
    }

    @Test func theManifestNamesWhatIsImported() throws {
        let package = try Repository.text(Repository.root.path + "/Package.swift").filter { !$0.isWhitespace }
        for target in try Self.overlayTargets where Self.cores.contains(target) {
            #expect(package.contains("core(\"\(target)\")"), "\(target) has more dependencies than the model")
        }
        let daemon = try #require(package.firstRange(of: "\"OverlayDaemon\",["))
        #expect(!package[daemon.upperBound...].prefix { $0 != "]" }.contains("OverlaySimulation"))
    }

    /// A core reads no clock and draws no randomness of its own.
    @Test(arguments: [
        ".random(in:", "SystemRandomNumberGenerator", "ContinuousClock", "SuspendingClock", "Task.sleep", "Date()", ".now()",
        "print(",
    ])
    func coresAreDeterministic(word: String) throws {
        for target in Self.pure {
            for file in try Repository.files(of: target) {
                for (number, line) in try Repository.text(file).split(separator: "\n", omittingEmptySubsequences: false)
                    .enumerated()
                {
                    let code = line.split(separator: "//", omittingEmptySubsequences: false).first ?? ""
                    // Randomness from a generator that is passed in is allowed.
                    guard code.contains(word), !code.contains("using:") else { continue }
                    Issue.record("\(file):\(number + 1): \(line)")
                }
            }
        }
    }

    @Test func filesStayReadable() throws {
        for target in try Repository.targets {
            for file in try Repository.files(of: target) {
                #expect(try Repository.text(file).split(separator: "\n", omittingEmptySubsequences: false).count <= 601, "\(file)")
            }
        }
    }

    @Test func theTopLevelIsShort() throws {
        let top = try Repository.topLevel().filter { !$0.hasPrefix(".") }
        #expect(top.isSuperset(of: ["Package.swift", "Sources", "Tests", "README.md"]), "\(top.sorted())")
        #expect(
            top.subtracting(["Package.swift", "Sources", "Tests", "plugin", "contrib", "README.md"]).isEmpty, "\(top.sorted())")
    }

    /// A folder without git is an archive: all in it is of the repository, but for what a build makes.
    @Test func theTopLevelOfAnArchiveIsWhatLiesThere() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/top-level-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: folder + "/Sources", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for name in ["stray.txt", "Package.resolved"] { try Data().write(to: URL(fileURLWithPath: folder + "/" + name)) }
        #expect(try Repository.topLevel(of: folder) == ["Sources", "stray.txt"])
        // A repository that git cannot read is no archive.
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: folder + "/.git"))
        #expect(throws: Repository.Unreadable.self) { try Repository.topLevel(of: folder) }
    }

    @Test(
        arguments: [
            ("import A", ["A"]), ("public import A\n@testable import B", ["A", "B"]), ("import struct A.B", ["A"]),
            ("@preconcurrency internal import A.B", ["A"]),
            ("// import A", []), ("/// import A", []), ("let import1 = 2", []), ("    import A", ["A"]),
            ("#if x\nimport A\n#endif", ["A"]),
        ] as [(String, [String])])
    func importsAreFound(text: String, modules: [String]) { #expect(Repository.imports(in: text) == modules) }
}
