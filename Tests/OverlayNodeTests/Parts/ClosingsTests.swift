import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct ClosingsTests {
    private static func row(_ subnet: UInt64, _ value: [UInt8]) -> StoreWrite {
        .put(.closing, key: SubnetID(subnet).wireBytes, value: value)
    }

    private static func deletion(_ subnet: UInt64) -> StoreWrite { .delete(.closing, key: SubnetID(subnet).wireBytes) }

    @Test func nothingIsProposedBeforeAllIsDurable() {
        var closings = Closings()
        #expect(closings.begin(Part.subnet, isRemoval: false) == Self.row(1, []))
        closings.wait(for: Part.effect(1))
        closings.wait(for: Part.effect(2))
        #expect(closings.contains(Part.subnet) && !closings.isStored)
        #expect(!closings.stored(Part.effect(3)) && closings.stored(Part.effect(1)))
        #expect(!closings.isStored)
        #expect(closings.stored(Part.effect(2)) && closings.isStored)
    }

    @Test func aRemovalIsToldFromAClosing() {
        var closings = Closings()
        _ = closings.begin(SubnetID(1), isRemoval: false)
        #expect(closings.begin(SubnetID(2), isRemoval: true) == Self.row(2, [1]))
        #expect(!closings.isRemoval(SubnetID(1)) && closings.isRemoval(SubnetID(2)) && closings.all == [SubnetID(1), SubnetID(2)])
        // Somebody wants the network after all: the subnets are closed still.
        #expect(closings.keep([SubnetID(1), SubnetID(2)]) == [Self.row(2, [])])
        #expect(!closings.isRemoval(SubnetID(2)) && closings.contains(SubnetID(2)))
    }

    @Test func aClosingEndsWithItsRow() {
        var closings = Closings()
        _ = closings.begin(Part.subnet, isRemoval: true)
        #expect(closings.end(Part.subnet) == Self.deletion(1))
        #expect(closings.isEmpty && !closings.contains(Part.subnet) && !closings.isRemoval(Part.subnet))
    }

    @Test func afterARollbackOnlyWhatAnEarlierLifeGaveUpEnds() throws {
        var rows: StoredRows = [:]
        rows.apply([Self.row(3, []), Self.row(1, [1]), Self.row(2, [])])
        var closings = try Closings(rows: rows)
        #expect(closings.all == [SubnetID(1), SubnetID(2), SubnetID(3)] && closings.isRemoval(SubnetID(1)))
        #expect(!closings.isRemoval(SubnetID(2)) && closings.isStored)
        _ = closings.begin(SubnetID(4), isRemoval: false)
        _ = closings.end(SubnetID(2))
        #expect(closings.endInherited() == [Self.deletion(1), Self.deletion(3)])
        #expect(closings.all == [SubnetID(4)] && closings.endInherited().isEmpty)
        #expect(throws: DecodeError.self) { try Closings(rows: [.closing: [[1]: []]]) }
    }
}
