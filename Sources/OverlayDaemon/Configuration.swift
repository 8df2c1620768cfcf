public import Logging
import OverlayLinux

/// How a daemon is to run: the flags of `swift-overlay daemon`.
public struct Configuration: Sendable {
    public var stateDirectory = "/var/lib/swift-overlay"
    public var pluginSocket = "/run/docker/plugins/swift-overlay.sock"
    public var controlSocket = "/run/swift-overlay/control.sock"
    /// Where other nodes reach this one; nil takes the address of the default route.
    public var advertiseAddress: String?
    public var listenHost = "0.0.0.0"
    public var listenPort = 7946
    /// May the next port be taken where the one above is held (by an engine in Swarm mode)? So when it was not given.
    public var mayMovePort = true
    /// Tunnel address; nil takes the advertised one.
    public var dataPathAddress: String?
    public var dataPathPort: UInt16 = 4789
    public var isGlobalScope = false
    /// The engine's own API; nil does without names and networks from it.
    public var engine: String? = "unix:///var/run/docker.sock"
    /// Are questions for names answered in containers?
    public var answersNames = true
    /// Of answers, in seconds.
    public var dnsTTL: UInt32 = 2
    /// Questions of one container in a second; 0 is no bound.
    public var dnsRate = 200_000
    /// Is the state of another machine id this host's, as that was changed?
    public var acceptsNewMachine = false
    /// What tells this host from others.
    public var machineID: @Sendable () -> String? = { OverlayLinux.machineID() }
    public var logLevel: Logger.Level = .info
    public var logsJSON = false

    public init() {}
}

/// Why a daemon does not start: the cause and the way out.
public struct StartError: Error, Sendable, CustomStringConvertible {
    public var description: String

    init(_ description: String) { self.description = description }
}
