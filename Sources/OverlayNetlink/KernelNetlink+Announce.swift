import CNetlink
import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Announcements: frames to the containers behind the local ports.
extension KernelNetlink {
    /// Makes the announcements among the operations of a range, all of one network.
    func announce(_ handle: NetworkHandle, _ operations: [KernelOperation], _ range: Range<Int>) throws(IndexedFailure) {
        // Read from the kernel, not remembered: ports that others removed or took down need no frame. Once for all of them.
        var ports: [Int32]?
        for index in range {
            guard case .announce(_, let address, let mac) = operations[index] else { continue }
            do throws(KernelFailure) {
                try step(operations[index].words, .announcement) { () throws(NetlinkError) in
                    let known = if let ports { ports } else { try handle.upPorts() }
                    ports = known
                    try handle.send(Announcement.frame(address, at: mac), to: known, except: handle.port(of: mac))
                }
            } catch {
                throw IndexedFailure(index: index, failure: error)
            }
        }
    }
}

extension NetworkHandle {
    /// Indexes of the ports that lead to containers and are up; none when there is no bridge.
    fileprivate func upPorts() throws(NetlinkError) -> [Int32] {
        guard let bridge else { return [] }
        return try socket.links().filter {
            $0.master == bridge && $0.kind == "veth" && $0.isUp && $0.name.hasPrefix(KernelName.portPrefix)
        }.map(\.index)
    }

    /// The port behind which a MAC is; nil for a remote or unknown one.
    ///
    /// That port hears nothing of its own MAC: while the container behind it looks for duplicates of its IPv6 address (RFC 4862 §5.4.4) an
    /// advertisement of it would be one, and the address would be given up.
    fileprivate func port(of mac: MACAddress) throws(NetlinkError) -> Int32? {
        guard let bridge else { return nil }
        return try socket.bridgeRow(mac, on: bridge)
    }

    /// Sends a frame out of ports. Best effort: a port that is full (EAGAIN, ENOBUFS, which is also what a veth pair says whose other end
    /// is down), went down or is gone does not get it and nobody is told. What is lost is time: its container keeps the old MAC until its
    /// neighbour cache asks again. Any other error is thrown, after the frame went to the ports that took it.
    fileprivate func send(_ frame: [UInt8], to ports: [Int32], except own: Int32?) throws(NetlinkError) {
        var failure: SystemError?
        for port in ports where port != own {
            do throws(SystemError) {
                try packetSocket().send(frame, on: port)
            } catch {
                if [EAGAIN, ENOBUFS, ENETDOWN, ENXIO, ENODEV].contains(error.errno) { continue }
                failure = failure ?? error
            }
        }
        if let failure { throw NetlinkError(failure) }
    }
}

extension RouteSocket {
    /// Index of the port that a bridge's table has for a MAC; nil when it has no row.
    fileprivate func bridgeRow(_ mac: MACAddress, on bridge: Int32) throws(NetlinkError) -> Int32? {
        var header = ndmsg()
        header.ndm_family = UInt8(AF_BRIDGE)
        header.ndm_ifindex = bridge
        header.ndm_flags = UInt8(NTF_SELF)
        var request = try Message(Int(RTM_GETNEIGH), header)
        try request.put(Int(NDA_LLADDR), mac)
        var port: Int32?
        do {
            try get(request) { _, payload in
                if let row: ndmsg = payload.load() { port = row.ndm_ifindex }
            }
        } catch {
            // ENODEV: the bridge went, and its ports with it.
            guard error.code == ENOENT || error.code == ENODEV else { throw error }
        }
        return port
    }
}
