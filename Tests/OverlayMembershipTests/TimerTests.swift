import OverlayModel
import Testing

@testable import OverlayMembership

@Suite struct TimerTests {
    private typealias Timer = Membership.Timer

    @Test func aTimerKnowsItsSubject() {
        #expect(Timer.probe(7).number == 7 && Timer.probe(7).kind == .probe)
        #expect(Timer.retry(LoneMember.peer).peer == LoneMember.peer)
        #expect(Timer.inquiry(LoneMember.peer) != Timer.suspicion(LoneMember.peer))
        #expect([Timer.inquiry(LoneMember.other), .inquiry(LoneMember.peer), .probe(9)].sorted().first == .probe(9))
        #expect(Timer.inquiry(LoneMember.peer) < Timer.inquiry(LoneMember.other))
    }

    /// Whatever has a time has a timer, and nothing else has.
    private func expectTimers(_ membership: Membership, sourceLocation: SourceLocation = #_sourceLocation) {
        func timers(_ kind: Timer.Kind) -> Set<Timer> { Set(membership.timers.keys.filter { $0.kind == kind }) }
        #expect(timers(.probe) == Set(membership.probes.keys.map { .probe($0) }), sourceLocation: sourceLocation)
        #expect(timers(.inquiry) == Set(membership.inquiries.keys.map { .inquiry($0) }), sourceLocation: sourceLocation)
        #expect(timers(.suspicion) == Set(membership.suspicions.keys.map { .suspicion($0) }), sourceLocation: sourceLocation)
        #expect(timers(.retry) == Set(membership.retries.keys.map { .retry($0) }), sourceLocation: sourceLocation)
        #expect(timers(.states).isEmpty == (membership.syncPeer == nil), sourceLocation: sourceLocation)
        #expect(timers(.tick).isEmpty == (membership.plannedTick == nil), sourceLocation: sourceLocation)
        #expect(membership.outbox.isEmpty || !timers(.gossip).isEmpty, sourceLocation: sourceLocation)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func timersAreThoseOfWhatWaits(seed: UInt64) {
        var lone = LoneMember(count: 12, seed: seed)
        var generator = SeededGenerator(seed: seed)
        let ids = (1...12).map { NodeID(bits: UInt128($0)) }
        for step in 0..<60 {
            let answering = Set(ids.filter { _ in Bool.random(using: &generator) })
            switch step % 8 {
            case 3: lone.stream(.refused, to: ids[Int.random(in: 1..<12, using: &generator)])
            case 5: lone.stalled()
            case 6: lone.setMembers(Array(ids.prefix(Int.random(in: 1...12, using: &generator))))
            case 7: lone.setMembers(ids)
            default: break
            }
            lone.run(for: .milliseconds(Int64.random(in: 1...900, using: &generator)), answering: step % 40 < 20 ? answering : [])
            expectTimers(lone.membership)
        }
    }
}
