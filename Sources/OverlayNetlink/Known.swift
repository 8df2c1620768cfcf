import CNetlink
import Glibc
import OverlayDatapath
import OverlayModel

/// Knowledge of a place in the kernel: what was last seen there, with the own changes since. A notification that says nothing
/// else is no news. So the kernel's echo of an own change leads to no look.
struct Known {
    private let vni: VNI?
    private var mtu: UInt32 = 0
    private var indexes = Indexes()
    private var bridge: Int32? { indexes.bridge }
    private var vxlan: Int32? { indexes.vxlan }
    private var flags = PortFlags.v4Only
    private var forwarding: [MACAddress: Destination] = [:]
    private var neighbours: [IPAddress: MACAddress] = [:]
    /// False until the place was looked at: everything is news until then.
    private var isSeen = false
    /// Names of ports that were deleted here.
    private var deleted: Set<String> = []
    /// Indexes of devices that the last notification showed different from what they should be. Their making goes in steps, so what
    /// counts is what the last step leaves.
    private(set) var altered: Set<Int32> = []
    private var hostLinks: [Int32: HostLink] = [:]

    /// Indexes of a network's devices.
    struct Indexes {
        var bridge: Int32?
        var vxlan: Int32?
        /// Names of ports.
        var ports: [Int32: String] = [:]
    }

    private struct HostLink: Equatable {
        var name: String
        var isUp: Bool
        var mtu: UInt32
    }

    private let isFilter: Bool

    init(_ place: KernelPlace) {
        if case .network(let vni) = place { self.vni = vni } else { vni = nil }
        isFilter = place == .filter
    }

    // MARK: Learning

    /// Takes note of what was seen.
    mutating func see(_ state: NetworkState, _ indexes: Indexes, _ flags: PortFlags) {
        isSeen = true
        mtu = state.base.mtu
        forwarding = state.forwarding
        neighbours = state.neighbours
        self.indexes = indexes
        self.flags = flags
        // Echoes may be on their way. What is altered stays so until a notification shows it right: it may be newer than this.
        if deleted.count > Self.mostDeleted { deleted = [] }
    }

    private static let mostDeleted = 4096

    /// Takes note that nothing usable was seen.
    mutating func forget() { isSeen = false }

    /// Takes note of an own change that is about to be made.
    mutating func expect(_ operation: KernelOperation) {
        switch operation {
        case .createNetwork, .deleteNetwork: isSeen = false
        case .addGateway, .deleteGateway, .mendPort, .setPortMTU, .announce, .addFlood, .deleteFlood: break
        case .createPort(_, let name, _, _): deleted.remove(name)
        case .deletePort(_, let name): deleted.insert(name)
        case .reapPorts: break
        case .setForwarding(_, let mac, let destination): forwarding[mac] = destination
        case .deleteForwarding(_, let mac, _): forwarding[mac] = nil
        case .setNeighbour(_, let address, let mac): neighbours[address] = mac
        case .deleteNeighbour(_, let address): neighbours[address] = nil
        }
    }

    // MARK: Notifications

    /// True if a notification says what is not known. What it says of a device is kept in ``altered`` instead, as it may be a step.
    mutating func isNews(_ type: UInt16, _ payload: Received) -> Bool {
        guard vni != nil else { return isFilter ? isFilterNews(payload) : isHostNews(type, payload) }
        // A network that is being made is looked at when it was made.
        guard isSeen else { return true }
        switch Int(type) {
        case Int(RTM_NEWLINK), Int(RTM_DELLINK): return isLinkNews(type, payload)
        case Int(RTM_NEWNEIGH), Int(RTM_DELNEIGH):
            guard let header: ndmsg = payload.load() else { return false }
            return Int32(header.ndm_family) == AF_BRIDGE ? isRowNews(type, header, payload) : isNeighbourNews(type, header, payload)
        case Int(RTM_NEWADDR), Int(RTM_DELADDR):
            guard let header: ifaddrmsg = payload.load() else { return false }
            return Int32(bitPattern: header.ifa_index) == bridge && header.ifa_scope == UInt8(RT_SCOPE_UNIVERSE.rawValue)
        default: return false
        }
    }

