import NIOCore
import OverlayDNSServer
import OverlayDocker
import OverlayGossip
import ServiceLifecycle

/// The node's port: the first to open and the last to close, because the node sends through it.
struct GossipPart: DaemonPart {
    let name = "gossip"
    let transport: GossipTransport

    func run(opened: @escaping @Sendable () -> Void) async throws {
        try await transport.start()
        opened()
        await shutdownBegins()
        await transport.close()
    }
}

/// Name server of the containers. From its end on they ask Docker's resolver again.
struct NamesPart: DaemonPart {
    let name = "names"
    let server: DNSServer

    func run(opened: @escaping @Sendable () -> Void) async throws {
        server.start()
        opened()
        await shutdownBegins()
        await server.stop()
    }
}

/// The node with its store and its kernel. Kernel state stays when it closes: containers go on while the daemon is away.
struct NodePart: DaemonPart {
    let name = "node"
    let controller: NodeController
    let surroundings: NodeController.Surroundings

    func run(opened: @escaping @Sendable () -> Void) async throws {
        let controller = controller
        // The node waits until its kernel tells what it holds. That may fail and be tried again; shutdown does not wait for it.
        let isReady = await withGracefulShutdownHandler {
            await controller.start(surroundings)
        } onGracefulShutdown: {
            controller.endWaits()
        }
        if isReady { opened() }
        await shutdownBegins()
        await controller.stop()
    }
}

/// Link to the engine's API. It opens after the plugin socket, because an engine that hears of networks of others makes them by this
/// plugin.
struct EngineLinkPart: DaemonPart {
    let name = "engine link"
    let link: EngineAPIClient

    func run(opened: @escaping @Sendable () -> Void) async throws {
        opened()
        let link = link
        await cancelWhenGracefulShutdown { await link.run() }
        await link.stop()
    }
}
