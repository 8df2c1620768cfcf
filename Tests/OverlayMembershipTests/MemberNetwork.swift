import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayMembership

/// Members on a virtual network, which carries datagrams; with streams that are opened and fail, hosts that die, processes that stall.
final class MemberNetwork {
    enum Host {
        case up
        /// The host refuses streams and answers nothing.
        case daemonDown
        /// A daemon that lost its state: it takes streams and answers nothing.
        case stranger
        case dead
    }

    struct Observation {
        var at: Instant
        var by: Int
        var of: Int
        var status: PeerStatus
    }

    struct Member {
        var membership: Membership
        var boot: UInt32 = 1
        var host = Host.up
        var clock = RunningClock()
        var wakeAt: Instant?
        /// Network time until which the process does nothing.
        var stalledUntil: Instant?
        var inbox: [(MemberNetwork) -> Void] = []
    }

    private enum Connection {
        case opening([(from: Int, to: Int, bytes: [UInt8])])
        case open
    }

    enum Event {
        case wake(Int)
        case resume(Int)
        case datagram(Link, [UInt8])
        case frame(Link, [UInt8])
        case knock(Link)
        case streamEnd(Link, StreamFailure?)
    }

    static let nothing = Membership.PeerReport(catalogue: CataloguePosition(term: .none, index: 0), digest: 0)
    /// Bytes of the seal, and of the kind of message.
    static let envelope = Limits.sealBytes + 1

    var wires: VirtualNetwork<Event>
    private(set) var members: [Member] = []
    let parameters: MembershipParameters
    private var connections: [Link: Connection] = [:]
    /// Links whose streams lose everything.
    var streamsCut: Set<Link> = []
    /// True if a firewall before each host refuses all streams.
    var streamsAreRefused = false

    /// Time until a peer hears that a connection was closed.
    private static let reset = Interval.microseconds(200)

    private(set) var observations: [Observation] = []
    private(set) var restarts: [(by: Int, of: Int)] = []
    private(set) var packets = 0
    private(set) var bytes = 0
    private(set) var frames = 0
    private(set) var largest = 0
    private(set) var stalls = 0
    /// Number of calls after which a deadline stayed in the past.
    private(set) var busy = 0

    init(count: Int, seed: UInt64, parameters: MembershipParameters = .init(), starting: Bool = true) {
        self.parameters = parameters
        wires = VirtualNetwork(seed: seed, delay: 200...299)
        for index in 0..<count {
            let membership = Membership(
                node: Self.id(index), incarnation: Incarnation(epoch: 1, boot: 1), seed: wires.generator.next(),
                parameters: parameters)
            members.append(Member(membership: membership))
        }
        guard starting else { return }
        for index in 0..<count { setMembers(of: index, to: Array(0..<count)) }
    }

    static func id(_ index: Int) -> NodeID { NodeID(bits: UInt128(index) + 1) }
    static func index(_ id: NodeID) -> Int { Int(id.bits) - 1 }

    // MARK: What is asked

    var now: Instant { wires.now }
    subscript(index: Int) -> Membership { members[index].membership }
    var running: [Int] { members.indices.filter { members[$0].host == .up } }
    func status(_ of: Int, by: Int) -> PeerStatus? { members[by].membership.status(of: Self.id(of)) }
    func state(_ of: Int, by: Int) -> PeerState? { status(of, by: by)?.state }
    var viewsAreEqual: Bool { Set(running.map { members[$0].membership.view }).count <= 1 }
    var allAreAlive: Bool {
        running.allSatisfy { by in running.allSatisfy { $0 == by || state($0, by: by) == .alive } }
    }
    /// Observations in which running members took others for away.
    func declarations(since: Instant = Instant(nanoseconds: 0)) -> [Observation] {
        observations.filter { $0.at >= since && !$0.status.state.isReachable }
    }
    func random(below bound: Int) -> Int { Int.random(in: 0..<bound, using: &wires.generator) }

    // MARK: What is done to it

    func setMembers(of index: Int, to list: [Int]) {
        handle(index) { membership, now, effects in
            membership.setMembers(list.map(Self.id), epoch: 1, now: now, report: { _ in Self.nothing }, into: &effects)
        }
    }

