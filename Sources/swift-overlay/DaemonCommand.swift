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
            "accept-new-machine-id": acceptNewMachineId ? "true" : nil, "log-level": logLevel, "log-format": logFormat,
        ])
    }
}

/// Value of an option, or of its environment variable.
func setting(_ name: String, _ given: String?) -> String? { Settings([name: given])[name] }

func controlSocketPath(_ given: String?) -> String { setting("control-socket", given) ?? Settings.controlSocket }

/// Prints one line on standard error.
func complain(_ text: String) {
    let bytes = Array("Error: \(text)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}
