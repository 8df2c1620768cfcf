public import OverlayModel

// Repair: answers to peers that ask, and digests that show which peer lacks what.

extension Replication {
    // MARK: Giving

    /// Answers a peer that has `have` of a log and asks for what follows, or for parts of a snapshot. Any node that has the log answers.
    mutating func answer(
        _ key: LogKey, have: LogPosition, _ part: PartRequest?, to peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard isFollowed(peer, on: key.network) else { return }
        let isOwn = key.owner == node
        if let part, let snapshot = prepared(key, part.position, now: now) {
            if isOwn { isCollecting(peer, key.network, now: now) }
            let parts = snapshot.parts.dropFirst(Int(part.first)).prefix(Int(part.count))
            for message in parts { effects.append(.send(peer, message)) }
            counters.snapshotParts += UInt64(parts.count)
            return
        }
        let position = isOwn ? networks[key.network]?.own.position : networks[key.network]?.remotes[key.owner]?.log?.position
        guard let position, have < position else {
            if isOwn { acknowledged(have, of: key.network, by: peer, now: now, into: &effects) }
            guard isOwn || isFollowed(key.owner, on: key.network) else { return }
            let entry = VectorEntry(owner: key.owner, position: position ?? .none)
            effects.append(.send(peer, ReplicationMessage.vector(key.network, [entry], isAnswer: true).wireBytes))
            return
        }
        if isOwn { return correct(have, of: key.network, by: peer, limit: Self.batchesPerPull, now: now, into: &effects) }
        if have.life == position.life,
            let batches = networks[key.network]?.remotes[key.owner]?.log?.batches(after: have.sequence, limit: Self.batchesPerPull),
            !batches.isEmpty
        {
            for batch in batches { effects.append(.send(peer, batch.message)) }
            counters.batchesResent += UInt64(batches.count)
        } else if let first = prepare(key, now: now)?.parts.first {
            effects.append(.send(peer, first))
            counters.snapshotParts += 1
        }
    }

    /// Snapshot of a log for a peer that asks now.
    mutating func prepare(_ key: LogKey, now: Instant) -> OwnerLog.Prepared? {
        let snapshot =
            key.owner == node
            ? networks[key.network]?.own.snapshot(at: now) : networks[key.network]?.remotes[key.owner]?.log?.snapshot(at: now)
        if let snapshot, snapshot.parts.count > 1 { timers.set(.forget(key), noLaterThan: now + Self.snapshotKept) }
        return snapshot
    }

    private mutating func prepared(_ key: LogKey, _ position: LogPosition, now: Instant) -> OwnerLog.Prepared? {
        key.owner == node
            ? networks[key.network]?.own.snapshot(of: position, at: now)
            : networks[key.network]?.remotes[key.owner]?.log?.snapshot(of: position, at: now)
    }

    mutating func forgetSnapshot(_ key: LogKey, now: Instant) {
        let log = key.owner == node ? networks[key.network]?.own : networks[key.network]?.remotes[key.owner]?.log
        guard let askedAt = log?.snapshotAskedAt else { return }
        if askedAt + Self.snapshotKept > now { return timers.set(.forget(key), at: askedAt + Self.snapshotKept) }
        if key.owner == node {
            networks[key.network]?.own.forgetSnapshot()
        } else {
            networks[key.network]?.remotes[key.owner]?.log?.forgetSnapshot()
        }
    }

    // MARK: Digests

    /// Hash of what this node holds of the networks that it shares with a peer, sent with every probe. 0 if they share none.
    public mutating func digest(with peer: NodeID) -> UInt64 {
        fold()
        return peers[peer]?.digest ?? 0
    }

    /// Updates the digests of the peers with the changed views of networks.
    private mutating func fold() {
        // The order does not matter: everything is XOR.
        for network in unfolded {
            guard let logs = networks[network] else { continue }
            let new = ViewHash.view(logs.view, of: network)
            networks[network]?.folded = new
            for peer in logs.order { peers[peer]?.digest ^= logs.folded ^ new }
        }
        unfolded = []
    }

