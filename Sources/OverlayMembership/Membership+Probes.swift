import OverlayModel

/// Probing: one member a period, directly, then through helpers and by stream.
extension Membership {
    // MARK: The round

    /// Probes the member of the next round. In round r every member is probed by exactly one other: the one r places before it in
    /// the ring. Nodes that fell behind take the others' round, so a crash is noticed within two periods wherever it happens.
    mutating func tick(_ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        let period = parameters.period * Int64(1 + healthScore)
        plannedTick = max(plannedTick ?? now, Instant(nanoseconds: now.nanoseconds - period.nanoseconds)) + period
        timers[.tick] = plannedTick
        round &+= 1
        let isBehind = heardRound != round && heardRound &- round < 1 << 31
        if isBehind { round = heardRound }
        guard ring.count > 1, let own = ring.firstIndex(of: node) else { return }
        // After a jump the target is random, and not chosen by the node that reported the round.
        let others = ring.count - 1
        let offset = 1 + (isBehind ? Int(random(below: UInt64(others))) : Int(round % UInt32(others)))
        probe(ring[(own + offset) % ring.count], report, into: &effects)
        // In a large cluster this node may have missed news of some members, and the round reaches them after as many periods as
        // there are members.
        let unknown = members.filter { $0.value.status.state == .unknown && now - $0.value.status.since >= parameters.period }
        for peer in sample(parameters.strangersPerPeriod, of: unknown.keys.sorted()) { probe(peer, report, into: &effects) }
        // Distinguishes a lost packet from a broken path, long before the round reaches those members again.
        let silent = members.filter { $0.value.status.silentSince != nil && $0.value.status.state.isReachable }
        for peer in sample(parameters.strangersPerPeriod, of: silent.keys.sorted()) where inquiries[peer] == nil {
            send(.ping(takeNumber()), to: peer, by: path(to: peer), report, into: &effects)
        }
    }

    private mutating func probe(_ target: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        // An inquiry asks it already.
        guard inquiries[target] == nil else { return }
        let number = takeNumber()
        probes[number] = Probe(target: target, sentAt: now, stage: .direct)
        timers.set(.probe(number), at: now + timeout(for: target))
        send(.ping(number), to: target, by: path(to: target), report, into: &effects)
    }

    func timeout(for peer: NodeID) -> Interval {
        let scale = Int64(1 + healthScore / 2)
        guard let member = members[peer], member.path == .datagram, let expected = member.status.roundTrip ?? usualRoundTrip else {
            return parameters.longestTimeout * scale
        }
        let late = Interval(nanoseconds: expected.nanoseconds + 2 * member.variation.nanoseconds)
        return min(max(late * 4, parameters.shortestTimeout), parameters.longestTimeout) * scale
    }

    mutating func expireProbe(_ number: UInt32, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        guard let probe = probes[number] else { return }
        switch probe.stage {
        case .direct: askOthers(number, probe, report, into: &effects)
        case .indirect(let silent):
            probes[number] = nil
            unanswered(probe.target, silentHelpers: silent.count, report, into: &effects)
            // If many die at once, helpers are among them.
            for helper in silent.sorted() { inquire(after: helper) }
        case .inPlaceOf(let requester, let theirs):
            probes[number] = nil
            send(.notReached(theirs), to: requester, by: path(to: requester), report, into: &effects)
        }
    }

    private mutating func askOthers(
        _ number: UInt32, _ probe: Probe, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        let candidates = ring.filter { $0 != node && $0 != probe.target && members[$0]?.status.state != .suspect }
        let helpers = sample(parameters.helpers, of: candidates).sorted()
        let waited = now - probe.sentAt
        // Time for a round trip of a helper, and for a stream to be opened.
        let patience = max(max(waited * 2, timeout(for: probe.target)), parameters.shortestTimeout * 3)
        probes[number]?.stage = .indirect(helpers: Set(helpers))
        timers.set(.probe(number), at: now + min(patience, parameters.period))
        let half = UInt16(clamping: min(patience, parameters.period).nanoseconds / 2_000_000)
        for helper in helpers {
            let request = MembershipMessage.Body.request(number, target: probe.target, milliseconds: half)
            send(request, to: helper, by: path(to: helper), report, into: &effects)
        }
        send(.ping(number), to: probe.target, by: .stream, report, into: &effects)
    }

