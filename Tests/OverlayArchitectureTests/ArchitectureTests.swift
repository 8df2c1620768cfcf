import FoundationEssentials
import Testing

/// The arrows of the design (§3), held against the sources.
@Suite struct ArchitectureTests {
    private static let levelOne: Set = [
        "OverlayMembership", "OverlayReplication", "OverlayCatalogue", "OverlayIPAM", "OverlayDatapath", "OverlayESP", "OverlayDNS",
        "OverlayDriver",
    ]
    private static let cores = levelOne.union(["OverlayModel", "OverlayNode", "OverlaySimulation"])
    private static let leaves: Set = ["OverlayLinux", "OverlayCrypto", "OverlayTelemetry"]
    private static let shells: Set = [
        "OverlayNetlink", "OverlayGossip", "OverlayDNSServer", "OverlayStore", "OverlayPluginServer", "OverlayDocker",
    ]
    private static let apps: Set = ["OverlayDaemon", "swift-overlay", "swift-overlay-sim", "swift-overlay-bench"]

    private static func isC(_ module: String) -> Bool {
        module.hasPrefix("C") && module.dropFirst().first?.isUppercase == true && module != "Crypto"
    }

    /// Which Overlay targets a target may import.
    private static func allowed(_ target: String) -> Set<String> {
        if target == "OverlayModel" { return [] }
        if levelOne.contains(target) { return ["OverlayModel"] }
        if target == "OverlayNode" { return levelOne.union(["OverlayModel"]) }
        if target == "OverlaySimulation" { return cores }
        if target == "swift-overlay-bench" { return cores.union(leaves).union(["OverlayStore"]) }
        if target == "swift-overlay-sim" { return ["OverlaySimulation", "OverlayModel"] }
        if target == "OverlayCrypto" { return ["OverlayModel"] }
        if leaves.contains(target) { return [] }
        // A shell knows the words of the core it serves, and leaves.
        if shells.contains(target) { return levelOne.union(leaves).union(["OverlayModel"]) }
        if target == "OverlayDaemon" { return cores.union(leaves).union(shells).subtracting(["OverlaySimulation"]) }
        return ["OverlayDaemon", "OverlayNode", "OverlayModel"]
    }

    private static var overlayTargets: [String] {
        get throws { try Repository.targets.filter { !isC($0) } }
    }

    @Test func everyTargetHasItsPlace() throws {
        let known = Self.cores.union(Self.leaves).union(Self.shells).union(Self.apps)
        #expect(Set(try Self.overlayTargets).subtracting(known).isEmpty)
        #expect(try Repository.targets.count > 15)
        let package = try Repository.text(Repository.root.path + "/Package.swift")
        for target in try Repository.targets {
            #expect(package.contains("\"\(target)\""), "Sources/\(target) is no target of the package")
            #expect(target.hasPrefix("Overlay") || Self.isC(target) || Self.apps.contains(target), "\(target)")
        }
    }

    @Test func coresSeeNothingOfTheOutsideWorld() throws {
        for target in try Self.overlayTargets where Self.cores.contains(target) {
            for (module, file) in try Repository.imports(of: target) {
                #expect(module.hasPrefix("Overlay"), "\(file) imports \(module)")
            }
        }
    }

    @Test func everyImportIsAnArrowOfTheDesign() throws {
        for target in try Self.overlayTargets {
            for (module, file) in try Repository.imports(of: target) where module.hasPrefix("Overlay") {
                #expect(Self.allowed(target).contains(module), "\(file): \(target) → \(module)")
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
        for target in try Self.overlayTargets where Self.levelOne.contains(target) {
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
        for target in try Self.overlayTargets where Self.cores.contains(target) {
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
        guard let files = Repository.keptFiles else {
            print("not run: there is no git repository here")
            return
        }
        let top = Set(files.map { $0.split(separator: "/").first.map(String.init) ?? $0 }).filter { !$0.hasPrefix(".") }
        #expect(
            top.subtracting(["Package.swift", "Sources", "Tests", "plugin", "contrib", "README.md"]).isEmpty, "\(top.sorted())")
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
