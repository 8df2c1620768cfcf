import OverlayModel
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
        network.loss = 0.1
        network.duplication = 0.1
        network.longestDelay = 5000
        var asked = [0, 0, 0]
        for round in 0..<120 {
            network.fullDisks = Bool.random(using: &generator) ? [0] : []
            let index = Int.random(in: 0..<3, using: &generator)
            network.propose(Self.secret(UInt8(round)), by: index)
            asked[index] += 1
            network.run(for: .microseconds(Int64.random(in: 0...3000, using: &generator)))
        }
        network.fullDisks = []
        network.loss = 0
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
        var node = try CatalogueNode(node: Fixture.node(1), epoch: 1, boot: 1, rows: [:])
        var writer = try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 1, rows: [:])
        var effects: [CatalogueNode.Effect] = []
        node.join(fixture.catalogue, epoch: 1, into: &effects)
        writer.join(fixture.catalogue, epoch: 1, into: &effects)
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
        var now = Instant(nanoseconds: 0)
        for step in 0..<6000 {
            var bytes = good[step % good.count].wireBytes
            bytes[Int.random(in: (step % 3 == 0 ? 1 : 0)..<min(bytes.count, 40), using: &generator)] = [
                0, 1, 255, generator.next(),
            ].randomElement(using: &generator)!
            let peer = Fixture.node(Int.random(in: 0...2, using: &generator))
            effects = []
            try? node.receive(bytes, from: peer, now: now, into: &effects)
            try? writer.receive(bytes, from: peer, now: now, into: &effects)
            // The disk answers, sometimes badly.
            for effect in effects {
                var more: [CatalogueNode.Effect] = []
                if case .store(let token?, _) = effect { writer.stored(token, succeeded: step % 7 != 0, now: now, into: &more) }
            }
            now = now + .milliseconds(7)
            node.advance(to: now, into: &effects)
            writer.advance(to: now, into: &effects)
        }
    }

    /// Decodable numbers at the end of their range.
    @Test(arguments: [.max, .max - 1, 1 << 63] as [UInt64])
    func hugeNumbersNeverTrap(number: UInt64) throws {
        var effects: [CatalogueNode.Effect] = []
        var node = try CatalogueNode(node: Fixture.node(1), epoch: 1, boot: .max, rows: [:])
        let fixture = Fixture(members: 2)
        node.join(fixture.catalogue, epoch: 1, into: &effects)
        var absurd = fixture.catalogue
        absurd.restore(index: number)
        let now = Instant(nanoseconds: 0)
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
        for message in messages { try? node.receive(message.wireBytes, from: Fixture.node(0), now: now, into: &effects) }
        for term in [Fixture.term, end.term] {
            let position = CataloguePosition(term: term, index: number)
            node.learn(position, from: Fixture.node(0), now: now, into: &effects)
            node.catchUp(with: Fixture.node(0), at: position, now: now, into: &effects)
        }
        _ = node.promote(now: now, into: &effects)
        node.advance(to: now + .seconds(1), into: &effects)
    }
}
