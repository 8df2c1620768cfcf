// swift-tools-version:6.2
import PackageDescription

// `Product` is a link to the sources of the daemon, because SwiftPM refuses paths outside a package. Every target here becomes a static
// library, and `run` links each with libFuzzer: an executable of SwiftPM has a `main` of its own.

/// Coverage for libFuzzer; AddressSanitizer, because libFuzzer sees single allocations (`-malloc_limit_mb`) only through it.
/// Optimised, with all checks of Swift.
let fuzzed: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing"]),
]

func product(_ name: String, _ dependencies: [Target.Dependency] = ["OverlayModel"], sources: [String]? = nil) -> Target {
    .target(name: name, dependencies: dependencies, path: "Product/\(name)", sources: sources, swiftSettings: fuzzed)
}

func support(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Support", sources: ["\(name).swift"], swiftSettings: fuzzed)
}

let package = Package(
    name: "fuzz",
    // The versions of the daemon's package.
    dependencies: [
        .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
    ],
    targets: [
        product("OverlayModel", []),
        product("OverlayMembership"),
        product("OverlayReplication"),
        product("OverlayCatalogue"),
        product("OverlayIPAM"),
        product("OverlayDatapath"),
        product("OverlayDriver"),
        product("OverlayDNS"),
        product(
            "OverlayEngine",
            [
                "OverlayModel", "OverlayDriver", "OverlayIPAM", "OverlayCatalogue", "OverlayReplication", "OverlayDatapath", "OverlayDNS",
            ]),
        product("OverlayCrypto", ["OverlayModel", .product(name: "Crypto", package: "swift-crypto")]),
        // What decodes, without the server around it.
        product(
            "OverlayPluginServer", ["OverlayModel", "OverlayDriver"],
            sources: ["BodyReader.swift", "JSONText.swift", "PluginCodec.swift", "ProtocolError.swift"]),
        // The same of the client of the engine's API.
        product(
            "OverlayDocker",
            [
                "OverlayModel", "OverlayDriver", .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            sources: ["EngineCodec.swift", "EngineEndpoint.swift", "EngineFailure.swift", "EngineShapes.swift", "EventLines.swift"]),
        product(
            "OverlayGossip",
            [
                "OverlayModel", "OverlayCrypto", .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        support("Fuzzing", ["OverlayModel"]),
        support("CatalogueSamples", ["OverlayModel", "OverlayCatalogue"]),
    ]
)

/// A target of `Targets/NAME.swift`.
@MainActor func fuzz(_ name: String, _ dependencies: [Target.Dependency]) {
    package.products.append(.library(name: name, type: .static, targets: [name]))
    package.targets.append(
        .target(
            name: name, dependencies: ["Fuzzing", "OverlayModel"] + dependencies, path: "Targets", sources: ["\(name).swift"],
            swiftSettings: fuzzed))
}

fuzz("address-message", ["OverlayEngine"])
fuzz("address-text", [])
fuzz("catalogue-entry", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-log", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-message", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-node", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-snapshot", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("dns-forwarder", ["OverlayDNS"])
fuzz("dns-query", ["OverlayDNS"])
fuzz("engine-answer", ["OverlayDriver", "OverlayDocker", .product(name: "NIOCore", package: "swift-nio")])
fuzz("join-answer", ["OverlayEngine", "OverlayCatalogue", "CatalogueSamples"])
fuzz("join-handshake", ["OverlayCrypto"])
fuzz("join-token", ["OverlayEngine"])
fuzz("local-rows", ["OverlayEngine", "OverlayIPAM"])
fuzz("member", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("membership-core", ["OverlayMembership"])
fuzz("membership-message", ["OverlayMembership"])
fuzz("packet-opener", ["OverlayCrypto"])
fuzz("plugin-call", ["OverlayDriver", "OverlayPluginServer"])
fuzz("plugin-json", ["OverlayDriver", "OverlayPluginServer"])
fuzz("removal-notice", ["OverlayEngine"])
fuzz("replication-log", ["OverlayReplication"])
fuzz("replication-message", ["OverlayReplication"])
fuzz(
    "stream-frames",
    [
        "OverlayCrypto", "OverlayGossip", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
    ])
