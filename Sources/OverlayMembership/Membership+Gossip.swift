public import OverlayModel

/// Messages: receiving them, passing news on, and comparing views.
extension Membership {
    // MARK: Receiving

    /// Takes a message of an authenticated member.
    public mutating func receive(
        _ bytes: [UInt8], from peer: NodeID, via path: MessagePath, now: Instant, report: (NodeID) -> PeerReport,
        into effects: inout [Effect]
    ) throws(DecodeError) {
        self.now = now
        let message = try MembershipMessage(wire: bytes)
        guard let member = members[peer] else { return }
        takeEcho(message.heard, from: peer, report, into: &effects)
        // It is a late message of an earlier life, or the peer has an old copy of its state and does not know.
        guard message.incarnation.life >= member.spoken.life else { return notice(peer, report, into: &effects) }
        hear(message.incarnation, of: peer, into: &effects)
        members[peer]?.take(StateMark(life: message.incarnation.life, run: message.run, writes: message.report.writes))
        if message.round &- heardRound < 1 << 31 { heardRound = message.round }
        members[peer]?.status.healthScore = message.healthScore
        for update in message.updates { take(update, from: peer, into: &effects) }
        switch message.body {
        case .ping(let number):
            send(.acknowledge(number), to: peer, by: path, report, into: &effects)
            // It sends, so it may receive, too.
            tryAtOnce(peer)
            if members[peer]?.status.state == .unknown { setState(peer, .alive, "", into: &effects) }
        case .acknowledge(let number): answered(number, by: peer, via: path, into: &effects)
        case .request(let number, let target, let milliseconds):
            help(peer, number, reach: target, within: milliseconds, report, into: &effects)
        case .reached(let number): reached(number, through: peer, into: &effects)
        case .notReached(let number): notReached(number, by: peer)
        case .states(let isAnswer):
            if message.view != view { compare(message.updates, with: peer, isAnswer: isAnswer, report, into: &effects) }
        case .notice: break
        }
        for (requester, number) in relayed {
            send(.reached(number), to: requester, by: self.path(to: requester), report, into: &effects)
        }
        relayed = []
        effects.append(.heard(peer, message.report, roundTrip: members[peer]?.status.roundTrip))
        if message.view != view, syncPeer == nil, case .acknowledge = message.body {
            syncPeer = peer
            timers.set(.states, at: now + parameters.syncDelay)
        }
        flush(report, into: &effects)
    }

    /// Takes note of an authentic packet from an earlier life of the peer. The transport does not pass on its contents.
    public mutating func heardEarlierLife(
        of peer: NodeID, now: Instant, report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        self.now = now
        notice(peer, report, into: &effects)
    }

    /// Tells a peer the life in which it was heard last.
    private mutating func notice(_ peer: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        // It is back in an earlier life, so the mark that was heard came from another process of it.
        members[peer]?.isKnownFromBefore = true
        guard let member = members[peer], member.noticedAt.map({ now - $0 >= Self.noticePause }) ?? true else { return }
        members[peer]?.noticedAt = now
        send(.notice, to: peer, by: member.path, report, into: &effects)
    }

    private mutating func takeEcho(
        _ heard: StateMark, from peer: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        guard heard != .none else { return }
        let isAhead = heard.exceeds(StateMark(life: incarnation.life, run: run, writes: report(peer).writes))
        guard isAhead || !isEchoed else { return }
        isEchoed = true
        effects.append(.echo(peer, heard, isAhead: isAhead))
    }

    /// Takes the outcome of opening a stream to a peer; nil if it was opened.
    public mutating func stream(_ peer: NodeID, _ failure: StreamFailure?, now: Instant, into effects: inout [Effect]) {
        self.now = now
        guard let member = members[peer] else { return }
        // If datagrams fail as well, a failing stream is no problem of its own.
        members[peer]?.streamFailure = member.status.reason == PeerStatus.silentReason ? nil : failure
        if failure == .refused { members[peer]?.refusals.refused(in: member.spoken.life, after: nextNumber) }
        switch (member.status.state, failure) {
        case (.unreachable, .refused) where !member.refusals.areOfFirewall:
            setState(peer, .daemonDown, Self.downReason, into: &effects)
        case (.daemonDown, .failed(let text)):
            setState(peer, .unreachable, "its host does not answer any more: \(text)", into: &effects)
        case (.alive, _) where inquiries[peer] == nil && !probes.values.contains { $0.target == peer }:
            if member.status.reason != PeerStatus.silentReason { setState(peer, .alive, aliveReason(peer), into: &effects) }
        default: if failure == .refused { inquiries[peer]?.refused += 1 }
        }
        // The failure may be from before the peer was found alive, or over.
        if failure != nil, timers[.streamCheck(peer)] == nil {
            timers.set(.streamCheck(peer), at: now + parameters.firstStreamCheck)
        }
    }

