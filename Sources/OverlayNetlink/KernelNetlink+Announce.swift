import CNetlink
import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Announcements: frames to the containers behind the local ports.
extension KernelNetlink {
    /// Sends the announcements among the operations of a range, which all belong to one network.
    func announce(_ handle: NetworkHandle, _ operations: [KernelOperation], _ range: Range<Int>) throws(IndexedFailure) {
        // Ports are read from the kernel, once for all announcements: a port that somebody removed or took down needs no frame.
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
    /// Indexes of the container ports that are up; empty if there is no bridge.
    fileprivate func upPorts() throws(NetlinkError) -> [Int32] {
        guard let bridge else { return [] }
        return try socket.links().filter {
            $0.master == bridge && $0.kind == "veth" && $0.isUp && $0.name.hasPrefix(KernelName.portPrefix)
        }.map(\.index)
    }

    /// Index of the port behind which a MAC is; nil for a remote or unknown MAC.
    ///
    /// That port gets no announcement of its own MAC: during duplicate address detection (RFC 4862 §5.4.4) the container would take
    /// it for a duplicate and give the address up.
    fileprivate func port(of mac: MACAddress) throws(NetlinkError) -> Int32? {
        guard let bridge else { return nil }
        return try socket.bridgeRow(mac, on: bridge)
    }

    /// Sends a frame out of ports, best effort.
    ///
    /// A port does not get it if it is full (EAGAIN, ENOBUFS; a veth pair whose other end is down also says ENOBUFS), down or gone.
    /// Its container keeps the old MAC until its neighbour cache asks again, so only time is lost. Any other error is thrown after
    /// all ports were tried.
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
    /// Index of the port in a bridge's row for a MAC; nil if there is no row.
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
            // ENODEV: the bridge is gone, and its ports with it.
            guard error.code == ENOENT || error.code == ENODEV else { throw error }
        }
        return port
    }
}
