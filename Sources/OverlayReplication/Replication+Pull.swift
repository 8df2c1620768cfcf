import OverlayModel

// Getting what others have and this node does not: it asks, and takes batches or a snapshot part by part.

extension Replication {
    /// Somebody showed that there is more of a log than is here.
    mutating func chase(_ key: LogKey, _ shown: LogPosition, shownBy peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard keys[key.owner] != nil else { return }
        note(key, shown, by: peer)
        // The parts of a snapshot are on their way; the rest comes after them.
        guard networks[key.network]?.remotes[key.owner]?.chase?.assembly == nil else { return }
        if let last = networks[key.network]?.remotes[key.owner]?.pulledAt, now - last < Self.pullSpacing {
            timers.set(.pull(key), noLaterThan: now + Self.firstPullRetry)
            return
        }
        pull(key, from: peer, now: now, into: &effects)
    }

    private mutating func note(_ key: LogKey, _ shown: LogPosition, by peer: NodeID) {
        var remote = networks[key.network]?.remotes.removeValue(forKey: key.owner) ?? RemoteLog()
        var chase = remote.chase ?? Chase()
        chase.note(peer, shown, owner: key.owner)
        remote.chase = chase
        networks[key.network]?.remotes[key.owner] = remote
    }

    /// What `peer` gave of the log was not the owner's word: it is asked no more, and the owner is.
    mutating func askOwner(
        _ key: LogKey, _ shown: LogPosition, after peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        note(key, shown, by: key.owner)
        if peer == key.owner {
            networks[key.network]?.remotes[key.owner]?.chase?.isFromScratch = true
        } else {
            networks[key.network]?.remotes[key.owner]?.chase?.shown[peer] = nil
        }
        networks[key.network]?.remotes[key.owner]?.chase?.assembly = nil
        networks[key.network]?.remotes[key.owner]?.chase?.isUrgent = true
        let last = networks[key.network]?.remotes[key.owner]?.pulledAt
        timers.set(.pull(key), noLaterThan: max(now, last.map { $0 + Self.pullSpacing } ?? now))
    }

