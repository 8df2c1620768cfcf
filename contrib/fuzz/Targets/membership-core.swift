public import Fuzzing
import OverlayModel

@testable import OverlayMembership

private let id = NodeID(bits: 9)
/// More peers than one message has room for updates.
private let peers = (100..<140).map { NodeID(bits: UInt128($0)) }

private func report(_: NodeID) -> Membership.PeerReport {
    Membership.PeerReport(catalogue: CataloguePosition(term: Term(number: 1, writer: NodeID(bits: 1)), index: 5), digest: 6)
}

/// Parameters with a limit for large clusters that inputs can reach.
private var parameters: MembershipParameters {
    var parameters = MembershipParameters()
    parameters.flatGossip = 8
    parameters.fanout = 6
    parameters.allInquire = 10
    parameters.roundsToBlock = 3
    return parameters
}

/// One node's view of the others. Each step is a byte that tells what happens, one that tells to whom or how much, and for 0…7 a
/// message: + 1 by stream, + 2 with the number that an answer needs, + 4 with the node's own view.
private struct Subject {
    var node = Membership(node: id, incarnation: Incarnation(epoch: 1, boot: 2), seed: 3, parameters: parameters)
    private(set) var now = Instant(nanoseconds: 0)
    /// Last numbers sent to each peer.
    private var pings: [NodeID: UInt32] = [:]
    private var requests: [NodeID: UInt32] = [:]

    /// - Returns: Effects of the step; nil at the end of the input.
    mutating func step(_ reader: inout ByteReader) -> [Membership.Effect]? {
        guard let kind = try? reader.byte(), let which = try? reader.byte() else { return nil }
        let peer = peers[Int(which) % peers.count]
        var effects: [Membership.Effect] = []
        switch kind {
        case 0...7:
            guard let said = try? reader.value(MembershipMessage.self) else { return nil }
            let bytes = answering(said, of: peer, kind).wireBytes
            let path: MessagePath = kind & 1 == 0 ? .datagram : .stream
            try? node.receive(bytes, from: peer, via: path, now: now, report: report, into: &effects)
        case 8: now = now + .milliseconds(Int64(which))
        case 9: now = now + .milliseconds(Int64(which) * 50)
        // Time passes as in a daemon, from one deadline to the next.
        case 10:
            for _ in 0..<which & 15 {
                now = max(now, node.nextDeadline ?? now)
                advance(into: &effects)
            }
        case 11: setMembers(Int(which & 63), epoch: 1 + UInt32(which >> 6), into: &effects)
        case 12: node.stream(peers[Int(which & 63) % peers.count], failure(which), now: now, into: &effects)
        case 13: node.stalled(now: now)
        default: break
        }
        advance(into: &effects)
        check(effects)
        return effects
    }

    private mutating func setMembers(_ count: Int, epoch: UInt32, into effects: inout [Membership.Effect]) {
        node.setMembers(peers.prefix(count) + [id], epoch: epoch, now: now, report: report, into: &effects)
    }

    private func failure(_ which: UInt8) -> StreamFailure? {
        switch which >> 6 {
        case 0: nil
        case 1: .refused
        default: .failed("no route to host")
        }
    }

    private mutating func advance(into effects: inout [Membership.Effect]) {
        node.advance(to: now, report: report, into: &effects)
        require(node.nextDeadline.map { $0 >= now } ?? true, "what is due was done")
        // Deadlines that are due at once must come to an end, too.
        var again = 0
        while let next = node.nextDeadline, next <= now {
            again += 1
            require(again < 5, "no timer fires for ever")
            node.advance(to: now, report: report, into: &effects)
        }
        for case .send(let peer, let bytes, _) in effects {
            switch (try? MembershipMessage(wire: bytes))?.body {
            case .ping(let number): pings[peer] = number
            case .request(let number, _, _): requests[peer] = number
            default: break
            }
        }
    }

