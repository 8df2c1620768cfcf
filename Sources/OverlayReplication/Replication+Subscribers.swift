public import OverlayModel

extension Replication {
    // MARK: Subscribers

    /// Sets the nodes that get this node's log of a network: those whose engine has it. Also opens the network for their logs.
    public mutating func subscribe(_ network: NetworkID, to nodes: Set<NodeID>, now: Instant, into effects: inout [Effect]) {
        open(network)
        // A new subscriber gets the log with all changes of this instant.
        flush(network, now: now, into: &effects)
        let lost = (networks[network]?.order ?? []).filter { !nodes.contains($0) }
        let new = nodes.filter { $0 != node && networks[network]?.subscribers[$0] == nil }.sorted()
        guard !lost.isEmpty || !new.isEmpty else { return }
        for peer in lost { drop(peer, of: network, into: &effects) }
        let folded = networks[network]?.folded ?? 0
        for peer in new {
            networks[network]?.subscribers[peer] = Subscriber()
            peers[peer, default: Peer()].networks.insert(network)
            peers[peer]?.digest ^= folded
        }
        let order = networks[network]?.subscribers.keys.sorted() ?? []
        networks[network]?.order = order
        networks[network]?.relays = nil
        networks[network]?.version += 1
        for peer in new { push(network, to: peer, now: now, into: &effects) }
    }

    /// Leaves a network.
    public mutating func unsubscribe(_ network: NetworkID, into effects: inout [Effect]) {
        guard let order = networks[network]?.order else { return }
        for peer in order { drop(peer, of: network, into: &effects) }
        timers.clear(.flush(network))
        timers.clear(.forget(LogKey(network: network, owner: node)))
        networks[network] = nil
        unfolded.remove(network)
    }

    /// Forgets a node that has left the network, and what it had there.
    private mutating func drop(_ peer: NodeID, of network: NetworkID, into effects: inout [Effect]) {
        let key = LogKey(network: network, owner: peer)
        for timer in [Timer.resend(network, peer), .acknowledge(key), .pull(key), .forget(key)] { timers.clear(timer) }
        release(key)
        networks[network]?.subscribers[peer] = nil
        peers[peer]?.networks.remove(network)
        peers[peer]?.digest ^= networks[network]?.folded ?? 0
        guard let log = networks[network]?.remotes.removeValue(forKey: peer)?.log else { return }
        moved(key, from: log.position, to: .none)
        tell(log.contents.differences(to: LogContents()), of: key, into: &effects)
    }

    func tell(_ differences: [LogDifference], of key: LogKey, into effects: inout [Effect]) {
        effects += differences.map { $0.effect(of: key) }
    }

    // MARK: Peers

    /// A peer that does not answer is sent nothing; when it is back, it gets what it lacks at once.
    public mutating func setReachable(_ peer: NodeID, _ isReachable: Bool, now: Instant, into effects: inout [Effect]) {
        guard self.isReachable(peer) != isReachable else { return }
        peers[peer, default: Peer()].isReachable = isReachable
        for network in (peers[peer]?.networks ?? []).sorted() {
            networks[network]?.relays = nil
            if isReachable {
                networks[network]?.subscribers[peer]?.retry = nil
                resend(network, to: peer, now: now, into: &effects)
            } else {
                timers.clear(.resend(network, peer))
            }
        }
    }

    /// Forgets what a peer has, because it was restarted.
    public mutating func reset(_ peer: NodeID, now: Instant, into effects: inout [Effect]) {
        for network in (peers[peer]?.networks ?? []).sorted() {
            networks[network]?.subscribers[peer] = Subscriber()
            timers.clear(.resend(network, peer))
            push(network, to: peer, now: now, into: &effects)
        }
    }

    // MARK: Reading

    /// The endpoints of other owners on a network.
    public func endpoints(on network: NetworkID) -> [(owner: NodeID, record: EndpointRecord)] {
        (networks[network]?.order ?? []).flatMap { owner in endpoints(of: owner, on: network).map { (owner, $0) } }
    }

    public func endpoints(of owner: NodeID, on network: NetworkID) -> [EndpointRecord] {
        log(of: owner, on: network)?.contents.records ?? []
    }

    /// Record of an endpoint of an owner.
    public func record(of endpoint: EndpointID, of owner: NodeID, on network: NetworkID) -> EndpointRecord? {
        log(of: owner, on: network)?.contents.record(of: endpoint)
    }

    /// Attachment of an owner to the network; nil if it has none, or it is not known.
    public func attachment(of owner: NodeID, on network: NetworkID) -> Attachment? {
        log(of: owner, on: network)?.contents.attachment
    }

    /// Number of endpoints of an owner on a network.
    public func count(of owner: NodeID, on network: NetworkID) -> Int { log(of: owner, on: network)?.contents.count ?? 0 }

    /// Position of an owner's log here.
    public func position(of owner: NodeID, on network: NetworkID) -> LogPosition? { log(of: owner, on: network)?.position }

    /// True if this node has a complete state of the owner's endpoints on the network, even if not the latest.
    public func isSynchronised(with owner: NodeID, on network: NetworkID) -> Bool { log(of: owner, on: network) != nil }

    private func log(of owner: NodeID, on network: NetworkID) -> OwnerLog? {
        owner == node ? networks[network]?.own : networks[network]?.remotes[owner]?.log
    }

    /// True if every subscriber has acknowledged all of this node's log of the network.
    public func isAcknowledged(_ network: NetworkID) -> Bool {
        guard let logs = networks[network] else { return true }
        return logs.pending.isEmpty && logs.subscribers.values.allSatisfy { $0.acknowledged == logs.own.position.sequence }
    }

    /// True if nothing is pending, unacknowledged by a reachable peer, or being pulled.
    public var isQuiet: Bool {
        timers.keys.allSatisfy {
            switch $0 {
            case .flush, .resend, .acknowledge, .pull: false
            case .check, .forget: true
            }
        }
    }
}

extension LogDifference {
    /// The difference as it is told to the node.
    fileprivate func effect(of key: LogKey) -> Replication.Effect {
        switch self {
        case .attached(let attachment, let old): .attached(owner: key.owner, key.network, attachment, was: old)
        case .detached(let attachment): .detached(owner: key.owner, key.network, attachment)
        case .changed(let record, let old): .changed(owner: key.owner, key.network, record, was: old)
        case .gone(let record): .gone(owner: key.owner, key.network, record)
        case .claimed(let claims, let old): .claimed(owner: key.owner, key.network, claims, was: old)
        }
    }
}
