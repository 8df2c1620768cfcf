import OverlayGossip
import OverlayNode
import OverlayPluginServer
import ServiceLifecycle

/// Handler of the control socket: JSON over HTTP, for `swift-overlay` the client and for `curl --unix-socket`.
struct ControlAPI: Sendable {
    let controller: NodeController
    let transport: GossipTransport
    let dataPathPort: UInt16

    func answer(_ call: ControlHTTPRequest) async -> ControlHTTPResponse {
        let request: ControlRequest
        do {
            request = try ControlCodec.decode(call, dataPathPort: dataPathPort)
        } catch {
            return ControlCodec.encode(error)
        }
        let controller = controller
        // A client that watches the nodes waits for the next change, and shutdown does not wait for that client.
        let response = await withGracefulShutdownHandler {
            await controller.control(request)
        } onGracefulShutdown: {
            controller.endWaits()
        }
        return ControlCodec.encode(response, transport: await transport.counters)
    }
}
