import OverlayCatalogue
import OverlayCrypto
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNode
import Testing

@testable import OverlayDaemon

@Suite struct JoinConversationTests {
    private static let secret = [UInt8](repeating: 5, count: 16)
    private static let record = Array("record".utf8)

    /// The member's side, by hand.
    private struct MemberSide {
        let root = RootKey()
        let key = NodeKey()
        var responder = JoinResponder()

        mutating func proof(_ hello: [UInt8], clock: UInt64 = UnixClock.now()) throws -> [UInt8] {
            let certificate = NodeCertificate(of: key, name: "first", root: root, now: clock)
            return try responder.proof(to: hello, node: key, certificate: certificate, root: root.publicBytes, now: clock)
        }

        mutating func result(_ request: [UInt8], _ answer: [UInt8], of newcomer: NodeKey) throws -> [UInt8] {
            let record = try responder.record(of: request, secret: JoinConversationTests.secret) { ($0, newcomer.publicBytes) }
            #expect(record == JoinConversationTests.record)
            let sealed = responder.result(answer)
            return try #require(sealed)
        }
    }

    private let newcomer = NodeKey()

    private func conversation(_ member: MemberSide, pin: [UInt8]? = nil) -> JoinConversation {
        JoinConversation(
            joiner: Joiner(node: newcomer, pin: pin ?? member.root.pin, secret: Self.secret), record: Self.record)
    }

    @Test(arguments: [JoinAnswer.refused("the name first is taken"), .admitted(Catalogue())])
    func `A conversation ends with the member's answer`(answer: JoinAnswer) throws {
        var member = MemberSide()
        let conversation = conversation(member)
        let request = try #require(try conversation.next(try member.proof(conversation.joiner.hello)))
        #expect(conversation.answer == nil)
        #expect(try conversation.next(try member.result(request, answer.wireBytes, of: newcomer)) == nil)
        #expect(conversation.answer == answer)
    }

    @Test func `An answer that does not decode is no answer`() throws {
        var member = MemberSide()
        let conversation = conversation(member)
        let request = try #require(try conversation.next(try member.proof(conversation.joiner.hello)))
        #expect(try conversation.next(try member.result(request, [77], of: newcomer)) == nil)
        #expect(conversation.answer == nil)
    }

    @Test func `A result without a proof before it is malformed`() throws {
        let member = MemberSide()
        let conversation = conversation(member)
        #expect(throws: JoinError.malformed) { try conversation.next([JoinFrame.version, 6, 1, 2, 3]) }
    }

    @Test func `A refusal, another cluster and a wrong clock are told apart`() throws {
        var member = MemberSide()
        #expect(throws: JoinError.refused(.wrongSecret)) {
            try conversation(member).next(JoinResponder.failure(.wrongSecret))
        }
        let other = conversation(member, pin: RootKey().pin)
        let proof = try member.proof(other.joiner.hello)
        #expect(throws: JoinError.wrongPin) { try other.next(proof) }
        let late = conversation(member)
        member.responder = JoinResponder()
        let past = try member.proof(late.joiner.hello, clock: UnixClock.now() - 3 * 86400)
        let error = #expect(throws: JoinError.self) { try late.next(past) }
        guard case .clock(let ahead, member: "first") = error else { throw JoinError.malformed }
        #expect(abs(ahead - 3 * 86400) < 60)
    }

    @Test func `Error texts name the host, the cause and the way out`() {
        let target = "host1:7947"
        #expect(
            JoinError.clock(3 * 86400, member: "first").text(target)
                == "the clock of this host is 3 days ahead of that of first; set it (NTP), and try again")
        #expect(JoinError.clock(-7300, member: "first").text(target).contains("2 hours behind that of first"))
        #expect(JoinError.refused(.tooManyAttempts).text(target).hasSuffix("wait a minute"))
        #expect(
            JoinError.version(1).text(target).contains("version 1 of the join protocol, this host version \(JoinFrame.version)"))
        let errors: [JoinError] =
            [
                .version(1), .malformed, .wrongPin, .notAuthentic, .clock(-100, member: "first"),
                .expiredCertificate(member: "first"),
            ] + [.version, .noCluster, .wrongSecret, .expired, .tooManyAttempts, .malformed, .unable].map { .refused($0) }
        let failures: [JoinClient.Failure] = [.unreachable("no route"), .noAnswer, .timedOut]
        let texts = errors.map { $0.text(target) } + failures.map { $0.text(target) }
        #expect(Set(texts).count == texts.count)
        for text in texts {
            #expect(text.contains(target) || text.contains("first"), "\(text)")
            #expect(!text.contains("\n"))
        }
    }
}
