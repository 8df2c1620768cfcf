import CNetlink
import Glibc
import OverlayDatapath
import OverlayModel

/// Rows, of which there are many, so that they go in batches.
extension KernelNetlink {
    /// End of the longest run of rows of one network from `start`; `start` itself if there is no row.
    ///
    /// Removals of rows to a VTEP look up before they act (``removeTunnelRows(_:_:_:)``) and make runs of their own.
    static func endOfRun(_ operations: [KernelOperation], from start: Int) -> Int {
        guard let kind = rowKind(operations[start]) else { return start }
        let vni = operations[start].vni
        var end = start + 1
        while end < operations.count, operations[end].vni == vni, rowKind(operations[end]) == kind { end += 1 }
        return end
    }

    private enum RowKind { case plain, tunnelRemoval }

    private static func rowKind(_ operation: KernelOperation) -> RowKind? {
        switch operation {
        case .createNetwork, .deleteNetwork, .addGateway, .deleteGateway, .createPort, .mendPort, .deletePort, .reapPorts,
            .setPortMTU:
            nil
        case .deleteForwarding(_, _, .vtep): .tunnelRemoval
        case .setForwarding, .deleteForwarding, .setNeighbour, .deleteNeighbour, .announce, .addFlood, .deleteFlood: .plain
        }
    }

    func applyRows(_ operations: [KernelOperation], _ range: Range<Int>) throws(IndexedFailure) {
        let mayBeMissing = operations[range].allSatisfy(\.mayLackNetwork)
        let handle: NetworkHandle
        do {
            guard let found = try self.handle(operations[range.lowerBound].vni, required: !mayBeMissing) else { return }
            handle = found
        } catch {
            throw IndexedFailure(index: range.lowerBound, failure: error)
        }
        var batch = RowBatch(socket: handle.socket, operations: operations)
        if Self.rowKind(operations[range.lowerBound]) == .tunnelRemoval {
            try RowRequests.removeTunnelRows(handle, &batch, range)
            return
        }
        do throws(IndexedFailure) {
            // No row stands before the filter lets answers in, and none is left that leads to what it keeps out.
            let flood = FloodChange(operations[range])
            try change(flood.added, from: range.lowerBound) { filter throws(NetlinkError) in try filter.admit(flood.added) }
            try RowRequests.setRows(handle, &batch, range)
            try change(flood.deleted, from: range.lowerBound) { filter throws(NetlinkError) in try filter.refuse(flood.deleted) }
            tunnels.subtract(flood.deleted)
        } catch {
            // Operations before the failure are not tried again, so their announcements are due now.
            try announce(handle, operations, range.lowerBound..<error.index)
            throw error
        }
        try announce(handle, operations, range)
    }

    /// Changes the elements of the filter, if there are any.
    private func change(
        _ peers: Set<TunnelFilter.Peer>, from index: Int, _ body: (TunnelFilter) throws(NetlinkError) -> Void
    ) throws(IndexedFailure) {
        guard !peers.isEmpty else { return }
        do {
            try filtering("element inet \(TunnelFilter.table)", body)
        } catch {
            throw IndexedFailure(index: index, failure: error)
        }
    }
}

extension RouteSocket {
    /// VTEP of a MAC in the VXLAN device's own table; nil if it has no row.
    func tunnelRow(_ mac: MACAddress, on vxlan: Int32) throws(NetlinkError) -> IPAddress? {
        var header = ndmsg()
        header.ndm_family = UInt8(AF_BRIDGE)
        header.ndm_ifindex = vxlan
        header.ndm_flags = UInt8(NTF_SELF)
        var request = try Message(Int(RTM_GETNEIGH), header)
        try request.put(Int(NDA_LLADDR), mac)
        var vtep: IPAddress?
        do {
            try get(request) { _, payload in
                payload.dropping(MemoryLayout<ndmsg>.size).forEachAttribute { type, value in
                    if type == Int(NDA_DST) { vtep = value.address }
                }
            }
        } catch {
            guard error.code == ENOENT else { throw error }
        }
        return vtep
    }
}

