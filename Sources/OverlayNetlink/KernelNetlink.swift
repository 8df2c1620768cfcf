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
    /// Filter of the host; nil until it is first needed.
    private var openFilter: TunnelFilter?
    /// Peers to which tunnels led when they were last read.
    var tunnels: Set<TunnelFilter.Peer> = []
    /// Thread that hears of changes; nil while nobody asked for it.
    var watch: Watch?
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
        for operation in operations { watch?.learn(.network(operation.vni)) { $0.expect(operation) } }
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
                drop(operations[error.index].vni)
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
        case .mendPort(let vni, let name, let port, let mtu): try createPort(vni, name, port, mtu, onlyMending: true)
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

    // MARK: The filter

    /// Filter of the host.
    func filter() throws(NetlinkError) -> TunnelFilter {
        if let openFilter { return openFilter }
        let filter = try TunnelFilter(in: hostNamespace)
        openFilter = filter
        return filter
    }

    /// Carries out a change of the filter.
    func filtering(_ words: String, _ body: (TunnelFilter) throws(NetlinkError) -> Void) throws(KernelFailure) {
        try step("nft \(words)", .filter) { () throws(NetlinkError) in try body(filter()) }
    }

    // MARK: Namespaces

    func path(_ vni: VNI) -> String { directory + "/" + KernelName.namespace(vni) }

    /// Open namespace of a network. A cached handle is used while its path still leads to the same namespace.
    /// - Parameter required: True if a missing namespace is an error; else the result is nil.
    func handle(_ vni: VNI, required: Bool) throws(KernelFailure) -> NetworkHandle? {
        let path = path(vni)
        return try step("open namespace \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            let state = try system { () throws(SystemError) in try NetworkNamespace.state(path: path) }
            guard state == .namespace else {
                // One that is held lives on without its file.
                if let held = networks[vni] { return held }
                if required { throw NetlinkError(code: ENOENT) }
                return nil
            }
            let identity = try system { () throws(SystemError) in try NetworkNamespace.identity(path: path) }
            if let handle = networks[vni], handle.identity == identity { return handle }
            let handle = try NetworkHandle(path: path)
            networks[vni] = handle
            try listen(to: handle, of: vni)
            return handle
        }
    }

    /// True if the file of a network leads to its namespace.
    func isPinned(_ vni: VNI, _ handle: NetworkHandle) throws(KernelFailure) -> Bool {
        let path = path(vni)
        return try step("open namespace \(KernelName.namespace(vni))", .namespace(path: path)) { () throws(NetlinkError) in
            try system { () throws(SystemError) in try NetworkNamespace.identity(path: path) == handle.identity }
        }
    }

    /// Reads a network's devices again after a failure. Its namespace is held on to, as its file may be gone.
    func drop(_ vni: VNI) {
        if let handle = networks[vni], (try? handle.reload()) == nil { networks[vni] = nil }
    }

    // MARK: Changes by others

    /// Tells from now on where others change something: in the networks' namespaces and in the host's.
    /// - Parameter report: Called on any thread, at most a few times in a second for each place.
    /// - Throws: An error if the kernel cannot be listened to.
    public func watch(_ report: @escaping @Sendable (KernelPlace) -> Void) throws(KernelFailure) {
        try step("monitor", .query) { () throws(NetlinkError) in
            let watch = try system { () throws(SystemError) in try Watch(report) }
            let socket = try system { () throws(SystemError) in try MonitorSocket(in: hostNamespace) }
            watch.add(.host, socket)
            self.watch = watch
            // Without nf_tables there is no network, and `createNetwork` says so.
            if let filter = try? filter() {
                let ownPort = try system { () throws(SystemError) in try filter.socketPort() }
                watch.add(
                    .filter, try system { () throws(SystemError) in try MonitorSocket(ofTablesIn: hostNamespace, ownPort: ownPort) }
                )
            }
            for (vni, handle) in networks { try listen(to: handle, of: vni) }
        }
    }

    /// Tells of nothing any more.
    public func stopWatching() { watch = nil }

    private func listen(to handle: NetworkHandle, of vni: VNI) throws(NetlinkError) {
        guard let watch else { return }
        let socket = try system { () throws(SystemError) in try MonitorSocket(in: handle.namespace) }
        watch.add(.network(vni), socket, pin: .init(path: path(vni), identity: handle.identity))
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
