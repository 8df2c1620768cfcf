import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Rows that a disk refused are written later, in order, and no newer row counts as written before them.
@Suite struct StoreLedgerTests {
    private static func put(_ key: UInt8, _ value: UInt8) -> StoreWrite { .put(.lease, key: [key], value: [value]) }

    @Test func whatWasRefusedGoesInFrontOfTheNext() {
        var ledger = StoreLedger()
        func submission(_ id: UInt64, _ rows: [StoreWrite], isProposal: Bool = false) -> StoreLedger.Submission {
            .init(id: EffectID(value: id), rows: rows, isProposal: isProposal)
        }
        #expect(ledger.submit(submission(1, [Self.put(1, 1)])).map(\.id.value) == [1])
        #expect(ledger.submit(submission(2, [Self.put(1, 2)])).map(\.id.value) == [2])
        #expect(ledger.submit(submission(3, [Self.put(3, 3)], isProposal: true)).map(\.id.value) == [3])
        #expect(ledger.ended(EffectID(value: 1), isStored: false).isEmpty)
        #expect(!ledger.isWhole)
        // The submission waits, as an earlier one is under way that may be refused.
        #expect(ledger.submit(submission(4, [Self.put(4, 4)])).isEmpty)
        #expect(ledger.ended(EffectID(value: 2), isStored: true).isEmpty)
        // Rows of a refused proposal are void.
        let next = ledger.ended(EffectID(value: 3), isStored: false)
        #expect(next.map(\.id.value) == [4] && next.first?.rows == [Self.put(1, 2), Self.put(4, 4)])
        #expect(ledger.submit(submission(5, [])).isEmpty)
        #expect(ledger.submit(submission(6, [])).isEmpty)
        #expect(ledger.ended(EffectID(value: 4), isStored: true).map(\.id.value) == [5, 6])
        #expect(ledger.isWhole && !ledger.isIdle)
    }

    /// The store holds everything that it was given in the end, whichever writes fail.
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func theStoreHoldsInTheEndWhatItWasGiven(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }
        var ledger = StoreLedger()
        var queue: [StoreLedger.Submission] = []
        var given: [UInt64: StoreLedger.Submission] = [:]
        var order: [UInt64] = []
        var refused: Set<UInt64> = []
        var store: StoredRows = [:]
        func end(_ isStored: Bool) {
            let first = queue.removeFirst()
            if isStored { store.apply(first.rows) } else if first.isProposal { refused.insert(first.id.value) }
            queue += ledger.ended(first.id, isStored: isStored)
        }
        for id in 1...200 as ClosedRange<UInt64> {
            let rows = (0..<below(4)).map { _ -> StoreWrite in
                let space = [StoreSpace.lease, .endpoint][below(2)]
                let key = [UInt8(below(6))]
                return switch below(9) {
                case 0: .clear(space)
                case 1: .deleteThrough(space, key: key)
                case 2, 3: .delete(space, key: key)
                default: .put(space, key: key, value: [UInt8(below(256))])
                }
            }
            // Rows of proposals are written by no other submission.
            let isProposal = below(6) == 0
            let own: [StoreWrite] = isProposal ? [.put(.catalogueEntry, key: [UInt8(id)], value: [1])] : rows
            let submission = StoreLedger.Submission(id: EffectID(value: id), rows: own, isProposal: isProposal)
            given[id] = submission
            order.append(id)
            queue += ledger.submit(submission)
            while !queue.isEmpty, below(3) != 0 { end(below(100) >= (id / 20 % 2 == 0 ? 60 : 5)) }
        }
        while !queue.isEmpty { end(true) }
        if !ledger.isWhole {
            queue += ledger.submit(.init(id: EffectID(value: 999), rows: [], isProposal: false))
            while !queue.isEmpty { end(true) }
        }
        #expect(ledger.isWhole && ledger.isIdle)
        var wanted: StoredRows = [:]
        for id in order where !refused.contains(id) { wanted.apply(given[id]?.rows ?? []) }
        #expect(store.mapValues { $0 }.filter { !$0.value.isEmpty } == wanted.filter { !$0.value.isEmpty })
    }

    // MARK: On nodes

    /// An entry that a replica's disk refused leaves no gap below the later ones.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func aReplicaWhoseDiskWasFullStartsWithAllThatItKnew(seed: UInt64) throws {
        let world = try World(count: 3, seed: seed)
        try #require(world.makeCluster())
        let networks = try (0..<3).map { try world.createNetwork($0, "net") }
        _ = try world.attach(1, "before", to: networks[1])
        world.nodes[1].failsStores = true
        _ = try world.createNetwork(0, "meanwhile")
        world.run(for: .milliseconds(50))
        world.nodes[1].failsStores = false
        world.run(for: .milliseconds(Int64(seed) * 300))
        _ = try world.createNetwork(0, "after")
        world.run(for: .seconds(2))
        let index = world.nodes[0].core.catalogue.index
        #expect(world.nodes[1].core.catalogue.index == index)
        world.crash(1, keeping: 0)
        world.split([0, 2], [1])
        try world.restart(1)
        world.run(for: .milliseconds(1))
        #expect(world.nodes[1].core.catalogue.index == index)
        #expect(world.violations == [])
    }

    /// A network that was removed while the disk was full stays removed.
    @Test func whatAFullDiskRefusedToForgetIsForgottenAfterAll() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        let networks = try (0..<2).map { try world.createNetwork($0, "net") }
        let other = try world.createNetwork(1, "other")
        let attached = try world.attach(1, "c", to: networks[1])
        world.nodes[1].failsStores = true
        world.detach(1, attached)
        world.removeNetwork(1, other)
        world.run(for: .seconds(10))
        // The subnet is not given up before that is durable.
        #expect(world.nodes[0].core.catalogue.network(named: "other") != nil)
        world.nodes[1].failsStores = false
        world.run(for: .seconds(10))
        #expect(world.nodes[0].core.catalogue.network(named: "other") == nil)
        world.crash(1)
        try world.restart(1)
        world.run(for: .seconds(3))
        for space in [StoreSpace.endpoint, .lease, .closing] { #expect(world.nodes[1].rows[space, default: [:]].isEmpty) }
        #expect(world.nodes[1].rows[.network]?.count == 1)
        _ = try world.createNetwork(1, "other")
        #expect(world.violations == [])
    }
}
