// swift-tools-version:6.2
import PackageDescription

/// The settings of every Swift target of this package.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
]

/// A pure core: no I/O, no clock, no Foundation, no NIO, no C module. `Tests/OverlayArchitectureTests` holds it to that.
func core(_ name: String, _ dependencies: [Target.Dependency] = ["OverlayModel"]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// A leaf, a shell or the app: may see the outside world.
func shell(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil) -> Target {
    .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: settings)
}

/// Everything below a node.
let cores: [Target.Dependency] = [
    "OverlayModel", "OverlayMembership", "OverlayReplication", "OverlayCatalogue", "OverlayIPAM", "OverlayDatapath",
    "OverlayDriver", "OverlayDNS",
]

let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

let package = Package(
    name: "swift-overlay",
    products: [
        .executable(name: "swift-overlay", targets: ["swift-overlay"]),
        .executable(name: "swift-overlay-sim", targets: ["swift-overlay-sim"]),
        .executable(name: "swift-overlay-bench", targets: ["swift-overlay-bench"]),
    ],
    // Exact versions, because Package.resolved is not kept in the repository. `traits: []` leaves full Foundation (and ICU) out.
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1", traits: []),
        .package(url: "https://github.com/swift-server/async-http-client.git", exact: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
    ],
    targets: [
        // Level 0: the words.
        core("OverlayModel", []),

        // Level 1: the cores. Each imports Model and nothing else.
        core("OverlayMembership"),
        core("OverlayReplication"),
        core("OverlayCatalogue"),
        core("OverlayIPAM"),
        core("OverlayDatapath"),
        core("OverlayDriver"),
        core("OverlayDNS"),

        // Level 2: one node as one value, as it ships.
        core("OverlayNode", cores),

        // Leaves: system libraries and what has no policy.
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(name: "CNetlink", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-3-dev", "libnl-route-3-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        shell("OverlayLinux", ["CLinux"]),
        shell("OverlayCrypto", ["OverlayModel", .product(name: "Crypto", package: "swift-crypto")]),

        // Shells: bytes into events, effects into system calls. They never import one another.
        shell("OverlayNetlink", ["OverlayModel", "OverlayDatapath", "OverlayLinux", "CNetlink"]),
        shell("OverlayGossip", ["OverlayModel", "OverlayCrypto", log, nioCore, nioPosix]),
        shell("OverlayStore", ["OverlayModel", "OverlayLinux", "CSQLite"]),
        shell("OverlayDNSServer", ["OverlayModel", "OverlayDNS", "OverlayLinux"]),
        shell(
            "OverlayDocker",
            [
                "OverlayModel", "OverlayDriver", log, nioCore, .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
            ]),
        shell(
            "OverlayPluginServer",
            [
                "OverlayModel", "OverlayDriver", "OverlayLinux", log, nioCore, nioPosix, hummingbird, lifecycle,
                .product(name: "HummingbirdCore", package: "hummingbird"),
            ]
        ),

        // Test support: the shipped cores in virtual time.
        core(
            "OverlaySimulation",
            [
                "OverlayModel", "OverlayDriver", "OverlayCatalogue", "OverlayDatapath", "OverlayMembership",
                "OverlayIPAM", "OverlayReplication", "OverlayNode", "OverlayDNS",
            ]
        ),

        // The app: the only place that sees several shells.
        shell(
            "OverlayDaemon",
            [
                "OverlayModel", "OverlayNode", "OverlayDriver", "OverlayCatalogue", "OverlayReplication",
                "OverlayMembership", "OverlayIPAM", "OverlayDatapath", "OverlayCrypto", "OverlayLinux", "OverlayNetlink",
                "OverlayGossip", "OverlayStore", "OverlayDNS", "OverlayDNSServer", "OverlayDocker",
                "OverlayPluginServer", log, nioCore, nioPosix, lifecycle,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]
        ),
        .executableTarget(
            name: "swift-overlay",
            dependencies: [
                "OverlayDaemon",
                "OverlayNode",
                "OverlayModel",
                log,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                nioCore,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "swift-overlay-sim",
            dependencies: [
                "OverlaySimulation", "OverlayModel", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "swift-overlay-bench",
            dependencies: [
                "OverlaySimulation", "OverlayNode", "OverlayDriver", "OverlayStore", "OverlayLinux", "OverlayModel",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings
        ),
    ]
)

package.targets += [
    // What several test targets use: hostile bytes, a network in virtual time, a shell.
    .target(
        name: "OverlayTestSupport", dependencies: ["OverlayModel"], path: "Tests/OverlayTestSupport", swiftSettings: settings),
    tests("OverlayArchitectureTests", ["OverlayTestSupport"]),
    tests("OverlayModelTests", ["OverlayModel", "OverlayTestSupport"]),
    tests("OverlayCatalogueTests", ["OverlayCatalogue", "OverlayModel", "OverlayTestSupport"]),
    tests("OverlayReplicationTests", ["OverlayReplication", "OverlayModel", "OverlayTestSupport"]),
    tests("OverlayMembershipTests", ["OverlayMembership", "OverlayModel", "OverlayTestSupport"]),
    tests("OverlayIPAMTests", ["OverlayIPAM", "OverlayModel", "OverlayTestSupport"]),
    tests("OverlayDatapathTests", ["OverlayDatapath", "OverlayModel"]),
    tests("OverlayDNSTests", ["OverlayDNS", "OverlayModel"]),
    tests(
        "OverlayNodeTests",
        [
            "OverlayNode", "OverlaySimulation", "OverlayModel", "OverlayDriver", "OverlayCatalogue", "OverlayDatapath",
            "OverlayMembership", "OverlayReplication",
            "OverlayDNS",
        ]),
    tests("OverlaySimulationTests", ["OverlaySimulation", "OverlayDatapath", "OverlayModel"]),
    tests("OverlayCryptoTests", ["OverlayCrypto", "OverlayModel"]),
    tests("OverlayStoreTests", ["OverlayStore", "OverlayModel", "OverlayLinux", "OverlayTestSupport"]),
    tests(
        "OverlayGossipTests",
        [
            "OverlayGossip", "OverlayCrypto", "OverlayModel", log, nioCore, nioPosix,
            .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        ]),
    tests(
        "OverlayDaemonTests",
        [
            "OverlayDaemon", "OverlayNode", "OverlayCatalogue", "OverlayCrypto", "OverlayDriver", "OverlayGossip", "OverlayLinux",
            "OverlayModel", "OverlayNetlink", "OverlayPluginServer", "OverlayStore", log, nioCore, nioPosix, lifecycle,
            .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        ],
        // State directories as earlier builds left them.
        resources: [.copy("Resources/states")]),
    tests("OverlayDNSServerTests", ["OverlayDNSServer", "OverlayDNS", "OverlayModel", "OverlayLinux", "OverlayTestSupport"]),
    tests("OverlayDockerTests", ["OverlayDocker", "OverlayDriver", "OverlayModel", log, nioCore, nioPosix]),
    tests("OverlayNetlinkTests", ["OverlayNetlink", "OverlayModel", "OverlayDatapath", "OverlayLinux", "OverlayTestSupport"]),
    tests(
        "OverlayPluginServerTests",
        [
            "OverlayPluginServer", "OverlayDriver", "OverlayModel", "OverlayNode", "OverlayCatalogue", "OverlayDatapath",
            "OverlaySimulation", "OverlayTestSupport", log, lifecycle,
        ],
        resources: [.copy("Resources/transcripts")]),
]

// A sanitizer has something to find in the shells alone: threads, sockets, C. `contrib/test sanitizers` builds these tests and
// what they need.
if Context.environment["SWIFT_OVERLAY_TESTS"] == "shells" {
    let kept: Set = [
        "OverlayStoreTests", "OverlayGossipTests", "OverlayDNSServerTests", "OverlayDockerTests", "OverlayNetlinkTests",
        "OverlayPluginServerTests",
    ]
    package.products = []
    package.targets.removeAll { target in
        target.type == .test ? !kept.contains(target.name) : target.type == .executable || target.name == "OverlayDaemon"
    }
}