    private mutating func pull(_ key: LogKey, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], let chase = remote.chase else { return }
        let have = chase.isFromScratch ? LogPosition.none : remote.position
        ask(peer, ReplicationMessage.pull(key, have: have, part: nil), into: &effects)
        networks[key.network]?.remotes[key.owner]?.pulledAt = now
        networks[key.network]?.remotes[key.owner]?.chase?.asked = peer
        networks[key.network]?.remotes[key.owner]?.chase?.answersLeft = Self.batchesPerPull
        timers.set(.pull(key), at: now + chase.retry)
    }

    private mutating func ask(_ peer: NodeID, _ message: ReplicationMessage, into effects: inout [Effect]) {
        effects.append(.send(peer, message.wireBytes))
        counters.pulls += 1
    }

    /// No answer in time: asks again, the owner first and then the others who showed to have more, in turn.
    mutating func pullAgain(_ key: LogKey, now: Instant, into effects: inout [Effect]) {
        guard let chase = networks[key.network]?.remotes[key.owner]?.chase else { return }
        if !chase.isUrgent, let progressed = chase.progressedAt, progressed + chase.retry > now {
            timers.set(.pull(key), at: progressed + chase.retry)
            return
        }
        let sources = sources(of: key)
        guard !sources.isEmpty, chase.fruitless < Self.fruitlessPulls else { return endChase(key) }
        let source = source(of: chase, among: sources)
        networks[key.network]?.remotes[key.owner]?.chase?.isUrgent = false
        networks[key.network]?.remotes[key.owner]?.chase?.fruitless += 1
        networks[key.network]?.remotes[key.owner]?.chase?.retry = min(chase.retry * 2, Self.lastPullRetry)
        if chase.assembly?.source == source {
            askParts(key, again: true, into: &effects)
            timers.set(.pull(key), at: now + chase.retry)
        } else {
            networks[key.network]?.remotes[key.owner]?.chase?.assembly = nil
            pull(key, from: source, now: now, into: &effects)
        }
    }

    /// Whoever gives a snapshot is asked for what was lost of it a few times before somebody else has to begin it anew.
    private func source(of chase: Chase, among sources: [NodeID]) -> NodeID {
        if let current = chase.assembly?.source, chase.fruitless < Self.patience, sources.contains(current) { return current }
        return sources[chase.fruitless % sources.count]
    }

    /// Who can be reached and has more than this node, the owner first.
    private func sources(of key: LogKey) -> [NodeID] {
        guard let remote = networks[key.network]?.remotes[key.owner], let chase = remote.chase else { return [] }
        guard chase.isFromScratch || chase.shown.values.contains(where: { $0 > remote.position }) else { return [] }
        let others = chase.shown.filter { $0.key != key.owner && $0.value > remote.position }.keys.sorted()
        return ([key.owner] + others).filter { isReachable($0) && isFollowed($0, on: key.network) }
    }

    private mutating func endChase(_ key: LogKey) {
        release(key)
        networks[key.network]?.remotes[key.owner]?.chase = nil
        timers.clear(.pull(key))
    }

    /// Something of the log has come. Goes on with whoever gave it as long as somebody has more.
    mutating func progressed(_ key: LogKey, batches: Int, now: Instant, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], var chase = remote.chase else { return }
        guard chase.isFromScratch || chase.shown.values.contains(where: { $0 > remote.position }) else { return endChase(key) }
        if let assembly = chase.assembly, assembly.position <= remote.position {
            // Batches were faster.
            chase.assembly = nil
            networks[key.network]?.remotes[key.owner]?.chase?.assembly = nil
        }
        networks[key.network]?.remotes[key.owner]?.chase?.retry = Self.firstPullRetry
        networks[key.network]?.remotes[key.owner]?.chase?.fruitless = 0
        networks[key.network]?.remotes[key.owner]?.chase?.progressedAt = now
        guard batches > 0, chase.assembly == nil, chase.answersLeft > 0, let asked = chase.asked else { return }
        networks[key.network]?.remotes[key.owner]?.chase?.answersLeft = max(0, chase.answersLeft - batches)
        if chase.answersLeft <= batches { pull(key, from: asked, now: now, into: &effects) }
    }

    /// A peer says how far it has a log: not further than this node, so it is no source of more.
    mutating func exhausted(_ key: LogKey, _ position: LogPosition, at peer: NodeID) {
        guard let remote = networks[key.network]?.remotes[key.owner], let chase = remote.chase, !chase.isFromScratch,
            chase.assembly == nil
        else { return }
        if peer == key.owner, position <= remote.position { return endChase(key) }
        guard chase.shown[peer] != nil else { return }
        networks[key.network]?.remotes[key.owner]?.chase?.shown[peer] = position
        if sources(of: key).isEmpty { endChase(key) }
    }

    // MARK: Snapshots

    mutating func take(_ part: SnapshotPart, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = part.key
        guard isFollowed(key.owner, on: key.network), isFollowed(peer, on: key.network) else { return }
        guard let publicKey = keys[key.owner] else { return reject(.noKey, key, from: peer, into: &effects) }
        let known = networks[key.network]?.remotes[key.owner]?.position ?? .none
        guard part.position > known else { return acknowledgeSoon(key, now: now) }
        switch networks[key.network]?.remotes[key.owner]?.chase?.assembly?.place(of: part, from: peer) {
        case .inside: return add(part, from: peer, now: now, into: &effects)
        case .unwanted: return
        // Every answer that begins a snapshot begins it with its first part.
        case .instead, nil: guard part.index == 0, !isSpoiler(peer, key, now: now) else { return }
        }
        guard signing.verify(part.signature, of: OwnerLog.head(key, part.position, part.root), by: publicKey) else {
            return refuse(.badSignature, key, part.position, from: peer, now: now, into: &effects)
        }
        note(key, part.position, by: peer)
        networks[key.network]?.remotes[key.owner]?.chase?.assembly = Assembly(part, from: peer)
        networks[key.network]?.remotes[key.owner]?.chase?.asked = peer
        timers.set(.pull(key), noLaterThan: now + Self.firstPullRetry)
        add(part, from: peer, now: now, into: &effects)
    }

    private mutating func add(_ part: SnapshotPart, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = part.key
        switch networks[key.network]?.remotes[key.owner]?.chase?.assembly?.take(part) {
        case nil, .known: return
        case .broken: return refuse(.brokenSnapshot, key, part.position, from: peer, now: now, into: &effects)
        case .new: break
        }
        guard let assembly = networks[key.network]?.remotes[key.owner]?.chase?.assembly else { return }
        progressed(key, batches: 0, now: now, into: &effects)
        guard assembly.isComplete else { return askParts(key, again: false, into: &effects) }
        guard let log = assembly.log(signing) else {
            return refuse(.brokenSnapshot, key, part.position, from: peer, now: now, into: &effects)
        }
        swap(log, from: peer, now: now, into: &effects)
    }

    private func isSpoiler(_ peer: NodeID, _ key: LogKey, now: Instant) -> Bool {
        guard let remote = networks[key.network]?.remotes[key.owner], remote.spoiler == peer, let at = remote.spoiledAt else {
            return false
        }
        return now - at < Self.spoilerPause
    }

    /// A snapshot turned out to be none of the owner's.
    private mutating func refuse(
        _ reason: Rejection, _ key: LogKey, _ position: LogPosition, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        reject(reason, key, from: peer, into: &effects)
        networks[key.network]?.remotes[key.owner, default: RemoteLog()].spoiler = peer
        networks[key.network]?.remotes[key.owner]?.spoiledAt = now
        askOwner(key, position, after: peer, now: now, into: &effects)
    }

    private mutating func askParts(_ key: LogKey, again: Bool, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], let source = remote.chase?.assembly?.source,
            let requests = networks[key.network]?.remotes[key.owner]?.chase?.assembly?.requests(again: again)
        else { return }
        for request in requests {
            ask(source, ReplicationMessage.pull(key, have: remote.position, part: request), into: &effects)
        }
    }

    /// Takes a snapshot in the place of what was known.
    private mutating func swap(_ log: OwnerLog, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = log.key
        let old = networks[key.network]?.remotes[key.owner]?.log
        networks[key.network]?.remotes[key.owner]?.log = log
        networks[key.network]?.remotes[key.owner]?.chase?.assembly = nil
        networks[key.network]?.remotes[key.owner]?.chase?.isFromScratch = false
        release(key, below: old?.position.life == log.position.life ? log.position.sequence : .max)
        counters.snapshots += 1
        timers.clear(.forget(key))
        moved(key, from: old?.position ?? .none, to: log.position)
        tell((old?.contents ?? LogContents()).differences(to: log.contents), of: key, into: &effects)
        if old == nil { effects.append(.synchronised(owner: key.owner, key.network)) }
        acknowledgeSoon(key, now: now)
        progressed(key, batches: 0, now: now, into: &effects)
        guard let chase = networks[key.network]?.remotes[key.owner]?.chase else { return }
        if let next = chase.held[log.position.sequence] {
            take(next.batch, next.message, relay: next.relay, from: next.sender, now: now, into: &effects)
        } else {
            pull(key, from: peer, now: now, into: &effects)
        }
    }
}
