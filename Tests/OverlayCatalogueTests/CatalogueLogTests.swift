import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct CatalogueLogTests {
    /// A log of `count` entries, as the writer has it, with what its store holds.
    private static func log(_ count: Int) throws -> (log: CatalogueLog, rows: StoredRows, entries: [Entry]) {
        var fixture = Fixture()
        while fixture.catalogue.index < count {
            fixture.propose(.rotateKey([UInt8](repeating: UInt8(fixture.catalogue.index % 251), count: 32)), by: 0)
        }
        var log = try CatalogueLog(rows: [:])
        var rows: StoredRows = [:]
        for entry in fixture.log {
            let result = log.apply(entry)
            #expect(result == .accepted)
            rows.apply([entry.storeWrite])
        }
        #expect(log.catalogue == fixture.catalogue)
        return (log, rows, fixture.log)
    }

    private static func position(_ index: UInt64, _ term: Term = Fixture.term) -> CataloguePosition {
        CataloguePosition(term: term, index: index)
    }

    @Test func whatIsStoredGivesTheState() throws {
        let (log, rows, _) = try Self.log(20)
        #expect(try CatalogueLog(rows: rows).catalogue == log.catalogue)
    }

    @Test func entriesBehindAGapAreNotUsed() throws {
        var (_, rows, _) = try Self.log(20)
        rows.apply([.delete(.catalogueEntry, key: UInt64(15).wireBytes)])
        #expect(try CatalogueLog(rows: rows).catalogue.index == 14)
    }

    @Test func aPeerThatLagsGetsTheEntries() throws {
        let (log, _, entries) = try Self.log(200)
        #expect(log.answer(after: Self.position(198)) == .entries(after: Fixture.term, Array(entries[198...])))
        #expect(log.answer(after: Self.position(200)) == .entries(after: Fixture.term, []))
        let some = Array(entries[100..<100 + CatalogueLog.entriesPerMessage])
        #expect(log.answer(after: Self.position(100)) == .entries(after: Fixture.term, some))
    }

    @Test func aPeerOfAnotherHistoryGetsASnapshot() throws {
        let (log, _, _) = try Self.log(20)
        #expect(log.answer(after: Self.position(21)) == .snapshot(log.catalogue))
        #expect(log.answer(after: Self.position(10, Term(number: 2, writer: Fixture.node(1)))) == .snapshot(log.catalogue))
    }

    @Test func aPeerThatLagsByMuchGetsASnapshot() throws {
        let (log, _, _) = try Self.log(2 * CatalogueLog.tail + 10)
        #expect(log.answer(after: Self.position(5)) == .snapshot(log.catalogue))
        let known = log.catalogue.index - UInt64(CatalogueLog.tail)
        guard case .entries = log.answer(after: Self.position(known)) else { return #expect(Bool(false)) }
    }

    @Test func aPromotionEndsATerm() throws {
        var fixture = Fixture(members: 2)
        let last = fixture.catalogue.index
        #expect(fixture.propose(.promote(after: fixture.catalogue.term), by: 1) == .accepted)
        fixture.propose(.rotateKey([UInt8](repeating: 1, count: 32)), by: 1)
        var log = try CatalogueLog(rows: [:])
        for entry in fixture.log { _ = log.apply(entry) }
        // The old term up to its last entry, the new one from the promotion on.
        guard case .entries(Fixture.term, let entries) = log.answer(after: Self.position(last)) else { return #expect(Bool(false)) }
        #expect(entries.map(\.index) == [last + 1, last + 2])
        #expect(log.answer(after: Self.position(last + 1)) == .snapshot(log.catalogue))
        guard case .entries = log.answer(after: Self.position(last + 1, log.catalogue.term)) else { return #expect(Bool(false)) }
    }

    @Test func manyEntriesBecomeASnapshot() throws {
        var (log, rows, _) = try Self.log(CatalogueLog.entriesPerSnapshot - 1)
        let early = log.compact()
        #expect(early == nil)
        (log, rows, _) = try Self.log(CatalogueLog.entriesPerSnapshot)
        let compacted = log.compact()
        rows.apply(try #require(compacted))
        #expect(rows[.catalogueEntry, default: [:]].isEmpty)
        #expect(try CatalogueLog(rows: rows).catalogue == log.catalogue)
        let again = log.compact()
        #expect(again == nil)
    }

    @Test func aSnapshotTakesThePlaceOfAll() throws {
        var (log, rows, _) = try Self.log(10)
        let other = Fixture(members: 3).catalogue
        rows.apply(log.replace(other))
        #expect(log.catalogue == other)
        #expect(try CatalogueLog(rows: rows).catalogue == other)
        // Nothing is kept of the entries before.
        #expect(log.answer(after: Self.position(other.index - 1)) == .snapshot(other))
        rows.apply(log.clear())
        #expect(log.catalogue == Catalogue())
        #expect(try CatalogueLog(rows: rows).catalogue == Catalogue())
    }
}
