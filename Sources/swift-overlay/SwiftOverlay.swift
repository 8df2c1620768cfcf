import ArgumentParser

/// Command line: the daemon and its client.
@main
struct SwiftOverlay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swift-overlay",
        abstract: "Private networks for containers on many Docker hosts, without Swarm.",
        discussion: """
            Run `swift-overlay daemon` on every host, `swift-overlay init` on the first one and `swift-overlay join` on the others. Networks \
            that are created with `docker network create -d swift-overlay --ipam-driver swift-overlay NAME` then span all of them.

            Options of `daemon`, `init` and `join`, and --control-socket, can be given as environment variables, too: --state-dir as \
            SWIFT_OVERLAY_STATE_DIR.

            Exit status: 0 for success, 1 if a request was refused or failed, with one line on standard error that names the cause, 64 for \
            wrong usage.
            """,
        version: "0.1.0",
        subcommands: [
            DaemonCommand.self, InitCommand.self, JoinCommand.self, LeaveCommand.self, JoinTokenCommand.self, NodeCommand.self,
            PromoteCommand.self, NetworkCommand.self, StatusCommand.self,
        ]
    )
}
