public import OverlayModel

// The owner: changes become batches, which are sent until each subscriber has acknowledged them.

extension Replication {
    /// Records that this node's kernel has the network.
    public mutating func attach(_ attachment: Attachment, to network: NetworkID, now: Instant, into effects: inout [Effect]) {
        record(.attach(attachment), on: network, now: now, into: &effects)
    }

    /// Records that this node's kernel no longer has the network, nor any endpoint of it.
    public mutating func detach(from network: NetworkID, now: Instant, into effects: inout [Effect]) {
        record(.detach, on: network, now: now, into: &effects)
    }

    /// Records an endpoint; nothing beyond ``Limits/endpointsPerLog`` and ``Limits/namePartsPerLog``, as no node would take it.
    public mutating func put(_ record: EndpointRecord, on network: NetworkID, now: Instant, into effects: inout [Effect]) {
        open(network)
        for change in networks[network]?.changes(to: record) ?? [] { self.record(change, on: network, now: now, into: &effects) }
    }

    public mutating func remove(_ endpoint: EndpointID, from network: NetworkID, now: Instant, into effects: inout [Effect]) {
        record(.gone(endpoint), on: network, now: now, into: &effects)
    }

    /// Records all that an endpoint claims. It goes with the endpoint.
    public mutating func put(_ claims: EndpointClaims, on network: NetworkID, now: Instant, into effects: inout [Effect]) {
        record(.claims(claims), on: network, now: now, into: &effects)
    }

    mutating func open(_ network: NetworkID) {
        guard networks[network] == nil else { return }
        highest += 1
        let key = LogKey(network: network, owner: node)
        let log = OwnerLog(own: key, at: LogPosition(life: life, sequence: highest), signing: signing)
        networks[network] = NetworkLogs(own: log, view: ViewHash.position(of: node, log.position))
        unfolded.insert(network)
    }

    mutating func record(_ change: LogChange, on network: NetworkID, now: Instant, into effects: inout [Effect]) {
        guard change.version <= settings.versionInUse else { return }
        open(network)
        guard let added = networks[network]?.add(change) else { return }
        switch added {
        case .same: return
        case .full(let reason): return reject(reason, LogKey(network: network, owner: node), from: node, into: &effects)
        case .added: break
        }
        // After a pause it is flushed at once, but together with all other changes of this instant: an attachment and its first
        // endpoint make one batch.
        let last = networks[network]?.flushedAt
        timers.set(.flush(network), noLaterThan: max(now, last.map { $0 + Self.coalescing } ?? now))
    }

    /// Signs pending changes in batches and sends them.
    mutating func flush(_ network: NetworkID, now: Instant, into effects: inout [Effect]) {
        timers.clear(.flush(network))
        guard let pending = networks[network]?.pending, !pending.isEmpty, let old = networks[network]?.own.position else { return }
        networks[network]?.pending = PendingChanges()
        networks[network]?.flushedAt = now
        let signing = signing
        for batch in pending.batches() { networks[network]?.own.extend(batch, signing: signing) }
        guard let new = networks[network]?.own.position, let order = networks[network]?.order else { return }
        highest = max(highest, new.sequence)
        moved(LogKey(network: network, owner: node), from: old, to: new)
        if order.count > settings.relayThreshold {
            spread(network, after: old.sequence, now: now, into: &effects)
        } else {
            for peer in order { push(network, to: peer, now: now, into: &effects) }
        }
    }

