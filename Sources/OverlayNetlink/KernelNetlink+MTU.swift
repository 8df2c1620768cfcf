import CNetlink
import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

extension KernelNetlink {
    func setPortMTU(_ vni: VNI, _ name: String, sandbox: String, from: UInt32, to: UInt32) throws(KernelFailure) {
        guard let handle = try handle(vni, required: false) else { return }
        try step("link set \(name) mtu \(to), and its other end in \(sandbox)", .port(name)) { () throws(NetlinkError) in
            try handle.setMTU(ofPort: name, from: from, to: to) { number throws(NetlinkError) in
                try handle.socket.number(ofNamespace: hostNamespace.number) == number ? host : try sandboxSocket(sandbox)
            }
        }
    }
}

extension NetworkHandle {
    /// Gives a port and its other end another MTU.
    ///
    /// The other end follows where it is too large, or where it has what it was given; a smaller one is its container's choice. It is
    /// known by the pair, not by its name or MAC, which a container may change. The port comes last: its MTU tells what the other end
    /// was given.
    ///
    /// - Parameter place: Socket in the namespace of the other end, by the number of that namespace.
    fileprivate func setMTU(
        ofPort name: String, from: UInt32, to: UInt32, _ place: (Int32) throws(NetlinkError) -> RouteSocket
    ) throws(NetlinkError) {
        guard let port = try socket.link(named: name) else { return }
        let gone = NetlinkError(code: ENODEV, message: "the other end of \(name) is not there")
        guard let number = port.peerNamespace else { throw gone }
        let place = try place(number)
        let own = try place.number(ofNamespace: namespace.number)
        let end = try place.links().first {
            $0.kind == "veth" && $0.index == port.peer && $0.peer == port.index && $0.peerNamespace == own
        }
        guard let end else { throw gone }
        if end.mtu == from || end.mtu > to { try place.setMTU(end.index, to) }
        try socket.setMTU(port.index, to)
    }
}

extension RouteSocket {
    /// Sets the MTU of a device, and nothing else.
    fileprivate func setMTU(_ index: Int32, _ mtu: UInt32) throws(NetlinkError) {
        var request = try Message(Int(RTM_SETLINK), Self.header(index: index))
        try request.put(IFLA_MTU, mtu)
        try self.request(request)
    }
}
