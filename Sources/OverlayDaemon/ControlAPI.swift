import OverlayGossip
import OverlayNode
import OverlayPluginServer

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
        return ControlCodec.encode(await controller.control(request), transport: await transport.counters)
    }
}
