import OverlayModel

/// Accusation, inquiry, declaration and refutation.
extension Membership {
    // MARK: Inquiry

    /// Asks a member by UDP and TCP, round after round, until it answers or is declared unreachable. So a confirmation is evidence of
    /// the node that gives it, and no hearsay.
    mutating func inquire(after peer: NodeID, evidence: Int = 0, refused: Bool = false, isDeclared: Bool = false) {
        guard members[peer]?.status.state.isReachable == true else { return }
        guard inquiries[peer] == nil else {
            if isDeclared { inquiries[peer]?.isDeclared = true }
            return
        }
        var inquiry = Inquiry(nextAt: now, unanswered: evidence, isDeclared: isDeclared)
        inquiry.refused = refused ? 1 : 0
        inquiries[peer] = inquiry
    }

    mutating func advanceInquiries(_ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        for peer in inquiries.filter({ $0.value.nextAt <= now }).keys.sorted() {
            guard var inquiry = inquiries[peer] else { continue }
            let judged = inquiry.isAsking
            if judged { judgeRound(&inquiry) }
            inquiry.isAsking = true
            inquiry.answeredByStream = false
            inquiry.nextAt = now + parameters.inquiryRound
            inquiries[peer] = inquiry
            if judged, conclude(peer, inquiry, into: &effects) { continue }
            let number = takeNumber()
            send(.ping(number), to: peer, by: .datagram, report, into: &effects)
            send(.ping(number), to: peer, by: .stream, report, into: &effects)
        }
    }

    private func judgeRound(_ inquiry: inout Inquiry) {
        if inquiry.answeredByStream {
            inquiry.byStream += 1
            inquiry.unanswered = 0
        } else {
            inquiry.unanswered += 1
        }
    }

    /// - Returns: Whether the inquiry is over.
    private mutating func conclude(_ peer: NodeID, _ inquiry: Inquiry, into effects: inout [Effect]) -> Bool {
        if inquiry.byStream >= parameters.roundsToBlock {
            inquiries[peer] = nil
            members[peer]?.path = .stream
            setState(peer, .udpBlocked, Self.blockedReason, into: &effects)
            return true
        }
        guard inquiry.unanswered > 0 else { return false }
        if inquiry.refused >= 2 {
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
        if let suspicion = suspicions[peer], suspicion.deadline <= now, inquiry.unanswered >= parameters.roundsToDeclare {
            declare(peer, isOwn: true, into: &effects)
            return true
        }
        return false
    }

    // MARK: Accusation

    /// This node had no answer.
    mutating func accuse(_ peer: NodeID, into effects: inout [Effect]) {
        guard members[peer]?.status.state.isReachable == true, suspicions[peer]?.accusers.contains(node) != true else { return }
        counters.accusations += 1
        let known = suspicions[peer]?.accusers.count ?? 0
        suspect(peer, accuser: node)
        setState(peer, .suspect, "no answer by UDP or TCP", into: &effects)
        // More confirmations than count change nothing.
        if known <= parameters.confirmations { spread(.suspect, of: peer) }
    }

    private mutating func suspect(_ peer: NodeID, accuser: NodeID) {
        var suspicion = suspicions[peer] ?? Suspicion(since: now, accusers: [], deadline: now)
        suspicion.accusers.insert(accuser)
        suspicion.deadline =
            suspicion.since + parameters.suspicionTime(accusers: suspicion.accusers.count, members: count)
        suspicions[peer] = suspicion
    }

    /// Members that were chosen to inquire where not all do: the eight with the lowest hash of them and the suspect.
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

    mutating func expireSuspicions(into effects: inout [Effect]) {
        for peer in suspicions.filter({ $0.value.deadline <= now }).keys.sorted() {
            guard inquiries[peer] == nil else {
                // Its rounds decide; look again with the next one.
                if let at = inquiries[peer]?.nextAt { suspicions[peer]?.deadline = at }
                continue
            }
            inquire(after: peer, isDeclared: true)
            suspicions[peer]?.deadline = now + parameters.inquiryRound
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
        inquiries[peer] = nil
        suspicions[peer] = nil
        for (number, probe) in probes where probe.target == peer {
            if case .inPlaceOf = probe.stage { continue }
            probes[number] = nil
        }
    }

    // MARK: Signs of life

    /// It answered a datagram of this node.
    mutating func foundAlive(_ peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer] else { return }
        end(peer)
        members[peer]?.path = .datagram
        // What was wrong with streams is known of the time before it was away.
        if member.status.state != .alive { members[peer]?.streamFailure = nil }
        setState(peer, .alive, aliveReason(peer), answers: true, into: &effects)
    }

    func aliveReason(_ peer: NodeID) -> String {
        switch members[peer]?.streamFailure {
        case nil: ""
        case .refused: "TCP to it is refused, UDP passes"
        case .failed(let text): "TCP to it fails, UDP passes: \(text)"
        }
    }

    /// It answered by stream: it lives, and what is to be found out is whether datagrams pass.
    mutating func foundByStream(_ peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer] else { return }
        inquiries[peer]?.answeredByStream = true
        inquiries[peer]?.refused = 0
        inquiries[peer]?.isDeclared = false
        suspicions[peer] = nil
        guard member.status.state != .udpBlocked else {
            return setState(peer, .udpBlocked, Self.blockedReason, answers: true, into: &effects)
        }
        let isQuiet = member.answeredAt.map { now - $0 > parameters.longestTimeout } ?? true
        setState(
            peer, .alive, member.status.reason == Self.indirectReason ? Self.indirectReason : aliveReason(peer), answers: true,
            into: &effects)
        if isQuiet { inquire(after: peer) }
    }

