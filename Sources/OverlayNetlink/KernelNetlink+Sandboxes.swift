import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
public import OverlayModel

/// Routes in the network namespaces of containers.
extension KernelNetlink {
    /// True if the main table of a namespace has a route for one of the destinations, or cannot be read, as a route that comes twice
    /// does more harm than none; nil where the namespace does not exist.
    public func hasRoute(to destinations: [IPPrefix], in path: String) -> Bool? {
        do throws(KernelFailure) {
            return try step("route show", .namespace(path: path)) { () throws(NetlinkError) -> Bool? in
                let state = try system { () throws(SystemError) in try NetworkNamespace.state(path: path) }
                guard state == .namespace else { return nil }
                return try sandboxSocket(path).hasRoute(to: destinations)
            }
        } catch {
            return true
        }
    }

    /// Adds IPv4 routes through the link with a MAC in a namespace, behind those to the same destinations.
    public func addRoutes(_ destinations: [IPPrefix], through mac: MACAddress, in path: String) throws(KernelFailure) {
        try step("route append", .namespace(path: path)) { () throws(NetlinkError) in
            let socket = try sandboxSocket(path)
            guard let link = try socket.links().first(where: { $0.mac == mac && !$0.isLoopback }) else {
                throw NetlinkError(code: ENODEV, message: "no link \(mac)")
            }
            for destination in destinations {
                try socket.request(Requests.route(to: destination, through: link.index), tolerating: EEXIST)
            }
        }
    }

    /// Lets IPv4 routes of a namespace lead through the link with a MAC. None is added.
    ///
    /// - Returns: False where the link or one of the routes is not there.
    public func moveRoutes(_ destinations: [IPPrefix], through mac: MACAddress, in path: String) -> Bool {
        do throws(NetlinkError) {
            let socket = try sandboxSocket(path)
            guard let link = try socket.links().first(where: { $0.mac == mac && !$0.isLoopback }) else { return false }
            for destination in destinations {
                try socket.request(Requests.route(to: destination, through: link.index, flags: NLM_F_REPLACE))
            }
            return true
        } catch {
            return false
        }
    }

    func sandboxSocket(_ path: String) throws(NetlinkError) -> RouteSocket {
        let namespace = try system { () throws(SystemError) in try NetworkNamespace.open(path: path) }
        return try RouteSocket(in: namespace)
    }
}

extension RouteSocket {
    /// True if the main table has a route for one of these IPv4 destinations, of any type.
    fileprivate func hasRoute(to destinations: [IPPrefix]) throws(NetlinkError) -> Bool {
        var header = rtmsg()
        header.rtm_family = UInt8(AF_INET)
        var isFound = false
        try dump(Message(Int(RTM_GETROUTE), header), begin: { isFound = false }) { type, payload in
            guard !isFound, Int(type) == Int(RTM_NEWROUTE), let header: rtmsg = payload.load(),
                header.rtm_flags & UInt32(RTM_F_CLONED) == 0
            else { return }
            var table = UInt32(header.rtm_table)
            var address = IPAddress(family: .v4, bits: 0)
            payload.dropping(MemoryLayout<rtmsg>.size).forEachAttribute { type, value in
                switch type {
                case Int(RTA_TABLE.rawValue): table = value.load() ?? table
                case Int(RTA_DST.rawValue): address = value.address ?? address
                default: break
                }
            }
            guard table == UInt32(RT_TABLE_MAIN.rawValue), let prefix = IPPrefix(address, length: Int(header.rtm_dst_len)) else {
                return
            }
            isFound = destinations.contains(prefix)
        }
        return isFound
    }
}
