import OverlayModel

// Receiving: batches of owners are checked, taken, passed on and acknowledged, whichever peer sent them.

extension Replication {
    mutating func take(
        _ batch: SignedBatch, _ message: [UInt8], relay: RelayGroup?, from peer: NodeID, now: Instant, into effects: inout [Effect]
    ) {
        let key = batch.key
        // Late messages of a node that left are not taken. Early ones of a node that is not known to be a user yet are sent again.
        guard isFollowed(key.owner, on: key.network), isFollowed(peer, on: key.network) else { return }
        guard let publicKey = keys[key.owner] else { return reject(.noKey, key, from: peer, into: &effects) }
        let position = networks[key.network]?.remotes[key.owner]?.position ?? .none
        guard batch.end > position else { return acknowledgeSoon(key, now: now) }
        guard position.life == batch.life, position.sequence == batch.after else {
            catchUp(key, batch.end, shownBy: peer, now: now, into: &effects)
            return hold(HeldBatch(batch: batch, message: message, relay: relay, sender: peer), after: position)
        }
        var next: HeldBatch? = HeldBatch(batch: batch, message: message, relay: relay, sender: peer)
        var taken = 0
        while let held = next {
            guard accept(held, publicKey: publicKey, now: now, into: &effects) else { break }
            taken += 1
            next = networks[key.network]?.remotes[key.owner]?.catchUp?.held.removeValue(forKey: held.batch.end.sequence)
            if next != nil { self.held -= 1 }
        }
        guard taken > 0 else { return }
        acknowledgeSoon(key, batches: taken, now: now)
        progressed(key, batches: taken, now: now, into: &effects)
    }

    /// Takes the next batch of a log, if its owner signed the state that it leads to.
    private mutating func accept(
        _ held: HeldBatch, publicKey: [UInt8], now: Instant, into effects: inout [Effect]
    ) -> Bool {
        let batch = held.batch
        let key = batch.key
        let signing = signing
        let differences: [LogDifference]
        do throws(Rejection) {
            differences =
                try networks[key.network]?.remotes[key.owner]?.log?
                .accept(batch, held.message, publicKey: publicKey, signing: signing) ?? []
        } catch {
            reject(error, key, from: held.sender, into: &effects)
            askOwner(key, batch.end, after: held.sender, now: now, into: &effects)
            return false
        }
        counters.batchesReceived += 1
        moved(key, from: LogPosition(life: batch.life, sequence: batch.after), to: batch.end)
        tell(differences, of: key, into: &effects)
        if let relay = held.relay, held.sender == key.owner { forward(held.message, key, relay, into: &effects) }
        return true
    }

    /// Holds a batch that overtook others, if it can be used soon.
    private mutating func hold(_ new: HeldBatch, after position: LogPosition) {
        let key = new.batch.key
        guard let count = networks[key.network]?.remotes[key.owner]?.catchUp?.held.count, count < Self.heldOfLog,
            held < Self.heldOfAll,
            new.batch.life == position.life, new.batch.after > position.sequence,
            new.batch.after - position.sequence <= OwnerLog.tailChanges
        else { return }
        let old = networks[key.network]?.remotes[key.owner]?.catchUp?.held.updateValue(new, forKey: new.batch.after)
        if old == nil { held += 1 }
    }

    /// Drops held batches that begin below a sequence.
    mutating func release(_ key: LogKey, below sequence: UInt64 = .max) {
        guard let all = networks[key.network]?.remotes[key.owner]?.catchUp?.held, !all.isEmpty else { return }
        let kept = all.filter { $0.key >= sequence }
        held -= all.count - kept.count
        networks[key.network]?.remotes[key.owner]?.catchUp?.held = kept
    }

    // MARK: Relaying

    private mutating func forward(_ message: [UInt8], _ key: LogKey, _ group: RelayGroup, into effects: inout [Effect]) {
        let direct = OwnerLog.direct(message)
        for member in members(of: group, key) where isReachable(member) {
            effects.append(.send(member, direct))
            counters.batchesForwarded += 1
        }
    }

    private mutating func members(of group: RelayGroup, _ key: LogKey) -> [NodeID] {
        guard let version = networks[key.network]?.version else { return [] }
        if let known = networks[key.network]?.remotes[key.owner]?.forwarding, known.group == group, known.version == version {
            return known.members
        }
        let members = (networks[key.network]?.order ?? []).filter {
            $0 != key.owner && Relays.group(of: $0, key, of: Int(group.of)) == Int(group.index)
        }
        networks[key.network]?.remotes[key.owner]?.forwarding = Forwarding(group: group, version: version, members: members)
        return members
    }

    // MARK: Acknowledging

    /// Acknowledges with a delay: new batches are more urgent, here and at the owner, which hears from many, and one
    /// acknowledgement covers all that arrive meanwhile. An owner with much to send is not kept waiting.
    mutating func acknowledgeSoon(_ key: LogKey, batches: Int = 0, now: Instant) {
        let count = (networks[key.network]?.remotes[key.owner]?.unacknowledged ?? 0) + batches
        networks[key.network]?.remotes[key.owner]?.unacknowledged = count
        timers.set(.acknowledge(key), noLaterThan: count >= Self.window / 2 ? now : now + Self.acknowledgementDelay)
    }

    /// Tells the owner the position of its log here.
    mutating func acknowledge(_ key: LogKey, now: Instant, into effects: inout [Effect]) {
        timers.clear(.acknowledge(key))
        networks[key.network]?.remotes[key.owner]?.unacknowledged = 0
        guard let position = networks[key.network]?.remotes[key.owner]?.log?.position, let view = networks[key.network]?.view
        else { return }
        effects.append(.send(key.owner, ReplicationMessage.acknowledge(key.network, position, view: view).wireBytes))
    }
}
