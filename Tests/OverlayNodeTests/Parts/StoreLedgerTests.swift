import OverlayModel
import Testing

@testable import OverlayNode

/// Rows that a disk refuses are made up for, in order, and nothing newer is taken for written before.
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
        // Waits, as something is under way that may be refused, or not.
        #expect(ledger.submit(submission(4, [Self.put(4, 4)])).isEmpty)
        #expect(ledger.ended(EffectID(value: 2), isStored: true).isEmpty)
        // A proposal that was refused has never been.
        let next = ledger.ended(EffectID(value: 3), isStored: false)
        #expect(next.map(\.id.value) == [4] && next.first?.rows == [Self.put(1, 2), Self.put(4, 4)])
        #expect(ledger.submit(submission(5, [])).isEmpty)
        #expect(ledger.submit(submission(6, [])).isEmpty)
        #expect(ledger.ended(EffectID(value: 4), isStored: true).map(\.id.value) == [5, 6])
        #expect(ledger.isWhole && !ledger.isIdle)
    }

    /// Whatever fails, and whenever: in the end the store holds what it was given.
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
            // Rows of proposals are theirs alone.
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

    @Test func ofEachRowOnlyTheLastWordIsRepeated() {
        var ledger = StoreLedger()
        let writes: [[StoreWrite]] = [
            [Self.put(1, 1), Self.put(2, 1), Self.put(3, 1), .put(.endpoint, key: [1], value: [1])], [.delete(.lease, key: [2])],
            [.deleteThrough(.lease, key: [1])], [.clear(.endpoint)],
        ]
        for (id, rows) in writes.enumerated() {
            _ = ledger.submit(.init(id: EffectID(value: UInt64(id)), rows: rows, isProposal: false))
        }
        for id in writes.indices { _ = ledger.ended(EffectID(value: UInt64(id)), isStored: false) }
        let repeated = ledger.submit(.init(id: EffectID(value: 9), rows: [], isProposal: false)).flatMap(\.rows)
        #expect(repeated == [Self.put(3, 1), .delete(.lease, key: [2]), .deleteThrough(.lease, key: [1]), .clear(.endpoint)])
    }

    @Test func theEndOfWhatWasNeverGivenChangesNothing() {
        var ledger = StoreLedger()
        #expect(ledger.ended(EffectID(value: 1), isStored: false).isEmpty && ledger.isWhole && ledger.isIdle)
    }
}