    /// Takes the ``digest(with:)`` that a peer has for this node. If it differs for longer than a change is under way, the views
    /// are compared.
    public mutating func compare(_ digest: UInt64, with peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard peers[peer]?.networks.isEmpty == false, self.digest(with: peer) != digest else { return }
        armCheck(of: peer, now: now)
    }

    mutating func armCheck(of peer: NodeID, now: Instant) {
        guard timers[.check(peer)] == nil else { return }
        if let last = peers[peer]?.checkedAt, now - last < Self.checkSpacing { return }
        timers.set(.check(peer), at: now + Self.checkDelay)
    }

    /// Sends a peer the views of shared networks, a bounded number at a time.
    mutating func check(_ peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let known = peers[peer], known.isReachable, !known.networks.isEmpty else { return }
        peers[peer]?.checkedAt = now
        let shared = known.networks.sorted()
        let limit = Self.compareMessages * ReplicationMessage.viewLimit
        let start = shared.count > limit ? known.rotation % shared.count : 0
        peers[peer]?.rotation = shared.count > limit ? (start + limit) % shared.count : 0
        let views = (shared[start...] + shared[..<start]).prefix(limit).map {
            NetworkView(network: $0, hash: networks[$0]?.view ?? 0)
        }
        for chunk in views.chunks(of: ReplicationMessage.viewLimit) {
            effects.append(.send(peer, ReplicationMessage.compare(chunk).wireBytes))
        }
    }

    // MARK: Vectors

    /// Sends a peer the vectors of networks for which it has another view.
    mutating func answer(_ views: [NetworkView], to peer: NodeID, into effects: inout [Effect]) {
        var left = Self.vectorMessages
        for view in views where left > 0 {
            guard let logs = networks[view.network], logs.subscribers[peer] != nil, logs.view != view.hash else { continue }
            let entries =
                [VectorEntry(owner: node, position: logs.own.position)]
                + logs.order.map { VectorEntry(owner: $0, position: logs.remotes[$0]?.position ?? .none) }
            for chunk in entries.chunks(of: ReplicationMessage.vectorLimit) {
                effects.append(.send(peer, ReplicationMessage.vector(view.network, chunk, isAnswer: false).wireBytes))
                left -= 1
            }
        }
    }

    /// Takes a peer's vector: asks it for what it has more, and answers with what it has less.
    mutating func take(
        _ entries: [VectorEntry], of network: NetworkID, isAnswer: Bool, from peer: NodeID, now: Instant,
        into effects: inout [Effect]
    ) {
        guard isFollowed(peer, on: network) else { return }
        var more: [VectorEntry] = []
        for entry in entries {
            if entry.owner == node {
                takeOwn(entry.position, of: network, from: peer, now: now, into: &effects)
                continue
            }
            guard isFollowed(entry.owner, on: network) else { continue }
            let key = LogKey(network: network, owner: entry.owner)
            let position = networks[network]?.remotes[entry.owner]?.position ?? .none
            if entry.position > position {
                catchUp(key, entry.position, shownBy: peer, now: now, into: &effects)
            } else {
                exhausted(key, entry.position, at: peer)
                if entry.position < position, entry.owner != peer {
                    more.append(VectorEntry(owner: entry.owner, position: position))
                }
            }
        }
        guard !isAnswer, !more.isEmpty else { return }
        effects.append(.send(peer, ReplicationMessage.vector(network, more, isAnswer: true).wireBytes))
    }

    /// Takes the position that a peer has of this node's own log. If it is below what the peer acknowledged, the peer lost its memory.
    private mutating func takeOwn(
        _ position: LogPosition, of network: NetworkID, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard let subscriber = networks[network]?.subscribers[peer] else { return }
        let acknowledged = subscriber.acknowledged.map { LogPosition(life: life, sequence: $0) }
        if let acknowledged, position < acknowledged {
            correct(position, of: network, by: peer, limit: Self.batchesPerResend, now: now, into: &effects)
        } else {
            self.acknowledged(position, of: network, by: peer, now: now, into: &effects)
        }
    }
}

extension Array {
    fileprivate func chunks(of size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
    }
}
