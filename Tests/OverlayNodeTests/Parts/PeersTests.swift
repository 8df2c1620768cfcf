import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct PeersTests {
    private static let position = CataloguePosition(term: Term(number: 1, writer: Part.node), index: 4)

    @Test func aNodeThatWasNotHeardOfIsUnknownAndNotReached() {
        var peers = Peers()
        #expect(peers.state(of: Part.node) == .unknown && peers[Part.node] == nil && !peers.isReached(Part.node))
        peers.set(PeerStatus(state: .unknown, since: .zero), of: Part.node)
        #expect(!peers.isReached(Part.node))
    }

    @Test(arguments: [
        (PeerState.alive, true), (.udpBlocked, true), (.suspect, true), (.daemonDown, false), (.unreachable, false),
    ])
    func aNodeIsReachedByItsState(state: PeerState, isReached: Bool) {
        var peers = Peers()
        peers.set(PeerStatus(state: state, since: .zero), of: Part.node)
        #expect(peers.isReached(Part.node) == isReached && peers.state(of: Part.node) == state)
    }

    @Test func whatAPeerToldLastCounts() {
        var peers = Peers()
        peers.set(PeerStatus(state: .alive, since: .zero), of: Part.node)
        peers.heard(Self.position, roundTrip: .milliseconds(3), from: Part.node)
        #expect(peers.positions == [Part.node: Self.position] && peers[Part.node]?.roundTrip == .milliseconds(3))
    }

    @Test func aNodeThatIsNoMemberIsForgotten() {
        var peers = Peers()
        for node in [Part.node, NodeID(bits: 8)] {
            peers.set(PeerStatus(state: .alive, since: .zero), of: node)
            peers.heard(Self.position, roundTrip: nil, from: node)
            #expect(peers.logsRejection(of: node, now: .zero, every: .seconds(60)) == true)
        }
        peers.keepOnly { $0 == Part.node }
        #expect(Set(peers.statuses.keys) == [Part.node] && Set(peers.positions.keys) == [Part.node])
        #expect(peers.logsRejection(of: Part.node, now: .seconds(1), every: .seconds(60)) == false)
        #expect(peers.logsRejection(of: NodeID(bits: 8), now: .seconds(1), every: .seconds(60)) == true)
        peers.forgetAll()
        #expect(peers.statuses.isEmpty && peers.positions.isEmpty)
    }

    @Test func aRejectionIsLoggedOnceInAPause() {
        var peers = Peers()
        #expect(peers.logsRejection(of: Part.node, now: .seconds(1), every: .seconds(10)) == true)
        #expect(peers.logsRejection(of: Part.node, now: .milliseconds(10_999), every: .seconds(10)) == false)
        #expect(peers.logsRejection(of: NodeID(bits: 8), now: .seconds(2), every: .seconds(10)) == true)
        #expect(peers.logsRejection(of: Part.node, now: .seconds(11), every: .seconds(10)) == true)
        #expect(peers.logsRejection(of: Part.node, now: .seconds(12), every: .seconds(10)) == false)
    }

    @Test func changesAreRecorded() {
        var peers = Peers()
        peers.record("b", from: .alive, to: PeerStatus(state: .suspect, since: .zero, reason: "no answer"), now: .seconds(1))
        let changes = peers.history.changes(after: 0, now: .seconds(3))
        #expect(
            changes
                == NodeChanges(
                    last: 1, changes: [NodeChange(node: "b", state: "suspect", was: "alive", reason: "no answer", age: 2000)]))
    }
}
