public import OverlayModel

/// Owner logs (design §5.4): each node numbers the changes of its own endpoints per network and pushes them to every subscriber at once.
/// Subscribers acknowledge; what is not acknowledged is sent again. One writer per log, so nothing ever conflicts; no tombstones, no
/// clocks. A subscriber that lags too far, or that came back without memory, gets a snapshot.
public struct Replication: Sendable {
    public enum Effect: Hashable, Sendable {
        case send(NodeID, [UInt8])
        /// An endpoint of another owner appeared or changed, with what it was before.
        case changed(owner: NodeID, NetworkID, EndpointRecord, was: EndpointRecord?)
        case gone(owner: NodeID, NetworkID, EndpointRecord)
        /// For the first time in this life all of this owner's endpoints on the network are known.
        case synchronised(owner: NodeID, NetworkID)
    }

    static let firstRetry = Interval.milliseconds(10)
    static let lastRetry = Interval.milliseconds(200)
    /// Changes kept for subscribers that lag; beyond, they get a snapshot.
    static let tail = 1024
    /// Bytes of changes in one message, so that it stays below a datagram with its seal.
    static let messageBytes = 1000
    static let messagesPerResend = 8

    public let node: NodeID
    public let boot: UInt32
    private var logs: [NetworkID: OwnLog] = [:]
    /// The highest number any log of this life has used. A log that is made anew starts above it: a subscriber that missed the end of the old
    /// one must not take the new one for something it has.
    private var highest: UInt64 = 0
    /// Peers to which nothing is repeated until they are heard of again.
    private var silent: Set<NodeID> = []
    private var remote: [NetworkID: [NodeID: RemoteLog]] = [:]

    private struct OwnLog: Sendable {
        var sequence: UInt64
        var live: [EndpointID: EndpointRecord] = [:]
        /// The last changes; the newest has the number `sequence`.
        var tail: [LogChange] = []
        var subscribers: [NodeID: Subscriber] = [:]

        /// The oldest sequence whose successor is still in the tail.
        var tailStart: UInt64 { sequence - UInt64(tail.count) }
    }

    private struct Subscriber: Sendable {
        /// nil: nothing is known of what it has; it gets a snapshot.
        var acknowledged: UInt64?
        var sent: UInt64 = 0
        var retry = Replication.firstRetry
        var resendAt: Instant?
    }

    private struct RemoteLog: Sendable {
        var position: LogPosition
        var live: [EndpointID: EndpointRecord]
    }

    public init(node: NodeID, boot: UInt32) {
        self.node = node
        self.boot = boot
    }

    // MARK: The owner's side

    /// Who gets this node's log of a network: the nodes whose engine has the network. Also opens the network for what others send.
    public mutating func subscribe(_ network: NetworkID, to nodes: Set<NodeID>, now: Instant, into effects: inout [Effect]) {
        var log = logs[network] ?? makeLog()
        for node in log.subscribers.keys where !nodes.contains(node) { log.subscribers[node] = nil }
        let new = nodes.filter { $0 != node && log.subscribers[$0] == nil }.sorted()
        for node in new { log.subscribers[node] = Subscriber() }
        logs[network] = log
        if remote[network] == nil { remote[network] = [:] }
        for node in new { push(network, to: node, now: now, into: &effects) }
        for owner in (remote[network] ?? [:]).keys.sorted() where !nodes.contains(owner) {
            drop(owner, of: network, into: &effects)
        }
    }

    private mutating func makeLog() -> OwnLog {
        highest += 1
        return OwnLog(sequence: highest)
    }

    /// This node has no part in the network any more.
    public mutating func unsubscribe(_ network: NetworkID, into effects: inout [Effect]) {
        logs[network] = nil
        for owner in (remote[network] ?? [:]).keys.sorted() { drop(owner, of: network, into: &effects) }
        remote[network] = nil
    }

    public mutating func put(_ record: EndpointRecord, on network: NetworkID, now: Instant, into effects: inout [Effect]) {
        guard logs[network]?.live[record.endpoint] != record else { return }
        append(.endpoint(record), to: network, now: now, into: &effects)
    }

