import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct WriteJournalTests {
    private static let row = StoreWrite.put(.lease, key: [1], value: [1])
    private static func count(_ value: UInt64) -> StoreWrite { .put(.node, key: NodeRow.writes, value: value.wireBytes) }
    private static func announced(_ value: UInt64) -> StoreWrite {
        .put(.node, key: NodeRow.announcedWrites, value: value.wireBytes)
    }
    private static let forget = StoreWrite.delete(.node, key: NodeRow.announcedWrites)

    @Test func everyTransactionIsCounted() {
        var journal = WriteJournal(count: 5, announced: nil)
        journal.assure()
        #expect(journal.number([Self.row], of: Part.effect(1)) == [Self.row, Self.count(6)])
        #expect(journal.number([Self.row], of: Part.effect(2)) == [Self.row, Self.count(7)])
        #expect(journal.count == 7)
    }

    @Test(arguments: [StoreSpace.catalogueEntry, .catalogueSnapshot])
    func theCataloguesRowsAreNotCounted(space: StoreSpace) {
        var journal = WriteJournal(count: 5, announced: nil)
        let rows = [StoreWrite.put(space, key: [1], value: [1]), .clear(space)]
        #expect(journal.number(rows, of: Part.effect(1)) == rows && journal.count == 5)
        #expect(journal.number([], of: Part.effect(2)).isEmpty && journal.count == 5)
        #expect(journal.number(rows + [Self.row], of: Part.effect(3)).contains(Self.count(6)))
    }

    @Test func nothingIsAnnouncedBeforeItIsDurable() {
        var journal = WriteJournal(count: 5, announced: nil)
        journal.assure()
        _ = journal.number([Self.row], of: Part.effect(1))
        _ = journal.number([Self.row], of: Part.effect(2))
        #expect(journal.announced == 5 && journal.hasUnannounced)
        journal.ended(Part.effect(1), isStored: true)
        #expect(journal.announced == 6)
        journal.ended(Part.effect(2), isStored: false)
        #expect(journal.announced == 6 && journal.hasUnannounced)
    }

    @Test func theEndOfAnEarlierTransactionLowersNothing() {
        var journal = WriteJournal(count: 5, announced: nil)
        journal.assure()
        for id in 1...2 as ClosedRange<UInt64> { _ = journal.number([Self.row], of: Part.effect(id)) }
        journal.ended(Part.effect(2), isStored: true)
        journal.ended(Part.effect(1), isStored: true)
        #expect(journal.announced == 7 && !journal.hasUnannounced)
    }

    @Test func changesFromBeforePeersWereHeardAreAnnouncedWithTheNextOne() {
        var journal = WriteJournal(count: 5, announced: nil)
        #expect(!journal.isAssured)
        #expect(journal.number([Self.row], of: Part.effect(1)) == [Self.row, Self.count(6), Self.announced(5)])
        journal.ended(Part.effect(1), isStored: true)
        journal.assure()
        #expect(journal.announced == 5 && journal.hasUnannounced)
        #expect(journal.number([Self.row], of: Part.effect(2)) == [Self.row, Self.count(7), Self.forget])
        journal.ended(Part.effect(2), isStored: true)
        #expect(journal.announced == 7 && !journal.hasUnannounced)
    }

    @Test func theAnnouncedNumberHasARowOnlyWhereItDiffers() {
        var journal = WriteJournal(count: 5, announced: nil)
        journal.assure()
        #expect(!journal.number([Self.row], of: Part.effect(1)).contains(Self.forget))
        // The store has the row from an earlier life.
        journal = WriteJournal(count: 5, announced: 3)
        #expect(journal.announced == 3)
        journal.assure()
        #expect(journal.number([Self.row], of: Part.effect(1)).contains(Self.forget))
        // A transaction that failed deleted nothing.
        journal.ended(Part.effect(1), isStored: false)
        #expect(journal.number([Self.row], of: Part.effect(2)).contains(Self.forget))
        journal.ended(Part.effect(2), isStored: true)
        #expect(!journal.number([Self.row], of: Part.effect(3)).contains(Self.forget))
    }

    /// Peers have seen more of this node than its state knows, which is an old copy.
    @Test func theCountGoesOnAboveWhatPeersHaveSeen() {
        var journal = WriteJournal(count: 5, announced: nil)
        journal.raise(to: 9)
        #expect(journal.count == 9 && journal.announced == 5)
        journal.raise(to: 3)
        #expect(journal.count == 9)
        #expect(journal.number([Self.row], of: Part.effect(1)).contains(Self.count(10)))
    }

    @Test func theCountEndsBelowTheLimitOfCounters() {
        var journal = WriteJournal(count: Limits.counter - 1, announced: nil)
        _ = journal.number([Self.row], of: Part.effect(1))
        #expect(journal.count == Limits.counter - 1)
    }
}
