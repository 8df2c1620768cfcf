import ArgumentParser
import Glibc
import Logging
import OverlayDaemon

struct DaemonCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "daemon", abstract: "Run the daemon of this host. Start it before the engine.")

    @Option(help: "Where the node keeps its identity and state. (default: /var/lib/swift-overlay)")
    var stateDir: String?
    @Option(help: "Where engines find the plugin. (default: /run/docker/plugins/swift-overlay.sock)")
    var pluginSocket: String?
    @Option(help: "Where the commands of this program find the daemon. (default: /run/swift-overlay/control.sock)")
    var controlSocket: String?
    @Option(help: "The address at which other nodes reach this one. (default: that of the default route)")
    var advertiseAddr: String?
    @Option(help: "Where to listen for other nodes, address and port. (default: 0.0.0.0:7946)")
    var listenAddr: String?
    @Option(help: "The address that tunnels end at. (default: --advertise-addr)")
    var dataPathAddr: String?
    @Option(help: "UDP port of VXLAN; counts on `init`, others take it from the cluster. (default: 4789)")
    var dataPathPort: Int?
    @Option(
        help:
            "The engine's own API, for names and networks of other hosts; none does without. (default: unix:///var/run/docker.sock)"
    )
    var engine: String?
    @Option(help: "on or off: answer questions for names in containers. (default: on)")
    var dns: String?
    @Option(help: "How long answers for names hold, in seconds. (default: 2)")
    var dnsTtl: Int?
    @Option(help: "Questions for names that one container may ask in a second; 0 is no bound. (default: 200000)")
    var dnsRate: Int?
    @Option(help: "local; global is for the managed plugin in Swarm.")
    var scope: String?
    @Flag(help: "Take the state of a host with another machine id for this one's, whose id was changed on purpose.")
    var acceptNewMachineId = false
    @Option(help: "trace, debug, info, notice, warning, error or critical. (default: info)")
    var logLevel: String?
    @Option(help: "text or json. (default: text)")
    var logFormat: String?

    func run() async throws {
        var configuration = Configuration()
        if let value = setting("state-dir", stateDir) { configuration.stateDirectory = value }
        if let value = setting("plugin-socket", pluginSocket) { configuration.pluginSocket = value }
        configuration.controlSocket = controlSocketPath(controlSocket)
        configuration.advertiseAddress = setting("advertise-addr", advertiseAddr)
        configuration.dataPathAddress = setting("data-path-addr", dataPathAddr)
        if let value = setting("listen-addr", listenAddr) {
            guard let (host, port) = splitHostPort(value) else {
                throw ValidationError("--listen-addr takes ADDRESS[:PORT], not \(value)")
            }
            configuration.listenHost = host
            if let port {
                configuration.listenPort = Int(port)
                configuration.mayMovePort = false
            }
        }
        if let value = setting("data-path-port", dataPathPort.map(String.init)) {
            guard let port = UInt16(value), port >= 1024 else {
                throw ValidationError("--data-path-port takes 1024 to 65535, not \(value)")
            }
            configuration.dataPathPort = port
        }
        if let value = setting("engine", engine) { configuration.engine = value == "none" ? nil : value }
        switch setting("dns", dns) ?? "on" {
        case "on": break
        case "off": configuration.answersNames = false
        case let other: throw ValidationError("--dns takes on or off, not \(other)")
        }
        if let value = setting("dns-ttl", dnsTtl.map(String.init)) {
            guard let ttl = UInt32(value), ttl <= 86_400 else {
                throw ValidationError("--dns-ttl takes 0 to 86400 seconds, not \(value)")
            }
            configuration.dnsTTL = ttl
        }
        if let value = setting("dns-rate", dnsRate.map(String.init)) {
            guard let rate = Int(value), rate >= 0 else { throw ValidationError("--dns-rate takes a number, not \(value)") }
            configuration.dnsRate = rate
        }
        switch setting("scope", scope) ?? "local" {
        case "local": break
        case "global": configuration.isGlobalScope = true
        case let other: throw ValidationError("--scope takes local or global, not \(other)")
        }
        switch setting("accept-new-machine-id", acceptNewMachineId ? "true" : nil) ?? "false" {
        case "true", "1": configuration.acceptsNewMachine = true
        case "false", "0", "": break
        case let other: throw ValidationError("--accept-new-machine-id takes true or false in the environment, not \(other)")
        }
        if let value = setting("log-level", logLevel) {
            guard let level = Logger.Level(rawValue: value) else { throw ValidationError("--log-level does not know \(value)") }
            configuration.logLevel = level
        }
        switch setting("log-format", logFormat) ?? "text" {
        case "text": break
        case "json": configuration.logsJSON = true
        case let other: throw ValidationError("--log-format takes text or json, not \(other)")
        }
        do {
            try await Daemon.run(configuration)
        } catch {
            complain("\(error)")
            throw ExitCode(1)
        }
    }
}

/// A flag, or its environment variable.
func setting(_ flag: String, _ given: String?) -> String? {
    if let given { return given }
    let name = "SWIFT_OVERLAY_" + flag.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    guard let value = getenv(name) else { return nil }
    return String(cString: value)
}

func controlSocketPath(_ given: String?) -> String { setting("control-socket", given) ?? "/run/swift-overlay/control.sock" }

/// `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address.
func splitHostPort(_ text: String) -> (host: String, port: UInt16?)? {
    if text.hasPrefix("[") {
        guard let end = text.firstIndex(of: "]") else { return nil }
        let host = String(text[text.index(after: text.startIndex)..<end])
        let rest = text[text.index(after: end)...]
        if rest.isEmpty { return (host, nil) }
        guard rest.hasPrefix(":"), let port = UInt16(rest.dropFirst()) else { return nil }
        return (host, port)
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    switch parts.count {
    case 1: return text.isEmpty ? nil : (text, nil)
    case 2:
        guard !parts[0].isEmpty, let port = UInt16(parts[1]) else { return nil }
        return (String(parts[0]), port)
    default: return (text, nil)
    }
}

/// One line on standard error.
func complain(_ text: String) {
    let bytes = Array("Error: \(text)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}