    private func answering(_ message: MembershipMessage, of peer: NodeID, _ kind: UInt8) -> MembershipMessage {
        var message = message
        if kind & 4 != 0 { message.view = node.view }
        guard kind & 2 != 0 else { return message }
        switch message.body {
        case .acknowledge(let number): message.body = .acknowledge(pings[peer] ?? number)
        case .reached(let number): message.body = .reached(requests[peer] ?? number)
        case .notReached(let number): message.body = .notReached(requests[peer] ?? number)
        case .ping, .request, .states, .notice: break
        }
        return message
    }

    private func check(_ effects: [Membership.Effect]) {
        for case .send(let peer, let bytes, _) in effects {
            require(peer != id, "nothing is sent to oneself")
            // With the byte of its kind and its seal.
            require(bytes.count <= Limits.datagramBytes - Limits.sealBytes - 1, "\(bytes.count) bytes fit a datagram")
            require((try? MembershipMessage(wire: bytes)) != nil, "what a node says can be read")
        }
        let members = Set(node.members.keys)
        let reachable = members.filter { node.members[$0]?.status.state.isReachable == true }
        require(node.ring == (reachable + [id]).sorted(), "the ring has all that are reachable")
        require(node.away == members.subtracting(reachable).sorted(), "who is away is tried")
        let retried = node.timers.keys.filter { $0.kind == .retry }.map(\.peer)
        require(Set(retried) == Set(node.retries.keys), "every next try has its timer, and no other has one")
        require(members.isSuperset(of: node.inquiries.keys), "members alone are asked")
        require(members.isSuperset(of: node.suspicions.keys), "members alone are suspected")
        require(members.isSuperset(of: node.outbox.keys), "members alone are told")
        require(node.probes.values.allSatisfy { members.contains($0.target) }, "members alone are probed")
        require(node.healthScore <= Membership.worst, "an healthScore can be told")
    }
}

/// The node among well-behaved others, with messages that arrive at once. What the node received becomes an input.
private struct Scenario {
    private var subject = Subject()
    private var others: [NodeID: Membership] = [:]
    private var queue: [(from: NodeID, to: NodeID, bytes: [UInt8], path: MessagePath)] = []
    private(set) var bytes: [UInt8] = []
    /// Peers that neither receive nor send, with the paths.
    var silent: [NodeID: Set<MessagePath>] = [:]

    init(_ count: UInt8) {
        for peer in peers.prefix(Int(count)) { start(peer, boot: 1, of: count) }
        step(11, count)
    }

    mutating func start(_ peer: NodeID, boot: UInt32, of count: UInt8) {
        others[peer] = Membership(
            node: peer, incarnation: Incarnation(epoch: 1, boot: boot), seed: UInt64(peer.bits), parameters: parameters)
        act(peer) { $0.setMembers(peers.prefix(Int(count)) + [id], epoch: 1, now: $1, report: report, into: &$2) }
        run()
    }

    /// Performs one step of the node itself.
    mutating func step(_ kind: UInt8, _ which: UInt8) {
        take([kind, which])
        for peer in others.keys.sorted() { act(peer) { $0.advance(to: $1, report: report, into: &$2) } }
        run()
    }

    mutating func pass(_ times: Int) { for _ in 0..<times { step(10, 1) } }

    /// Sends a message in the place of a peer.
    mutating func say(_ peer: Int, _ body: MembershipMessage.Body, _ updates: [Update] = [], kind: UInt8 = 0) {
        let message = MembershipMessage(
            body: body, incarnation: Incarnation(epoch: 1, boot: 1), round: 9, healthScore: 1, report: report(id), view: 7,
            updates: updates)
        take([kind, UInt8(peer)] + message.wireBytes)
    }

    private mutating func act(_ peer: NodeID, _ body: (inout Membership, Instant, inout [Membership.Effect]) -> Void) {
        guard var other = others[peer] else { return }
        var effects: [Membership.Effect] = []
        body(&other, subject.now, &effects)
        others[peer] = other
        send(effects, from: peer)
    }