/// Requests for rows of one network.
private enum RowRequests {
    static func setRows(_ handle: NetworkHandle, _ batch: inout RowBatch, _ range: Range<Int>) throws(IndexedFailure) {
        let operations = batch.operations
        for index in range {
            try batch.build(index) { batch throws(NetlinkError) in
                switch operations[index] {
                case .setForwarding(_, let mac, .vtep(let vtep)):
                    // One request for both tables: the kernel sets the bridge's row first, then the tunnel's.
                    try batch.add(Requests.forwarding(mac, to: vtep, on: handle.requireVXLAN(), [.bridge, .device]))
                case .setForwarding(_, let mac, .port(let name)):
                    guard let port = try handle.port(name) else { throw NetlinkError(code: ENODEV, message: "no port \(name)") }
                    try batch.add(Requests.forwarding(mac, to: nil, on: port, .bridge))
                    // The MAC may have been behind the tunnel before.
                    if let vxlan = handle.vxlan {
                        try batch.add(Requests.deleteForwarding(mac, to: nil, on: vxlan, .device), absentIsSuccess: true)
                    }
                case .deleteForwarding(_, let mac, .port(let name)):
                    guard let port = try handle.port(name) else { return }
                    try batch.add(Requests.deleteForwarding(mac, to: nil, on: port, .bridge), absentIsSuccess: true)
                case .setNeighbour(_, let address, let mac):
                    if address.family == .v6, !handle.hasIPv6 { try handle.enableIPv6() }
                    try batch.add(Requests.neighbour(address, mac, on: handle.requireBridge()))
                case .deleteNeighbour(_, let address):
                    guard let bridge = handle.bridge else { return }
                    try batch.add(Requests.neighbour(address, nil, on: bridge), absentIsSuccess: true)
                case .addFlood(_, let vtep):
                    try batch.add(Requests.flood(vtep, on: handle.requireVXLAN()))
                case .deleteFlood(_, let vtep):
                    guard let vxlan = handle.vxlan else { return }
                    // Without a VTEP, the whole row goes.
                    let part = vtep == .nowhere ? nil : vtep
                    try batch.add(Requests.deleteForwarding(.zero, to: part, on: vxlan, .device), absentIsSuccess: true)
                case .announce: break  // Waits for the rows: see ``applyRows(_:_:)``.
                case .createNetwork, .deleteNetwork, .addGateway, .deleteGateway, .createPort, .mendPort, .deletePort, .reapPorts,
                    .setPortMTU, .deleteForwarding(_, _, .vtep):
                    preconditionFailure("\(operations[index]) is no plain row")
                }
            }
        }
        try batch.flush()
    }

    /// Removes rows to VTEPs, unless the MAC is behind another VTEP by now; then the rows of both tables stay.
    ///
    /// The bridge's row does not name the VTEP, and the kernel reports success for removing a tunnel row to another one, so the row
    /// is looked up first.
    static func removeTunnelRows(
        _ handle: NetworkHandle, _ batch: inout RowBatch, _ range: Range<Int>
    ) throws(IndexedFailure) {
        guard let vxlan = handle.vxlan else { return }
        var table: [MACAddress: IPAddress]?
        if range.count > Self.lookupLimit {
            table = try batch.guarded(range.lowerBound) { () throws(NetlinkError) in
                try handle.socket.forwarding(vxlan: vxlan, ports: [:]).tunnel
            }
        }
        for index in range {
            guard case .deleteForwarding(_, let mac, .vtep(let vtep)) = batch.operations[index] else { continue }
            let present: IPAddress?
            if let table {
                present = table[mac]
            } else {
                present = try batch.guarded(index) { () throws(NetlinkError) in try handle.socket.tunnelRow(mac, on: vxlan) }
            }
            // Without a tunnel row the bridge's row is half a row, and is removed.
            if let present, present != vtep, vtep.bits != 0 { continue }
            try batch.build(index) { batch throws(NetlinkError) in
                if present != nil {
                    try batch.add(Requests.deleteForwarding(mac, to: nil, on: vxlan, .device), absentIsSuccess: true)
                }
                try batch.add(Requests.deleteForwarding(mac, to: nil, on: vxlan, .bridge), absentIsSuccess: true)
            }
        }
        try batch.flush()
    }

    /// Number of rows above which one dump is cheaper than a lookup per row.
    private static let lookupLimit = 64
}

/// Peers that a run of rows adds and deletes. The last row of each counts.
private struct FloodChange {
    var added: Set<TunnelFilter.Peer> = []
    var deleted: Set<TunnelFilter.Peer> = []

    init(_ operations: ArraySlice<KernelOperation>) {
        for operation in operations {
            switch operation {
            case .addFlood(let vni, let vtep):
                added.insert(.init(vni: vni, vtep: vtep))
                deleted.remove(.init(vni: vni, vtep: vtep))
            case .deleteFlood(let vni, let vtep):
                deleted.insert(.init(vni: vni, vtep: vtep))
                added.remove(.init(vni: vni, vtep: vtep))
            default: break
            }
        }
    }
}

