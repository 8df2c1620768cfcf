import Logging
import Testing

@testable import OverlayDaemon

@Suite struct ConfigurationTests {
    private func read(_ given: [String: String?] = [:], _ environment: [String: String] = [:]) throws -> Configuration {
        try Configuration(Settings(given, environment: { environment[$0] }))
    }

    @Test func `Defaults are those of the manual`() throws {
        let configuration = try read()
        #expect(configuration.stateDirectory == "/var/lib/swift-overlay")
        #expect(configuration.pluginSocket == "/run/docker/plugins/swift-overlay.sock")
        #expect(configuration.controlSocket == "/run/swift-overlay/control.sock")
        #expect(configuration.advertiseAddress == nil && configuration.dataPathAddress == nil)
        #expect(configuration.listenHost == "0.0.0.0" && configuration.listenPort == nil)
        #expect(configuration.dataPathPort == 4789)
        #expect(configuration.engine == "unix:///var/run/docker.sock")
        #expect(configuration.answersNames && configuration.dnsTTL == 2 && configuration.dnsRate == 200_000)
        #expect(!configuration.isGlobalScope && !configuration.acceptsNewMachine && !configuration.startsMissed)
        #expect(configuration.logLevel == .info && !configuration.logsJSON)
    }

    private static let all: [String: String] = [
        "state-dir": "/s", "plugin-socket": "/p.sock", "control-socket": "/c.sock", "advertise-addr": "192.0.2.1",
        "listen-addr": "192.0.2.2:7000", "data-path-addr": "192.0.2.3", "data-path-port": "4790", "engine": "none", "dns": "off",
        "dns-ttl": "86400", "dns-rate": "0", "scope": "global", "accept-new-machine-id": "true", "log-level": "trace",
        "log-format": "json", "start-missed": "true",
    ]

    private func expectAll(_ configuration: Configuration) {
        #expect(configuration.stateDirectory == "/s")
        #expect(configuration.pluginSocket == "/p.sock")
        #expect(configuration.controlSocket == "/c.sock")
        #expect(configuration.advertiseAddress == "192.0.2.1")
        #expect(configuration.listenHost == "192.0.2.2" && configuration.listenPort == 7000)
        #expect(configuration.dataPathAddress == "192.0.2.3")
        #expect(configuration.dataPathPort == 4790)
        #expect(configuration.engine == nil)
        #expect(!configuration.answersNames && configuration.dnsTTL == 86_400 && configuration.dnsRate == 0)
        #expect(configuration.isGlobalScope && configuration.acceptsNewMachine && configuration.startsMissed)
        #expect(configuration.logLevel == .trace && configuration.logsJSON)
    }

    @Test func `Every option counts`() throws { expectAll(try read(Self.all)) }

    @Test func `Every option has an environment variable`() throws {
        var environment: [String: String] = [:]
        for (name, value) in Self.all {
            environment["SWIFT_OVERLAY_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()] = value
        }
        #expect(environment["SWIFT_OVERLAY_ACCEPT_NEW_MACHINE_ID"] == "true")
        expectAll(try read([:], environment))
    }

    @Test func `An option counts before its variable, and a missing one does not hide it`() throws {
        let environment = ["SWIFT_OVERLAY_STATE_DIR": "/environment", "SWIFT_OVERLAY_LOG_LEVEL": "error"]
        let configuration = try read(["state-dir": "/given", "log-level": nil], environment)
        #expect(configuration.stateDirectory == "/given")
        #expect(configuration.logLevel == .error)
    }

    @Test func `A listen address without a port names none`() throws {
        for (text, host) in [
            ("192.0.2.2", "192.0.2.2"), ("::", "::"), ("[2001:db8::1]", "2001:db8::1"), ("eth.example", "eth.example"),
        ] {
            let configuration = try read(["listen-addr": text])
            #expect(configuration.listenHost == host && configuration.listenPort == nil)
        }
        let configuration = try read(["listen-addr": "[2001:db8::1]:9"])
        #expect(configuration.listenHost == "2001:db8::1" && configuration.listenPort == 9)
    }

    @Test(
        arguments: [
            ("listen-addr", "", "--listen-addr takes ADDRESS[:PORT], not "),
            ("listen-addr", "host:99999", "--listen-addr takes ADDRESS[:PORT], not host:99999"),
            ("listen-addr", ":7947", "--listen-addr takes ADDRESS[:PORT], not :7947"),
            ("listen-addr", "[::1", "--listen-addr takes ADDRESS[:PORT], not [::1"),
            ("listen-addr", "[::1]x", "--listen-addr takes ADDRESS[:PORT], not [::1]x"),
            ("data-path-port", "1023", "--data-path-port takes 1024 to 65535, not 1023"),
            ("data-path-port", "65536", "--data-path-port takes 1024 to 65535, not 65536"),
            ("data-path-port", "x", "--data-path-port takes 1024 to 65535, not x"),
            ("dns", "yes", "--dns takes on or off, not yes"),
            ("dns-ttl", "86401", "--dns-ttl takes 0 to 86400 seconds, not 86401"),
            ("dns-ttl", "-1", "--dns-ttl takes 0 to 86400 seconds, not -1"),
            ("dns-rate", "-1", "--dns-rate takes a number, not -1"),
            ("dns-rate", "many", "--dns-rate takes a number, not many"),
            ("scope", "swarm", "--scope takes local or global, not swarm"),
            ("accept-new-machine-id", "2", "--accept-new-machine-id takes true or false in the environment, not 2"),
            ("start-missed", "on", "--start-missed takes true or false in the environment, not on"),
            ("log-level", "loud", "--log-level does not know loud"),
            ("log-format", "xml", "--log-format takes text or json, not xml"),
        ] as [(String, String, String)])
    func `A bad value is refused with what the option takes`(name: String, value: String, text: String) throws {
        let variable = Settings.variable(name)
        for (given, environment) in [([name: value], [:]), ([:], [variable: value])] as [([String: String], [String: String])] {
            let error = #expect(throws: SettingError.self) { try read(given, environment) }
            #expect(error?.description == text)
        }
    }

    @Test func `Engines call the plugin by the name of its socket`() {
        #expect(Daemon.driverName("/run/docker/plugins/swift-overlay.sock") == "swift-overlay")
        #expect(Daemon.driverName("/a/b") == "b")
        #expect(Daemon.driverName("x.sock") == "x")
    }
}
