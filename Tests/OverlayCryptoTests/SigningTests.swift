import OverlayCrypto
import OverlayModel
import Testing

@Suite struct SigningTests {
    private let key = NodeKey()
    private let text = Array("what a node says of its endpoints".utf8)

    @Test func whatWasSignedVerifies() {
        let signature = key.signing.sign(text)
        #expect(signature.count == 64)
        #expect(key.signing.verify(signature, of: text, by: key.publicBytes))
        // Anybody can verify it.
        #expect(NodeKey().signing.verify(signature, of: text, by: key.publicBytes))
    }

    @Test func nothingElseDoes() {
        let signature = key.signing.sign(text)
        var altered = signature
        altered[10] ^= 1
        #expect(!key.signing.verify(altered, of: text, by: key.publicBytes))
        #expect(!key.signing.verify(signature, of: text + [0], by: key.publicBytes))
        #expect(!key.signing.verify(signature, of: text, by: NodeKey().publicBytes))
        for length in [0, 1, 63, 65, 1000] {
            #expect(!key.signing.verify([UInt8](repeating: 1, count: length), of: text, by: key.publicBytes))
        }
        for length in [0, 31, 33] {
            #expect(!key.signing.verify(signature, of: text, by: [UInt8](repeating: 1, count: length)))
        }
        #expect(!key.signing.verify([UInt8](repeating: 0, count: 64), of: text, by: [UInt8](repeating: 0, count: 32)))
    }

    /// FIPS 180-4, the example of "abc".
    @Test func theHashIsSHA256() {
        #expect(
            hexadecimal(key.signing.hash(Array("abc".utf8)))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }
}
