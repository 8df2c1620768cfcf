import Glibc
import Logging
import NIOCore
import NIOPosix
import OverlayCrypto
import OverlayDNSServer
import OverlayDatapath
import OverlayDocker
import OverlayDriver
import OverlayNode
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNetlink
import OverlayPluginServer
import OverlayStore
import ServiceLifecycle
import UnixSignals

/// The daemon: checks what it needs, loads its state, wires the cores to the outside, and serves until it is told to stop.
public enum Daemon {
    /// - Throws: ``StartError`` and the shells' errors, each with its cause and the way out.
    public static func run(_ configuration: Configuration) async throws {
        let logger = makeLogger(configuration)
        try checkCapabilities()
        do {
            try Program.raiseOpenFiles()
        } catch {
            logger.warning("the limit of open files stays as it is", metadata: ["reason": "\(error)"])
        }
        let kernel = try KernelNetlink()
        try await kernel.preflight()
        let state: OpenState
        do {
            state = try await openState(configuration, logger)
        } catch let error as StoreError {
            throw StartError(error.text(isStarting: true))
        }
        let (store, rows, key, boot, epoch) = (state.store, state.rows, state.key, state.boot, state.epoch)

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let box = ControllerBox()
        let transport = GossipTransport(
            loop: loop, cipher: PacketCipher(identity: key, boot: boot, salt: systemRandom(count: 4)), logger: logger,
            handlers: .init(
                received: { peer, bytes, path in box.controller?.assumeIsolated { $0.received(bytes, from: peer, path) } },
                earlierLife: { peer in box.controller?.assumeIsolated { $0.earlierLife(of: peer) } },
                stranger: { node, source in box.controller?.assumeIsolated { $0.stranger(node, source) } },
                notice: { bytes in box.controller?.assumeIsolated { $0.notice(bytes) } },
                stream: { peer, failure in box.controller?.assumeIsolated { $0.stream(peer, failure) } },
                drained: { box.controller?.assumeIsolated { $0.drained() } },
                join: { connection, frame in
                    guard let controller = box.controller else { return connection.close() }
                    controller.assumeIsolated { $0.join(connection, frame) }
                },
                joinEnded: { connection in box.controller?.assumeIsolated { $0.joinEnded(connection) } }))
        let port = try await bind(transport, configuration, logger)
        let node = try await describe(configuration, kernel, key: key, boot: boot, epoch: epoch, port: port)
        let core: Node
        do {
            core = try Node(
                identity: node, rows: rows, signing: key.signing, seed: systemRandom64(),
                mirrors: !configuration.isGlobalScope)
        } catch {
            throw StartError(
                "the state in \(configuration.stateDirectory) does not decode (\(error)); restore it from a backup, or remove it and let this node join anew"
            )
        }
        let dns = configuration.answersNames ? try startDNS(configuration, loop, box) : nil
        let link = try configuration.engine.map { endpoint in
            try EngineAPIClient(endpoint: endpoint, driver: driverName(configuration.pluginSocket), logger: logger) { news in
                loop.execute { box.controller?.assumeIsolated { $0.engineNews(news) } }
            }
        }
        let controller = NodeController(
            loop: loop, key: key, node: core, store: store, kernel: kernel, link: link, dns: dns,
            ttl: configuration.dnsTTL, logger: logger)
        box.set(controller)
        await controller.start(transport)
        let api = ControlAPI(controller: controller, transport: transport, dataPathPort: configuration.dataPathPort)
        let control = ControlServer(socketPath: configuration.controlSocket, loop: loop, logger: logger) { await api.answer($0) }
        let (linkMayStart, linkStart) = AsyncStream.makeStream(of: Void.self)
        let linking = Task {
            for await _ in linkMayStart { await link?.run() }
        }
        let plugin = PluginServer(
            socketPath: configuration.pluginSocket, loop: loop, scope: configuration.isGlobalScope ? .global : .local,
            logger: logger,
            ready: {
                Program.releaseCode()
                // An engine that hears of networks of others makes them by this plugin.
                linkStart.yield()
                linkStart.finish()
                logger.info(
                    "swift-overlay is ready",
                    metadata: [
                        "node": "\(node.id.short)", "name": "\(node.name)", "address": "\(node.address):\(node.port)",
                        "data-path": "\(node.vtep)", "underlay-mtu": "\(node.underlayMTU)",
                    ])
            }
        ) { await controller.perform($0) }
        // The plugin server is last: the first to stop taking work. Where one fails, the other one that is cancelled would log that as an
        // error beside the cause.
        let services = ServiceGroup(
            configuration: .init(
                services: [
                    .init(service: control, failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: plugin, failureTerminationBehavior: .gracefullyShutdownGroup),
                ], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        do {
            try await services.run()
        } catch {
            linking.cancel()
            await link?.stop()
            await dns?.stop()
            await controller.stop()
            throw error
        }
        linking.cancel()
        await link?.stop()
        // Containers ask Docker's resolver again from here on.
        await dns?.stop()
        // Kernel state stays: containers go on while the daemon is away.
        await controller.stop()
        await transport.close()
        try await group.shutdownGracefully()
    }

    private static func startDNS(_ configuration: Configuration, _ loop: any EventLoop, _ box: ControllerBox) throws -> DNSServer {
        var limits = DNSServer.Limits()
        limits.queriesPerSecond = configuration.dnsRate
        let server = try DNSServer(limits: limits) { path, state in
            loop.execute { box.controller?.assumeIsolated { $0.sandbox(path, state) } }
        }
        server.start()
        return server
    }

    /// Engines call a plugin by the name of its socket.
    private static func driverName(_ socket: String) -> String {
        let file = socket.split(separator: "/").last.map(String.init) ?? socket
        return file.hasSuffix(".sock") ? String(file.dropLast(5)) : file
    }

    private struct OpenState {
        var store: StateStore
        var rows: StoredRows
        var key: NodeKey
        var boot: UInt32
        var epoch: UInt32
    }

    private static func openState(_ configuration: Configuration, _ logger: Logger) async throws -> OpenState {
        let store = try StateStore(directory: configuration.stateDirectory)
        let rows = try await store.load()
        // Before anything of it is used, and before anybody hears of it.
        try await checkMachine(configuration, rows, store, logger)
        let (key, boot, epoch) = try await identity(rows, store)
        return OpenState(store: store, rows: rows, key: key, boot: boot, epoch: epoch)
    }

    private static func makeLogger(_ configuration: Configuration) -> Logger {
        let level = configuration.logLevel
        let isJSON = configuration.logsJSON
        return Logger(label: "swift-overlay") { label in
            var handler: any LogHandler = isJSON ? JSONLogHandler(label: label) : StreamLogHandler.standardError(label: label)
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

    private static func checkMachine(
        _ configuration: Configuration, _ rows: StoredRows, _ store: StateStore, _ logger: Logger
    ) async throws {
        switch MachineBinding(machine: configuration.machineID(), rows: rows, isAccepted: configuration.acceptsNewMachine) {
        case .same: break
        case .new(let write): try await store.commit([[write]])
        case .unknown:
            logger.warning(
                "this host has no id in /etc/machine-id; a copy of the state directory on another host would not be noticed")
        case .copied:
            throw StartError(
                "\(configuration.stateDirectory) was copied from another host: two hosts with one state would hand out the same addresses. "
                    + "Remove the directory and let this host join anew; or, if the machine id of this host was changed on purpose, run "
                    + "`swift-overlay daemon --accept-new-machine-id` once")
        }
    }

    /// The node's key, made on first start, and the boot counter, raised and stored before anything uses it.
    private static func identity(_ rows: StoredRows, _ store: StateStore) async throws -> (NodeKey, boot: UInt32, epoch: UInt32) {
        let report = rows[.node] ?? [:]
        let key: NodeKey
        var writes: [StoreWrite] = []
        if let bytes = report[Array("key".utf8)] {
            guard let stored = NodeKey(privateBytes: bytes) else {
                throw StartError("the node key in the state directory is damaged")
            }
            key = stored
        } else {
            key = NodeKey()
            writes.append(.put(.node, key: Array("key".utf8), value: key.privateBytes))
        }
        // A damaged counter must not start anew: packet counters, and with them nonces, would be used twice.
        let boot = try number("boot", report) ?? 0
        let epoch = try number("epoch", report) ?? 1
        guard boot < 0xFF_FFFF else {
            throw StartError("this node was started too often for its key; remove the state directory and join anew")
        }
        writes.append(.put(.node, key: Array("boot".utf8), value: (boot + 1).wireBytes))
        try await store.commit([writes])
        return (key, boot + 1, epoch)
    }

    private static func number(_ name: String, _ report: [[UInt8]: [UInt8]]) throws -> UInt32? {
        guard let bytes = report[Array(name.utf8)] else { return nil }
        guard let value = try? UInt32(wire: bytes) else {
            throw StartError(
                "the \(name) counter in the state directory is damaged; remove the directory and let this node join anew")
        }
        return value
    }

    private static func bind(_ transport: GossipTransport, _ configuration: Configuration, _ logger: Logger) async throws -> UInt16
    {
        do {
            let port = try await transport.bind(
                host: configuration.listenHost, port: configuration.listenPort, mayMove: configuration.mayMovePort)
            if port != configuration.listenPort {
                logger.notice("port \(configuration.listenPort) is taken, by an engine in Swarm mode perhaps; using \(port)")
            }
            return UInt16(port)
        } catch {
            let cause = (error as? IOError).map { SystemError.text(of: $0.errnoCode) } ?? "\(error)"
            throw StartError(
                "\(configuration.listenHost):\(configuration.listenPort) cannot be listened on, UDP and TCP: \(cause); give another "
                    + "--listen-addr")
        }
    }

    private static func describe(
        _ configuration: Configuration, _ kernel: KernelNetlink, key: NodeKey, boot: UInt32, epoch: UInt32, port: UInt16
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
        return NodeIdentity(
            id: key.id, name: hostName(), publicKey: key.publicBytes, agreementKey: key.agreementBytes, epoch: epoch, boot: boot,
            address: advertised, port: port,
            vtep: vtep, underlayMTU: link.mtu,
            routes: Array(Set(routes.map(\.destination).filter { $0.length > 0 && $0.isNetwork })).sorted())
    }

    private static func hostName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return name.isEmpty ? "localhost" : name
    }
}
