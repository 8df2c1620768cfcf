import Glibc
import Logging
import NIOCore
import NIOPosix
import OverlayCatalogue
import OverlayCrypto
import OverlayDNSServer
import OverlayDocker
import OverlayDriver
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNetlink
import OverlayNode
import OverlayPluginServer
import OverlayStore
import ServiceLifecycle
import UnixSignals

/// The daemon: checks what it needs, loads its state, connects the cores with the outside, and serves until it is told to stop.
public enum Daemon {
    /// Returns after SIGTERM or SIGINT, when everything is closed.
    ///
    /// - Throws: ``StartError`` or the error of a shell, with the cause and the way out. Everything is closed then, too.
    public static func run(_ configuration: Configuration) async throws {
        let logger = makeLogger(configuration)
        try checkCapabilities()
        do {
            _ = try Program.raiseOpenFiles()
        } catch {
            logger.warning("limit of open files not raised", metadata: [LogKey.reason: "\(error)"])
        }
        let kernel = try KernelNetlink()
        try await kernel.preflight()
        let state = try await NodeState.open(configuration, logger)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            try await serve(configuration, kernel, state, on: group.next(), stoppedBy: [.sigterm, .sigint], logger)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    /// Makes the parts and runs them.
    static func serve(
        _ configuration: Configuration, _ kernel: KernelNetlink, _ state: NodeState, on loop: any EventLoop,
        stoppedBy signals: [UnixSignal], _ logger: Logger
    ) async throws {
        // The port is part of the node's identity, so it is bound before there is a node.
        let ports = try decoding(configuration) { () throws(DecodeError) in
            try NodePort.listening(given: configuration.listenPort, node: state.key.id, rows: state.rows)
        }
        let socket = try bind(configuration.listenHost, ports, logger)
        let identity = try await describe(configuration, kernel, state, port: socket.port)
        let node = try decoding(configuration) { () throws(DecodeError) in
            try Node(
                identity: identity, rows: state.rows, signing: state.key.signing, seed: systemRandom64(),
                mirrors: !configuration.isGlobalScope, startsMissed: configuration.startsMissed)
        }
        if let problem = node.versionProblem { throw StartError(problem) }
        let controller = NodeController(
            loop: loop, key: state.key, node: node, store: state.store, kernel: kernel,
            ttl: configuration.dnsTTL, logger: logger)
        let transport = GossipTransport(
            loop: loop, socket: socket,
            cipher: PacketCipher(identity: state.key, boot: state.boot, salt: systemRandom(count: 4)), logger: logger,
            delegate: controller)
        let names = try configuration.answersNames ? makeDNSServer(configuration, loop, controller) : nil
        let link = try configuration.engine.map { endpoint in
            try EngineAPIClient(endpoint: endpoint, driver: driverName(configuration.pluginSocket), logger: logger) { news in
                loop.execute { controller.assumeIsolated { $0.engineNews(news) } }
            }
        }
        let api = ControlAPI(controller: controller, transport: transport, dataPathPort: configuration.dataPathPort)

        // Parts open in this order, each when the one before it is open, and close in reverse.
        var parts: [any DaemonPart] = [GossipPart(transport: transport)]
        if let names { parts.append(NamesPart(server: names)) }
        parts.append(NodePart(controller: controller, surroundings: .init(transport: transport, link: link, dns: names)))
        parts.append(
            ControlPart(path: configuration.controlSocket, logger: logger, whenClosing: { controller.endWaits() }) { request in
                await api.answer(request)
            })
        parts.append(
            PluginPart(
                path: configuration.pluginSocket, scope: configuration.isGlobalScope ? .global : .local, logger: logger,
                ready: { announce(identity, logger) }
            ) { request in await controller.perform(request) })
        if let link { parts.append(EngineLinkPart(link: link)) }
        // The link may never have had its turn; it is to be stopped all the same before it is released.
        do {
            try await ServiceGroup.inOrder(parts, stoppedBy: signals, logger: logger).run()
        } catch {
            await link?.stop()
            throw error
        }
        await link?.stop()
    }

    /// Runs what decodes the stored state.
    private static func decoding<T>(_ configuration: Configuration, _ body: () throws(DecodeError) -> T) throws(StartError) -> T {
        do {
            return try body()
        } catch {
            throw StartError(
                "the state in \(configuration.stateDirectory) does not decode (\(error)); restore it from a backup, or remove it and let this node join anew"
            )
        }
    }

    private static func announce(_ node: NodeIdentity, _ logger: Logger) {
        Program.releaseCode()
        logger.info(
            "swift-overlay is ready",
            metadata: [
                LogKey.node: "\(node.id.short)", LogKey.name: "\(node.name)", LogKey.address: "\(node.address):\(node.port)",
                LogKey.dataPath: "\(node.vtep)", LogKey.underlayMTU: "\(node.underlayMTU)",
            ])
    }

    private static func makeDNSServer(
        _ configuration: Configuration, _ loop: any EventLoop, _ controller: NodeController
    ) throws -> DNSServer {
        var limits = DNSServer.Limits()
        limits.queriesPerSecond = configuration.dnsRate
        return try DNSServer(limits: limits) { path, state in
            loop.execute { controller.assumeIsolated { $0.sandbox(path, state) } }
        }
    }

    /// Name by which engines call the plugin: that of its socket.
    static func driverName(_ socket: String) -> String {
        let file = socket.split(separator: "/").last.map(String.init) ?? socket
        return file.hasSuffix(".sock") ? String(file.dropLast(5)) : file
    }

    private static func makeLogger(_ configuration: Configuration) -> Logger {
        let level = configuration.logLevel
        let isJSON = configuration.logsJSON
        return Logger(label: "swift-overlay") { label in
            var handler: any LogHandler = isJSON ? JSONLogHandler(label: label) : TextLogHandler(label: label)
            handler.logLevel = level
            return handler
        }
    }

    private static func checkCapabilities() throws {
        let missing = try Capabilities.effective.missing
        guard missing.isEmpty else {
            throw StartError(
                "the daemon needs \(missing.joined(separator: " and ")): run it as root, or give its service AmbientCapabilities=\(missing.joined(separator: " "))"
            )
        }
    }

    /// Binds the first of the ports that is free.
    ///
    /// - Parameter ports: At least one.
    static func bind(_ host: String, _ ports: [UInt16], _ logger: Logger) throws(StartError) -> GossipSocket {
        var failures: [String] = []
        for port in ports {
            do {
                let socket = try GossipSocket(host: host, port: port)
                if let known = ports.first, known != port {
                    logger.notice(
                        "port of this member in use, perhaps by an engine in Swarm mode; using the default one",
                        metadata: [LogKey.port: "\(port)", LogKey.taken: "\(known)"])
                } else if port == DefaultPort.nodesBefore {
                    logger.notice(
                        "this port keeps an engine in Swarm mode from working on this host; --listen-addr can name another",
                        metadata: [LogKey.port: "\(port)"])
                }
                return socket
            } catch {
                let cause = (error as? IOError).map { SystemError.text(of: $0.errnoCode) } ?? "\(error)"
                failures.append("\(host):\(port), UDP and TCP: \(cause)")
                guard (error as? IOError)?.errnoCode == EADDRINUSE else { break }
            }
        }
        throw StartError("cannot listen on \(failures.joined(separator: ", nor on ")); give another --listen-addr")
    }

    private static func describe(
        _ configuration: Configuration, _ kernel: KernelNetlink, _ state: NodeState, port: UInt16
    ) async throws -> NodeIdentity {
        let addresses = try await kernel.hostAddresses()
        let routes = try await kernel.hostRoutes()
        let advertised = try HostNetwork.advertised(configuration.advertiseAddress, addresses, routes)
        let vtep: IPAddress
        if let text = configuration.dataPathAddress {
            vtep = try HostNetwork.local(text, flag: "--data-path-addr", addresses)
        } else {
            vtep = advertised
        }
        guard let link = addresses.first(where: { $0.prefix.address == vtep }) else {
            throw StartError("\(vtep) is on no link of this host; give --data-path-addr")
        }
        let key = state.key
        return NodeIdentity(
            id: key.id, name: hostName(), publicKey: key.publicBytes, agreementKey: key.agreementBytes, epoch: state.epoch,
            boot: state.boot, address: advertised, port: port, vtep: vtep, underlayMTU: link.mtu,
            routes: Array(Set(routes.map(\.destination).filter { $0.length > 0 && $0.isNetwork })).sorted(),
            // A port that is bound to one address stays there.
            choosesAddress: configuration.advertiseAddress == nil && configuration.listensEverywhere,
            choosesVTEP: configuration.dataPathAddress == nil && configuration.advertiseAddress == nil,
            versions: configuration.versions)
    }

    private static func hostName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // The kernel takes any bytes for a host's name.
        let usable = String(name.map { Member.isName(String($0)) ? $0 : "-" })
        return usable.isEmpty ? "localhost" : usable
    }
}