    /// Sends new batches to the relays alone; they pass them on. Each subscriber acknowledges to this node, and gets from it what
    /// the relays lost.
    private mutating func spread(_ network: NetworkID, after: UInt64, now: Instant, into effects: inout [Effect]) {
        guard let logs = networks[network] else { return }
        let key = LogKey(network: network, owner: node)
        let groups = Relays.groups(of: logs.order.count)
        let relays = logs.relays ?? Relays.plan(key, subscribers: logs.order.filter(isReachable), groups: groups)
        networks[network]?.relays = relays
        let batches = logs.own.batches(after: after, limit: Self.window)
        for (index, relay) in relays.enumerated() {
            let group = RelayGroup(index: UInt16(index), of: UInt16(groups))
            for batch in batches { effects.append(.send(relay, OwnerLog.relayed(batch.message, group))) }
            counters.batchesSent += UInt64(batches.count)
        }
        for peer in logs.order where isReachable(peer) {
            guard let subscriber = logs.subscribers[peer] else { continue }
            if subscriber.acknowledged ?? subscriber.offered == nil {
                offer(network, to: peer, now: now, into: &effects)
                continue
            }
            // A subscriber that lagged has a gap now. It asks, or the timer repeats.
            if !subscriber.isAssembling, subscriber.sent == after, let end = batches.last?.end {
                networks[network]?.subscribers[peer]?.sent = end
            }
            arm(network, peer, now: now)
        }
    }

    /// Sends a subscriber what it was not sent yet, as far as the window allows.
    mutating func push(_ network: NetworkID, to peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let subscriber = networks[network]?.subscribers[peer], isReachable(peer) else { return }
        guard let floor = subscriber.acknowledged ?? subscriber.offered else {
            return offer(network, to: peer, now: now, into: &effects)
        }
        guard !subscriber.isAssembling, let position = networks[network]?.own.position.sequence, floor < position else { return }
        let from = max(subscriber.sent, floor)
        guard networks[network]?.own.reaches(back: floor) == true else {
            return offer(network, to: peer, now: now, into: &effects)
        }
        let batches = networks[network]?.own.batches(after: floor, limit: Self.window).drop { $0.after < from } ?? []
        for batch in batches { effects.append(.send(peer, batch.message)) }
        counters.batchesSent += UInt64(batches.count)
        if let end = batches.last?.end { networks[network]?.subscribers[peer]?.sent = end }
        arm(network, peer, now: now)
    }

    /// Sends the first part of a snapshot to a subscriber that lags too far or whose position is not known. It asks for the others.
    private mutating func offer(_ network: NetworkID, to peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let snapshot = prepare(LogKey(network: network, owner: node), now: now), let first = snapshot.parts.first else {
            return
        }
        effects.append(.send(peer, first))
        counters.snapshotParts += 1
        networks[network]?.subscribers[peer]?.acknowledged = nil
        networks[network]?.subscribers[peer]?.offered = snapshot.position.sequence
        networks[network]?.subscribers[peer]?.isAssembling = snapshot.parts.count > 1
        networks[network]?.subscribers[peer]?.sent = snapshot.position.sequence
        arm(network, peer, now: now)
    }

    /// Sets the timer of the next repeat, unless it runs.
    private mutating func arm(_ network: NetworkID, _ peer: NodeID, now: Instant) {
        let timer = Timer.resend(network, peer)
        guard timers[timer] == nil else { return }
        timers.set(timer, at: now + (networks[network]?.subscribers[peer]?.retry ?? firstRetry(peer)))
    }

    /// Pause before the first repeat: two round trips, and at least as long as a quick answer takes on a busy host.
    private func firstRetry(_ peer: NodeID) -> Interval { max(Self.firstRetry, (peers[peer]?.roundTrip ?? Self.coalescing) * 2) }

    /// Repeats the oldest of what a subscriber has not acknowledged.
    mutating func resend(_ network: NetworkID, to peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let subscriber = networks[network]?.subscribers[peer], let position = networks[network]?.own.position.sequence,
            subscriber.acknowledged != position, isReachable(peer)
        else { return }
        let first = firstRetry(peer)
        let retry = min((subscriber.retry ?? first) * 2, max(first, Self.lastRetry))
        networks[network]?.subscribers[peer]?.retry = retry
        timers.clear(.resend(network, peer))
        if let acknowledged = subscriber.acknowledged, networks[network]?.own.reaches(back: acknowledged) == true {
            // Later batches count as lost, and are sent when these are acknowledged.
            let end = send(network, to: peer, after: acknowledged, limit: Self.batchesPerResend, into: &effects)
            networks[network]?.subscribers[peer]?.sent = end
            arm(network, peer, now: now)
        } else {
            offer(network, to: peer, now: now, into: &effects)
        }
    }