    mutating func checkStream(_ peer: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        guard let member = members[peer], member.streamFailure != nil || member.refusals.areOfFirewall else { return }
        timers.set(.streamCheck(peer), at: now + parameters.nextStreamCheck)
        // While the peer is in doubt an inquiry asks it. When it is alive again, this check finds out if streams still fail.
        guard member.status.state == .alive else { return }
        send(.ping(takeNumber()), to: peer, by: .stream, report, into: &effects)
    }

    static let blockedReason = "answers by TCP alone: UDP is dropped on the way, by a firewall perhaps"
    static let downReason = "its host answers, but no daemon listens there"

    // MARK: Sending

    mutating func send(
        _ body: MembershipMessage.Body, to peer: NodeID, by path: MessagePath, updates: [Update] = [],
        _ report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        guard let heard = members[peer]?.echoedMark else { return }
        var updates = updates
        if case .ping(let number) = body {
            // The suspect is told first (Lifeguard's buddy system).
            if let claim = claim(on: peer) { updates.append(claim) }
            if let outgoing = outbox[peer] {
                // The same number with and without a claim, because an acknowledgement covers these.
                let carried = outgoing.updates.values.sorted { $0.subject < $1.subject }.prefix(MembershipMessage.updateLimit - 1)
                updates += carried
                if outgoing.number == nil {
                    outbox[peer]?.number = number
                    outbox[peer]?.sentAt = now
                    outbox[peer]?.carried = carried.count
                }
                dirty.remove(peer)
                relaying.remove(peer)
            }
        }
        let message = MembershipMessage(
            body: body, incarnation: incarnation, round: round, healthScore: healthScore, report: report(peer), view: view,
            run: run,
            heard: heard, updates: updates)
        effects.append(.send(peer, message.wireBytes, path))
    }

    /// Accusation of this node against a member, for that member to refute.
    private func claim(on peer: NodeID) -> Update? {
        guard let member = members[peer] else { return nil }
        let claim: Update.Claim
        switch member.status.state {
        case .unreachable: claim = .unreachable
        case .daemonDown: claim = .daemonDown
        case .suspect: claim = .suspect
        default:
            if inquiries[peer]?.isDeclared == true {
                claim = .unreachable
            } else if suspicions[peer] != nil {
                claim = .suspect
            } else {
                return nil
            }
        }
        return Update(subject: peer, incarnation: member.incarnation, claim: claim, source: node)
    }

    // MARK: News

    /// Tells members what this node found out.
    mutating func spread(_ claim: Update.Claim, of subject: NodeID) {
        let known = subject == node ? incarnation : members[subject]?.incarnation ?? Incarnation(value: 0)
        let update = Update(subject: subject, incarnation: known, claim: claim, source: node)
        // A node tells that it is alive also to members that it cannot reach: they may receive it.
        let targets = subject == node ? members.keys.sorted() : ring.filter { $0 != node && $0 != subject }
        for peer in targets.count <= parameters.flatGossip ? targets : sample(parameters.fanout, of: targets) {
            queue(update, for: peer)
        }
    }

    /// Passes news on once, in clusters that are too large for the source to tell all.
    mutating func forward(_ update: Update) {
        guard ring.count - 1 > parameters.flatGossip else { return }
        let targets = ring.filter { $0 != node && $0 != update.subject && $0 != update.source }
        for peer in sample(parameters.fanout / 2, of: targets) {
            let isDirty = dirty.contains(peer)
            queue(update, for: peer)
            // If a thousand nodes start at once, news comes by the hundred.
            if !isDirty, dirty.remove(peer) != nil { relaying.insert(peer) }
        }
        if !relaying.isEmpty, timers[.relay] == nil { timers.set(.relay, at: now + parameters.relayDelay) }
    }

