import OverlayModel
import Testing

@testable import OverlayCrypto

@Suite struct JoinTests {
    private static let root = RootKey()
    private static let member = NodeKey()
    private static let newcomer = NodeKey()
    private static let secret = [UInt8](repeating: 5, count: 16)
    private static let record = Array("let me in".utf8)
    private static let answer = Array("the whole catalogue".utf8)
    private static let now: UInt64 = 1_800_000_000

    private static func joiner(pin: [UInt8]? = nil, secret: [UInt8] = secret) -> Joiner {
        Joiner(node: newcomer, pin: pin ?? root.pin, secret: secret)
    }

    private static func proof(
        _ responder: inout JoinResponder, to hello: [UInt8], root: RootKey = root, signedBy: RootKey? = nil,
        member: NodeKey = member,
        now: UInt64 = now
    ) throws -> [UInt8] {
        let certificate = NodeCertificate(of: Self.member, name: "first", root: signedBy ?? root, now: now)
        return try responder.proof(to: hello, node: member, certificate: certificate, root: root.publicBytes, now: now)
    }

    private static func take(_ responder: inout JoinResponder, _ frame: [UInt8], secret: [UInt8] = secret) throws(JoinFailure)
        -> [UInt8]
    {
        try responder.record(of: frame, secret: secret) { ($0, newcomer.publicBytes) }
    }