/// Requests queued on one socket, each with the operation that it belongs to. Used within one function, so that it stays inside the
/// actor.
struct RowBatch {
    let socket: RouteSocket
    let operations: [KernelOperation]
    private var entries: [(index: Int, absentIsSuccess: Bool)] = []
    private var current = 0

    init(socket: RouteSocket, operations: [KernelOperation]) {
        self.socket = socket
        self.operations = operations
    }

    /// Adds the requests of one operation.
    mutating func build(_ index: Int, _ body: (inout RowBatch) throws(NetlinkError) -> Void) throws(IndexedFailure) {
        current = index
        do {
            try body(&self)
        } catch {
            // Requests that were added before must be sent first, to keep the order.
            try flush()
            throw failure(index, error)
        }
        // One operation adds at most two requests.
        if entries.count >= RouteSocket.batchLimit - 1 { try flush() }
    }

    mutating func add(_ message: borrowing Message, absentIsSuccess: Bool = false) {
        socket.enqueue(message)
        entries.append((current, absentIsSuccess))
    }

    mutating func flush() throws(IndexedFailure) {
        guard let first = entries.first else { return }
        let sent = entries
        entries.removeAll(keepingCapacity: true)
        let failures: [(position: Int, error: NetlinkError)]
        do {
            failures = try socket.flush()
        } catch {
            throw failure(first.index, error)
        }
        for (position, error) in failures {
            let entry = sent[position]
            if entry.absentIsSuccess, [ENOENT, ENODEV, EADDRNOTAVAIL, ESRCH].contains(error.code) { continue }
            throw failure(entry.index, error)
        }
    }

    func guarded<T>(_ index: Int, _ body: () throws(NetlinkError) -> T) throws(IndexedFailure) -> T {
        do {
            return try body()
        } catch {
            throw failure(index, error)
        }
    }

    private func failure(_ index: Int, _ error: NetlinkError) -> IndexedFailure {
        IndexedFailure(index: index, failure: KernelFailure(operations[index].words, error, about: .row))
    }
}

extension KernelOperation {
    /// True if a missing network is no error, because the operation removes something or tells containers that cannot exist then.
    var mayLackNetwork: Bool {
        switch self {
        case .deleteNetwork, .deleteGateway, .deletePort, .reapPorts, .setPortMTU, .deleteForwarding, .deleteNeighbour, .announce,
            .deleteFlood:
            true
        case .createNetwork, .addGateway, .createPort, .mendPort, .setForwarding, .setNeighbour, .addFlood: false
        }
    }

    /// Operation in the words of iproute2.
    var words: String {
        switch self {
        case .setForwarding(_, let mac, .vtep(let vtep)): "fdb replace \(mac) dev \(KernelName.vxlan) dst \(vtep)"
        case .setForwarding(_, let mac, .port(let name)): "fdb replace \(mac) dev \(name)"
        case .deleteForwarding(_, let mac, .vtep(let vtep)): "fdb del \(mac) dev \(KernelName.vxlan) dst \(vtep)"
        case .deleteForwarding(_, let mac, .port(let name)): "fdb del \(mac) dev \(name)"
        case .setNeighbour(_, let address, let mac): "neigh replace \(address) lladdr \(mac) dev \(KernelName.bridge)"
        case .deleteNeighbour(_, let address): "neigh del \(address) dev \(KernelName.bridge)"
        case .announce(_, let address, let mac): "announce \(address) lladdr \(mac)"
        case .addFlood(_, let vtep): "fdb append \(MACAddress.zero) dev \(KernelName.vxlan) dst \(vtep)"
        case .deleteFlood(_, let vtep): "fdb del \(MACAddress.zero) dev \(KernelName.vxlan) dst \(vtep)"
        case .createNetwork(let base): "link add \(KernelName.vxlan) id \(base.vni)"
        case .deleteNetwork(let vni): "netns del \(KernelName.namespace(vni))"
        case .addGateway(_, let prefix): "address replace \(prefix) dev \(KernelName.bridge)"
        case .deleteGateway(_, let prefix): "address del \(prefix) dev \(KernelName.bridge)"
        case .createPort(_, let name, _, _): "link add \(name) type veth"
        case .mendPort(_, let name, _, _): "link set \(name) up"
        case .deletePort(_, let name): "link set \(name) down nomaster group \(Requests.deletedGroup)"
        case .setPortMTU(_, let name, _, _, let mtu): "link set \(name) mtu \(mtu)"
        case .reapPorts: "link del group \(Requests.deletedGroup)"
        }
    }
}