    public mutating func remove(_ endpoint: EndpointID, from network: NetworkID, now: Instant, into effects: inout [Effect]) {
        guard logs[network]?.live[endpoint] != nil else { return }
        append(.gone(endpoint), to: network, now: now, into: &effects)
    }

    private mutating func append(_ change: LogChange, to network: NetworkID, now: Instant, into effects: inout [Effect]) {
        var log = logs[network] ?? makeLog()
        log.sequence += 1
        highest = max(highest, log.sequence)
        switch change {
        case .endpoint(let record): log.live[record.endpoint] = record
        case .gone(let endpoint): log.live[endpoint] = nil
        }
        log.tail.append(change)
        if log.tail.count > 2 * Self.tail { log.tail.removeFirst(log.tail.count - Self.tail) }
        logs[network] = log
        for node in log.subscribers.keys.sorted() { push(network, to: node, now: now, into: &effects) }
    }

    /// Sends what was not sent yet.
    private mutating func push(_ network: NetworkID, to peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let log = logs[network], var subscriber = log.subscribers[peer] else { return }
        if let acknowledged = subscriber.acknowledged {
            let after = max(subscriber.sent, acknowledged)
            guard after < log.sequence else { return }
            send(log, network, after: after, to: peer, limit: .max, into: &effects)
        } else if subscriber.resendAt == nil {
            sendSnapshot(log, network, to: peer, into: &effects)
        } else if subscriber.sent < log.sequence {
            // The snapshot is on its way; what came after it follows, and is repeated with it if it was lost.
            send(log, network, after: subscriber.sent, to: peer, limit: .max, into: &effects)
        }
        subscriber.sent = log.sequence
        if subscriber.resendAt == nil { subscriber.resendAt = now + subscriber.retry }
        logs[network]?.subscribers[peer] = subscriber
    }

    private func sendSnapshot(_ log: OwnLog, _ network: NetworkID, to peer: NodeID, into effects: inout [Effect]) {
        let records = log.live.values.sorted { $0.endpoint < $1.endpoint }
        let position = LogPosition(boot: boot, sequence: log.sequence)
        effects.append(.send(peer, ReplicationMessage.snapshot(network, position, records).wireBytes))
    }

    private func send(
        _ log: OwnLog, _ network: NetworkID, after: UInt64, to peer: NodeID, limit: Int, into effects: inout [Effect]
    ) {
        guard after >= log.tailStart else { return sendSnapshot(log, network, to: peer, into: &effects) }
        var position = after
        var batch: [LogChange] = []
        var bytes = 0
        var messages = 0
        for change in log.tail[(log.tail.count - Int(log.sequence - after))...] {
            let size = change.wireBytes.count
            if !batch.isEmpty, bytes + size > Self.messageBytes {
                effects.append(
                    .send(peer, ReplicationMessage.changes(network, boot: boot, after: position, batch).wireBytes))
                position += UInt64(batch.count)
                batch = []
                bytes = 0
                messages += 1
                if messages == limit { return }
            }
            batch.append(change)
            bytes += size
        }
        if !batch.isEmpty {
            effects.append(.send(peer, ReplicationMessage.changes(network, boot: boot, after: position, batch).wireBytes))
        }
    }

    // MARK: Messages

