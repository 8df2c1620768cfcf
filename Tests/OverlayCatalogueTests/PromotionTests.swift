import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// A replica is promoted in the writer's place, and earlier writers come back.
@Suite struct PromotionTests {
    private static func secret(_ value: UInt8) -> Command { .setJoinSecret(Fixture.secret(value)) }
    private static let open = Command.openSubnet(
        OpenSubnet(networkName: "web", family: .v4, prefix: IPPrefix("10.0.0.0/16"), range: nil))
    private static func term(_ termNumber: UInt64, _ writer: Int) -> Term {
        Term(number: termNumber, writer: Fixture.node(writer))
    }

    private func expectAll(
        _ network: NodeNetwork, follow term: Term, isDurable: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        #expect(network.areEqual, sourceLocation: sourceLocation)
        for index in network.nodes.indices {
            let node = network.nodes[index]
            #expect(node.catalogue.term == term && node.heard == term, "node \(index)", sourceLocation: sourceLocation)
            let isRight = node.isWriter == (node.node == term.writer) && !node.isBehind
            #expect(isRight, "node \(index)", sourceLocation: sourceLocation)
            guard isDurable || node.isWriter else { continue }
            #expect(try network.isDurable(index), "node \(index)", sourceLocation: sourceLocation)
        }
    }

