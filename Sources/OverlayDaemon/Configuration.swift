public import Logging
import OverlayLinux
public import OverlayModel

/// Settings of a daemon: the options of `swift-overlay daemon`.
public struct Configuration: Sendable {
    public var stateDirectory = "/var/lib/swift-overlay"
    public var pluginSocket = "/run/docker/plugins/swift-overlay.sock"
    public var controlSocket = Settings.controlSocket
    /// Address at which other nodes reach this one; nil takes that of the default route.
    public var advertiseAddress: String?
    public var listenHost = "0.0.0.0"
    /// True if the daemon is reached at each address of the host.
    var listensEverywhere: Bool { IPAddress(listenHost).map { $0.bits == 0 } ?? false }
    /// TCP and UDP port for other nodes; nil takes the one of ``NodePort/listening(given:node:rows:)``.
    public var listenPort: UInt16?
    /// Tunnel address; nil takes the advertised one.
    public var dataPathAddress: String?
    public var dataPathPort = DefaultPort.vxlan
    public var isGlobalScope = false
    /// Socket of the engine's own API; nil does without its names and networks.
    public var engine: String? = "unix:///var/run/docker.sock"
    /// True if names are answered in containers.
    public var answersNames = true
    /// Lifetime of DNS answers in seconds.
    public var dnsTTL: UInt32 = 2
    /// Number of questions that one container may ask in a second; 0 is without limit.
    public var dnsRate = 200_000
    /// True if containers are started whose start failed as the daemon was not there, and whose restart policy wants them to run.
    public var startsMissed = false
    /// True if state that carries another machine id belongs to this host, whose id was changed.
    public var acceptsNewMachine = false
    /// Id that tells this host from others, where it has one.
    public var machineID: @Sendable () -> String? = { OverlayLinux.machineID() }
    /// Versions of the protocol between nodes that this one speaks. Tests hold it back with SWIFT_OVERLAY_TEST_PROTOCOL.
    public var versions = ProtocolVersions.present
    public var logLevel: Logger.Level = .info
    public var logsJSON = false

    public init() {}

    /// Reads what the user set; the rest has its default.
    ///
    /// - Parameter settings: Value of an option by its name without dashes, such as `state-dir`.
    public init(_ settings: Settings) throws(SettingError) {
        if let value = settings["state-dir"] { stateDirectory = value }
        if let value = settings["plugin-socket"] { pluginSocket = value }
        if let value = settings["control-socket"] { controlSocket = value }
        advertiseAddress = settings["advertise-addr"]
        dataPathAddress = settings["data-path-addr"]
        if let value = settings["listen-addr"] {
            guard let (host, port) = splitHostPort(value) else {
                throw SettingError("--listen-addr takes ADDRESS[:PORT], not \(value)")
            }
            listenHost = host
            listenPort = port
        }
        if let value = settings["data-path-port"] {
            guard let port = UInt16(value), port >= 1024 else {
                throw SettingError("--data-path-port takes 1024 to 65535, not \(value)")
            }
            dataPathPort = port
        }
        if let value = settings["engine"] { engine = value == "none" ? nil : value }
        answersNames = try settings.choice("dns", ["on": true, "off": false], or: true, "on or off")
        if let value = settings["dns-ttl"] {
            guard let ttl = UInt32(value), ttl <= 86_400 else {
                throw SettingError("--dns-ttl takes 0 to 86400 seconds, not \(value)")
            }
            dnsTTL = ttl
        }
        if let value = settings["dns-rate"] {
            guard let rate = Int(value), rate >= 0 else { throw SettingError("--dns-rate takes a number, not \(value)") }
            dnsRate = rate
        }
        isGlobalScope = try settings.choice("scope", ["local": false, "global": true], or: false, "local or global")
        startsMissed = try settings.choice(
            "start-missed", ["true": true, "1": true, "false": false, "0": false, "": false], or: false,
            "true or false in the environment")
        acceptsNewMachine = try settings.choice(
            "accept-new-machine-id", ["true": true, "1": true, "false": false, "0": false, "": false], or: false,
            "true or false in the environment")
        if let value = settings["test-protocol"] {
            guard let versions = UInt16(value).flatMap({ ProtocolVersions.present.limited(to: $0) }) else {
                throw SettingError("SWIFT_OVERLAY_TEST_PROTOCOL takes \(ProtocolVersions.present.text), not \(value)")
            }
            self.versions = versions
        }
        if let value = settings["log-level"] {
            guard let level = Logger.Level(rawValue: value) else { throw SettingError("--log-level does not know \(value)") }
            logLevel = level
        }
        logsJSON = try settings.choice("log-format", ["text": false, "json": true], or: false, "text or json")
    }
}

/// Reason why a daemon does not start: the cause and the way out.
public struct StartError: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    init(_ description: String) { self.description = description }
}
