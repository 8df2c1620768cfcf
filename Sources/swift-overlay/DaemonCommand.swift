import ArgumentParser
import Glibc
import Logging
import OverlayDaemon
import OverlayModel

struct DaemonCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "daemon", abstract: "Run the daemon of this host.",
        discussion: """
            The daemon serves the engine's plugin calls, speaks with the other nodes, and programs this host's kernel. Start it before the \
            engine, as root or with CAP_NET_ADMIN and CAP_SYS_ADMIN. It logs to standard error, runs until SIGTERM or SIGINT, and \
            leaves the kernel's state in place, so that containers keep their networks while it is away.

            Exit status: 0 after a signal, 1 when it cannot start or go on, 64 for wrong usage.
            """)

    @Option(
        help: ArgumentHelp(
            "Directory of the node's identity and state. (default: /var/lib/swift-overlay)",
            discussion: "Never copy it to another host: two hosts with one state would hand out the same addresses.",
            valueName: "directory"),
        completion: .directory)
    var stateDir: String?
    @Option(
        help: ArgumentHelp(
            "Socket on which the engine calls the plugin. (default: /run/docker/plugins/swift-overlay.sock)",
            discussion: "The name of the file is the name of the driver.", valueName: "path"),
        completion: .file())
    var pluginSocket: String?
    @Option(
        help: ArgumentHelp(
            "Socket on which the commands of this program reach the daemon. (default: /run/swift-overlay/control.sock)",
            valueName: "path"),
        completion: .file())
    var controlSocket: String?
    @Option(
        help: ArgumentHelp(
            "Address at which other nodes reach this one. (default: the address of the default route)", valueName: "address"))
    var advertiseAddr: String?
    @Option(
        help: ArgumentHelp(
            "Address and port on which to listen for other nodes, UDP and TCP. (default: 0.0.0.0:\(DefaultPort.nodes))",
            discussion: """
                A member of a cluster keeps the port by which the cluster knows it, such as \(DefaultPort.nodesBefore) of version 0.1, until \
                another is given here.
                """,
            valueName: "address:port"))
    var listenAddr: String?
    @Option(
        help: ArgumentHelp("Address at which tunnels end. (default: the value of --advertise-addr)", valueName: "address"))
    var dataPathAddr: String?
    @Option(
        help: ArgumentHelp(
            "UDP port for VXLAN. Used by `init`; joining hosts take the cluster's. (default: \(DefaultPort.vxlan))",
            valueName: "port"))
    var dataPathPort: Int?
    @Option(
        help: ArgumentHelp(
            "Socket of the engine's API, or none. (default: unix:///var/run/docker.sock)",
            discussion: "From it come container names, and on it networks of other hosts are created. Without it neither happens.",
            valueName: "socket"),
        completion: .list(["unix:///var/run/docker.sock", "none"]))
    var engine: String?
    @Option(
        help: ArgumentHelp("Whether names are answered in containers: on or off. (default: on)", valueName: "on|off"),
        completion: .list(["on", "off"]))
    var dns: String?
    @Option(help: ArgumentHelp("Lifetime of DNS answers in seconds, 0 to 86400. (default: 2)", valueName: "seconds"))
    var dnsTtl: Int?
    @Option(
        help: ArgumentHelp(
            "Number of DNS questions that one container may ask in a second; 0 is without limit. (default: 200000)",
            valueName: "number"))
    var dnsRate: Int?
    @Option(
        help: ArgumentHelp(
            "Scope of the driver: local, or global for the managed plugin in Swarm mode. (default: local)",
            valueName: "local|global"),
        completion: .list(["local", "global"]))
    var scope: String?
    @Flag(
        help: ArgumentHelp(
            "Start containers whose restart policy wants them to run, and that did not start as this daemon was not there.",
            discussion: "Each of them once. Without it, `status` names them."))
    var startMissed = false
    @Flag(
        help: ArgumentHelp(
            "Accept state that carries another machine id.",
            discussion: "Give it once, after the machine id of this host was changed on purpose."))
    var acceptNewMachineId = false
    @Option(
        help: ArgumentHelp(
            "Least severe level to log: trace, debug, info, notice, warning, error or critical. (default: info)", valueName: "level"
        ),
        completion: .list(Logger.Level.allCases.map(\.rawValue)))
    var logLevel: String?
    @Option(
        help: ArgumentHelp("Format of the log: text or json. (default: text)", valueName: "text|json"),
        completion: .list(["text", "json"]))
    var logFormat: String?

    func run() async throws {
        let configuration: Configuration
        do {
            configuration = try Configuration(settings)
        } catch {
            throw ValidationError(error.description)
        }
        do {
            try await Daemon.run(configuration)
        } catch {
            complain("\(error)")
            throw ExitCode(1)
        }
    }

    private var settings: Settings {
        Settings([
            "state-dir": stateDir, "plugin-socket": pluginSocket, "control-socket": controlSocket,
            "advertise-addr": advertiseAddr, "listen-addr": listenAddr, "data-path-addr": dataPathAddr,
            "data-path-port": dataPathPort.map(String.init), "engine": engine, "dns": dns,
            "dns-ttl": dnsTtl.map(String.init), "dns-rate": dnsRate.map(String.init), "scope": scope,
            "start-missed": startMissed ? "true" : nil,
            "accept-new-machine-id": acceptNewMachineId ? "true" : nil, "log-level": logLevel, "log-format": logFormat,
        ])
    }
}

/// Value of an option, or of its environment variable.
func setting(_ name: String, _ given: String?) -> String? { Settings([name: given])[name] }

func controlSocketPath(_ given: String?) -> String { setting("control-socket", given) ?? Settings.controlSocket }

/// Prints one line on standard error.
func complain(_ text: String) {
    let bytes = Array("Error: \(text.printable(keepingLines: true))\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}
