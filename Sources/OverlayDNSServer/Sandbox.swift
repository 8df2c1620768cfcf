import Glibc
import OverlayDNS
import OverlayLinux
import OverlayModel

/// Sockets of one sandbox with the core that decides what goes over them, on the answering thread.
final class Sandbox {
    let path: String
    let watched: WatchedSockets
    var responder: Responder
    /// False while there is no room for another connection in this process.
    var isListening = true
    /// True if questions wait until more is known, as far as the loop has taken note.
    var isHolding = false
    /// Connections of clients.
    var streams: [UInt64: Stream] = [:]
    /// Connections to Docker's resolver, by the number that the core gave them.
    var relays: [UInt64: Stream] = [:]
    private var lastConnection: UInt64 = 0
    /// Port that the socket which asks Docker's resolver is connected to.
    private var upstreamPort: UInt16?

    var sockets: SandboxSockets { watched.sockets }

    init(_ path: String, _ watched: WatchedSockets, _ responder: Responder) {
        self.path = path
        self.watched = watched
        self.responder = responder
    }

    /// True if something here may wait for too long.
    var isWaiting: Bool { responder.isWaiting || !streams.isEmpty || !relays.isEmpty || !isListening }

    func nextConnection() -> UInt64 {
        lastConnection += 1
        return lastConnection
    }

    /// Sends a question to a port of Docker's resolver; false if that fails.
    func ask(_ message: [UInt8], port: UInt16) -> Bool {
        let socket = sockets.upstream.number
        if upstreamPort != port {
            upstreamPort = SandboxSockets.connect(socket, to: port) ? port : nil
            guard upstreamPort == port else { return false }
        }
        return send(socket, message, message.count, 0) == message.count
    }
}