    /// Passes on together the news of the last moments.
    mutating func relay() {
        dirty.formUnion(relaying)
        relaying = []
    }

    /// Queues an update for a peer. It replaces an earlier one on the same subject, so a peer that does not read costs one update a
    /// member.
    mutating func queue(_ update: Update, for peer: NodeID) {
        guard members[peer] != nil else { return }
        var outgoing = outbox[peer] ?? Outgoing()
        if outgoing.updates[update.subject] == update { return }
        outgoing.updates[update.subject] = update
        outgoing.number = nil
        outgoing.attempts = 0
        outbox[peer] = outgoing
        dirty.insert(peer)
    }

    /// Sends together the news of this call.
    mutating func flush(_ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        for peer in dirty.sorted() {
            outbox[peer]?.attempts += 1
            send(.ping(takeNumber()), to: peer, by: path(to: peer), report, into: &effects)
        }
        dirty = []
        if timers[.gossip] == nil, !outbox.isEmpty { timers.set(.gossip, at: now + parameters.gossipTick) }
    }

    mutating func repeatGossip() {
        for (peer, outgoing) in outbox {
            if outgoing.attempts >= parameters.gossipAttempts || members[peer]?.status.state.isReachable != true {
                // Comparing views repairs what it missed.
                outbox[peer] = nil
            } else {
                dirty.insert(peer)
            }
        }
    }

    mutating func acknowledgeGossip(_ number: UInt32, by peer: NodeID) {
        guard let outgoing = outbox[peer], let first = outgoing.number, number &- first < 1 << 31 else { return }
        let sent = outgoing.updates.keys.sorted().prefix(outgoing.carried)
        if sent.count == outgoing.updates.count {
            outbox[peer] = nil
            dirty.remove(peer)
        } else {
            for subject in sent { outbox[peer]?.updates[subject] = nil }
            outbox[peer]?.attempts = 0
            outbox[peer]?.number = nil
            dirty.insert(peer)
        }
        if outbox.isEmpty { timers.clear(.gossip) }
    }

    // MARK: Comparing views

    mutating func sendStates(_ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        guard let peer = syncPeer else { return }
        syncPeer = nil
        for part in parts(of: awayUpdates()) {
            send(.states(isAnswer: false), to: peer, by: path(to: peer), updates: part, report, into: &effects)
        }
    }

    private func awayUpdates() -> [Update] {
        retries.keys.sorted().compactMap { peer in
            guard members[peer]?.status.state.isReachable == false else { return nil }
            return claim(on: peer)
        }
    }

    /// Divides updates into at most eight messages. What does not fit is compared the next time.
    private mutating func parts(of updates: [Update]) -> [[Update]] {
        guard updates.count > MembershipMessage.updateLimit else { return [updates] }
        let start = Int(random(below: UInt64(updates.count)))
        let turned = Array(updates[start...] + updates[..<start]).prefix(8 * MembershipMessage.updateLimit)
        return stride(from: 0, to: turned.count, by: MembershipMessage.updateLimit).map {
            Array(turned[$0..<min($0 + MembershipMessage.updateLimit, turned.count)])
        }
    }

    /// Compares a peer's list of unreachable members with this node's. The answer has this node's list, and newer incarnations of the
    /// peer's.
    private mutating func compare(
        _ theirs: [Update], with peer: NodeID, isAnswer: Bool, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        var answer: [Update] = []
        for update in theirs where update.claim != .alive {
            guard let member = members[update.subject], member.status.state.isReachable, member.incarnation > update.incarnation
            else { continue }
            answer.append(Update(subject: update.subject, incarnation: member.incarnation, claim: .alive, source: update.subject))
        }
        if !isAnswer {
            // Reachable for this node in the same incarnation: a hint for the peer to try again.
            for update in theirs where update.claim != .alive {
                guard let member = members[update.subject], member.status.state.isReachable,
                    member.incarnation == update.incarnation
                else { continue }
                answer.append(
                    Update(subject: update.subject, incarnation: member.incarnation, claim: .alive, source: update.subject))
            }
            answer += awayUpdates()
        }
        guard !isAnswer || !answer.isEmpty else { return }
        for part in parts(of: answer) {
            send(.states(isAnswer: true), to: peer, by: path(to: peer), updates: part, report, into: &effects)
        }
    }
}
