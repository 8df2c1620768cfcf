import OverlayModel

// Pulling: this node asks for what others have and it does not, and takes batches or a snapshot part by part.

extension Replication {
    /// Takes note that a peer showed more of a log than is here.
    mutating func catchUp(_ key: LogKey, _ shown: LogPosition, shownBy peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard keys[key.owner] != nil else { return }
        note(key, shown, by: peer)
        // Parts of a snapshot are on their way. Everything else comes after them.
        guard networks[key.network]?.remotes[key.owner]?.catchUp?.assembly == nil else { return }
        if let last = networks[key.network]?.remotes[key.owner]?.pulledAt, now - last < Self.pullSpacing {
            timers.set(.pull(key), noLaterThan: now + Self.firstPullRetry)
            return
        }
        pull(key, from: peer, now: now, into: &effects)
    }

    private mutating func note(_ key: LogKey, _ shown: LogPosition, by peer: NodeID) {
        var remote = networks[key.network]?.remotes.removeValue(forKey: key.owner) ?? RemoteLog()
        var catchUp = remote.catchUp ?? CatchUp()
        catchUp.note(peer, shown, owner: key.owner)
        remote.catchUp = catchUp
        networks[key.network]?.remotes[key.owner] = remote
    }

    /// Asks the owner instead of `peer`, which gave something that the owner did not sign.
    mutating func askOwner(
        _ key: LogKey, _ shown: LogPosition, after peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        note(key, shown, by: key.owner)
        if peer == key.owner {
            networks[key.network]?.remotes[key.owner]?.catchUp?.isFromScratch = true
        } else {
            networks[key.network]?.remotes[key.owner]?.catchUp?.shown[peer] = nil
        }
        networks[key.network]?.remotes[key.owner]?.catchUp?.assembly = nil
        networks[key.network]?.remotes[key.owner]?.catchUp?.isUrgent = true
        let last = networks[key.network]?.remotes[key.owner]?.pulledAt
        timers.set(.pull(key), noLaterThan: max(now, last.map { $0 + Self.pullSpacing } ?? now))
    }

