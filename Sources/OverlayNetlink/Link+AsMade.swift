import Glibc
import OverlayDatapath
import OverlayModel

/// Comparison of devices with what they were made as. Both a look at a network and the filter of its notifications go by it.
extension Link {
    /// True if the bridge of a network is as it was made.
    func isBridge(asMadeFor vni: VNI, mtu: UInt32) -> Bool {
        kind == "bridge" && isUp && mac == KernelName.gatewayMAC(vni) && self.mtu == mtu && !hasSpanningTree && !sortsVLANs
    }

    /// True if the VXLAN device of a network is as it was made, its addresses and its port aside.
    func isTunnel(asMadeIn bridge: Int32, mtu: UInt32) -> Bool {
        kind == "vxlan" && isUp && master == bridge && self.mtu == mtu && !vxlan.learning && isPort(with: .tunnel)
    }

    /// True if the bridge side of a veth pair is as it was made, whatever its MTU is.
    func isPort(asMadeIn bridge: Int32, _ flags: PortFlags) -> Bool {
        kind == "veth" && isUp && master == bridge && isPort(with: flags)
    }

    /// True if the settings that the kernel tells of are these. A port whose other end is down does not forward, and need not.
    func isPort(with flags: PortFlags) -> Bool {
        (!hasCarrier || portState.map { $0 == Self.forwarding } ?? true)
            && flags.settings.allSatisfy { portSettings[$0.attribute] == nil || portSettings[$0.attribute] == $0.value }
    }

    /// BR_STATE_FORWARDING
    static let forwarding: UInt8 = 3
}