    @Test func aTokenLetsANodeIn() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        #expect(JoinFrame.isFromJoiner(joiner.hello))
        let proof = try Self.proof(&responder, to: joiner.hello)
        let request = try joiner.request(Self.record, to: proof, now: Self.now)
        #expect(JoinFrame.isFromJoiner(request) && !JoinFrame.isFromJoiner(proof))
        let taken = try Self.take(&responder, request)
        #expect(taken == Self.record)
        let sealed = responder.result(Self.answer)
        let result = try #require(sealed)
        let end = try joiner.result(result)
        #expect(end == Self.answer)
        // Nothing of it is readable on the wire.
        for frame in [joiner.hello, proof, request, result] {
            for text in [
                Self.record, Self.answer, Self.secret, Array("first".utf8), Self.root.publicBytes, Self.newcomer.publicBytes,
            ] {
                #expect(!frame.contains(text))
            }
        }
    }

    // MARK: Whom the joiner does not trust

    @Test func anotherClusterIsTold() throws {
        var joiner = Self.joiner(pin: RootKey().pin)
        var responder = JoinResponder()
        let proof = try Self.proof(&responder, to: joiner.hello)
        #expect(throws: JoinError.wrongPin) { try joiner.request(Self.record, to: proof, now: Self.now) }
    }

    /// An impostor that has seen the cluster's public key and a member's certificate.
    @Test func whoIsNoMemberIsNotBelieved() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let unsigned = try Self.proof(&responder, to: joiner.hello, signedBy: RootKey())
        #expect(throws: JoinError.notAuthentic) { try joiner.request(Self.record, to: unsigned, now: Self.now) }
        responder = JoinResponder()
        let borrowed = try Self.proof(&responder, to: joiner.hello, member: NodeKey())
        #expect(throws: JoinError.notAuthentic) { try joiner.request(Self.record, to: borrowed, now: Self.now) }
    }

    /// A member's proof for one joiner is useless towards another.
    @Test func aProofIsForItsHello() throws {
        var responder = JoinResponder()
        let proof = try Self.proof(&responder, to: Self.joiner().hello)
        var joiner = Self.joiner()
        #expect(throws: JoinError.malformed) { try joiner.request(Self.record, to: proof, now: Self.now) }
    }

    @Test(arguments: [-2 * 86400, -3601, -3600, 0, 3600, 3601, 2 * 86400] as [Int64])
    func clocksThatDifferAreTold(ahead: Int64) throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let proof = try Self.proof(&responder, to: joiner.hello)
        let now = UInt64(Int64(Self.now) + ahead)
        if ahead.magnitude <= 3600 {
            _ = try joiner.request(Self.record, to: proof, now: now)
        } else {
            #expect(throws: JoinError.clock(ahead, member: "first")) { try joiner.request(Self.record, to: proof, now: now) }
        }
    }

    @Test func aCertificateHasItsTime() throws {
        let certificate = NodeCertificate(of: Self.member, name: "first", root: Self.root, now: Self.now)
        #expect(certificate.isSigned(by: Self.root.publicBytes) && !certificate.isSigned(by: RootKey().publicBytes))
        #expect(certificate.isValid(at: Self.now) && certificate.isValid(at: Self.now + 29 * 86400))
        #expect(!certificate.isValid(at: Self.now + 30 * 86400) && !certificate.isValid(at: Self.now - 86400))
        #expect(!certificate.isOld(at: Self.now) && !certificate.isOld(at: Self.now + 9 * 86400))
        #expect(certificate.isOld(at: Self.now + 11 * 86400))
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let proof = try responder.proof(
            to: joiner.hello, node: Self.member, certificate: certificate, root: Self.root.publicBytes, now: Self.now + 31 * 86400)
        #expect(throws: JoinError.expiredCertificate(member: "first")) {
            try joiner.request(Self.record, to: proof, now: Self.now + 31 * 86400)
        }
    }

    // MARK: Whom the member does not let in

    @Test func anotherSecretIsRefused() throws {
        for secret in [[UInt8](repeating: 6, count: 16), [], Self.secret + [5]] {
            var joiner = Self.joiner(secret: secret)
            var responder = JoinResponder()
            let request = try joiner.request(Self.record, to: try Self.proof(&responder, to: joiner.hello), now: Self.now)
            #expect(throws: JoinFailure.wrongSecret) { try Self.take(&responder, request) }
            let result = responder.result(Self.answer) ?? []
            #expect(throws: JoinError.self) { try joiner.result(result) }
        }
    }

    /// A recording of a join admits nobody.
    @Test func aReplayedJoinIsRefused() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let request = try joiner.request(Self.record, to: try Self.proof(&responder, to: joiner.hello), now: Self.now)
        var again = JoinResponder()
        _ = try Self.proof(&again, to: joiner.hello)
        #expect(throws: JoinFailure.malformed) { try Self.take(&again, request) }
        var third = JoinResponder()
        #expect(throws: JoinFailure.malformed) { try Self.take(&third, request) }
        // One hello per connection.
        #expect(throws: JoinFailure.malformed) { try Self.proof(&again, to: joiner.hello) }
    }

    /// A node with a token cannot join with a key that is not its own.
    @Test func aRecordIsSignedByItsKey() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let request = try joiner.request(Self.record, to: try Self.proof(&responder, to: joiner.hello), now: Self.now)
        #expect(throws: JoinFailure.malformed) {
            try responder.record(of: request, secret: Self.secret) { ($0, Self.member.publicBytes) }
        }
    }

    @Test func aFlippedBitAnywhereIsNoticed() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let proof = try Self.proof(&responder, to: joiner.hello)
        for bit in 0..<proof.count * 8 {
            var altered = proof
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: JoinError.self, "proof, bit \(bit)") { try joiner.request(Self.record, to: altered, now: Self.now) }
        }
        let request = try joiner.request(Self.record, to: proof, now: Self.now)
        for bit in 0..<request.count * 8 {
            var altered = request
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: JoinFailure.self, "request, bit \(bit)") { try Self.take(&responder, altered) }
        }
        let taken = try Self.take(&responder, request)
        #expect(taken == Self.record, "none of that ended it")
        let sealed = responder.result(Self.answer)
        let result = try #require(sealed)
        for bit in 0..<result.count * 8 {
            var altered = result
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: JoinError.self, "result, bit \(bit)") { try joiner.result(altered) }
        }
        let end = try joiner.result(result)
        #expect(end == Self.answer)
    }

    @Test func partsAndRubbishAreRefused() throws {
        var joiner = Self.joiner()
        var responder = JoinResponder()
        let proof = try Self.proof(&responder, to: joiner.hello)
        for count in 0..<proof.count {
            #expect(throws: JoinError.self) { try joiner.request(Self.record, to: Array(proof[..<count]), now: Self.now) }
        }
        let request = try joiner.request(Self.record, to: proof, now: Self.now)
        for count in 0..<request.count { #expect(throws: JoinFailure.self) { try Self.take(&responder, Array(request[..<count])) } }
        let altered: [UInt8] = [1] + joiner.hello.dropFirst()
        for hello in [[], [2, 3], [2, 3] + [UInt8](repeating: 0, count: 32), joiner.hello + [0], altered] as [[UInt8]] {
            var fresh = JoinResponder()
            #expect(throws: JoinFailure.malformed) { try Self.proof(&fresh, to: hello) }
        }
        #expect(!JoinFrame.isFromJoiner([]) && !JoinFrame.isFromJoiner([2]) && !JoinFrame.isFromJoiner([2, 1, 3]))
        #expect(!JoinFrame.isFromJoiner([2, 3] + [UInt8](repeating: 0, count: JoinFrame.limit)))
    }

    @Test func failuresAreTold() throws {
        for failure in [JoinFailure.version, .noCluster, .wrongSecret, .expired, .tooManyAttempts, .malformed, .unable] {
            var joiner = Self.joiner()
            #expect(throws: JoinError.refused(failure)) {
                try joiner.request(Self.record, to: JoinResponder.failure(failure), now: Self.now)
            }
        }
        var joiner = Self.joiner()
        #expect(throws: JoinError.version(3)) { try joiner.request(Self.record, to: [3, 7, 1], now: Self.now) }
        #expect(throws: JoinError.version(9)) { try joiner.request(Self.record, to: [9, 4, 1, 1], now: Self.now) }
        #expect(throws: JoinError.malformed) { try joiner.request(Self.record, to: [2, 7, 99], now: Self.now) }
    }

    @Test func aNodeIsItsKey() throws {
        let key = NodeKey()
        let again = try #require(NodeKey(privateBytes: key.privateBytes))
        #expect(again.id == key.id && again.publicBytes == key.publicBytes && key.publicBytes.count == 32)
        #expect(again.agreementBytes == key.agreementBytes && key.agreementBytes.count == 32)
        #expect(NodeKey().id != key.id && NodeKey.isKey(key.publicBytes, of: key.id) && !NodeKey.isKey([], of: key.id))
        for count in [0, 31, 33] { #expect(NodeKey(privateBytes: [UInt8](repeating: 1, count: count)) == nil) }
        // RFC 8032 §7.1, test 1, and SHA-256 of its public key.
        let secret = bytes(hexadecimal: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")!
        let known = try #require(NodeKey(privateBytes: secret))
        #expect(hexadecimal(known.publicBytes) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        #expect(known.id.description == "21fe31dfa154a261626bf854046fd227")
    }
}
