import ArgumentParser
import FoundationEssentials
import Glibc
import NIOHTTP1
import OverlayDaemon
import OverlayModel
import OverlayNode

struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Start a cluster with this host as its first node.",
        discussion: """
            Prints the command with which other hosts join. This node becomes the catalogue writer: it decides about networks, subnets and \
            ownership of addresses. `swift-overlay promote` moves that to another node.
            """)

    @OptionGroup var client: ClientOptions
    @Option(
        help: ArgumentHelp("Range from which subnets are taken, in CIDR form. (default: 10.32.0.0/12)", valueName: "subnet"))
    var defaultAddrPool: String?
    @Option(help: ArgumentHelp("Prefix length of each subnet. (default: 24)", valueName: "length"))
    var defaultAddrPoolMaskLength: Int?
    @Option(
        help: ArgumentHelp(
            "Lifetime of the join token, such as 90m, 24h or 7d; 0 is without end. (default: 24h)", valueName: "time"))
    var tokenTtl: String?

    func run() async throws {
        let length = setting("default-addr-pool-mask-length", defaultAddrPoolMaskLength.map(String.init))
        let body = ControlBody.Initialise(
            defaultAddressPool: setting("default-addr-pool", defaultAddrPool),
            defaultAddressPoolMaskLength: length.flatMap { Int($0) },
            tokenTTL: try seconds(setting("token-ttl", tokenTtl), of: "--token-ttl"))
        let report = try await client.ask(.POST, "/init", body, as: JoinTokenReport.self)
        show("Cluster started. To add another host, run there:\n\n    \(report.command)\n\n\(expiry(report))")
    }
}

struct JoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Join the cluster of another host.",
        discussion: """
            The token comes from `swift-overlay join-token` on any member. It proves the member to this host and this host to the member; it \
            is not sent over the network.
            """)

    @OptionGroup var client: ClientOptions
    @Option(
        help: ArgumentHelp(
            "Token that `swift-overlay join-token --quiet` prints on a member. Other users of this host see it in the list of processes.",
            valueName: "token"))
    var token: String?
    @Option(help: ArgumentHelp("File with the token; - reads it from standard input.", valueName: "path"), completion: .file())
    var tokenFile: String?
    @Argument(
        help: ArgumentHelp(
            "Any member of the cluster, by name or address. (default port: \(DefaultPort.nodes), else \(DefaultPort.nodesBefore))",
            valueName: "host[:port]"))
    var host: String

    func run() async throws {
        guard let token = try tokenFile.map(readToken) ?? setting("token", token) else {
            throw ValidationError("--token or --token-file is missing")
        }
        guard let (name, port) = splitHostPort(host) else { throw ValidationError("\(host) is not HOST[:PORT]") }
        let answer = try await client.ask(.POST, "/join", ControlBody.Join(token: token, host: name, port: port), as: Message.self)
        show(answer.message)
    }
}

extension JoinCommand {
    func validate() throws {
        guard token == nil || tokenFile == nil else {
            throw ValidationError("--token and --token-file are two ways to give one thing: give one of them")
        }
    }

    /// Reads a token from a file, or from standard input.
    private func readToken(_ path: String) throws -> String {
        func failure(_ reason: String) -> ValidationError { ValidationError("--token-file \(path): \(reason)") }
        let number = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw failure(String(cString: strerror(errno))) }
        defer { if number != STDIN_FILENO { close(number) } }
        // A token has some hundred bytes.
        var buffer = [UInt8](repeating: 0, count: 4096)
        var count = 0
        while count < buffer.count {
            let read = buffer.withUnsafeMutableBytes { Glibc.read(number, $0.baseAddress?.advanced(by: count), $0.count - count) }
            guard read >= 0 else { throw failure(String(cString: strerror(errno))) }
            if read == 0 { break }
            count += read
        }
        let words = String(decoding: buffer[..<count], as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard let token = words.first else { throw failure("there is nothing in it") }
        guard words.count == 1 else { throw failure("there is more than a token in it") }
        return String(token)
    }
}

struct LeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "Take this host out of its cluster.",
        discussion: "The other nodes are told, and may hand out this host's addresses again.")

    @OptionGroup var client: ClientOptions
    @Flag(help: "Leave even if containers are attached to overlay networks; they lose their interfaces.")
    var force = false

    func run() async throws {
        show(try await client.ask(.POST, "/leave", ControlBody.Force(force: force), as: Message.self).message)
    }
}

