import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct FollowerTests {
    private static let node = Fixture.node(5)
    private static let later = Term(number: 2, writer: Fixture.node(1))

    private var follower = Follower(heard: Fixture.term)
    private var timers = Deadlines<CatalogueNode.Timer>()
    private var effects: [CatalogueNode.Effect] = []
    private let now = Instant(nanoseconds: 1_000_000_000)

    private mutating func fetch(after position: CataloguePosition, by node: NodeID = node) {
        follower.fetch(after: position, by: node, now: now, timers: &timers, into: &effects)
    }

    @Test mutating func theWriterIsAsked() {
        let position = CataloguePosition(term: Fixture.term, index: 7)
        fetch(after: position)
        #expect(effects == [.send(Fixture.node(0), CatalogueMessage.fetch(after: position).wireBytes)])
        #expect(timers[.fetch] == now + Follower.fetchRetry)
    }

    @Test mutating func aSourceIsAskedInItsPlace() {
        follower.setSource(Fixture.node(3))
        let position = CataloguePosition(term: Fixture.term, index: 7)
        fetch(after: position)
        #expect(effects == [.send(Fixture.node(3), CatalogueMessage.fetch(after: position).wireBytes)])
    }

    @Test mutating func nobodyAsksItself() {
        fetch(after: CataloguePosition(term: Fixture.term, index: 7), by: Fixture.node(0))
        #expect(effects.isEmpty && timers.next == nil)
    }

    @Test mutating func aStateOfAnotherHistoryIsAskedForLessOften() {
        follower.hear(Self.later, source: nil, now: now, timers: &timers)
        #expect(timers[.fetch] == now + Follower.pushDelay)
        fetch(after: CataloguePosition(term: Fixture.term, index: 7))
        #expect(timers[.fetch] == now + Follower.snapshotRetry)
        #expect(effects.count == 1)
    }

    @Test mutating func anIndexIsOfOneTerm() {
        follower.know(9)
        follower.know(4)
        #expect(follower.isAhead(of: 8) && !follower.isAhead(of: 9))
        follower.hear(Self.later, source: Fixture.node(2), now: now, timers: &timers)
        #expect(!follower.isAhead(of: 0) && follower.source == Fixture.node(2) && follower.heard == Self.later)
    }

    @Test mutating func theTermOnlyGrows() {
        follower.raise(to: Self.later)
        follower.raise(to: Fixture.term)
        #expect(follower.heard == Self.later)
    }

    @Test mutating func aWriterFetchesNothing() {
        follower.know(9)
        follower.setSource(Fixture.node(2))
        fetch(after: CataloguePosition(term: Fixture.term, index: 7))
        follower.stop(timers: &timers)
        #expect(!follower.isAhead(of: 0) && follower.source == nil && timers[.fetch] == nil && follower.heard == Fixture.term)
        follower.clear(timers: &timers)
        #expect(follower.heard == .none)
    }
}
