import OverlayModel

/// Accusation, inquiry, declaration and refutation.
extension Membership {
    // MARK: Inquiry

    /// Asks a member by UDP and TCP, round after round, until it answers or is declared unreachable. So a confirmation is the own
    /// evidence of the node that gives it.
    mutating func inquire(after peer: NodeID, evidence: Int = 0, refused: Bool = false, isDeclared: Bool = false) {
        guard members[peer]?.status.state.isReachable == true else { return }
        guard inquiries[peer] == nil else {
            if isDeclared { inquiries[peer]?.isDeclared = true }
            return
        }
        var inquiry = Inquiry(unanswered: evidence, isDeclared: isDeclared)
        inquiry.refused = refused ? 1 : 0
        inquiries[peer] = inquiry
        timers.set(.inquiry(peer), at: now)
    }

    mutating func advanceInquiry(_ peer: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        guard var inquiry = inquiries[peer] else { return }
        let judged = inquiry.isAsking
        if judged { inquiry.judgeRound() }
        inquiry.isAsking = true
        inquiry.answeredByStream = false
        inquiries[peer] = inquiry
        timers.set(.inquiry(peer), at: now + parameters.inquiryRound)
        if judged, conclude(peer, inquiry, into: &effects) { return }
        let number = takeNumber()
        send(.ping(number), to: peer, by: .datagram, report, into: &effects)
        send(.ping(number), to: peer, by: .stream, report, into: &effects)
    }

    /// Draws the conclusion of a round.
    /// - Returns: True if the inquiry is over.
    private mutating func conclude(_ peer: NodeID, _ inquiry: Inquiry, into effects: inout [Effect]) -> Bool {
        if inquiry.byStream >= parameters.roundsToBlock {
            dropInquiry(peer)
            members[peer]?.path = .stream
            setState(peer, .udpBlocked, Self.blockedReason, into: &effects)
            return true
        }
        guard inquiry.unanswered > 0 else { return false }
        // As many rounds as for a member that is unreachable: a firewall may refuse streams while some datagrams are lost.
        if inquiry.refused >= 2, inquiry.unanswered >= parameters.roundsToDeclare, members[peer]?.refusals.areOfFirewall == false {
            let isNews = members[peer]?.status.state != .daemonDown
            end(peer)
            setState(peer, .daemonDown, Self.downReason, into: &effects)
            if isNews { spread(.daemonDown, of: peer) }
            return true
        }
        if inquiry.isDeclared, inquiry.unanswered >= parameters.roundsToBelieve {
            declare(peer, isOwn: false, into: &effects)
            return true
        }
        if inquiry.unanswered >= parameters.roundsToAccuse + Int(healthScore) { accuse(peer, into: &effects) }
        if let deadline = timers[.suspicion(peer)], deadline <= now, inquiry.unanswered >= parameters.roundsToDeclare {
            declare(peer, isOwn: true, into: &effects)
            return true
        }
        return false
    }

    // MARK: Accusation

    /// Accuses a member of which this node had no answer.
    mutating func accuse(_ peer: NodeID, into effects: inout [Effect]) {
        guard members[peer]?.status.state.isReachable == true, suspicions[peer]?.accusers.contains(node) != true else { return }
        counters.accusations += 1
        let known = suspicions[peer]?.accusers.count ?? 0
        suspect(peer, accuser: node)
        setState(peer, .suspect, "no answer by UDP or TCP", into: &effects)
        // Further confirmations change nothing.
        if known <= parameters.confirmations { spread(.suspect, of: peer) }
    }

    private mutating func suspect(_ peer: NodeID, accuser: NodeID) {
        var suspicion = suspicions[peer] ?? Suspicion(since: now, accusers: [])
        suspicion.accusers.insert(accuser)
        suspicions[peer] = suspicion
        let time = parameters.suspicionTime(accusers: suspicion.accusers.count, members: count)
        timers.set(.suspicion(peer), at: suspicion.since + time)
    }

