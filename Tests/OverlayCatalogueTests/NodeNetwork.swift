import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// Catalogue nodes on a virtual network, with stores that take a millisecond.
struct NodeNetwork {
    private(set) var nodes: [CatalogueNode] = []
    /// Durable rows of each node.
    private(set) var rows: [StoredRows] = []
    var wires: VirtualNetwork<Event>
    /// Outcomes of each proposal of the node's present life.
    private(set) var outcomes: [[CatalogueNode.ProposalID: [CatalogueNode.Outcome]]] = []
    private(set) var sentTypes: [UInt8: Int] = [:]
    /// Nodes whose stores fail.
    var fullDisks: Set<Int> = []
    private var boots: [UInt32] = []
    private var nextProbe = Instant(nanoseconds: 0)

    var now: Instant { wires.now }

    enum Event {
        case message(from: Int, to: Int, [UInt8])
        case stored(node: Int, boot: UInt32, token: UInt64?, [StoreWrite], succeeds: Bool)
    }

    init(count: Int, seed: UInt64) throws {
        wires = VirtualNetwork(seed: seed, delay: 100...200)
        for index in 0..<count {
            nodes.append(try CatalogueNode(node: Fixture.node(index), epoch: 1, boot: 1, rows: [:]))
            rows.append([:])
            boots.append(1)
            outcomes.append([:])
        }
        act(0) { $0.initialise(Fixture.cluster(), member: Fixture.member(0), into: &$1) }
        run(for: .milliseconds(5))
        for index in 1..<count {
            propose(.admit(Fixture.member(index)), by: 0)
            run(for: .milliseconds(5))
            let snapshot = nodes[0].catalogue
            act(index) { $0.join(snapshot, epoch: 1, into: &$1) }
        }
        run(for: .milliseconds(50))
        outcomes[0] = [:]
    }

    mutating func act(_ index: Int, _ body: (inout CatalogueNode, inout [CatalogueNode.Effect]) -> Void) {
        var effects: [CatalogueNode.Effect] = []
        body(&nodes[index], &effects)
        for effect in effects {
            switch effect {
            case .send(let peer, let bytes):
                sentTypes[bytes.first ?? 0, default: 0] += 1
                guard let to = nodes.firstIndex(where: { $0.node == peer }) else { continue }
                send(bytes, from: index, to: to)
            case .store(let token, let writes):
                // Success is decided when it is asked for; answers come in order.
                wires.schedule(
                    .stored(node: index, boot: boots[index], token: token, writes, succeeds: !fullDisks.contains(index)),
                    after: .milliseconds(1))
            case .applied, .replaced, .heard: break
            case .outcome(let id, let outcome): outcomes[index][id, default: []].append(outcome)
            }
        }
    }

    mutating func send(_ bytes: [UInt8], from: Int, to: Int) {
        wires.send(.message(from: from, to: to, bytes), over: Link(from: from, to: to))
    }

    @discardableResult
    mutating func propose(_ command: Command, by index: Int, within time: Interval = .seconds(20)) -> CatalogueNode.ProposalID {
        var id: CatalogueNode.ProposalID?
        let now = now
        act(index) { id = $0.propose(command, now: now, deadline: now + time, into: &$1) }
        return id!
    }

    @discardableResult
    mutating func promote(_ index: Int) -> CatalogueNode.ProposalID {
        var id: CatalogueNode.ProposalID?
        let now = now
        act(index) { id = $0.promote(now: now, into: &$1) }
        return id!
    }

    /// Ends and starts the process: what is not on the disk is lost, and writes under way fail.
    ///
    /// - Parameter entries: Number of the newest entries that the disk loses, as in a rollback.
    mutating func restart(_ index: Int, losing entries: Int = 0) throws {
        let last = nodes[index].catalogue.index
        for lost in 0..<UInt64(entries) { rows[index].apply([.delete(.catalogueEntry, key: (last - lost).wireBytes)]) }
        if entries > 0 { rows[index].apply([.delete(.catalogueSnapshot, key: CatalogueNode.heardKey)]) }
        boots[index] += 1
        outcomes[index] = [:]
        nodes[index] = try CatalogueNode(node: Fixture.node(index), epoch: 1, boot: boots[index], rows: rows[index])
    }

    mutating func run(for time: Interval) {
        let end = now + time
        while let step = wires.step(until: end, timer: min(nodes.compactMap(\.nextDeadline).min() ?? nextProbe, nextProbe)) {
            switch step {
            case .event(let event): handle(event)
            case .timer where nextProbe <= now: probe()
            case .timer:
                for index in nodes.indices { act(index) { [now] in $0.advance(to: now, into: &$1) } }
            }
        }
        wires.rest(until: end)
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .message(let from, let to, let bytes):
            guard !wires.cut.contains(to) else { return }
            act(to) { [now, peer = nodes[from].node] node, effects in
                do throws(DecodeError) {
                    try node.receive(bytes, from: peer, now: now, into: &effects)
                } catch {
                    Issue.record("a message of a node does not decode: \(error)")
                }
            }
        case .stored(let index, let boot, let token, let writes, let succeeds):
            guard boots[index] == boot else { return }
            if succeeds { rows[index].apply(writes) }
            if let token { act(index) { [now] in $0.stored(token, succeeded: succeeds, now: now, into: &$1) } }
        }
    }

    /// Does what the membership does: each tells each other where it is.
    private mutating func probe() {
        nextProbe = now + .milliseconds(200)
        for from in nodes.indices {
            for to in nodes.indices where from != to && wires.isOpen(Link(from: from, to: to)) {
                act(to) { [now, position = nodes[from].catalogue.position, peer = nodes[from].node] in
                    $0.learn(position, from: peer, now: now, into: &$1)
                }
            }
        }
    }

    var areEqual: Bool { nodes.dropFirst().allSatisfy { $0.catalogue.wireBytes == nodes[0].catalogue.wireBytes } }

    /// True if the stored rows give the state that is shown.
    func isDurable(_ index: Int) throws -> Bool {
        try CatalogueNode(node: Fixture.node(index), epoch: 1, boot: 99, rows: rows[index]).catalogue == nodes[index].catalogue
    }
}