    /// Takes a message of an authenticated member.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) throws(DecodeError) {
        switch try ReplicationMessage(wire: bytes) {
        case .acknowledge(let network, let position):
            acknowledge(network, position, from: peer, now: now, into: &effects)
        case .changes(let network, let boot, let after, let changes):
            take(changes, of: network, boot: boot, after: after, from: peer, into: &effects)
        case .snapshot(let network, let position, let records):
            take(records, of: network, at: position, from: peer, into: &effects)
        }
    }

    private mutating func acknowledge(
        _ network: NetworkID, _ position: LogPosition, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard let log = logs[network], var subscriber = log.subscribers[peer] else { return }
        guard position.boot == boot, position.sequence <= log.sequence else {
            // It has nothing, or something of an earlier life of ours: a snapshot puts it right.
            if subscriber.acknowledged != nil {
                subscriber = Subscriber()
                logs[network]?.subscribers[peer] = subscriber
                push(network, to: peer, now: now, into: &effects)
            }
            return
        }
        guard position.sequence > (subscriber.acknowledged ?? 0) || subscriber.acknowledged == nil else { return }
        subscriber.acknowledged = position.sequence
        subscriber.sent = max(subscriber.sent, position.sequence)
        subscriber.retry = Self.firstRetry
        subscriber.resendAt = position.sequence == log.sequence ? nil : now + subscriber.retry
        logs[network]?.subscribers[peer] = subscriber
    }

    private mutating func take(
        _ changes: [LogChange], of network: NetworkID, boot: UInt32, after: UInt64, from owner: NodeID,
        into effects: inout [Effect]
    ) {
        guard isFollowed(owner, on: network) else { return }
        guard var log = remote[network]?[owner], log.position.boot == boot, after <= log.position.sequence else {
            // A gap: tell what is here, and the owner sends what is missing.
            let have = remote[network]?[owner]?.position ?? LogPosition(boot: 0, sequence: 0)
            effects.append(.send(owner, ReplicationMessage.acknowledge(network, have).wireBytes))
            return
        }
        remote[network]?[owner] = nil
        for (offset, change) in changes.enumerated() where after + UInt64(offset) + 1 > log.position.sequence {
            log.position.sequence += 1
            switch change {
            case .endpoint(let record):
                guard log.live.count < Limits.endpointsPerLog || log.live[record.endpoint] != nil else { continue }
                let old = log.live.updateValue(record, forKey: record.endpoint)
                if old != record { effects.append(.changed(owner: owner, network, record, was: old)) }
            case .gone(let endpoint):
                if let old = log.live.removeValue(forKey: endpoint) { effects.append(.gone(owner: owner, network, old)) }
            }
        }
        remote[network]?[owner] = log
        effects.append(.send(owner, ReplicationMessage.acknowledge(network, log.position).wireBytes))
    }

    private mutating func take(
        _ records: [EndpointRecord], of network: NetworkID, at position: LogPosition, from owner: NodeID,
        into effects: inout [Effect]
    ) {
        guard isFollowed(owner, on: network), let known = remote[network] else { return }
        if let log = known[owner], log.position >= position {
            effects.append(.send(owner, ReplicationMessage.acknowledge(network, log.position).wireBytes))
            return
        }
        var live: [EndpointID: EndpointRecord] = [:]
        for record in records { live[record.endpoint] = record }
        let old = known[owner]?.live ?? [:]
        for record in old.values.sorted(by: { $0.endpoint < $1.endpoint }) where live[record.endpoint] == nil {
            effects.append(.gone(owner: owner, network, record))
        }
        for record in records where old[record.endpoint] != record {
            effects.append(.changed(owner: owner, network, record, was: old[record.endpoint]))
        }
        remote[network]?[owner] = RemoteLog(position: position, live: live)
        if known[owner] == nil { effects.append(.synchronised(owner: owner, network)) }
        effects.append(.send(owner, ReplicationMessage.acknowledge(network, position).wireBytes))
    }

    /// Late words of one who left are not taken, and early ones of one who is not known to be a user yet come again.
    private func isFollowed(_ owner: NodeID, on network: NetworkID) -> Bool { logs[network]?.subscribers[owner] != nil }

    private mutating func drop(_ owner: NodeID, of network: NetworkID, into effects: inout [Effect]) {
        guard let log = remote[network]?.removeValue(forKey: owner) else { return }
        for record in log.live.values.sorted(by: { $0.endpoint < $1.endpoint }) {
            effects.append(.gone(owner: owner, network, record))
        }
    }

    // MARK: Repair

    /// What this node holds of `owner`'s logs, as one number; told with every probe.
    public func digest(of owner: NodeID) -> UInt64 {
        var hash = Digest()
        for network in remote.keys.sorted() {
            if let log = remote[network]?[owner] { hash.combine(network, log.position) }
        }
        return hash.value
    }

    /// A peer told its ``digest(of:)`` of this node. When nothing is on its way to the peer and the numbers differ, it has forgotten
    /// something, or holds what is no more: it gets snapshots.
    public mutating func compare(_ digest: UInt64, with peer: NodeID, now: Instant, into effects: inout [Effect]) {
        var hash = Digest()
        for network in logs.keys.sorted() {
            guard let log = logs[network], let subscriber = log.subscribers[peer] else { continue }
            guard subscriber.acknowledged == log.sequence else { return }
            hash.combine(network, LogPosition(boot: boot, sequence: log.sequence))
        }
        guard hash.value != digest else { return }
        reset(peer, now: now, into: &effects)
    }

    /// Nothing is known any more of what the peer has.
    public mutating func reset(_ peer: NodeID, now: Instant, into effects: inout [Effect]) {
        for network in logs.keys.sorted() where logs[network]?.subscribers[peer] != nil {
            logs[network]?.subscribers[peer] = Subscriber()
            push(network, to: peer, now: now, into: &effects)
        }
    }

    /// FNV-1a over positions.
    private struct Digest {
        var value: UInt64 = 0xCBF2_9CE4_8422_2325

        mutating func combine(_ network: NetworkID, _ position: LogPosition) {
            for byte in network.bytes + position.wireBytes { value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        }
    }

    // MARK: Time and reading

    public var nextDeadline: Instant? {
        logs.values.lazy.flatMap { [silent] in $0.subscribers.lazy.filter { !silent.contains($0.key) }.compactMap(\.value.resendAt)
        }.min()
    }

    /// A peer that does not answer gets no repeats; when it is back, it gets what it lacks at once.
    public mutating func setReachable(_ peer: NodeID, _ isReachable: Bool, now: Instant, into effects: inout [Effect]) {
        guard isReachable else {
            silent.insert(peer)
            return
        }
        guard silent.remove(peer) != nil else { return }
        for network in logs.keys where logs[network]?.subscribers[peer]?.resendAt != nil {
            logs[network]?.subscribers[peer]?.resendAt = now
            logs[network]?.subscribers[peer]?.retry = Self.firstRetry
        }
        advance(to: now, into: &effects)
    }

    public mutating func advance(to now: Instant, into effects: inout [Effect]) {
        for network in logs.keys.sorted() {
            guard let log = logs[network] else { continue }
            for peer in log.subscribers.keys.sorted() {
                guard var subscriber = log.subscribers[peer], let at = subscriber.resendAt, at <= now, !silent.contains(peer)
                else { continue }
                if let acknowledged = subscriber.acknowledged {
                    send(log, network, after: acknowledged, to: peer, limit: Self.messagesPerResend, into: &effects)
                } else {
                    sendSnapshot(log, network, to: peer, into: &effects)
                }
                subscriber.sent = log.sequence
                subscriber.retry = min(subscriber.retry * 2, Self.lastRetry)
                subscriber.resendAt = now + subscriber.retry
                logs[network]?.subscribers[peer] = subscriber
            }
        }
    }

    /// The endpoints of other owners on a network.
    public func endpoints(on network: NetworkID) -> [(owner: NodeID, record: EndpointRecord)] {
        (remote[network] ?? [:]).sorted { $0.key < $1.key }.flatMap { owner, log in
            log.live.values.sorted { $0.endpoint < $1.endpoint }.map { (owner, $0) }
        }
    }

    /// How many endpoints an owner has on a network.
    public func count(of owner: NodeID, on network: NetworkID) -> Int { remote[network]?[owner]?.live.count ?? 0 }

    /// Does this node know all of the owner's endpoints on the network?
    public func isSynchronised(with owner: NodeID, on network: NetworkID) -> Bool { remote[network]?[owner] != nil }

    /// Has every subscriber acknowledged all of this node's log of the network?
    public func isAcknowledged(_ network: NetworkID) -> Bool {
        guard let log = logs[network] else { return true }
        return log.subscribers.values.allSatisfy { $0.acknowledged == log.sequence }
    }
}
