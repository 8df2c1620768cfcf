import ArgumentParser

/// The command line: the daemon, and the client that asks it.
@main
struct SwiftOverlay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swift-overlay",
        abstract: "Private networks for containers on many Docker hosts, without Swarm.",
        discussion: """
            Every flag can be given as an environment variable too: --state-dir as SWIFT_OVERLAY_STATE_DIR.
            """,
        version: "0.1.0",
        subcommands: [
            DaemonCommand.self, InitCommand.self, JoinCommand.self, LeaveCommand.self, JoinTokenCommand.self, NodeCommand.self,
            PromoteCommand.self, NetworkCommand.self, StatusCommand.self,
        ]
    )
}
