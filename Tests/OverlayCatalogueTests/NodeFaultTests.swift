import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// Full disks at the writer, and messages of a hostile member.
@Suite struct NodeFaultTests {
    private static func secret(_ value: UInt8) -> Command { .setJoinSecret(Fixture.secret(value)) }

    @Test(arguments: [0, 1])
    func aFullDiskFailsTheProposalAndLaterOnesWork(proposer: Int) throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        network.fullDisks = [0]
        network.propose(Self.secret(1), by: proposer)
        network.run(for: .milliseconds(300))
        #expect(network.outcomes[proposer].values.map { $0 } == [[.writerFailed]])
        let index = network.nodes[0].catalogue.index
        network.fullDisks = []
        network.propose(Self.secret(2), by: proposer)
        network.run(for: .seconds(1))
        #expect(network.nodes[0].catalogue.index == index + 1 && network.areEqual)
        #expect(network.nodes[0].catalogue.cluster?.joinSecret.secret.first == 2)
        #expect(try network.isDurable(0) && network.isDurable(1))
    }

    /// Proposals that wait behind one that fails are tried in their turn.
    @Test(arguments: [0, 1])
    func aFullDiskDoesNotLoseWhatWaitsBehind(proposer: Int) throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        network.fullDisks = [0]
        for value in 1...3 { network.propose(Self.secret(UInt8(value)), by: proposer) }
        // The first write is under way; the disk works again for those behind it.
        network.run(for: .microseconds(900))
        network.fullDisks = []
        network.run(for: .seconds(5))
        let outcomes = network.outcomes[proposer].sorted { $0.key.value < $1.key.value }.map(\.value)
        #expect(outcomes.count == 3 && outcomes.allSatisfy { $0.count == 1 })
        #expect(outcomes.last == [.decided(.accepted)])
        #expect(network.nodes[0].catalogue.cluster?.joinSecret.secret.first == 3 && network.areEqual)
        #expect(try network.isDurable(0))
    }

    /// Results of writes for dropped entries arrive after new entries took their places, and must not be taken for theirs.
    @Test func answersToDroppedEntriesAreNotTakenForNewOnes() throws {
        var node = try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 1, rows: [:])
        var effects: [CatalogueNode.Effect] = []
        let now = Instant(nanoseconds: 0)
        node.initialise(Fixture.cluster(), member: Fixture.member(0), into: &effects)
        func tokens() -> [UInt64] {
            defer { effects = [] }
            return effects.compactMap { if case .store(let token?, _) = $0 { token } else { nil } }
        }
        func receive(_ sequence: UInt64, from index: Int) throws {
            try node.receive(
                CatalogueMessage.propose(epoch: 1, sequence: sequence, Self.secret(UInt8(index))).wireBytes,
                from: Fixture.node(index), now: now,
                into: &effects)
        }
        var admitted: [UInt64] = []
        for index in 1...4 {
            _ = node.propose(.admit(Fixture.member(index)), now: now, deadline: now + .seconds(1), into: &effects)
            admitted = tokens()
            node.stored(try #require(admitted.first), succeeded: true, now: now, into: &effects)
        }
        effects = []
        let before = node.catalogue.index
        try receive(1, from: 1)
        try receive(1, from: 2)
        let old = try #require(tokens().first)
        node.stored(old, succeeded: false, now: now, into: &effects)
        effects = []
        try receive(1, from: 3)
        try receive(1, from: 4)
        // Repeated result for the dropped entry: the new entries are not durable yet.
        let first = try #require(tokens().first)
        node.stored(old, succeeded: true, now: now, into: &effects)
        #expect(node.catalogue.index == before)
        #expect(!effects.contains { if case .applied = $0 { true } else { false } })
        node.stored(first, succeeded: true, now: now, into: &effects)
        node.stored(try #require(tokens().first), succeeded: true, now: now, into: &effects)
        #expect(node.catalogue.index == before + 2)
        #expect(node.catalogue.cluster?.joinSecret.secret.first == 4)
    }

    /// Proposals that wait for the disk are written together: a hundred hosts that join at once cost a few writes.
    @Test func whatWaitsForTheDiskIsWrittenInOneGo() throws {
        var node = try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 1, rows: [:])
        var effects: [CatalogueNode.Effect] = []
        let now = Instant(nanoseconds: 0)
        node.initialise(Fixture.cluster(), member: Fixture.member(0), into: &effects)
        func writes() -> [(token: UInt64, count: Int)] {
            defer { effects = [] }
            return effects.compactMap { if case .store(let token?, let writes) = $0 { (token, writes.count) } else { nil } }
        }
        _ = node.propose(.admit(Fixture.member(1)), now: now, deadline: now + .seconds(1), into: &effects)
        node.stored(try #require(writes().first).token, succeeded: true, now: now, into: &effects)
        effects = []
        for sequence in 1...20 as ClosedRange<UInt64> {
            try node.receive(
                CatalogueMessage.propose(epoch: 1, sequence: sequence, Self.secret(UInt8(sequence))).wireBytes,
                from: Fixture.node(1), now: now, into: &effects)
        }
        let first = writes()
        #expect(first.map(\.count) == [1])
        node.stored(try #require(first.first).token, succeeded: true, now: now, into: &effects)
        let second = writes()
        #expect(second.map(\.count) == [19])
        node.stored(try #require(second.first).token, succeeded: true, now: now, into: &effects)
        #expect(node.catalogue.index == 22)
        // All messages fit datagrams.
        for case .send(_, let bytes) in effects { #expect(bytes.count <= 1157) }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func aDiskThatFailsNowAndThenKeepsAllEqual(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var network = try NodeNetwork(count: 3, seed: seed)
        network.wires.loss = 0.1
        network.wires.duplication = 0.1
        network.wires.delay = 100...5000
        var asked = [0, 0, 0]
        for round in 0..<120 {
            network.fullDisks = Bool.random(using: &generator) ? [0] : []
            let index = Int.random(in: 0..<3, using: &generator)
            network.propose(Self.secret(UInt8(round)), by: index)
            asked[index] += 1
            network.run(for: .microseconds(Int64.random(in: 0...3000, using: &generator)))
        }
        network.fullDisks = []
        network.wires.loss = 0
        network.run(for: .seconds(30))
        #expect(network.areEqual, "seed \(seed)")
        for index in 0..<3 {
            #expect(network.outcomes[index].count == asked[index], "seed \(seed), node \(index)")
            #expect(network.outcomes[index].values.allSatisfy { $0.count == 1 }, "seed \(seed), node \(index)")
            #expect(try network.isDurable(index), "seed \(seed), node \(index)")
        }
    }

    // MARK: Hostile members

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func alteredMessagesNeverTrap(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let fixture = try HostileWireTests.populated()
        var node = try Victim(1, of: fixture)
        var writer = try Victim(0, of: fixture)
        let next = Entry(
            index: fixture.catalogue.index + 1, termNumber: 1, proposer: Fixture.node(0), epoch: 1, sequence: 99,
            command: .openSubnet(OpenSubnet(networkName: "x", family: .v4, prefix: nil, range: nil)))
        let promotion = Entry(
            index: next.index, termNumber: 2, proposer: Fixture.node(1), epoch: 1, sequence: 99,
            command: .promote(after: Fixture.term))
        var promoted = fixture.catalogue
        promoted.apply(promotion)
        let good: [CatalogueMessage] = [
            .propose(epoch: 1, sequence: 9, next.command), .propose(epoch: 1, sequence: 9, .promote(after: Fixture.term)),
            .outcome(sequence: 9, at: CataloguePosition(term: Fixture.term, index: next.index), .accepted),
            .failed(sequence: 9), .entries(after: Fixture.term, [next]), .entries(after: Fixture.term, [promotion]),
            .fetch(after: fixture.catalogue.position), .snapshot(fixture.catalogue), .snapshot(promoted),
            .term(Term(number: 2, writer: Fixture.node(2))),
        ]
        var refused = 0
        for step in 0..<6000 {
            var bytes = good[step % good.count].wireBytes
            bytes[Int.random(in: (step % 3 == 0 ? 1 : 0)..<min(bytes.count, 40), using: &generator)] = [
                0, 1, 255, generator.next(),
            ].randomElement(using: &generator)!
            let peer = Fixture.node(Int.random(in: 0...2, using: &generator))
            if !node.receive(bytes, from: peer) { refused += 1 }
            // The writer's disk fails now and then.
            writer.isDiskFull = step % 7 == 0
            writer.receive(bytes, from: peer)
            node.rest(.milliseconds(7))
            writer.rest(.milliseconds(7))
            try node.expectSoundIfChanged("seed \(seed), step \(step), node")
            try writer.expectSoundIfChanged("seed \(seed), step \(step), writer")
        }
        // Both kinds of messages were met.
        #expect((300...5400).contains(refused), "\(refused) of 6000 refused")
        #expect(node.node.catalogue.index > fixture.catalogue.index && writer.node.catalogue.index > fixture.catalogue.index)
    }

    /// Decodable numbers at the end of their range.
    @Test(arguments: [.max, .max - 1, 1 << 63] as [UInt64])
    func hugeNumbersNeverTrap(number: UInt64) throws {
        let fixture = Fixture(members: 2)
        var node = try Victim(1, of: fixture, boot: .max)
        var absurd = fixture.catalogue
        absurd.restore(index: number)
        let entry = Entry(
            index: number, termNumber: number, proposer: Fixture.node(0), epoch: .max, sequence: number, command: Self.secret(1))
        let end = CataloguePosition(term: Term(number: number, writer: NodeID(bits: .max)), index: number)
        let promotion = Entry(
            index: number, termNumber: number, proposer: Fixture.node(0), epoch: .max, sequence: number,
            command: .promote(after: end.term))
        let messages: [CatalogueMessage] = [
            .fetch(after: end), .failed(sequence: number), .outcome(sequence: number, at: end, .accepted),
            .entries(after: Fixture.term, [entry]), .entries(after: end.term, [entry, promotion]), .snapshot(absurd),
            .fetch(after: CataloguePosition(term: .none, index: 0)), .term(end.term), .entries(after: .none, [entry, entry]),
        ]
        // A message with such a number is refused, but for the number of a proposal of one's own: that is only compared.
        let taken = messages.map { node.receive($0.wireBytes, from: Fixture.node(0)) }
        #expect(taken == [false, true, false, false, false, false, true, false, false])
        for term in [Fixture.term, end.term] {
            let position = CataloguePosition(term: term, index: number)
            node.act { $0.learn(position, from: Fixture.node(0), now: $1, into: &$2) }
            node.act { $0.catchUp(with: Fixture.node(0), at: position, now: $1, into: &$2) }
        }
        #expect(node.node.catalogue == fixture.catalogue)
        node.act { _ = $0.promote(now: $1, into: &$2) }
        node.rest(.seconds(1))
        // It still counts as before.
        #expect(
            node.node.catalogue.position
                == CataloguePosition(term: Term(number: 2, writer: Fixture.node(1)), index: fixture.catalogue.index + 1))
        try node.expectSound("\(number)")
    }
}

/// A node that is told nonsense, with the store that it writes.
private struct Victim {
    private(set) var node: CatalogueNode
    private var rows: StoredRows = [:]
    private var now = Instant(nanoseconds: 0)
    private let index: Int
    private var checked = CataloguePosition(term: .none, index: 0)
    /// True if writes whose answer is waited for fail.
    var isDiskFull = false

    /// - Parameter index: The member of `fixture` that it is.
    init(_ index: Int, of fixture: Fixture, boot: UInt32 = 1) throws {
        self.index = index
        node = try CatalogueNode(node: Fixture.node(index), epoch: 1, boot: boot, rows: [:])
        act { node, _, effects in node.join(fixture.catalogue, epoch: 1, into: &effects) }
    }

    /// - Returns: False if the bytes were refused.
    @discardableResult
    mutating func receive(_ bytes: [UInt8], from peer: NodeID) -> Bool {
        var isTaken = true
        act { node, now, effects in
            do throws(DecodeError) {
                try node.receive(bytes, from: peer, now: now, into: &effects)
            } catch {
                isTaken = false
            }
        }
        return isTaken
    }

    mutating func rest(_ time: Interval) {
        now = now + time
        act { $0.advance(to: $1, into: &$2) }
    }

    mutating func act(_ body: (inout CatalogueNode, Instant, inout [CatalogueNode.Effect]) -> Void) {
        var effects: [CatalogueNode.Effect] = []
        body(&node, now, &effects)
        var position = 0
        while position < effects.count {
            switch effects[position] {
            case .send(_, let bytes):
                if case .refused(let error) = decode(CatalogueMessage.self, bytes) {
                    Issue.record("sends what is no message: \(error)")
                }
            case .store(let token, let writes):
                let isWritten = token == nil || !isDiskFull
                if isWritten { rows.apply(writes) }
                if let token { node.stored(token, succeeded: isWritten, now: now, into: &effects) }
            case .applied, .replaced, .heard, .outcome: break
            }
            position += 1
        }
    }

    /// ``expectSound(_:sourceLocation:)`` where something was applied since the last call.
    mutating func expectSoundIfChanged(_ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation) throws {
        guard node.catalogue.position != checked else { return }
        checked = node.catalogue.position
        try expectSound(comment, sourceLocation: sourceLocation)
    }

    /// Checks that the state is one that every node takes, and that the node's next start finds it in its store.
    func expectSound(_ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(
            decode(Catalogue.self, node.catalogue.wireBytes) == .value(node.catalogue), comment, sourceLocation: sourceLocation)
        #expect(node.catalogue.violations == [], comment, sourceLocation: sourceLocation)
        let next = try CatalogueNode(node: Fixture.node(index), epoch: 1, boot: 2, rows: rows)
        #expect(next.catalogue == node.catalogue, comment, sourceLocation: sourceLocation)
    }
}