    private mutating func pull(_ key: LogKey, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], let catchUp = remote.catchUp else { return }
        let have = catchUp.isFromScratch ? LogPosition.none : remote.position
        ask(peer, ReplicationMessage.pull(key, have: have, part: nil), into: &effects)
        networks[key.network]?.remotes[key.owner]?.pulledAt = now
        networks[key.network]?.remotes[key.owner]?.catchUp?.asked = peer
        networks[key.network]?.remotes[key.owner]?.catchUp?.answersLeft = Self.batchesPerPull
        timers.set(.pull(key), at: now + catchUp.retry)
    }

    private mutating func ask(_ peer: NodeID, _ message: ReplicationMessage, into effects: inout [Effect]) {
        effects.append(.send(peer, message.wireBytes))
        counters.pulls += 1
    }

    /// Asks again after no answer in time: the owner first, and then the others that showed to have more, in turn.
    mutating func pullAgain(_ key: LogKey, now: Instant, into effects: inout [Effect]) {
        guard let catchUp = networks[key.network]?.remotes[key.owner]?.catchUp else { return }
        if !catchUp.isUrgent, let progressed = catchUp.progressedAt, progressed + catchUp.retry > now {
            timers.set(.pull(key), at: progressed + catchUp.retry)
            return
        }
        let sources = sources(of: key)
        guard !sources.isEmpty, catchUp.fruitless < Self.fruitlessPulls else { return endCatchUp(key) }
        let source = source(of: catchUp, among: sources)
        networks[key.network]?.remotes[key.owner]?.catchUp?.isUrgent = false
        networks[key.network]?.remotes[key.owner]?.catchUp?.fruitless += 1
        networks[key.network]?.remotes[key.owner]?.catchUp?.retry = min(catchUp.retry * 2, Self.lastPullRetry)
        if catchUp.assembly?.source == source {
            askParts(key, again: true, into: &effects)
            timers.set(.pull(key), at: now + catchUp.retry)
        } else {
            networks[key.network]?.remotes[key.owner]?.catchUp?.assembly = nil
            pull(key, from: source, now: now, into: &effects)
        }
    }

    /// Peer to ask next. The source of a snapshot is asked a few times for lost parts before another peer has to begin it anew.
    private func source(of catchUp: CatchUp, among sources: [NodeID]) -> NodeID {
        if let current = catchUp.assembly?.source, catchUp.fruitless < Self.patience, sources.contains(current) { return current }
        return sources[catchUp.fruitless % sources.count]
    }

    /// Reachable peers that have more than this node, the owner first.
    private func sources(of key: LogKey) -> [NodeID] {
        guard let remote = networks[key.network]?.remotes[key.owner], let catchUp = remote.catchUp else { return [] }
        guard catchUp.isFromScratch || catchUp.shown.values.contains(where: { $0 > remote.position }) else { return [] }
        let others = catchUp.shown.filter { $0.key != key.owner && $0.value > remote.position }.keys.sorted()
        return ([key.owner] + others).filter { isReachable($0) && isFollowed($0, on: key.network) }
    }

    private mutating func endCatchUp(_ key: LogKey) {
        release(key)
        networks[key.network]?.remotes[key.owner]?.catchUp = nil
        timers.clear(.pull(key))
    }

    /// Goes on with the pursuit after something of the log arrived, as long as a peer has more.
    mutating func progressed(_ key: LogKey, batches: Int, now: Instant, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], var catchUp = remote.catchUp else { return }
        guard catchUp.isFromScratch || catchUp.shown.values.contains(where: { $0 > remote.position }) else {
            return endCatchUp(key)
        }
        if let assembly = catchUp.assembly, assembly.position <= remote.position {
            // Batches were faster.
            catchUp.assembly = nil
            networks[key.network]?.remotes[key.owner]?.catchUp?.assembly = nil
        }
        networks[key.network]?.remotes[key.owner]?.catchUp?.retry = Self.firstPullRetry
        networks[key.network]?.remotes[key.owner]?.catchUp?.fruitless = 0
        networks[key.network]?.remotes[key.owner]?.catchUp?.progressedAt = now
        guard batches > 0, catchUp.assembly == nil, catchUp.answersLeft > 0, let asked = catchUp.asked else { return }
        networks[key.network]?.remotes[key.owner]?.catchUp?.answersLeft = max(0, catchUp.answersLeft - batches)
        if catchUp.answersLeft <= batches { pull(key, from: asked, now: now, into: &effects) }
    }

    /// Takes note that a peer has no more of a log than this node, so that it is no source any more.
    mutating func exhausted(_ key: LogKey, _ position: LogPosition, at peer: NodeID) {
        guard let remote = networks[key.network]?.remotes[key.owner], let catchUp = remote.catchUp, !catchUp.isFromScratch,
            catchUp.assembly == nil
        else { return }
        if peer == key.owner, position <= remote.position { return endCatchUp(key) }
        guard catchUp.shown[peer] != nil else { return }
        networks[key.network]?.remotes[key.owner]?.catchUp?.shown[peer] = position
        if sources(of: key).isEmpty { endCatchUp(key) }
    }

    // MARK: Snapshots

    mutating func take(_ part: SnapshotPart, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = part.key
        guard isFollowed(key.owner, on: key.network), isFollowed(peer, on: key.network) else { return }
        guard let publicKey = keys[key.owner] else { return reject(.noKey, key, from: peer, into: &effects) }
        let known = networks[key.network]?.remotes[key.owner]?.position ?? .none
        guard part.position > known else { return acknowledgeSoon(key, now: now) }
        switch networks[key.network]?.remotes[key.owner]?.catchUp?.assembly?.place(of: part, from: peer) {
        case .inside: return add(part, from: peer, now: now, into: &effects)
        case .unwanted: return
        // An answer that begins a snapshot begins with its first part.
        case .instead, nil: guard part.index == 0, !isSpoiler(peer, key, now: now) else { return }
        }
        guard signing.verify(part.signature, of: OwnerLog.head(key, part.position, part.root), by: publicKey) else {
            return refuse(.badSignature, key, part.position, from: peer, now: now, into: &effects)
        }
        note(key, part.position, by: peer)
        networks[key.network]?.remotes[key.owner]?.catchUp?.assembly = Assembly(part, from: peer)
        networks[key.network]?.remotes[key.owner]?.catchUp?.asked = peer
        timers.set(.pull(key), noLaterThan: now + Self.firstPullRetry)
        add(part, from: peer, now: now, into: &effects)
    }

    private mutating func add(_ part: SnapshotPart, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = part.key
        switch networks[key.network]?.remotes[key.owner]?.catchUp?.assembly?.take(part) {
        case nil, .known: return
        case .broken: return refuse(.brokenSnapshot, key, part.position, from: peer, now: now, into: &effects)
        case .new: break
        }
        guard let assembly = networks[key.network]?.remotes[key.owner]?.catchUp?.assembly else { return }
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

    /// Refuses a snapshot that its owner did not sign.
    private mutating func refuse(
        _ reason: Rejection, _ key: LogKey, _ position: LogPosition, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        reject(reason, key, from: peer, into: &effects)
        networks[key.network]?.remotes[key.owner, default: RemoteLog()].spoiler = peer
        networks[key.network]?.remotes[key.owner]?.spoiledAt = now
        askOwner(key, position, after: peer, now: now, into: &effects)
    }

    private mutating func askParts(_ key: LogKey, again: Bool, into effects: inout [Effect]) {
        guard let remote = networks[key.network]?.remotes[key.owner], let source = remote.catchUp?.assembly?.source,
            let requests = networks[key.network]?.remotes[key.owner]?.catchUp?.assembly?.requests(again: again)
        else { return }
        for request in requests {
            ask(source, ReplicationMessage.pull(key, have: remote.position, part: request), into: &effects)
        }
    }

    /// Replaces what was known with a snapshot.
    private mutating func swap(_ log: OwnerLog, from peer: NodeID, now: Instant, into effects: inout [Effect]) {
        let key = log.key
        let old = networks[key.network]?.remotes[key.owner]?.log
        networks[key.network]?.remotes[key.owner]?.log = log
        networks[key.network]?.remotes[key.owner]?.catchUp?.assembly = nil
        networks[key.network]?.remotes[key.owner]?.catchUp?.isFromScratch = false
        release(key, below: old?.position.life == log.position.life ? log.position.sequence : .max)
        counters.snapshots += 1
        timers.clear(.forget(key))
        moved(key, from: old?.position ?? .none, to: log.position)
        tell((old?.contents ?? LogContents()).differences(to: log.contents), of: key, into: &effects)
        if old == nil { effects.append(.synchronised(owner: key.owner, key.network)) }
        acknowledgeSoon(key, now: now)
        progressed(key, batches: 0, now: now, into: &effects)
        guard let catchUp = networks[key.network]?.remotes[key.owner]?.catchUp else { return }
        if let next = catchUp.held[log.position.sequence] {
            take(next.batch, next.message, relay: next.relay, from: next.sender, now: now, into: &effects)
        } else {
            pull(key, from: peer, now: now, into: &effects)
        }
    }
}
