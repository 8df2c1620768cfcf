import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct NodeHistoryTests {
    private static func history(_ count: Int) -> NodeHistory {
        var history = NodeHistory()
        for index in 1...count {
            history.append(
                "n\(index)", from: .alive, to: PeerStatus(state: .suspect, since: .zero), now: .milliseconds(Int64(index)))
        }
        return history
    }

    @Test func whoAsksForTheNumberGetsNoChanges() {
        #expect(NodeHistory().changes(after: nil, now: .zero) == NodeChanges(last: 0, changes: []))
        #expect(Self.history(3).changes(after: nil, now: .zero) == NodeChanges(last: 3, changes: []))
        #expect(Self.history(3).none(now: .zero) == NodeChanges(last: 3, changes: []))
    }

    @Test func whoKnowsTheLastOneWaits() {
        #expect(Self.history(3).changes(after: 3, now: .zero) == nil)
        #expect(NodeHistory().changes(after: 0, now: .zero) == nil)
    }

    @Test func changesAfterANumberComeInOrderWithTheirAge() throws {
        let changes = try #require(Self.history(4).changes(after: 2, now: .milliseconds(10)))
        #expect(changes.last == 4 && changes.changes.map(\.node) == ["n3", "n4"] && changes.changes.map(\.age) == [7, 6])
    }

    @Test func aNumberOfAnEarlierLifeGetsAll() {
        #expect(Self.history(3).changes(after: 99, now: .seconds(1))?.changes.map(\.node) == ["n1", "n2", "n3"])
    }

    @Test func onlyTheLastChangesAreKept() throws {
        let changes = try #require(Self.history(300).changes(after: 0, now: .seconds(1)))
        #expect(changes.last == 300 && changes.changes.count == 256 && changes.changes.first?.node == "n45")
    }
}
