import OverlayCrypto
import OverlayModel
import Testing

@Suite struct JoinTests {
    private static let secret = [UInt8](repeating: 5, count: 32)
    private static let salt = (0..<16).map { UInt8($0) }
    private static let request = Array("let me in".utf8)
    private static let answer = Array("the whole catalogue".utf8)
    private static let sealer = JoinSealer(cluster: ClusterID(bits: 1), secret: secret)

    @Test(arguments: [0, 1, 9, 100_000])
    func requestAndAnswerOpen(count: Int) throws {
        let plaintext = [UInt8](repeating: 3, count: count)
        let frame = try #require(Self.sealer.sealRequest(plaintext, salt: Self.salt))
        #expect(JoinSealer.isRequest(frame))
        let opened = try #require(Self.sealer.openRequest(frame))
        #expect(opened.salt == Self.salt && opened.plaintext == plaintext)
        let reply = try #require(Self.sealer.sealAnswer(plaintext, to: opened.salt))
        #expect(Self.sealer.openAnswer(reply, to: Self.salt) == plaintext)
    }

    @Test func anAnswerBelongsToItsRequest() throws {
        let reply = try #require(Self.sealer.sealAnswer(Self.answer, to: Self.salt))
        for other in [Self.salt.reversed(), Array(Self.salt.dropLast()), Self.salt + [0], []] as [[UInt8]] {
            #expect(Self.sealer.openAnswer(reply, to: other) == nil)
        }
    }

    @Test func anotherClusterOrSecretIsRefused() throws {
        let frame = try #require(Self.sealer.sealRequest(Self.request, salt: Self.salt))
        let reply = try #require(Self.sealer.sealAnswer(Self.answer, to: Self.salt))
        var secret = Self.secret
        secret[31] ^= 1
        for other in [
            JoinSealer(cluster: ClusterID(bits: 2), secret: Self.secret), JoinSealer(cluster: ClusterID(bits: 1), secret: secret),
            JoinSealer(cluster: ClusterID(bits: 1), secret: []),
        ] {
            #expect(other.openRequest(frame) == nil && other.openAnswer(reply, to: Self.salt) == nil)
        }
    }

    @Test func aRequestIsNoAnswer() throws {
        let frame = try #require(Self.sealer.sealRequest(Self.request, salt: Self.salt))
        let reply = try #require(Self.sealer.sealAnswer(Self.answer, to: Self.salt))
        #expect(
            Self.sealer.openAnswer(frame, to: Self.salt) == nil && Self.sealer.openAnswer(Array(frame[18...]), to: Self.salt) == nil
        )
        #expect(Self.sealer.openRequest(reply) == nil && Self.sealer.openRequest(Array(frame[..<18]) + reply) == nil)
    }

    @Test func aFlippedBitAnywhereIsNoticed() throws {
        let frame = try #require(Self.sealer.sealRequest(Self.request, salt: Self.salt))
        for bit in 0..<frame.count * 8 {
            var altered = frame
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.sealer.openRequest(altered) == nil, "bit \(bit)")
        }
        let reply = try #require(Self.sealer.sealAnswer(Self.answer, to: Self.salt))
        for bit in 0..<reply.count * 8 {
            var altered = reply
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(Self.sealer.openAnswer(altered, to: Self.salt) == nil, "bit \(bit)")
        }
    }

    @Test func partsDoNotOpen() throws {
        let frame = try #require(Self.sealer.sealRequest(Self.request, salt: Self.salt))
        for count in 0..<frame.count { #expect(Self.sealer.openRequest(Array(frame[..<count])) == nil) }
        let reply = try #require(Self.sealer.sealAnswer(Self.answer, to: Self.salt))
        for count in 0..<reply.count { #expect(Self.sealer.openAnswer(Array(reply[..<count]), to: Self.salt) == nil) }
        #expect(!JoinSealer.isRequest([]) && !JoinSealer.isRequest([1]) && !JoinSealer.isRequest([1, 2, 0]))
    }

    @Test(arguments: [0, 15, 17])
    func saltsHave16Bytes(count: Int) {
        #expect(Self.sealer.sealRequest(Self.request, salt: [UInt8](repeating: 0, count: count)) == nil)
    }

    @Test func equalRequestsLookDifferent() throws {
        #expect(Self.sealer.sealRequest(Self.request, salt: Self.salt) != Self.sealer.sealRequest(Self.request, salt: Self.salt))
    }

    @Test func aNodeIsItsKey() throws {
        let key = NodeKey()
        let again = try #require(NodeKey(privateBytes: key.privateBytes))
        #expect(again.id == key.id && again.publicBytes == key.publicBytes && key.publicBytes.count == 32)
        #expect(NodeKey().id != key.id)
        for count in [0, 31, 33] { #expect(NodeKey(privateBytes: [UInt8](repeating: 1, count: count)) == nil) }
        // RFC 8032 §7.1, test 1, and SHA-256 of its public key.
        let secret = bytes(hexadecimal: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")!
        let known = try #require(NodeKey(privateBytes: secret))
        #expect(hexadecimal(known.publicBytes) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        #expect(known.id.description == "21fe31dfa154a261626bf854046fd227")
    }
}
