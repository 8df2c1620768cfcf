import OverlayModel
import OverlayNetlink
import OverlayNode

/// Choice of the host's address under which the daemon is reached.
enum HostNetwork {
    /// The given address, else that of the default route, else that of the only link.
    static func advertised(_ given: String?, _ addresses: [HostAddress], _ routes: [HostRoute]) throws(StartError) -> IPAddress {
        if let given { return try local(given, flag: "--advertise-addr", addresses) }
        let candidates = addresses.filter {
            $0.isUp && !$0.isLoopback && !isLinkLocal($0.prefix.address) && !isEngineBridge($0.link)
        }
        let ordered = candidates.filter { $0.prefix.family == .v4 } + candidates.filter { $0.prefix.family == .v6 }
        if let route = routes.first(where: { $0.destination.length == 0 }) {
            if let source = route.preferredSource { return source }
            if let found = ordered.first(where: { $0.index == route.link }) { return found.prefix.address }
        }
        guard let first = ordered.first, Set(ordered.map(\.link)).count == 1 else {
            let list = ordered.map { "\($0.prefix.address) (\($0.link))" }.joined(separator: ", ")
            throw StartError(
                ordered.isEmpty
                    ? "this host has no address that others could reach; give one to a link, and name it with --advertise-addr"
                    : "this host has several addresses, \(list), and no default route: say with --advertise-addr which one others reach"
            )
        }
        return first.prefix.address
    }

    /// The host's addresses as the node sees them.
    ///
    /// - Parameter routes: Routes by which an address is chosen; nil where none is to be.
    static func view(_ addresses: [HostAddress], choosingBy routes: [HostRoute]?) -> HostView {
        let mtus = Dictionary(addresses.map { ($0.prefix.address, $0.mtu) }) { first, _ in first }
        let choice = routes.flatMap { try? advertised(nil, addresses, $0) }
        // A route may prefer an address that is not there any more.
        return HostView(mtus: mtus, choice: choice.flatMap { mtus[$0] == nil ? nil : $0 })
    }

    /// Address that the user gave, if the host has it.
    static func local(_ text: String, flag: String, _ addresses: [HostAddress]) throws(StartError) -> IPAddress {
        guard let address = IPAddress(text) else { throw StartError("\(flag) \(text) is not an IP address") }
        guard addresses.contains(where: { $0.prefix.address == address }) else {
            let list = addresses.filter { !$0.isLoopback }.map { "\($0.prefix.address)" }.joined(separator: ", ")
            throw StartError("\(flag) \(text) is not an address of this host, which has \(list.isEmpty ? "none" : list)")
        }
        return address
    }

    private static func isLinkLocal(_ address: IPAddress) -> Bool {
        switch address.family {
        case .v4: address.bits >> 16 == 0xA9FE
        case .v6: address.bits >> 118 == 0x3FA
        }
    }

    private static func isEngineBridge(_ link: String) -> Bool {
        link == "docker0" || link == "docker_gwbridge" || link.hasPrefix("br-") || link.hasPrefix("veth")
    }
}