    @Test func aReplicaTakesOver() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        let index = network.nodes[0].catalogue.index
        network.wires.cut = [0]
        let promotion = network.promote(1)
        // Not before it is durable.
        #expect(!network.nodes[1].isWriter)
        network.run(for: .milliseconds(10))
        #expect(network.outcomes[1][promotion] == [.decided(.accepted)])
        #expect(network.nodes[2].catalogue.term == Self.term(2, 1))
        let proposal = network.propose(Self.secret(5), by: 2)
        network.run(for: .seconds(1))
        #expect(network.outcomes[2][proposal] == [.decided(.accepted)])
        #expect(network.nodes[1].catalogue.index == index + 2)
        // By a promotion alone, without a snapshot.
        #expect(network.sentTypes[6, default: 0] == 0)
        network.wires.cut = []
        network.run(for: .seconds(2))
        try expectAll(network, follow: Self.term(2, 1))
        #expect(network.sentTypes[6, default: 0] == 0)
    }

    @Test func theOldWriterDropsWhatCameAfterTheFork() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        for value in 1...4 { network.propose(Self.secret(UInt8(value)), by: 0) }
        network.propose(Self.open, by: 0)
        network.run(for: .seconds(1))
        let lost = network.nodes[0].catalogue
        network.promote(1)
        let kept = network.propose(Self.open, by: 2)
        network.run(for: .seconds(1))
        #expect(network.nodes[1].catalogue.index < lost.index)
        network.wires.cut = []
        // Indices that the old history has, and the new one has not yet, are nothing to be asked for.
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(2, 1))
        let opened = try #require(network.nodes[2].catalogue.networkOfSubnet.keys.first)
        #expect(network.outcomes[2][kept] == [.decided(.opened(opened))])
        // Allocations of the old writer are not given to anything else.
        #expect(network.nodes[1].catalogue.subnet(try #require(lost.networkOfSubnet.keys.first)) == nil)
        #expect(network.nodes[1].catalogue.networks[try #require(lost.networks.keys.first)] == nil)
        #expect(network.nodes[1].catalogue.networks.values.first?.vni != lost.networks.values.first?.vni)
        let sent = network.sentTypes[5, default: 0]
        network.run(for: .seconds(10))
        #expect(network.sentTypes[5, default: 0] == sent)
        // The old writer proposes like any other node.
        let proposal = network.propose(Self.secret(9), by: 0)
        network.run(for: .seconds(1))
        #expect(network.outcomes[0][proposal] == [.decided(.accepted)] && network.areEqual)
    }

    /// Proposals that wait for a writer find the new one, including older ones of the promoted node.
    @Test func proposalsInFlightAreDecided() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        let proposals = [1, 2, 1, 2].enumerated().map { ($1, network.propose(Self.secret(UInt8($0 + 1)), by: $1)) }
        network.run(for: .seconds(1))
        let index = network.nodes[1].catalogue.index
        network.promote(1)
        for (index, proposal) in proposals { #expect(network.outcomes[index][proposal] == nil) }
        network.run(for: .seconds(2))
        for (index, proposal) in proposals { #expect(network.outcomes[index][proposal] == [.decided(.accepted)]) }
        #expect(network.nodes[1].catalogue.index == index + 5)
        network.wires.cut = []
        network.run(for: .seconds(2))
        try expectAll(network, follow: Self.term(2, 1))
    }

    /// The old writer learns of the promotion in the middle of a write.
    @Test func whatTheOldWriterIsWritingNeverCounts() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        network.promote(1)
        network.run(for: .seconds(1))
        let index = network.nodes[0].catalogue.index
        network.wires.cut = []
        let proposals = (1...3).map { network.propose(Self.secret(UInt8($0)), by: 0) }
        network.send(CatalogueMessage.term(Self.term(2, 1)).wireBytes, from: 2, to: 0)
        network.run(for: .microseconds(900))
        #expect(network.nodes[0].catalogue.index <= index + 1 && !network.nodes[0].isWriter)
        network.run(for: .seconds(2))
        for proposal in proposals { #expect(network.outcomes[0][proposal] == [.decided(.accepted)]) }
        try expectAll(network, follow: Self.term(2, 1))
    }

    /// An old writer that knows only of the promotion commits nothing more, even after a restart.
    @Test func theOldWriterStaysSilentOverRestarts() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        network.promote(1)
        network.run(for: .seconds(1))
        network.wires.cut = [1]
        let old = network.nodes[0].catalogue
        for _ in 0..<3 {
            network.send(CatalogueMessage.term(Self.term(2, 1)).wireBytes, from: 2, to: 0)
            network.run(for: .milliseconds(5))
            network.wires.sides = [0: 1]
            try network.restart(0)
            #expect(!network.nodes[0].isWriter && network.nodes[0].writer == Fixture.node(1))
            let proposal = network.propose(Self.secret(1), by: 0, within: .seconds(2))
            network.run(for: .seconds(3))
            #expect(network.outcomes[0][proposal] == [.timedOut(writer: Fixture.node(1))])
            #expect(network.nodes[0].catalogue == old)
            network.wires.sides = [:]
        }
        network.wires.cut = []
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(2, 1))
    }

    /// Promotions on both sides of a partition: all nodes choose the greater id, whichever was first.
    @Test(arguments: [(1, 2), (2, 1)])
    func ofTwoThatArePromotedOneWins(first: Int, second: Int) throws {
        var network = try NodeNetwork(count: 5, seed: 1)
        network.wires.cut = [0]
        network.wires.sides = [1: 1, 3: 1, 2: 2, 4: 2]
        network.promote(first)
        network.run(for: .seconds(1))
        network.promote(second)
        network.run(for: .seconds(1))
        for index in 1...4 { network.propose(Self.secret(UInt8(index)), by: index) }
        for _ in 0..<3 { network.propose(Self.open, by: 3) }
        network.run(for: .seconds(1))
        #expect(network.nodes[3].catalogue.term == Self.term(2, 1) && network.nodes[4].catalogue.term == Self.term(2, 2))
        #expect(network.nodes[3].catalogue.index > network.nodes[4].catalogue.index)
        // The winner decides the proposals that wait.
        network.wires.cut = [0, 1]
        let waiting = network.propose(Self.secret(50), by: 3)
        network.run(for: .milliseconds(500))
        network.wires.cut = []
        network.wires.sides = [:]
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(2, 2))
        #expect(network.outcomes[3][waiting] == [.decided(.accepted)])
        #expect(network.nodes[0].catalogue.networks.isEmpty)
        // The loser can be promoted again, and is above both then.
        network.wires.cut = [2]
        network.promote(1)
        network.run(for: .seconds(1))
        network.wires.cut = []
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(3, 1))
    }

    /// Two nodes are promoted at the same moment and hear of one another while they write.
    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func twoAtOnce(seed: UInt64) throws {
        var network = try NodeNetwork(count: 4, seed: seed)
        network.wires.cut = [0]
        let proposals = [1, 2, 3].map { ($0, network.propose(Self.secret(UInt8($0)), by: $0)) }
        let promotions = [1, 2].map { index in
            network.run(for: .microseconds(Int64(seed) * 200))
            return network.promote(index)
        }
        network.run(for: .seconds(3))
        network.wires.cut = []
        network.run(for: .seconds(3))
        #expect(network.outcomes[1][promotions[0]]?.count == 1 && network.outcomes[2][promotions[1]]?.count == 1)
        for (index, proposal) in proposals { #expect(network.outcomes[index][proposal] == [.decided(.accepted)], "seed \(seed)") }
        #expect(network.nodes[0].heard.number >= 2)
        try expectAll(network, follow: network.nodes[0].heard)
    }

    @Test func aPromotionThatIsNotWrittenIsNone() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        network.fullDisks = [1]
        let failed = network.promote(1)
        network.run(for: .seconds(1))
        #expect(network.outcomes[1][failed] == [.writerFailed] && network.nodes[1].catalogue.term == Self.term(1, 0))
        network.fullDisks = []
        network.wires.cut = []
        network.propose(Self.secret(3), by: 1)
        network.run(for: .seconds(1))
        try expectAll(network, follow: Self.term(1, 0))
    }

    /// The process dies before or after its promotion is on the disk, and continues as the disk says.
    @Test(arguments: [0, 5])
    func aPromotionIsWhatTheDiskSays(milliseconds: Int64) throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0, 2]
        network.promote(1)
        network.run(for: .milliseconds(milliseconds))
        try network.restart(1)
        #expect(network.nodes[1].isWriter == (milliseconds > 0))
        network.wires.cut = []
        for index in 0..<3 { network.propose(Self.secret(UInt8(index)), by: index) }
        network.run(for: .seconds(3))
        try expectAll(network, follow: milliseconds > 0 ? Self.term(2, 1) : Self.term(1, 0))
        for index in 0..<3 {
            try network.restart(index)
            #expect(network.nodes[index].catalogue == network.nodes[0].catalogue)
        }
        try expectAll(network, follow: network.nodes[0].heard)
    }

    @Test func whoLagsFollowsOverThePromotion() throws {
        var network = try NodeNetwork(count: 4, seed: 1)
        network.wires.cut = [3]
        for value in 1...5 { network.propose(Self.secret(UInt8(value)), by: 2) }
        network.run(for: .seconds(1))
        network.wires.cut = [0, 3]
        network.promote(1)
        for value in 1...80 { network.propose(Self.secret(UInt8(value)), by: 2) }
        network.run(for: .seconds(2))
        network.wires.cut = [0]
        network.run(for: .seconds(2))
        #expect(network.nodes[3].catalogue == network.nodes[1].catalogue && network.sentTypes[6, default: 0] == 0)
        // Another one, and the one that has missed both.
        network.wires.cut = [1, 0]
        network.promote(3)
        network.run(for: .seconds(1))
        network.wires.cut = []
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(3, 3))
    }

    @Test func aPeerIsAskedWhereTheWriterIsAway() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [1]
        for value in 1...5 { network.propose(Self.secret(UInt8(value)), by: 2) }
        network.run(for: .seconds(1))
        network.wires.cut = [0]
        network.run(for: .seconds(1))
        #expect(network.nodes[1].catalogue.index < network.nodes[2].catalogue.index)
        let position = network.nodes[2].catalogue.position
        network.act(1) { [now = network.now] in $0.catchUp(with: Fixture.node(2), at: position, now: now, into: &$1) }
        network.run(for: .seconds(1))
        #expect(network.nodes[1].catalogue == network.nodes[2].catalogue)
        // An entry from a node that was not asked is ignored.
        let entry = Entry(
            index: position.index + 1, termNumber: 1, proposer: Fixture.node(2), epoch: 1, sequence: 1 << 40,
            command: Self.secret(66))
        let proposal = CatalogueMessage.propose(epoch: 1, sequence: 1 << 40, .promote(after: position.term))
        for message in [.entries(after: Self.term(1, 0), [entry]), proposal] {
            network.send(message.wireBytes, from: 2, to: 1)
        }
        network.run(for: .seconds(1))
        #expect(network.nodes[1].catalogue == network.nodes[2].catalogue)
    }

    /// A writer whose disk was rolled back must not continue its term, but can be promoted anew with the others' entries.
    @Test func aWriterOfThePastIsPromotedAnew() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        network.wires.cut = [0]
        network.promote(1)
        network.run(for: .seconds(1))
        for value in 1...5 { network.propose(Self.secret(UInt8(value)), by: 2) }
        network.run(for: .seconds(1))
        let position = network.nodes[2].catalogue.position
        try network.restart(1, losing: 7)
        #expect(network.nodes[1].catalogue.index < position.index)
        network.run(for: .seconds(3))
        #expect(!network.nodes[1].isWriter || network.nodes[1].isBehind)
        network.act(1) { [now = network.now] in $0.catchUp(with: Fixture.node(2), at: position, now: now, into: &$1) }
        network.run(for: .seconds(1))
        #expect(network.nodes[1].catalogue == network.nodes[2].catalogue && network.nodes[1].isBehind)
        network.promote(1)
        network.wires.cut = []
        network.propose(Self.secret(9), by: 2)
        network.run(for: .seconds(3))
        try expectAll(network, follow: Self.term(3, 1))
    }

    @Test func noGenerationIsTooGreat() throws {
        var network = try NodeNetwork(count: 3, seed: 1)
        for termNumber in [UInt64.max, Limits.counter - 1, CatalogueNode.termsAhead + 2] {
            let term = Term(number: termNumber, writer: Fixture.node(2))
            network.act(1) { $0.hear(term, from: Fixture.node(2), now: Instant(nanoseconds: 0), into: &$1) }
            #expect(network.nodes[1].heard == Self.term(1, 0))
        }
        var cluster = Fixture.cluster()
        cluster.termNumber = Limits.counter - 1
        var node = try CatalogueNode(node: Fixture.node(0), epoch: 1, boot: 1, rows: [:])
        var effects: [CatalogueNode.Effect] = []
        node.initialise(cluster, member: Fixture.member(0), into: &effects)
        _ = node.propose(.admit(Fixture.member(1)), now: Instant(nanoseconds: 0), deadline: Instant(nanoseconds: 9), into: &effects)
        for case .store(let token?, _) in effects {
            node.stored(token, succeeded: true, now: Instant(nanoseconds: 0), into: &effects)
        }
        var other = try CatalogueNode(node: Fixture.node(1), epoch: 1, boot: 1, rows: [:])
        other.join(node.catalogue, epoch: 1, into: &effects)
        effects = []
        let id = other.promote(now: Instant(nanoseconds: 0), into: &effects)
        guard case .outcome(id, .decided(.refused))? = effects.last else { return #expect(Bool(false), "\(effects)") }
    }

    /// In any case there is one history in the end, every proposal is answered once, and nothing is granted twice.
    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func allAreOneInTheEnd(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var network = try NodeNetwork(count: 5, seed: seed)
        network.wires.duplication = 0.1
        network.wires.delay = 100...20_000
        // Entries are missing on a replica whose disk is full for a moment.
        let hasFullDisks = seed.isMultiple(of: 3)
        var asked = [Int](repeating: 0, count: 5)
        func settle(_ index: Int) {
            #expect(network.outcomes[index].values.allSatisfy { $0.count == 1 }, "seed \(seed), node \(index)")
        }
        for step in 0..<120 {
            let index = Int.random(in: 0..<5, using: &generator)
            switch Int.random(in: 0..<24, using: &generator) {
            case 0:
                settle(index)
                asked[index] = 0
                try network.restart(index)
            case 1:
                network.promote(index)
                asked[index] += 1
            case 2: for index in 0..<5 { network.wires.sides[index] = Int.random(in: 0..<2, using: &generator) }
            case 3: network.wires.sides = [:]
            case 4: network.wires.cut = [index]
            case 5: network.wires.cut = []
            case 6: network.wires.loss = [0, 0.1, 0.3].randomElement(using: &generator) ?? 0
            case 7 where hasFullDisks: network.fullDisks = Bool.random(using: &generator) ? [index] : []
            default:
                let subnets = network.nodes[index].catalogue.networkOfSubnet.keys.sorted()
                let claim = subnets.randomElement(using: &generator).map { Command.claimBlock($0, count: 1) }
                network.propose(
                    claim.flatMap { Bool.random(using: &generator) ? $0 : nil } ?? Self.open, by: index, within: .seconds(3))
                asked[index] += 1
            }
            network.run(for: .microseconds(Int64.random(in: 0...80_000, using: &generator)))
            guard step.isMultiple(of: 10) else { continue }
            for node in network.nodes { #expect(node.catalogue.violations == [], "seed \(seed), step \(step)") }
        }
        network.wires.sides = [:]
        network.wires.cut = []
        network.fullDisks = []
        network.wires.loss = 0
        network.run(for: .seconds(10))
        let last = network.nodes[0].heard
        // A disk that was full for a moment leaves a writer that does not know its own entries.
        if network.nodes.contains(where: \.isBehind) {
            let newest = network.nodes.indices.max { network.nodes[$0].catalogue.position < network.nodes[$1].catalogue.position }
            network.promote(newest ?? 0)
            network.run(for: .seconds(10))
        } else {
            try expectAll(network, follow: last, isDurable: !hasFullDisks)
        }
        try expectAll(network, follow: network.nodes[0].heard, isDurable: !hasFullDisks)
        for index in 0..<5 {
            settle(index)
            #expect(network.outcomes[index].count == asked[index], "seed \(seed), node \(index)")
            let proposal = network.propose(Self.open, by: index)
            network.run(for: .seconds(1))
            guard case .decided(.opened)? = network.outcomes[index][proposal]?.first else {
                Issue.record("seed \(seed), node \(index): \(String(describing: network.outcomes[index][proposal]))")
                continue
            }
        }
    }
}