    /// True if this node is one of those that inquire after a member. In a large cluster these are the few with the lowest hash of
    /// their id and the suspect's.
    private func isInquirer(after peer: NodeID) -> Bool {
        guard count > parameters.allInquire else { return true }
        let salt = Self.mix(peer) ^ (members[peer]?.incarnation.value ?? 0)
        let own = Self.mix(node, salt)
        var lower = 0
        for other in ring where other != peer && Self.mix(other, salt) < own {
            lower += 1
            if lower == parameters.inquirers { return false }
        }
        return true
    }

    mutating func expireSuspicion(_ peer: NodeID) {
        guard suspicions[peer] != nil else { return }
        if let nextRound = timers[.inquiry(peer)] {
            // The rounds of the inquiry decide: look again with the next one.
            timers.set(.suspicion(peer), at: nextRound)
        } else {
            inquire(after: peer, isDeclared: true)
            timers.set(.suspicion(peer), at: now + parameters.inquiryRound)
        }
    }

    // MARK: Declaration

    private mutating func declare(_ peer: NodeID, isOwn: Bool, into effects: inout [Effect]) {
        let accusers = suspicions[peer]?.accusers.count ?? 0
        end(peer)
        let reason =
            isOwn && accusers > 1 ? "no answer by UDP or TCP to this and \(accusers - 1) other nodes" : "no answer by UDP or TCP"
        setState(peer, .unreachable, reason, into: &effects)
        if isOwn { spread(.unreachable, of: peer) }
    }

    private mutating func end(_ peer: NodeID) {
        dropInquiry(peer)
        dropSuspicion(peer)
        for (number, probe) in probes where probe.target == peer {
            if case .inPlaceOf = probe.stage { continue }
            dropProbe(number)
        }
    }

    // MARK: Signs of life