    /// Cuts two groups off from one another, both ways.
    func cut(_ one: some Sequence<Int>, _ other: some Sequence<Int>, datagrams: Bool = true, streams: Bool = true) {
        for a in one {
            for b in other where a != b {
                if datagrams { wires.cutLinks.formUnion([Link(from: a, to: b), Link(from: b, to: a)]) }
                if streams { streamsCut.formUnion([Link(from: a, to: b), Link(from: b, to: a)]) }
            }
        }
    }

    func heal() {
        wires.cutLinks = []
        streamsCut = []
    }

    func stop(_ index: Int, _ host: Host) {
        let wasRunning = members[index].host == .up
        members[index].host = host
        members[index].wakeAt = nil
        members[index].inbox = []
        members[index].stalledUntil = nil
        guard wasRunning else { return }
        for link in connections.keys.sorted(by: { ($0.from, $0.to) < ($1.from, $1.to) })
        where link.from == index || link.to == index {
            connections[link] = nil
            // The kernel closes the connections of a process; those of a host go silent.
            let other = link.from == index ? link.to : link.from
            guard host == .daemonDown else { continue }
            wires.schedule(.streamEnd(Link(from: other, to: index), .failed("connection reset")), after: Self.reset)
        }
    }

    /// Starts a new daemon with a higher boot counter, or one that lost its boot counter.
    func start(_ index: Int, boot: UInt32? = nil) {
        members[index].boot = boot ?? members[index].boot + 1
        members[index].host = .up
        members[index].clock = RunningClock()
        members[index].membership = Membership(
            node: Self.id(index), incarnation: Incarnation(epoch: 1, boot: members[index].boot), seed: wires.generator.next(),
            parameters: parameters)
        setMembers(of: index, to: Array(members.indices))
    }

    func stall(_ index: Int, for time: Interval) {
        guard members[index].host == .up, members[index].stalledUntil == nil else { return }
        members[index].stalledUntil = now + time
        wires.schedule(.resume(index), after: time)
    }

    func isStalled(_ index: Int) -> Bool { members[index].stalledUntil != nil }

    /// Sends a message that a hostile member made by hand.
    func send(_ message: MembershipMessage, from: Int, to: Int, by path: MessagePath = .datagram) {
        handle(to) { membership, now, effects in
            try? membership.receive(
                message.wireBytes, from: Self.id(from), via: path, now: now, report: { _ in Self.nothing }, into: &effects)
        }
    }

    // MARK: Time

    func run(for time: Interval) { run(until: now + time) }

    private func run(until end: Instant) {
        while case .event(let event)? = wires.step(until: end) { happen(event) }
        wires.rest(until: end)
    }

    /// - Returns: The time it took; nil if it did not come about within the limit.
    func wait(atMost limit: Interval, poll: Interval = .milliseconds(10), until isReached: (MemberNetwork) -> Bool) -> Interval? {
        let start = now
        while now - start <= limit {
            if isReached(self) { return now - start }
            run(until: now + poll)
        }
        return nil
    }

    private func happen(_ event: Event) {
        switch event {
        case .wake(let index):
            guard members[index].wakeAt == now else { return }
            members[index].wakeAt = nil
            if members[index].host == .up, !isStalled(index) { handle(index) { _, _, _ in } }
        case .resume(let index):
            members[index].stalledUntil = nil
            let inbox = members[index].inbox
            members[index].inbox = []
            handle(index) { _, _, _ in }
            for deliver in inbox { deliver(self) }
        case .datagram(let link, let bytes): deliver(bytes, link, .datagram)
        case .frame(let link, let bytes): arrive(link, bytes)
        case .knock(let link): knock(link)
        case .streamEnd(let link, let failure): streamEnded(link, failure)
        }
    }

    // MARK: Members

