// swift-tools-version:6.2
import PackageDescription

// `Product` is a link to the sources of the daemon, as SwiftPM refuses paths outside of a package. Every target becomes a static
// library that `run` links with libFuzzer, as an executable of SwiftPM has a `main` of its own.

/// Settings of all targets: coverage for libFuzzer, and AddressSanitizer, as libFuzzer sees single allocations (`-malloc_limit_mb`)
/// only through it. Optimised, with all of Swift's checks.
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
    // Same versions as in the daemon's package.
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
            "OverlayNode",
            [
                "OverlayModel", "OverlayDriver", "OverlayIPAM", "OverlayCatalogue", "OverlayReplication", "OverlayMembership",
                "OverlayDatapath", "OverlayDNS",
            ]),
        product("OverlayCrypto", ["OverlayModel", .product(name: "Crypto", package: "swift-crypto")]),
        // Decoders of the plugin server, without the server around them.
        product(
            "OverlayPluginServer", ["OverlayModel", "OverlayDriver"],
            sources: [
                "BodyCollector.swift", "BodyReader.swift", "JSONFilter.swift", "JSONSelection.swift", "JSONText.swift",
                "PluginCodec.swift", "ProtocolError.swift",
            ]),
        // Decoders of the client of the engine's API, without the client.
        product(
            "OverlayDocker",
            [
                "OverlayModel", "OverlayDriver", .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            sources: [
                "ConfiguredShapes.swift", "EngineCodec.swift", "EngineEndpoint.swift", "EngineFailure.swift", "EngineShapes.swift",
                "EventLines.swift",
            ]),
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

/// Target built from `Targets/NAME.swift`.
@MainActor func fuzz(_ name: String, _ dependencies: [Target.Dependency]) {
    package.products.append(.library(name: name, type: .static, targets: [name]))
    package.targets.append(
        .target(
            name: name, dependencies: ["Fuzzing", "OverlayModel"] + dependencies, path: "Targets", sources: ["\(name).swift"],
            swiftSettings: fuzzed))
}

fuzz("address-message", ["OverlayNode"])
fuzz("address-text", [])
fuzz("catalogue-entry", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-log", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-message", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-node", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("catalogue-snapshot", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("dns-forwarder", ["OverlayDNS"])
fuzz("dns-query", ["OverlayDNS"])
fuzz("engine-answer", ["OverlayDriver", "OverlayDocker", .product(name: "NIOCore", package: "swift-nio")])
fuzz("heard-frame", ["OverlayDatapath"])
fuzz("join-answer", ["OverlayNode", "OverlayCatalogue", "CatalogueSamples"])
fuzz("join-handshake", ["OverlayCrypto"])
fuzz("join-token", ["OverlayNode"])
fuzz("local-rows", ["OverlayNode", "OverlayIPAM"])
fuzz("member", ["OverlayCatalogue", "CatalogueSamples"])
fuzz("membership-core", ["OverlayMembership"])
fuzz("membership-message", ["OverlayMembership"])
fuzz("packet-opener", ["OverlayCrypto"])
fuzz("plugin-body", ["OverlayDriver", "OverlayPluginServer"])
fuzz("plugin-call", ["OverlayDriver", "OverlayPluginServer"])
fuzz("plugin-json", ["OverlayDriver", "OverlayPluginServer"])
fuzz("removal-notice", ["OverlayNode"])
fuzz("replication-log", ["OverlayReplication"])
fuzz("replication-message", ["OverlayReplication"])
fuzz(
    "stream-frames",
    [
        "OverlayCrypto", "OverlayGossip", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
    ])