    /// Takes note that neither the target nor a helper for it answered.
    private mutating func unanswered(
        _ target: NodeID, silentHelpers: Int, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]
    ) {
        guard let member = members[target], member.status.state.isReachable else { return }
        counters.unanswered += 1
        // Helpers that answer prove that this node is heard. Silent ones, or none, are a hint that it is not.
        if silentHelpers > 0 || count <= 2 { worsen(by: 1) }
        let refused = member.streamFailure == .refused
        inquire(after: target, evidence: 1, refused: refused)
        if healthScore < 4 { accuse(target, into: &effects) }
    }

    // MARK: Answers

    mutating func answered(
        _ number: UInt32, by peer: NodeID, via path: MessagePath, into effects: inout [Effect]
    ) {
        guard var member = members[peer] else { return }
        if let probe = probes[number], probe.target == peer {
            dropProbe(number)
            recover()
            if path == .datagram, case .direct = probe.stage { take(sample: now - probe.sentAt, into: &member) }
            if case .inPlaceOf(let requester, let theirs) = probe.stage { relayed.append((requester, theirs)) }
        }
        if let outgoing = outbox[peer], outgoing.number == number, path == .datagram, let sentAt = outgoing.sentAt {
            take(sample: now - sentAt, into: &member)
        }
        if path == .datagram { member.answeredAt = now }
        if path == .stream { member.streamFailure = nil }
        member.refusals.answered(number, by: path, in: member.spoken.life)
        // Streams are tried until they pass.
        if member.refusals.areOfFirewall, timers[.streamCheck(peer)] == nil {
            timers.set(.streamCheck(peer), at: now + parameters.nextStreamCheck)
        }
        members[peer] = member
        acknowledgeGossip(number, by: peer)
        switch path {
        case .datagram: foundAlive(peer, into: &effects)
        case .stream: foundByStream(peer, into: &effects)
        }
    }

    /// Smooths the round trip of a member (RFC 6298 §2).
    private mutating func take(sample: Interval, into member: inout Member) {
        let usual = usualRoundTrip ?? sample
        usualRoundTrip = Interval(nanoseconds: usual.nanoseconds + (sample.nanoseconds - usual.nanoseconds) / 8)
        guard let old = member.status.roundTrip else {
            member.status.roundTrip = sample
            member.variation = Interval(nanoseconds: sample.nanoseconds / 2)
            return
        }
        let error = abs(sample.nanoseconds - old.nanoseconds)
        member.variation = Interval(nanoseconds: member.variation.nanoseconds + (error - member.variation.nanoseconds) / 4)
        member.status.roundTrip = Interval(nanoseconds: old.nanoseconds + (sample.nanoseconds - old.nanoseconds) / 8)
    }

    /// Takes note that a helper had an answer from a target that did not answer this node.
    mutating func reached(_ number: UInt32, through helper: NodeID, into effects: inout [Effect]) {
        guard let probe = probes[number], case .indirect(let helpers) = probe.stage, helpers.contains(helper) else { return }
        dropProbe(number)
        guard let state = members[probe.target]?.status.state, state.isReachable, state != .suspect else { return }
        members[probe.target]?.streamFailure = nil
        setState(probe.target, state == .unknown ? .alive : state, PeerStatus.silentReason, answers: false, into: &effects)
    }

    mutating func notReached(_ number: UInt32, by helper: NodeID) {
        guard let probe = probes[number], case .indirect(var helpers) = probe.stage else { return }
        helpers.remove(helper)
        probes[number]?.stage = .indirect(helpers: helpers)
    }

    /// Probes a member for another node that cannot reach it.
    mutating func help(
        _ requester: NodeID, _ theirs: UInt32, reach target: NodeID, within milliseconds: UInt16, _ report: (NodeID) -> PeerReport,
        into effects: inout [Effect]
    ) {
        guard target != node, target != requester, members[target] != nil,
            probes.values.count(where: { if case .inPlaceOf(requester, _) = $0.stage { true } else { false } }) < 16
        else { return }
        let number = takeNumber()
        let patience = min(.milliseconds(Int64(milliseconds)), parameters.period)
        probes[number] = Probe(target: target, sentAt: now, stage: .inPlaceOf(requester, theirs))
        timers.set(.probe(number), at: now + patience)
        send(.ping(number), to: target, by: path(to: target), report, into: &effects)
    }

    // MARK: Unreachable members

    mutating func retry(_ peer: NodeID, _ report: (NodeID) -> PeerReport, into effects: inout [Effect]) {
        guard let tries = retries[peer] else { return }
        let (isBlocked, wasDown) = (members[peer]?.status.state == .udpBlocked, members[peer]?.status.state == .daemonDown)
        let pause = isBlocked ? parameters.pathRetry : parameters.retryTime(tries: tries, members: count)
        // ±12 %, so that not all try together for ever.
        let jitter = Int64(random(below: UInt64(pause.nanoseconds / 4))) - pause.nanoseconds / 8
        setRetry(peer, (now + pause + Interval(nanoseconds: jitter), tries + 1))
        send(.ping(takeNumber()), to: peer, by: .datagram, report, into: &effects)
        if wasDown, members[peer]?.streamFailure == nil { setState(peer, .unreachable, PeerStatus.strangerReason, into: &effects) }
        if !isBlocked, tries % 4 == 3 || wasDown {
            send(.ping(takeNumber()), to: peer, by: .stream, report, into: &effects)
        }
    }

    /// Tries an unreachable member at once, because there is a sign that it is back.
    mutating func tryAtOnce(_ peer: NodeID) {
        guard members[peer]?.status.state.isReachable == false, let tries = retries[peer], let at = timers[.retry(peer)], at > now
        else { return }
        setRetry(peer, (now, min(tries, 2)))
    }
}
