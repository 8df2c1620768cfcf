import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayMembership

@Suite struct MembershipMessageTests {
    private static let highest = Incarnation(value: .max)

    private static func update(_ subject: UInt128, _ claim: Update.Claim = .suspect) -> Update {
        let subject = NodeID(bits: subject)
        return Update(
            subject: subject, incarnation: highest, claim: claim, source: claim == .alive ? subject : NodeID(bits: .max))
    }

    private static func message(_ body: MembershipMessage.Body, _ updates: [Update] = []) -> MembershipMessage {
        MembershipMessage(
            body: body, incarnation: Incarnation(epoch: 1, boot: 2, sequence: 3), round: .max, healthScore: 7,
            report: Membership.PeerReport(
                catalogue: CataloguePosition(term: Term(number: 3, writer: NodeID(bits: 4)), index: 9), digest: 5, writes: 7),
            view: 6, run: .max, heard: StateMark(life: 1 << 40 - 1, run: 8, writes: Limits.counter - 1), updates: updates)
    }

    private static let bodies: [MembershipMessage.Body] = [
        .ping(0), .ping(.max), .acknowledge(1), .request(2, target: NodeID(bits: 9), milliseconds: .max), .reached(3),
        .notReached(4),
        .states(isAnswer: false), .states(isAnswer: true), .notice,
    ]

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        let updates = [Self.update(1), Self.update(2, .alive), Self.update(3, .daemonDown), Self.update(4, .unreachable)]
        let messages = Self.bodies.map { Self.message($0) } + [Self.message(.ping(1), updates)]
        expectHostileBytesAreHarmless(messages, seed: seed, mutations: 4000)
        expectHostileBytesAreHarmless(updates, seed: seed, mutations: 2000)
    }

    /// 1200 bytes on the wire, less the seal and the byte of the kind.
    @Test func theLargestMessageFitsAPacket() {
        let updates = (0..<MembershipMessage.updateLimit).map { Self.update(UInt128($0)) }
        for body in Self.bodies { #expect(Self.message(body, updates).wireBytes.count <= 1200 - MemberNetwork.envelope) }
    }

    @Test func whatNoMemberSendsIsRefused() {
        let good = Self.message(.ping(1), [Self.update(1)]).wireBytes
        func decoded(_ change: (inout [UInt8]) -> Void) -> Decoded<MembershipMessage> {
            var bytes = good
            change(&bytes)
            return decode(MembershipMessage.self, bytes)
        }
        #expect(decoded { _ in } == .value(Self.message(.ping(1), [Self.update(1)])))
        for tag in [0, 8, 255] as [UInt8] { #expect(decoded { $0[0] = tag } == .refused(.invalid("membership message"))) }
        // Tag, number, incarnation, round; then the health score.
        for healthScore in [8, 255] as [UInt8] { #expect(decoded { $0[12] = healthScore } == .refused(.invalid("healthScore"))) }
        for claim in [0, 5, 255] as [UInt8] {
            #expect(decoded { $0[$0.count - 17] = claim } == .refused(.invalid("claim")))
        }
        // Writes of the sender, and of the receiver as the sender heard them; then the life that it heard.
        #expect(decoded { $0[39] = 0x80 } == .refused(.invalid("number")), "in more bytes than it needs")
        #expect(decoded { $0[72] = 0x40 } == .refused(.invalid("counter")))
        #expect(decoded { $0.replaceSubrange(39...39, with: [UInt8](repeating: 0xFF, count: 9)) } == .refused(.invalid("number")))
        for (byte, value) in [(54, 4), (58, 8)] as [(Int, UInt8)] {
            #expect(decoded { $0[byte] = value } == .refused(.invalid("incarnation")))
        }
        #expect(decoded { $0[73] = 25 } == .refused(.tooLong(limit: 24)))
        let many = (0...MembershipMessage.updateLimit).map { Self.update(UInt128($0)) }
        #expect(decode(MembershipMessage.self, Self.message(.ping(1), many).wireBytes) == .refused(.tooLong(limit: 24)))
    }

    /// Only the subject itself says `alive`.
    @Test func aliveNamesNoSource() {
        var update = Self.update(4, .alive)
        update.source = NodeID(bits: 99)
        #expect(decode(Update.self, update.wireBytes) == .value(Self.update(4, .alive)))
    }

    /// Altered at random, and taken by a member.
    @Test(arguments: [1] as [UInt64])
    func alteredMessagesNeverTrap(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var lone = LoneMember(count: 5)
        let updates = (1...5).map {
            Self.update($0, [.alive, .suspect, .daemonDown, .unreachable].randomElement(using: &generator)!)
        }
        let messages = Self.bodies.map { Self.message($0, updates) }
        for _ in 0..<4000 {
            var bytes = messages.randomElement(using: &generator)!.wireBytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = generator.next()
            }
            try? lone.membership.receive(
                bytes, from: NodeID(bits: UInt128.random(in: 1...6, using: &generator)),
                via: Bool.random(using: &generator) ? .datagram : .stream, now: lone.now, report: { _ in LoneMember.nothing },
                into: &lone.effects)
            lone.run(for: .milliseconds(Int64.random(in: 0...20, using: &generator)))
            lone.effects = []
        }
        #expect(lone.membership.members.count == 4)
    }
}