    private mutating func run() {
        while !queue.isEmpty, bytes.count < 4096 {
            let next = queue.removeFirst()
            guard silent[next.to]?.contains(next.path) != true, silent[next.from]?.contains(next.path) != true else { continue }
            if next.to != id {
                act(next.to) { try? $0.receive(next.bytes, from: next.from, via: next.path, now: $1, report: report, into: &$2) }
            } else if let index = peers.firstIndex(of: next.from) {
                take([next.path == .datagram ? 0 : 1, UInt8(index)] + next.bytes)
            }
        }
    }

    private mutating func take(_ step: [UInt8]) {
        bytes += step
        var reader = ByteReader(step)
        send(subject.step(&reader) ?? [], from: id)
    }

    private mutating func send(_ effects: [Membership.Effect], from: NodeID) {
        for case .send(let to, let bytes, let path) in effects { queue.append((from, to, bytes, path)) }
    }
}

private func scenario(_ count: UInt8, _ tell: (inout Scenario) -> Void) -> [UInt8] {
    var scenario = Scenario(count)
    tell(&scenario)
    return scenario.bytes
}

private func scenarios() -> [[UInt8]] {
    func update(_ subject: NodeID, _ claim: Update.Claim, _ sequence: UInt32 = 0, boot: UInt32 = 1) -> Update {
        let source = claim == .alive ? subject : peers[1]
        let incarnation = Incarnation(epoch: 1, boot: boot, sequence: sequence)
        return Update(subject: subject, incarnation: incarnation, claim: claim, source: source)
    }
    return [
        scenario(3) { $0.pass(12) },
        // A peer falls silent, is declared unreachable, and returns in a later life.
        scenario(3) {
            $0.pass(3)
            $0.silent[peers[1]] = [.datagram, .stream]
            $0.pass(40)
            $0.silent = [:]
            $0.start(peers[1], boot: 2, of: 3)
            $0.pass(8)
        },
        // Datagrams are dropped; streams pass.
        scenario(1) {
            $0.silent[peers[0]] = [.datagram]
            $0.pass(24)
            $0.silent = [:]
            $0.pass(6)
        },
        // One host has no daemon, and the way to another is cut.
        scenario(2) {
            $0.silent[peers[0]] = [.datagram, .stream]
            for _ in 0..<10 {
                $0.pass(2)
                $0.step(12, 64)
            }
            $0.step(12, 129)
            $0.step(13, 0)
            $0.step(9, 100)
            $0.step(11, 1)
            $0.step(11, 64 + 2)
        },
        // Claims about a member and about the node, in a small and in a large cluster.
        scenario(4) {
            for claim in [Update.Claim.suspect, .daemonDown, .unreachable, .alive] {
                $0.say(1, .ping(1), [update(peers[2], claim, 1)])
                $0.say(1, .ping(2), [update(id, claim, boot: 2)])
                $0.step(10, 3)
            }
        },
        scenario(30) {
            for claim in [Update.Claim.suspect, .unreachable] {
                $0.say(1, .ping(1), peers[2..<22].map { update($0, claim) })
                $0.step(10, 7)
            }
            $0.say(1, .states(isAnswer: false), peers[2..<26].map { update($0, .unreachable) })
            $0.say(1, .states(isAnswer: true), [update(peers[2], .alive, 4)])
        },
        // Every kind of message that carries a number.
        scenario(5) {
            for body in [
                MembershipMessage.Body.ping(1), .acknowledge(2), .request(3, target: peers[2], milliseconds: 200), .reached(4),
                .notReached(5), .states(isAnswer: false),
            ] {
                for kind in [0, 3, 6] as [UInt8] {
                    $0.say(1, body, kind: kind)
                    $0.step(10, 1)
                }
            }
        },
    ]
}

@_silgen_name("fuzzTarget") public func target() -> Target {
    Target(seeds: scenarios()) { bytes in
        var subject = Subject()
        var reader = ByteReader(bytes)
        var steps = 0
        while steps < 128, subject.step(&reader) != nil { steps += 1 }
    }
}
