import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
public import OverlayModel

/// Listening at the ports of containers.
extension KernelNetlink {
    /// Report about a port that is listened at.
    public enum Hearsay: Hashable, Sendable {
        /// Content of frames, each once.
        case heard([Heard])
        /// The port is not listened at any more, for this reason.
        case deaf(String)
    }

    /// Listens at no port any more. Nothing is reported after what is under way.
    public func stopListening() {
        sockets = [:]
        ears = nil
    }

    /// Report that forgets the socket of a port that is not listened at any more, so that the next call opens another one. Forgotten
    /// before it is reported, and so before that call.
    private func forgetting(_ report: @escaping @Sendable (EndpointID, Hearsay) -> Void) -> @Sendable (EndpointID, Hearsay) -> Void
    {
        { [weak self] endpoint, hearsay in
            if case .deaf = hearsay { self?.submit { $0.sockets[endpoint] = nil } }
            report(endpoint, hearsay)
        }
    }

    /// Size of a socket's buffer. Frames are kept whole until they are read, and one that is longer than this passes alone.
    private static let bufferBytes: Int32 = 1 << 16

    /// Listens at the port of an endpoint, from now on for this; nil ends it.
    ///
    /// - Parameter report: Called, on any thread, with what is heard. The first one given serves all ports.
    /// - Throws: An error if the port does not exist, or cannot be listened at.
    public func listen(
        _ endpoint: EndpointID, on vni: VNI, for hearing: Hearing?,
        _ report: @escaping @Sendable (EndpointID, Hearsay) -> Void
    ) throws(KernelFailure) {
        guard let hearing else {
            sockets[endpoint] = nil
            ears?.remove(endpoint)
            return
        }
        let name = KernelName.port(endpoint)
        let program = hearing.program.map {
            HearingSocket.Instruction(code: $0.code, yes: $0.yes, no: $0.no, value: $0.value)
        }
        let handle = try requireHandle(vni)
        try step("listen at \(name)", .port(name)) { () throws(NetlinkError) in
            guard let link = try handle.socket.link(named: name)?.index else {
                throw NetlinkError(code: ENODEV, message: "no port \(name)")
            }
            let known = sockets[endpoint]
            if let known, known.link == link {
                return try system { () throws(SystemError) in try known.socket.setFilter(program) }
            }
            let socket = try system { () throws(SystemError) in
                let socket = try HearingSocket(in: handle.namespace)
                try socket.setFilter(program)
                try socket.hear(link, bytes: Self.bufferBytes)
                return socket
            }
            if ears?.hasEnded == true { ears = nil }
            let all = if let ears { ears } else { try system { () throws(SystemError) in try Ears(forgetting(report)) } }
            ears = all
            sockets[endpoint] = (link, socket)
            all.add(endpoint, socket)
        }
    }
}
