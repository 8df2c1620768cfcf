import Crypto
public import OverlayModel

/// The node's identity key.
public struct NodeKey: Sendable {
    private let key: Curve25519.Signing.PrivateKey

    public init() { key = Curve25519.Signing.PrivateKey() }

    /// - Parameter bytes: 32, as ``privateBytes`` gave them; nil for anything else.
    public init?(privateBytes bytes: [UInt8]) {
        guard let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: bytes) else { return nil }
        self.key = key
    }

    /// For the state directory only. Never logged.
    public var privateBytes: [UInt8] { Array(key.rawRepresentation) }
    public var publicBytes: [UInt8] { Array(key.publicKey.rawRepresentation) }

    /// Signs and checks records with this key.
    public var signing: any RecordSigning { RecordSigner(key: key) }

    /// The node's name in the cluster: the first 128 bits of SHA-256 of the public key.
    public var id: NodeID { NodeID(bits: Array(SHA256.hash(data: publicBytes)).prefix(16).reduce(0) { $0 << 8 | UInt128($1) }) }
}

/// Ed25519 (RFC 8032) and SHA-256.
private struct RecordSigner: RecordSigning {
    let key: Curve25519.Signing.PrivateKey

    func hash(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }

    /// Empty if the library refuses, which no input makes it do; it verifies for nobody.
    func sign(_ bytes: [UInt8]) -> [UInt8] { (try? key.signature(for: bytes)).map { Array($0) } ?? [] }

    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        guard signature.count == 64, let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else { return false }
        return key.isValidSignature(signature, for: bytes)
    }
}