struct PromoteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Make this host the catalogue writer after the current one was lost for good.",
        discussion: """
            Entries that only the old writer had are lost. If it comes back, it follows this node.
            """)

    @OptionGroup var client: ClientOptions
    @Option(help: "Format of the output.") var format = OutputFormat.text
    @Flag(
        help: """
            Promote even if the writer was reachable within the last 60 s, another node has a longer catalogue, or most nodes are \
            unreachable.
            """)
    var force = false

    func run() async throws {
        let data = try await client.raw(.POST, "/promote", ControlBody.Force(force: force))
        if format == .json { return show(String(decoding: data, as: UTF8.self), terminator: "") }
        show(try JSONDecoder().decode(Message.self, from: data).message)
    }
}

struct JoinTokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join-token", abstract: "Print the command with which another host joins.")

    @OptionGroup var client: ClientOptions
    @Flag(help: "Make a new token, and void the old one.")
    var rotate = false
    @Option(
        help: ArgumentHelp(
            "With --rotate: lifetime of the new token, such as 90m, 24h or 7d; 0 is without end. (default: 24h)", valueName: "time")
    )
    var ttl: String?
    @Flag(name: .shortAndLong, help: "Print only the token.")
    var quiet = false

    func validate() throws {
        guard rotate || ttl == nil else {
            throw ValidationError("--ttl needs --rotate: the lifetime of the current token does not change")
        }
    }

    func run() async throws {
        let report =
            rotate
            ? try await client.ask(
                .POST, "/join-token/rotate", ControlBody.RotateToken(ttl: try seconds(ttl, of: "--ttl")), as: JoinTokenReport.self)
            : try await client.ask(.GET, "/join-token", as: JoinTokenReport.self)
        show(
            quiet ? report.token : "To add a host to this cluster, run there:\n\n    \(report.command)\n\n\(expiry(report))")
    }
}

/// Reads `90m`, `24h`, `7d`, or a number of seconds.
private func seconds(_ text: String?, of option: String) throws -> UInt64? {
    guard let text else { return nil }
    let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
    let unit = text.last.flatMap { units[$0] }
    let (value, overflows) = (UInt64(unit == nil ? text[...] : text.dropLast()) ?? .max).multipliedReportingOverflow(by: unit ?? 1)
    guard !overflows, value < .max else { throw ValidationError("\(option) takes a time such as 90m, 24h or 7d, not \(text)") }
    return value
}