    /// It speaks in a newer incarnation than the one that was accused: it heard the accusation.
    private mutating func refuted(_ peer: NodeID, into effects: inout [Effect]) {
        let isBlocked = members[peer]?.path == .stream
        end(peer)
        setState(peer, isBlocked ? .udpBlocked : .alive, "", into: &effects)
    }

    /// Takes the incarnation that a peer speaks in. Which life that is nobody knows better: a later one that others told of never was.
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

    /// Takes the incarnation that a peer spoke in or that is told of it.
    private mutating func note(_ incarnation: Incarnation, of peer: NodeID, into effects: inout [Effect]) {
        guard let member = members[peer], incarnation > member.incarnation else { return }
        let wasKnown = member.incarnation.value != 0
        members[peer]?.incarnation = incarnation
        // An accuser may not hear it itself.
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

    // MARK: What others say

    mutating func take(_ update: Update, from peer: NodeID, into effects: inout [Effect]) {
        guard update.subject != node else { return refute(update) }
        guard let member = members[update.subject] else { return keepForLater(update) }
        var update = update
        // The source has not heard of any yet: it had no answer in whichever it is.
        if update.incarnation.value == 0, update.claim != .alive { update.incarnation = member.incarnation }
        guard update.incarnation >= member.incarnation else { return }
        switch update.claim {
        case .alive:
            let wasAway = !member.status.state.isReachable || member.status.state == .suspect || suspicions[update.subject] != nil
            if update.incarnation > member.incarnation {
                let isNewLife = update.incarnation.life != member.spoken.life
                note(update.incarnation, of: update.subject, into: &effects)
                // In a large cluster it takes minutes to ask everyone; until this node does, it takes others' word.
                if member.status.state == .unknown { setState(update.subject, .alive, "", into: &effects) }
                if wasAway || isNewLife { forward(update) }
                // That it began a new life it is to say itself.
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
            // Evidence that this node has of its own decides; where it has none, it asks.
            inquire(after: update.subject, isDeclared: update.claim == .unreachable)
            if isNews { forward(update) }
        }
    }

    /// News by datagram overtakes the catalogue's, that the subject is a member now.
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

    /// Others think that this node is away: it says in a newer incarnation that it is not.
    private mutating func refute(_ update: Update) {
        guard update.claim != .alive, update.incarnation >= incarnation, update.incarnation.life == incarnation.life else { return }
        incarnation = update.incarnation.next
        counters.refutations += 1
        // One liar must not make this node doubt itself for ever.
        if refutedAt.map({ now - $0 >= parameters.period }) ?? true { worsen(by: 1) }
        refutedAt = now
        spread(.alive, of: node)
    }
}
