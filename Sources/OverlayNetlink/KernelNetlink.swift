import CNetlink
import Glibc
public import OverlayDatapath
import OverlayLinux
import OverlayModel

/// Carries out kernel operations and reads back the kernel's state by netlink. It decides nothing.
///
/// It runs on a thread of its own, as netlink calls wait for the kernel's RTNL lock, which other programs hold for seconds. Its
/// sockets live in the right namespaces, so no thread of the process changes its namespace.
public actor KernelNetlink {
    private let executor: ThreadExecutor
    let directory: String
    /// Namespace with the underlay. VXLAN sockets stay in it, and container sides wait there for the engine.
    let hostNamespace: Descriptor
    let host: RouteSocket
    var networks: [VNI: NetworkHandle] = [:]
    var directoryIsReady = false
    /// Thread that hears at ports; nil while no port is listened at.
    var ears: Ears?
    /// Sockets at ports, with the index of the port.
    var sockets: [EndpointID: (link: Int32, socket: HearingSocket)] = [:]

    /// Executor of the thread that the actor runs on.
    nonisolated public var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Opens netlink in the process's own network namespace.
    /// - Parameter namespaceDirectory: Directory where the networks' namespaces are pinned. The default is that of `ip netns`.
    /// - Throws: An error if no netlink socket can be opened.
    public init(namespaceDirectory: String = "/run/netns") throws(KernelFailure) {
        try self.init(namespaceDirectory: namespaceDirectory, hostNamespace: nil)
    }

    /// - Parameter hostNamespace: Path of the namespace to use as the host's; nil for the process's own.
    package init(namespaceDirectory: String, hostNamespace path: String?) throws(KernelFailure) {
        let namespace: Descriptor
        do {
            namespace = if let path { try NetworkNamespace.open(path: path) } else { try NetworkNamespace.current() }
        } catch {
            throw KernelFailure(
                "open the host's namespace", NetlinkError(error), about: .namespace(path: path ?? "/proc/self/ns/net"))
        }
        let socket: RouteSocket
        do {
            socket = try RouteSocket(in: namespace)
        } catch {
            throw KernelFailure("open a netlink socket", error, about: .namespace(path: path ?? "/proc/self/ns/net"))
        }
        executor = ThreadExecutor(name: "netlink")
        directory = namespaceDirectory
        hostNamespace = namespace
        host = socket
    }

    /// Queues work behind what was submitted before. For callers outside of a task, as each switch between threads costs time.
    public nonisolated func submit(_ work: @escaping @Sendable (isolated KernelNetlink) -> Void) {
        executor.execute { self.assumeIsolated { work($0) } }
    }

    /// Returns when all work that was submitted before is done.
    public func drain() {}

    // MARK: Carrying out

    /// Carries out the operations in order and stops at the first that fails.
    ///
    /// Rows (forwarding, neighbours, flooding) go to the kernel in batches. When one fails, up to 255 rows after it have been tried
    /// as well, which does no harm, as every operation can be repeated. Announcements are sent after the rows around them, so that
    /// they do not split a batch.
    public func apply(_ operations: [KernelOperation]) -> KernelOutcome {
        var index = 0
        var retried = -1
        while index < operations.count {
            do throws(IndexedFailure) {
                let end = Self.endOfRun(operations, from: index)
                if end > index {
                    try applyRows(operations, index..<end)
                    index = end
                } else {
                    do throws(KernelFailure) {
                        try applyOne(operations[index])
                    } catch {
                        throw IndexedFailure(index: index, failure: error)
                    }
                    index += 1
                }
            } catch {
                networks[operations[error.index].vni] = nil
                // Somebody deleted and recreated a device whose index is cached: read it again, once.
                guard error.failure.errno == ENODEV, retried != error.index else {
                    return .failed(index: error.index, error.failure)
                }
                retried = error.index
                index = error.index
            }
        }
        return .applied
    }

    private func applyOne(_ operation: KernelOperation) throws(KernelFailure) {
        switch operation {
        case .createNetwork(let base): try createNetwork(base)
        case .deleteNetwork(let vni): try deleteNetwork(vni)
        case .addGateway(let vni, let prefix): try setGateway(vni, prefix, add: true)
        case .deleteGateway(let vni, let prefix): try setGateway(vni, prefix, add: false)
        case .createPort(let vni, let name, let port, let mtu): try createPort(vni, name, port, mtu)
        case .deletePort(let vni, let name): try deletePort(vni, name)
        case .reapPorts(let vni): try reapPorts(vni)
        case .setPortMTU(let vni, let name, let sandbox, let from, let to):
            try setPortMTU(vni, name, sandbox: sandbox, from: from, to: to)
        case .setForwarding, .deleteForwarding, .setNeighbour, .deleteNeighbour, .announce, .addFlood, .deleteFlood:
            preconditionFailure("\(operation) is a row")
        }
    }

    private func setGateway(_ vni: VNI, _ prefix: IPPrefix, add: Bool) throws(KernelFailure) {
        guard let handle = try handle(vni, required: add) else { return }
        try step("address \(add ? "replace" : "del") \(prefix) dev \(KernelName.bridge)", .address) { () throws(NetlinkError) in
            if add {
                if prefix.family == .v6 { try handle.enableIPv6() }
                try handle.socket.request(Requests.address(prefix, add: true, on: handle.requireBridge()))
            } else if let bridge = handle.bridge {
                try handle.socket.request(
                    Requests.address(prefix, add: false, on: bridge), tolerating: EADDRNOTAVAIL, ENODEV, ENOENT)
            }
        }
    }

    // MARK: Namespaces

    func path(_ vni: VNI) -> String { directory + "/" + KernelName.namespace(vni) }

    /// Open namespace of a network. A cached handle is used while its path still leads to the same namespace.
    /// - Parameter required: True if a missing namespace is an error; else the result is nil.
    func handle(_ vni: VNI, required: Bool) throws(KernelFailure) -> NetworkHandle? {
        let path = path(vni)
        return try step("open namespace \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            let identity = try system { () throws(SystemError) in try NetworkNamespace.identity(path: path) }
            let state = try system { () throws(SystemError) in try NetworkNamespace.state(path: path) }
            guard state == .namespace else {
                networks[vni] = nil
                if required { throw NetlinkError(code: ENOENT) }
                return nil
            }
            if let handle = networks[vni], handle.identity == identity { return handle }
            let handle = try NetworkHandle(path: path)
            networks[vni] = handle
            return handle
        }
    }

    func requireHandle(_ vni: VNI) throws(KernelFailure) -> NetworkHandle {
        guard let handle = try handle(vni, required: true) else {
            throw KernelFailure("open namespace", NetlinkError(code: ENOENT), about: .namespace(path: path(vni)))
        }
        return handle
    }
}

/// A failure, with the index of the operation that failed.
struct IndexedFailure: Error {
    var index: Int
    var failure: KernelFailure
}