    /// Repeats batches.
    /// - Returns: Sequence at which they end.
    private mutating func send(
        _ network: NetworkID, to peer: NodeID, after: UInt64, limit: Int, into effects: inout [Effect]
    ) -> UInt64 {
        let batches = networks[network]?.own.batches(after: after, limit: limit) ?? []
        for batch in batches { effects.append(.send(peer, batch.message)) }
        counters.batchesResent += UInt64(batches.count)
        return batches.last?.end ?? after
    }

    // MARK: Acknowledgements

    /// Takes a subscriber's acknowledgement of everything up to `position`.
    mutating func take(
        _ position: LogPosition, of network: NetworkID, view: UInt64, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard isFollowed(peer, on: network) else { return }
        acknowledged(position, of: network, by: peer, now: now, into: &effects)
        // While changes are under way, views differ without a meaning.
        guard networks[network]?.own.position == position, networks[network]?.view != view else { return }
        armCheck(of: peer, now: now)
    }

    mutating func acknowledged(
        _ position: LogPosition, of network: NetworkID, by peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        guard let subscriber = networks[network]?.subscribers[peer], let own = networks[network]?.own.position else { return }
        guard position <= own else {
            return reject(.ownLogAhead, LogKey(network: network, owner: node), from: peer, into: &effects)
        }
        guard position.life == life, subscriber.acknowledged.map({ $0 < position.sequence }) ?? true else { return }
        // There are no positions within a batch.
        guard networks[network]?.own.reaches(back: position.sequence) == true else { return }
        networks[network]?.subscribers[peer]?.acknowledged = position.sequence
        networks[network]?.subscribers[peer]?.sent = max(subscriber.sent, position.sequence)
        networks[network]?.subscribers[peer]?.isAssembling = false
        networks[network]?.subscribers[peer]?.retry = nil
        timers.clear(.resend(network, peer))
        if position != own { push(network, to: peer, now: now, into: &effects) }
    }

    /// Takes the position that a subscriber itself reports: it asks for more, or has lost something.
    mutating func correct(
        _ have: LogPosition, of network: NetworkID, by peer: NodeID, limit: Int, now: Instant, into effects: inout [Effect]
    ) {
        guard let own = networks[network]?.own.position, let sent = networks[network]?.subscribers[peer]?.sent else { return }
        timers.clear(.resend(network, peer))
        networks[network]?.subscribers[peer]?.retry = nil
        if have.life == life, have < own, networks[network]?.own.reaches(back: have.sequence) == true {
            networks[network]?.subscribers[peer]?.acknowledged = have.sequence
            networks[network]?.subscribers[peer]?.isAssembling = false
            let end = send(network, to: peer, after: have.sequence, limit: limit, into: &effects)
            networks[network]?.subscribers[peer]?.sent = max(sent, end)
            arm(network, peer, now: now)
        } else {
            offer(network, to: peer, now: now, into: &effects)
        }
    }

    mutating func reject(_ reason: Rejection, _ key: LogKey, from peer: NodeID, into effects: inout [Effect]) {
        counters.rejected += 1
        effects.append(.rejected(from: peer, owner: key.owner, key.network, reason))
    }

    /// Takes note that a subscriber collects a snapshot, which need not be offered again for a while.
    mutating func isCollecting(_ peer: NodeID, _ network: NetworkID, now: Instant) {
        guard let subscriber = networks[network]?.subscribers[peer], subscriber.acknowledged == nil, isReachable(peer) else {
            return
        }
        timers.set(.resend(network, peer), at: now + Self.lastRetry)
    }
}