    /// Takes note that a member answered a datagram of this node.
    mutating func foundAlive(_ peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer] else { return }
        end(peer)
        members[peer]?.path = .datagram
        // A failure of streams was found before it was away.
        if member.status.state != .alive { members[peer]?.streamFailure = nil }
        setState(peer, .alive, aliveReason(peer), answers: true, into: &effects)
    }

    func aliveReason(_ peer: NodeID) -> String { members[peer]?.streamFailure?.reason ?? "" }

    /// Takes note that a member answered by stream. It is alive; an inquiry finds out if datagrams pass.
    mutating func foundByStream(_ peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer] else { return }
        inquiries[peer]?.answeredByStream = true
        inquiries[peer]?.refused = 0
        inquiries[peer]?.isDeclared = false
        dropSuspicion(peer)
        guard member.status.state != .udpBlocked else {
            return setState(peer, .udpBlocked, Self.blockedReason, answers: true, into: &effects)
        }
        let isQuiet = member.answeredAt.map { now - $0 > parameters.longestTimeout } ?? true
        let reason = member.status.reason == PeerStatus.silentReason ? member.status.reason : aliveReason(peer)
        setState(peer, .alive, reason, answers: true, into: &effects)
        if isQuiet { inquire(after: peer) }
    }

    /// Takes note that a member speaks in a newer incarnation than the accused one: it heard the accusation.
    private mutating func refuted(_ peer: NodeID, into effects: inout [Effect]) {
        let isBlocked = members[peer]?.path == .stream
        end(peer)
        setState(peer, isBlocked ? .udpBlocked : .alive, "", into: &effects)
    }

    /// Takes the incarnation in which a peer speaks. The peer itself knows its life best: a later one that others reported was invented.
    mutating func hear(_ incarnation: Incarnation, of peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer] else { return }
        members[peer]?.spoken = max(incarnation, member.spoken)
        if member.spoken.value != 0, incarnation.life != member.spoken.life {
            members[peer]?.streamFailure = nil
            effects.append(.restarted(peer))
        }
        if incarnation.life < member.incarnation.life { members[peer]?.incarnation = incarnation }
        if incarnation.life > member.incarnation.life {
            forward(Update(subject: peer, incarnation: incarnation, claim: .alive, source: peer))
        }
        note(incarnation, of: peer, into: &effects)
    }

    /// Takes an incarnation in which a peer spoke, or that others report.
    private mutating func note(_ incarnation: Incarnation, of peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer], incarnation > member.incarnation else { return }
        let wasKnown = member.incarnation.value != 0
        members[peer]?.incarnation = incarnation
        // An accuser may not hear the peer itself.
        if let accusers = suspicions[peer]?.accusers, isInquirer(after: peer) {
            let update = Update(subject: peer, incarnation: incarnation, claim: .alive, source: peer)
            for accuser in accusers.sorted().prefix(parameters.confirmations + 1) where accuser != peer {
                queue(update, for: accuser)
            }
        }
        if wasKnown, member.status.state == .suspect || !member.status.state.isReachable || suspicions[peer] != nil {
            refuted(peer, into: &effects)
        }
    }

    // MARK: Updates from others

    mutating func take(_ update: Update, from peer: NodeID, into effects: inout [Effect]) {
        guard update.subject != node else { return refute(update) }
        guard let member = members[update.subject] else { return keepForLater(update) }
        var update = update
        // The source knows no incarnation yet: it had no answer in any.
        if update.incarnation.value == 0, update.claim != .alive { update.incarnation = member.incarnation }
        guard update.incarnation >= member.incarnation else { return }
        switch update.claim {
        case .alive:
            let wasAway = !member.status.state.isReachable || member.status.state == .suspect || suspicions[update.subject] != nil
            if update.incarnation > member.incarnation {
                let isNewLife = update.incarnation.life != member.spoken.life
                note(update.incarnation, of: update.subject, into: &effects)
                // In a large cluster it takes minutes to ask everyone. Until then this node believes others.
                if member.status.state == .unknown { setState(update.subject, .alive, "", into: &effects) }
                if wasAway || isNewLife { forward(update) }
                // The subject must confirm a new life itself.
                if isNewLife, member.spoken.value != 0 { inquire(after: update.subject) }
                tryAtOnce(update.subject)
            } else if !member.status.state.isReachable {
                tryAtOnce(update.subject)
            }
        case .suspect:
            guard member.status.state.isReachable, members[update.source] != nil, update.source != update.subject else { return }
            raise(update, of: member)
            guard suspicions[update.subject]?.accusers.contains(update.source) != true else { return }
            suspect(update.subject, accuser: update.source)
            if isInquirer(after: update.subject) { inquire(after: update.subject) }
            forward(update)
        case .unreachable, .daemonDown:
            guard member.status.state.isReachable else { return }
            raise(update, of: member)
            let isNews = inquiries[update.subject]?.isDeclared != true
            // This node's own evidence decides. Without any, it asks.
            inquire(after: update.subject, isDeclared: update.claim == .unreachable)
            if isNews { forward(update) }
        }
    }

    /// Keeps news of a node that the catalogue does not yet show as a member: datagrams are faster.
    private mutating func keepForLater(_ update: Update) {
        guard update.claim == .alive, (early[update.subject]?.incarnation.value ?? 0) < update.incarnation.value else { return }
        if early.count >= Self.earlyLimit { early = [:] }
        early[update.subject] = update
    }

    /// An accuser may know a newer incarnation than this node does.
    private mutating func raise(_ update: Update, of member: Member) {
        if update.incarnation > member.incarnation,
            update.incarnation.life == member.incarnation.life || member.incarnation.value == 0
        {
            members[update.subject]?.incarnation = update.incarnation
        }
    }

    /// Refutes an accusation against this node in a newer incarnation.
    private mutating func refute(_ update: Update) {
        guard update.claim != .alive, update.incarnation >= incarnation, update.incarnation.life == incarnation.life else { return }
        incarnation = update.incarnation.next
        counters.refutations += 1
        // A single liar must not make this node doubt itself for ever.
        if refutedAt.map({ now - $0 >= parameters.period }) ?? true { worsen(by: 1) }
        refutedAt = now
        spread(.alive, of: node)
    }
}
