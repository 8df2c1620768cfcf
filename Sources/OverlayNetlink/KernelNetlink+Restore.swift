import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Veth pairs that are made again while their container runs.
extension KernelNetlink {
    /// Makes a port whose veth pair was deleted again, with its other end in the sandbox as the engine had set it: name, MAC, MTU,
    /// addresses and routes. A pair that is still there is brought back to its place instead.
    public func restore(_ lost: LostPort) -> RestoreOutcome {
        do throws(KernelFailure) {
            let sandbox = try step("open the sandbox", .namespace(path: lost.sandbox)) { () throws(NetlinkError) -> Sandbox? in
                let state = try system { () throws(SystemError) in try NetworkNamespace.state(path: lost.sandbox) }
                return state == .namespace ? try Sandbox(path: lost.sandbox) : nil
            }
            guard let sandbox else { return .sandboxIsGone }
            let handle = try requireHandle(lost.vni)
            watch?.learn(.network(lost.vni)) {
                $0.expect(.createPort(lost.vni, name: lost.name, lost.port, mtu: lost.mtu))
            }
            try step("link add \(lost.name) type veth peer in \(lost.sandbox)", .port(lost.name)) { () throws(NetlinkError) in
                let restoration = Restoration(lost: lost, handle: handle, open: sandbox)
                if try restoration.adopt() { return }
                do throws(NetlinkError) {
                    try restoration.create()
                } catch {
                    // Half an interface would be taken for a whole one.
                    _ = try? handle.socket.deleteLink(named: lost.name)
                    throw error
                }
            }
            return .restored
        } catch {
            return .failed(error)
        }
    }
}

/// Open namespace of a container.
private final class Sandbox {
    let namespace: Descriptor
    let socket: RouteSocket

    init(path: String) throws(NetlinkError) {
        namespace = try system { () throws(SystemError) in try NetworkNamespace.open(path: path) }
        socket = try RouteSocket(in: namespace)
    }
}

/// Restoration of one port.
private struct Restoration {
    let lost: LostPort
    let handle: NetworkHandle
    let open: Sandbox
    private var sandbox: RouteSocket { open.socket }

    /// Brings a pair back whose bridge side was renamed. One whose bridge side was moved to another namespace is deleted.
    /// - Returns: False if there is no pair.
    func adopt() throws(NetlinkError) -> Bool {
        if let there = try handle.socket.link(named: lost.name) {
            if there.kind == "veth", there.peerNamespace != nil, let index = there.peer, let inner = try sandbox.link(index),
                inner.mac == lost.port.mac, inner.peer == there.index
            {
                try put(there)
                return true
            }
            // Our name, and another device, or a pair that leads to another container.
            try handle.socket.deleteLink(named: lost.name)
        }
        handle.forgetIndex(of: lost.name)
        let inside = try sandbox.links().filter { $0.kind == "veth" && $0.mac == lost.port.mac }
        for inner in inside where try isOfEndpoint(inner) {
            guard let outer = try handle.socket.links().first(where: { $0.kind == "veth" && $0.index == inner.peer }),
                outer.peer == inner.index, outer.peerNamespace != nil
            else {
                try sandbox.deleteLink(named: inner.name)
                continue
            }
            try handle.socket.rename(outer.index, to: lost.name)
            try put(outer)
            return true
        }
        return false
    }

    /// True if a link of the sandbox has an address of the endpoint. A MAC may be on several networks, an address is not.
    private func isOfEndpoint(_ link: Link) throws(NetlinkError) -> Bool {
        try !sandbox.addresses(of: link.index).isDisjoint(with: lost.addresses)
    }

    private func put(_ link: Link) throws(NetlinkError) {
        try handle.socket.setLink(link.index, mtu: lost.mtu, master: try handle.requireBridge())
        try handle.socket.setPort(link.index, handle.portFlags)
    }

    /// Makes the pair.
    func create() throws(NetlinkError) {
        let name = try freeName()
        try handle.socket.request(
            Requests.veth(
                name: lost.name, master: try handle.requireBridge(), mtu: lost.mtu,
                peer: Port(containerLink: name, mac: lost.port.mac), namespace: open.namespace.number))
        guard let index = try handle.port(lost.name), let inner = try sandbox.link(named: name)?.index else {
            throw NetlinkError(code: ENODEV, message: "no port \(lost.name)")
        }
        try handle.socket.setPort(index, handle.portFlags)
        if lost.addresses.contains(where: { $0.family == .v6 }) {
            try system { () throws(SystemError) in
                try NetworkNamespace.write("0", to: "/proc/sys/net/ipv6/conf/\(name)/disable_ipv6", in: open.namespace)
            }
        }
        for prefix in lost.addresses { try sandbox.request(Requests.address(prefix, add: true, on: inner, hasBroadcast: true)) }
        try sandbox.setLink(inner)
        for route in lost.routes { try sandbox.request(Requests.route(to: route, through: inner), tolerating: EEXIST) }
    }

    /// Name that the link had in the sandbox. Where that was never seen, or another link has it by now, the first that is free: engines
    /// count from eth0.
    private func freeName() throws(NetlinkError) -> String {
        let taken = Set(try sandbox.links().map(\.name))
        if let known = handle.interface(of: lost.name), !taken.contains(known) { return known }
        return (0...taken.count).lazy.map { "eth\($0)" }.first { !taken.contains($0) } ?? lost.port.containerLink
    }
}

extension RouteSocket {
    /// Gives a device another name, for which it has to be down.
    fileprivate func rename(_ index: Int32, to name: String) throws(NetlinkError) {
        var header = Self.header(index: index)
        header.ifi_change = UInt32(IFF_UP)
        try request(Message(Int(RTM_SETLINK), header))
        var rename = try Message(Int(RTM_SETLINK), Self.header(index: index))
        try rename.put(IFLA_IFNAME, name)
        try request(rename)
    }
}