/// Sentence that says until when a token is valid.
private func expiry(_ report: JoinTokenReport) -> String {
    guard report.expires != 0 else { return "The token is valid until it is rotated." }
    var at = time_t(clamping: report.expires)
    var parts = tm()
    localtime_r(&at, &parts)
    var buffer = [CChar](repeating: 0, count: 64)
    strftime(&buffer, buffer.count, "%Y-%m-%d %H:%M %Z", &parts)
    let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return at < time(nil)
        ? "This token expired at \(text); `swift-overlay join-token --rotate` makes a new one."
        : "The token is valid until \(text)."
}

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "List, inspect and remove nodes of the cluster.",
        subcommands: [List.self, Inspect.self, Remove.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the nodes, as this node sees them.",
            discussion: """
                STATE is alive, suspect, udp-blocked, daemon-down or unreachable, and SINCE the time in this state. RTT is the round trip of the last probe. \
                PROTOCOL is the versions of the protocol between nodes that a node speaks. \
                REASON says what the state rests on, and the health score (0 is well, 7 is worst) of a node that reports trouble of its own.
                """)
        @OptionGroup var client: ClientOptions
        @Option(help: "Format of the output.") var format = OutputFormat.text
        @Flag(name: .shortAndLong, help: "Keep running, and print changes of state as they happen.") var watch = false

        func run() async throws {
            let start = watch ? try await client.ask(.GET, "/nodes/changes", as: NodeChanges.self).last : 0
            let data = try await client.raw(.GET, "/nodes")
            if format == .json {
                show(String(decoding: data, as: UTF8.self), terminator: "")
            } else {
                printNodes(try JSONDecoder().decode([NodeReport].self, from: data))
            }
            if watch { try await follow(from: start) }
        }

        private func printNodes(_ nodes: [NodeReport]) {
            printTable(
                ["ID", "NAME", "ADDRESS", "STATE", "SINCE", "RTT", "NETWORKS", "BLOCKS", "CATALOGUE", "PROTOCOL", "REASON"],
                nodes.map { node in
                    [
                        String(node.id.prefix(12)) + (node.isSelf ? " *" : ""), node.name, node.address, node.state,
                        node.isSelf ? "-" : "\(node.since)s", node.roundTrip.map { "\($0)µs" } ?? "-", "\(node.networks)",
                        "\(node.blocks)", node.isWriter ? "writer" : "replica", node.speaks ?? "?",
                        node.reason
                            + (node.healthScore > 0
                                ? (node.reason.isEmpty ? "" : "; ") + "health score \(node.healthScore) of 7" : ""),
                    ]
                })
        }

        /// Prints changes until it is interrupted or the daemon ends.
        private func follow(from start: UInt64) async throws {
            var last = start
            while true {
                let news = try await client.ask(.GET, "/nodes/changes?after=\(last)", as: NodeChanges.self)
                for change in news.changes {
                    let reason = change.reason.isEmpty ? "" : ": \(change.reason)"
                    say(
                        format == .json
                            ? String(decoding: try JSONEncoder().encode(change), as: UTF8.self)
                            : "\(timeOfDay(before: change.age))  \(change.node)  \(change.was) → \(change.state)\(reason)")
                }
                last = news.last
            }
        }

        /// Prints a line at once: the buffer of standard output would hold it back if that is a pipe.
        private func say(_ line: String) {
            let bytes = Array((line + "\n").utf8)
            _ = write(STDOUT_FILENO, bytes, bytes.count)
        }

        /// Time of day by the local clock.
        private func timeOfDay(before milliseconds: Int64) -> String {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            let total = Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000 - milliseconds
            var seconds = time_t(total / 1000)
            var parts = tm()
            localtime_r(&seconds, &parts)
            let fields = [Int64(parts.tm_hour), Int64(parts.tm_min), Int64(parts.tm_sec)].map { $0 < 10 ? "0\($0)" : "\($0)" }
            return fields.joined(separator: ":") + "." + String(1000 + total % 1000).dropFirst()
        }
    }

    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show one node as JSON.")
        @OptionGroup var client: ClientOptions
        @Argument(help: "Name of the node, or the beginning of its id.") var node: String

        func run() async throws {
            let nodes = try await client.ask(.GET, "/nodes", as: [NodeReport].self)
            let found = nodes.filter { $0.name == node || $0.id.hasPrefix(node) }
            guard let report = found.first, found.count == 1 else {
                complain(found.isEmpty ? "no such node: \(node)" : "\(node) names \(found.count) nodes")
                throw ExitCode(1)
            }
            try printJSON(report)
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove a node that was lost for good.",
            discussion: """
                Its addresses stay in quarantine for ten minutes before other nodes may hand them out. To remove a node that still runs, use \
                `swift-overlay leave` on its host.
                """)
        @OptionGroup var client: ClientOptions
        @Flag(help: "Remove the node even if it is reachable, or was within the last 60 s.") var force = false
        @Flag(help: "Free its addresses at once, without quarantine; also those of a node removed earlier.") var now = false
        @Argument(help: "Name of the node, or the beginning of its id.") var node: String

        func run() async throws {
            show(
                try await client.ask(
                    .POST, "/nodes/remove", ControlBody.RemoveNode(node: node, force: force, now: now), as: Message.self
                )
                .message)
        }
    }
}

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the state of this node.",
        discussion: "Each line that begins with Problem names something that is wrong now.")
    @OptionGroup var client: ClientOptions
    @Option(help: "Format of the output.") var format = OutputFormat.text

    func run() async throws {
        let data = try await client.raw(.GET, "/status")
        if format == .json { return show(String(decoding: data, as: UTF8.self), terminator: "") }
        let status = try JSONDecoder().decode(StatusReport.self, from: data)
        let rows = [
            ("Node", "\(status.name) (\(status.node.prefix(12)))"), ("Version", status.version),
            ("Cluster", status.cluster.map { String($0.prefix(12)) } ?? "none"), ("Address", status.address),
            ("Data path", status.dataPathAddress + (status.dataPathPort.map { ":\($0)" } ?? "")),
            (
                "Catalogue",
                "index \(status.catalogueIndex)" + (status.term.map { ", term \($0)" } ?? "")
                    + (status.writer.map { ", writer \($0) (\(status.writerState ?? "?"))" } ?? "")
            ),
            (
                "Engine", status.engine.state + (status.engine.apiVersion.map { ", API \($0)" } ?? "")
            ),
            ("Members", "\(status.reachable) of \(status.members) reachable"), ("Protocol", status.protocols?.text ?? "?"),
            (
                "Networks",
                "\(status.networks.count), \(status.endpoints) endpoints here, \(status.leases) addresses handed out here"
            ),
            ("Names", "answered in \(status.sandboxes) containers here"),
        ]
        for (name, value) in rows { show(name + ":" + String(repeating: " ", count: 11 - name.count) + value) }
        for problem in status.problems { show("Problem:   \(problem)") }
    }
}

func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    show(String(decoding: try encoder.encode(value), as: UTF8.self))
}