    private mutating func isLinkNews(_ type: UInt16, _ payload: Received) -> Bool {
        guard let vni, let bridge, let header: ifinfomsg = payload.load(), let link = Link(payload) else { return false }
        let isPort = link.name.hasPrefix(KernelName.portPrefix)
        let isDevice = link.index == bridge || link.index == vxlan || [KernelName.bridge, KernelName.vxlan].contains(link.name)
        guard isPort || isDevice else { return false }
        let isBridgeMessage = Int32(header.ifi_family) == AF_BRIDGE
        if Int(type) == Int(RTM_DELLINK) {
            // A message of the bridge tells of a port that leaves it.
            altered.remove(link.index)
            if link.group == Requests.deletedGroup { return false }
            return !(isPort && deleted.contains(link.name)) && !(isBridgeMessage && link.index == bridge)
        }
        // On its way out.
        if isPort, link.group == Requests.deletedGroup || deleted.contains(link.name) {
            altered.remove(link.index)
            return false
        }
        let isRight: Bool
        if isBridgeMessage {
            guard link.index != bridge else { return false }
            isRight = link.isPort(with: link.index == vxlan ? .tunnel : flags) && link.isUp && link.master == bridge
        } else if link.index == bridge {
            isRight = link.name == KernelName.bridge && link.isBridge(asMadeFor: vni, mtu: mtu)
        } else if link.index == vxlan {
            isRight = link.name == KernelName.vxlan && link.isTunnel(asMadeIn: bridge, mtu: mtu)
        } else {
            isRight = isPort && link.isPort(asMadeIn: bridge, flags) && link.mtu == mtu
        }
        if isRight { altered.remove(link.index) } else { altered.insert(link.index) }
        return false
    }

    private func isRowNews(_ type: UInt16, _ header: ndmsg, _ payload: Received) -> Bool {
        let isOfDevice = header.ndm_flags & UInt8(NTF_SELF) != 0
        // A bridge's permanent rows are its own MACs, and those of its ports.
        guard isOfDevice ? header.ndm_ifindex == vxlan : header.ndm_state & UInt16(NUD_NOARP) != 0 || header.ndm_state == 0
        else { return !isOfDevice && mac(payload).map { forwarding[$0] != nil } ?? false }
        guard let mac = mac(payload), mac != .zero else { return true }
        let isGone = Int(type) == Int(RTM_DELNEIGH)
        var vtep: IPAddress?
        var isPlain = true
        payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
            switch type {
            case Int(NDA_DST): vtep = value.address
            case Int(NDA_PORT), Int(NDA_VNI), Int(NDA_IFINDEX), Int(NDA_NH_ID): isPlain = false
            default: break
            }
        }
        switch forwarding[mac] {
        case nil: return !isGone
        case .port(let name)?:
            if isOfDevice { return !isGone }
            // The index of a port that was made since is not known.
            return isGone || indexes.ports[header.ndm_ifindex].map { $0 != name } ?? (header.ndm_ifindex == vxlan)
        case .vtep(let known)?:
            if isOfDevice { return isGone ? vtep == known : vtep != known || !isPlain }
            return isGone ? header.ndm_ifindex == vxlan : header.ndm_ifindex != vxlan
        }
    }

    private func mac(_ payload: Received) -> MACAddress? {
        var mac: MACAddress?
        payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
            if type == Int(NDA_LLADDR) { mac = value.mac }
        }
        return mac
    }

    private func isNeighbourNews(_ type: UInt16, _ header: ndmsg, _ payload: Received) -> Bool {
        guard header.ndm_ifindex == bridge else { return false }
        var address: IPAddress?
        payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
            if type == Int(NDA_DST) { address = value.address }
        }
        guard let address else { return false }
        let isPermanent = header.ndm_state & UInt16(NUD_PERMANENT) != 0
        // Containers that ask the bridge give it neighbours that are not permanent. Theirs are never news.
        guard let known = neighbours[address] else { return isPermanent && Int(type) == Int(RTM_NEWNEIGH) }
        return Int(type) == Int(RTM_DELNEIGH) || !isPermanent || mac(payload) != known
    }

    /// True if a message is about our table. All of its objects name it in their first attribute, behind `nfgenmsg`.
    private func isFilterNews(_ payload: Received) -> Bool {
        var isOurs = false
        payload.dropping(4).forEachAttribute { type, value in if type == 1, value.text == TunnelFilter.table { isOurs = true } }
        return isOurs
    }

    /// True if an address or a link of the host changed. Of veth pairs, which come and go with containers, only the MTU counts: a host
    /// may be on one itself.
    private mutating func isHostNews(_ type: UInt16, _ payload: Received) -> Bool {
        switch Int(type) {
        case Int(RTM_NEWADDR), Int(RTM_DELADDR): return true
        case Int(RTM_NEWLINK):
            guard let header: ifinfomsg = payload.load(), Int32(header.ifi_family) != AF_BRIDGE, let link = Link(payload),
                case let isPair = link.kind == "veth", !isPair || !link.name.hasPrefix(KernelName.containerPrefix)
            else { return false }
            let now = HostLink(name: isPair ? "" : link.name, isUp: isPair || link.isUp, mtu: link.mtu)
            return hostLinks.updateValue(now, forKey: link.index) != now
        case Int(RTM_DELLINK):
            guard let header: ifinfomsg = payload.load(), Int32(header.ifi_family) != AF_BRIDGE else { return false }
            return hostLinks.removeValue(forKey: header.ifi_index) != nil
        default: return false
        }
    }
}
