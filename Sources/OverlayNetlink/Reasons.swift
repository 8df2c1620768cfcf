import Glibc
import OverlayDatapath
import OverlayModel

/// Object that an error is about, which decides what the user can do.
enum Subject {
    case namespace(path: String)
    case bridge
    case vxlan(NetworkState.Base)
    case port(String)
    case filter
    case address
    case row
    case announcement
    case query
}

extension KernelFailure {
    /// Creates a failure whose reason tells the user what to do.
    init(_ operation: String, _ error: NetlinkError, about subject: Subject) {
        self.init(operation: operation, errno: error.code, reason: Self.reason(error, subject))
    }

    private static func reason(_ error: NetlinkError, _ subject: Subject) -> String {
        let said = error.text
        switch (error.code, subject) {
        case (EPERM, .namespace), (EACCES, .namespace):
            return "\(said): CAP_SYS_ADMIN is missing; run the daemon as root, or give its container or unit that capability"
        case (EPERM, .announcement), (EACCES, .announcement):
            return "\(said): CAP_NET_RAW is missing; run the daemon as root, or give its container or unit that capability"
        case (EOPNOTSUPP, .filter), (EPROTONOSUPPORT, .filter), (ENOENT, .filter):
            return "\(said): this kernel cannot keep strangers' frames out of the networks; load what it lacks with "
                + "`modprobe -a nf_tables nft_fib_inet` (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_FIB_INET)"
        case (EPERM, _), (EACCES, _):
            return "\(said): CAP_NET_ADMIN is missing; run the daemon as root, or give its container or unit that capability"
        case (EEXIST, .vxlan(let base)):
            return "\(said): VNI \(base.vni) on UDP port \(base.port) is held by another VXLAN device of this host (perhaps in a "
                + "namespace of an earlier life): find it with `ip -d link show type vxlan` here and with `ip -all netns exec ip -d "
                + "link show type vxlan` in the named namespaces, and delete it"
        case (EADDRINUSE, .vxlan(let base)):
            return
                "\(said): UDP port \(base.port) is held by another program: find it with `ss -ulnp sport = :\(base.port)`, or choose "
                + "another --data-path-port on every node"
        case (EADDRNOTAVAIL, .vxlan(let base)):
            return "\(said): \(base.local) is no address of this host; give one with --data-path-addr"
        case (EOPNOTSUPP, .vxlan):
            return "\(said): this kernel has no VXLAN; load it with `modprobe vxlan` (CONFIG_VXLAN)"
        case (EAFNOSUPPORT, .vxlan(let base)) where base.local.family == .v6:
            return "\(said): this kernel has IPv6 switched off; use an IPv4 --data-path-addr or boot without ipv6.disable=1"
        case (EOPNOTSUPP, .bridge):
            return "\(said): this kernel has no bridge; load it with `modprobe bridge` (CONFIG_BRIDGE)"
        case (EOPNOTSUPP, .port):
            return "\(said): this kernel has no veth pairs; load them with `modprobe veth` (CONFIG_VETH)"
        case (EXFULL, _):
            return
                "\(said): the network has 1023 ports on this host, and a bridge holds no more: start the container on another host, or "
                + "on another network"
        case (EEXIST, .port(let name)):
            return "\(said): a device of the name of port \(name) or of its container side exists already"
        case (EINVAL, .vxlan(let base)):
            return "\(said): the kernel refuses a VXLAN device with MTU \(base.mtu) and address \(base.local)"
        case (ENODEV, .row), (ENODEV, .address):
            return "\(said): the network's device is gone; the next reconciliation makes it anew"
        case (ENOENT, .namespace(let path)):
            return "\(said): the network's namespace \(path) is gone; the next reconciliation makes it anew"
        case (ENOSPC, .row), (ENOBUFS, .row):
            return "\(said): a table of the kernel is full; see `sysctl net.ipv4.neigh.default.gc_thresh3`"
        case (ENOMEM, _):
            return "\(said): the kernel is out of memory"
        case (ETIMEDOUT, _):
            return "\(said): the kernel did not answer in 30 s; look for a stuck network task in `dmesg`"
        default:
            return said
        }
    }
}

/// Runs a step, and adds the operation and a reason to its error.
@discardableResult
func step<T>(
    _ operation: @autoclosure () -> String, _ subject: @autoclosure () -> Subject, _ body: () throws(NetlinkError) -> T
) throws(KernelFailure) -> T {
    do {
        return try body()
    } catch {
        throw KernelFailure(operation(), error, about: subject())
    }
}
