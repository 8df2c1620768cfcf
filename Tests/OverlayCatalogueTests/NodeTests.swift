import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

@Suite struct NodeTests {
    private static func open(_ name: String, _ prefix: String) -> Command {
        .openSubnet(OpenSubnet(networkName: name, family: .v4, prefix: IPPrefix(prefix), range: nil))
    }

    private static func secret(_ value: Int) -> Command {
        .setJoinSecret(JoinSecret(secret: (0..<16).map { UInt8(truncatingIfNeeded: value >> ($0 % 8 * 8)) }, expires: 0))
    }

    /// Blocks are counted: a proposal that was applied twice would show as one block too many.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func everyProposalHasOneOutcomeAndIsAppliedOnce(seed: UInt64) throws {
        var network = try NodeNetwork(count: 3, seed: seed)
        for index in 0..<3 { network.propose(Self.open("web", "10.0.0.0/16"), by: index) }
        network.run(for: .seconds(1))
        let id = try #require(network.nodes[0].catalogue.networkOfSubnet.keys.first)
        network.wires.loss = Double(seed % 5) / 10
        network.wires.duplication = 0.2
        network.wires.delay = 100...30_000
        var proposals = [Int](repeating: 1, count: 3)
        for round in 0..<60 {
            let index = Int((UInt64(round) &* 7 &+ seed) % 3)
            // Some proposals are given up while they are on their way. They count at most once all the same.
            network.propose(.claimBlock(id, count: 1), by: index, within: round % 10 == 0 ? .milliseconds(60) : .seconds(60))
            proposals[index] += 1
            network.run(for: .milliseconds(Int64(round % 4) * 15))
        }
        network.run(for: .seconds(70))
        network.wires.loss = 0
        network.run(for: .seconds(2))
        #expect(network.areEqual, "seed \(seed)")
        let subnet = try #require(network.nodes[0].catalogue.subnet(id))
        for index in 0..<3 {
            let outcomes = network.outcomes[index]
            #expect(
                outcomes.count == proposals[index] && outcomes.values.allSatisfy { $0.count == 1 }, "seed \(seed), node \(index)")
            let decided = outcomes.values.count { $0 == [.decided(.accepted)] }
            let timedOut = outcomes.values.count { $0 == [.timedOut(writer: Fixture.node(0))] }
            let blocks = subnet.blocks(of: Fixture.node(index)).count
            #expect(
                (decided...decided + timedOut).contains(blocks),
                "seed \(seed), node \(index): \(blocks) blocks of \(decided) claims")
            #expect(try network.isDurable(index))
        }
        #expect(network.nodes[0].catalogue.violations == [])
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func crashesLoseNothingThatWasAnswered(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var network = try NodeNetwork(count: 3, seed: seed)
        network.propose(Self.open("web", "10.0.0.0/16"), by: 0)
        network.run(for: .seconds(1))
        for index in 1..<3 { network.propose(Self.open("web", "10.0.0.0/16"), by: index) }
        network.run(for: .seconds(1))
        let id = try #require(network.nodes[0].catalogue.networkOfSubnet.keys.first)
        network.wires.loss = 0.1
        network.wires.duplication = 0.1
        network.wires.delay = 100...10_000
        var answered = [Int](repeating: 0, count: 3)
        var asked = [Int](repeating: 0, count: 3)
        func settle(_ index: Int) {
            answered[index] += network.outcomes[index].values.count { $0 == [.decided(.accepted)] }
        }
        for index in 0..<3 { answered[index] -= network.outcomes[index].values.count { $0 == [.decided(.accepted)] } }
        for _ in 0..<80 {
            let index = Int.random(in: 0..<3, using: &generator)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0:
                settle(index)
                try network.restart(index)
            default:
                network.propose(.claimBlock(id, count: 1), by: index)
                asked[index] += 1
            }
            network.run(for: .microseconds(Int64.random(in: 0...20_000, using: &generator)))
        }
        network.wires.loss = 0
        network.run(for: .seconds(25))
        #expect(network.areEqual, "seed \(seed)")
        let subnet = try #require(network.nodes[0].catalogue.subnet(id))
        for index in 0..<3 {
            settle(index)
            let blocks = subnet.blocks(of: Fixture.node(index)).count
            #expect(
                answered[index] <= blocks && blocks <= asked[index],
                "seed \(seed), node \(index): \(answered[index]) ≤ \(blocks) ≤ \(asked[index])")
            #expect(try network.isDurable(index))
        }
        #expect(network.nodes[0].catalogue.violations == [])
    }

    // MARK: Catching up

    @Test func whoMissedMoreThanTheWriterRemembersGetsASnapshot() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [2]
        for round in 0..<2300 {
            network.propose(Self.secret(round), by: 0)
            if round % 100 == 0 { network.run(for: .milliseconds(500)) }
        }
        network.run(for: .seconds(10))
        #expect(network.nodes[0].catalogue.index > UInt64(2 * CatalogueLog.tail))
        #expect(network.nodes[2].catalogue.index < 10)
        let snapshots = network.sentTypes[6, default: 0]
        network.wires.cut = []
        network.run(for: .seconds(2))
        #expect(network.areEqual && network.sentTypes[6, default: 0] == snapshots + 1)
        #expect(try network.isDurable(2))
        // It is a replica like any other afterwards.
        network.propose(Self.secret(9999), by: 2)
        network.run(for: .seconds(1))
        #expect(network.areEqual && network.outcomes[2].values.map(\.count) == [1])
    }

    @Test func whoMissedALittleGetsEntries() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [2]
        for round in 0..<300 { network.propose(Self.secret(round), by: 0) }
        network.run(for: .seconds(1))
        let snapshots = network.sentTypes[6, default: 0]
        network.wires.cut = []
        network.run(for: .seconds(3))
        #expect(network.areEqual && network.sentTypes[6, default: 0] == snapshots)
    }

    @Test(arguments: [10, 255, 256, 257, 300, 600])
    func theStoreHoldsASnapshotAndATail(count: Int) throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        for round in 0..<count { network.propose(Self.secret(round), by: round % 2) }
        network.run(for: .seconds(30))
        for index in 0..<2 {
            #expect(try network.isDurable(index), "node \(index)")
            #expect(network.rows[index][.catalogueEntry, default: [:]].count < 2 * CatalogueLog.entriesPerSnapshot)
            // A replica has the snapshot it joined with; the writer makes one of every 256 entries.
            let isDue = network.nodes[index].catalogue.index >= UInt64(CatalogueLog.entriesPerSnapshot)
            #expect((network.rows[index][.catalogueSnapshot] != nil) == (isDue || index > 0))
            try network.restart(index)
        }
        network.propose(Self.secret(7777), by: 0)
        network.propose(Self.secret(8888), by: 1)
        network.run(for: .seconds(1))
        #expect(network.areEqual)
        for index in 0..<2 { #expect(network.outcomes[index].values.map { $0 } == [[.decided(.accepted)]]) }
    }

    @Test func damagedRowsAreAnErrorAndGapsEndTheLog() throws {
        var network = try NodeNetwork(count: 1, seed: 1)
        for round in 0..<10 { network.propose(Self.secret(round), by: 0) }
        network.run(for: .seconds(1))
        var rows = network.rows[0]
        rows.apply([.delete(.catalogueEntry, key: UInt64(6).wireBytes)])
        #expect(try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 2, rows: rows).catalogue.index == 5)
        rows.apply([.put(.catalogueEntry, key: UInt64(3).wireBytes, value: [1, 2, 3])])
        #expect(throws: DecodeError.self) { try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 2, rows: rows) }
        rows.apply([.put(.catalogueSnapshot, key: [0], value: [2])])
        #expect(throws: DecodeError.self) { try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 2, rows: rows) }
    }

    // MARK: Duplicates

    @Test func lateDuplicatesOfOlderProposalsDoNothing() throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        network.propose(Self.open("web", "10.0.0.0/16"), by: 1)
        network.run(for: .seconds(1))
        let id = try #require(network.nodes[0].catalogue.networkOfSubnet.keys.first)
        for _ in 0..<3 { network.propose(.claimBlock(id, count: 1), by: 1) }
        network.run(for: .seconds(1))
        let before = network.nodes[0].catalogue
        let sequence = before.sessions[Fixture.node(1)]?.sequence ?? 0
        for late in [sequence, sequence - 1, sequence - 2, 1, 0] {
            network.send(CatalogueMessage.propose(epoch: 1, sequence: late, .claimBlock(id, count: 1)).wireBytes, from: 1, to: 0)
            network.run(for: .milliseconds(100))
        }
        #expect(network.nodes[0].catalogue == before && network.areEqual)
        // Late answers, too.
        for message in [
            CatalogueMessage.failed(sequence: sequence),
            .outcome(sequence: sequence, at: CataloguePosition(term: Fixture.term, index: 3), .accepted),
            .entries(after: Fixture.term, []),
            .snapshot(Catalogue()),
        ] {
            network.send(message.wireBytes, from: 0, to: 1)
            network.run(for: .milliseconds(100))
        }
        #expect(network.nodes[1].catalogue == before)
        #expect(network.outcomes[1].count == 4 && network.outcomes[1].values.allSatisfy { $0.count == 1 })
    }

    @Test func onlyTheWriterStages() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        let before = network.nodes[1].catalogue.index
        network.send(CatalogueMessage.propose(epoch: 1, sequence: 1 << 40, Self.secret(1)).wireBytes, from: 2, to: 1)
        network.send(
            CatalogueMessage.propose(epoch: 1, sequence: 1 << 40, .initialise(Fixture.cluster(), Fixture.member(2))).wireBytes,
            from: 2, to: 0)
        network.run(for: .seconds(1))
        #expect(network.nodes.allSatisfy { $0.catalogue.index == before })
    }

    @Test func aRemovedNodeLearnsOfIt() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.propose(.remove(Fixture.node(2), now: false), by: 2)
        network.propose(Self.secret(4), by: 2, within: .seconds(2))
        network.run(for: .seconds(5))
        #expect(network.nodes[2].catalogue.members[Fixture.node(2)] == nil)
        #expect(network.outcomes[2].count == 2 && network.outcomes[2].values.allSatisfy { $0.count == 1 })
        #expect(network.outcomes[2].values.contains([.decided(.accepted)]))
    }

    @Test func whoLeavesIsAnswered() throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        network.wires.cut = [0]
        for round in 0..<3 { network.propose(Self.secret(round), by: 1) }
        network.act(1) { $0.leave(into: &$1) }
        network.propose(Self.secret(9), by: 1)
        network.run(for: .seconds(30))
        #expect(network.outcomes[1].values.map { $0 } == [[CatalogueNode.Outcome]](repeating: [.noCluster], count: 4))
        #expect(network.rows[1].values.allSatisfy(\.isEmpty) && network.nodes[1].catalogue == Catalogue())
    }
}
