public import Fuzzing
import OverlayModel

@testable import OverlayMembership

@_silgen_name("fuzzTarget") public func target() -> Target {
    let subject = NodeID(bits: 7)
    let incarnation = Incarnation(epoch: 1, boot: 2, sequence: 3)
    let updates: [Update] = [.alive, .suspect, .daemonDown, .unreachable].map {
        Update(subject: subject, incarnation: incarnation, claim: $0, source: $0 == .alive ? subject : NodeID(bits: 8))
    }
    let bodies: [MembershipMessage.Body] = [
        .ping(1), .acknowledge(2), .request(3, target: subject, milliseconds: 200), .reached(4), .notReached(5),
        .states(isAnswer: false),
        .states(isAnswer: true), .notice,
    ]
    let seeds = bodies.map {
        MembershipMessage(
            body: $0, incarnation: incarnation, round: 9, healthScore: 1,
            report: Membership.PeerReport(
                catalogue: CataloguePosition(term: Term(number: 1, writer: NodeID(bits: 1)), index: 5), digest: 6, writes: 3),
            view: 7, run: 8, heard: StateMark(life: incarnation.life, run: 9, writes: 2), updates: updates)
    }
    return Target(seeds: seeds.map(\.wireBytes)) { roundTrip(MembershipMessage.self, $0) }
}