    /// Does what the owner of a membership does with each event.
    private func handle(_ index: Int, _ body: (inout Membership, Instant, inout [Membership.Effect]) -> Void) {
        guard members[index].host == .up else { return }
        var effects: [Membership.Effect] = []
        let (local, stall) = members[index].clock.read(now, appointment: members[index].membership.nextDeadline)
        if stall != nil {
            stalls += 1
            members[index].membership.stalled(now: local)
        }
        body(&members[index].membership, local, &effects)
        var calls = 0
        while let deadline = members[index].membership.nextDeadline, deadline <= local {
            calls += 1
            if calls > 4 {
                busy += 1
                break
            }
            members[index].membership.advance(to: local, report: { _ in Self.nothing }, into: &effects)
        }
        if let deadline = members[index].membership.nextDeadline {
            let at = max(members[index].clock.raw(deadline), now)
            if members[index].wakeAt != at {
                members[index].wakeAt = at
                wires.schedule(.wake(index), at: at)
            }
        }
        for effect in effects { act(effect, of: index) }
    }

    private func act(_ effect: Membership.Effect, of index: Int) {
        switch effect {
        case .send(let peer, let message, let path): send(message, Link(from: index, to: Self.index(peer)), path)
        case .status(let peer, let status):
            observations.append(Observation(at: now, by: index, of: Self.index(peer), status: status))
        case .restarted(let peer): restarts.append((index, Self.index(peer)))
        case .heard, .echo: break
        }
    }

    private func deliver(_ bytes: [UInt8], _ link: Link, _ path: MessagePath) {
        pass(to: link.to) { network in
            network.handle(link.to) { membership, now, effects in
                do throws(DecodeError) {
                    try membership.receive(
                        bytes, from: Self.id(link.from), via: path, now: now, report: { _ in Self.nothing }, into: &effects)
                } catch {
                    Issue.record("a message does not decode: \(error)")
                }
            }
        }
    }

    private func pass(to index: Int, _ deliver: @escaping (MemberNetwork) -> Void) {
        if !isStalled(index) {
            deliver(self)
        } else if members[index].inbox.count < 1000 {
            members[index].inbox.append(deliver)
        }
    }

    // MARK: Wires

    private func send(_ message: [UInt8], _ link: Link, _ path: MessagePath) {
        bytes += message.count + Self.envelope
        largest = max(largest, message.count)
        switch path {
        case .datagram:
            packets += 1
            wires.send(.datagram(link, message), over: link)
        case .stream:
            frames += 1
            switch connections[pair(link)] {
            case .open: wires.schedule(.frame(link, message), after: wires.transit())
            case .opening(let waiting): connections[pair(link)] = .opening(waiting + [(link.from, link.to, message)])
            case nil:
                connections[pair(link)] = .opening([(link.from, link.to, message)])
                wires.schedule(.knock(link), after: wires.transit())
            }
        }
    }

    private func pair(_ link: Link) -> Link { Link(from: min(link.from, link.to), to: max(link.from, link.to)) }

    private func isCut(_ link: Link) -> Bool {
        streamsCut.contains(link) || streamsCut.contains(link.reversed) || members[link.to].host == .dead
            || members[link.from].host == .dead
    }

    private func knock(_ link: Link) {
        if isCut(link) {
            wires.schedule(.streamEnd(link, .failed("connection timed out")), after: .seconds(1))
        } else if members[link.to].host == .daemonDown || streamsAreRefused {
            wires.schedule(.streamEnd(link, .refused), after: wires.transit())
        } else {
            wires.schedule(.streamEnd(link, nil), after: wires.transit())
        }
    }

    private func streamEnded(_ link: Link, _ failure: StreamFailure?) {
        if failure == nil {
            guard case .opening(let waiting)? = connections[pair(link)] else { return }
            connections[pair(link)] = .open
            for (from, to, bytes) in waiting { wires.schedule(.frame(Link(from: from, to: to), bytes), after: wires.transit()) }
        } else {
            connections[pair(link)] = nil
        }
        pass(to: link.from) { network in
            network.handle(link.from) { membership, now, effects in
                membership.stream(Self.id(link.to), failure, now: now, into: &effects)
            }
        }
    }

    private func arrive(_ link: Link, _ bytes: [UInt8]) {
        guard case .open? = connections[pair(link)] else { return }
        if isCut(link) {
            connections[pair(link)] = .opening([])
            wires.schedule(.streamEnd(link, .failed("connection timed out")), after: .seconds(1))
        } else {
            deliver(bytes, link, .stream)
        }
    }
}
