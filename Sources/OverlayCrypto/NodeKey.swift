import Crypto
public import OverlayModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Identity of a node: an Ed25519 key to sign with and, derived from the same secret, an X25519 key for key agreement.
public struct NodeKey: Sendable {
    private let key: Curve25519.Signing.PrivateKey
    private let agreement: Curve25519.KeyAgreement.PrivateKey?

    public init() { self.init(key: Curve25519.Signing.PrivateKey()) }

    /// - Parameter bytes: 32 bytes from ``privateBytes``. The result is nil for anything else.
    public init?(privateBytes bytes: [UInt8]) {
        guard let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: bytes) else { return nil }
        self.init(key: key)
    }

    private init(key: Curve25519.Signing.PrivateKey) {
        self.key = key
        let secret = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: key.rawRepresentation), info: Data("swift-overlay agreement v1".utf8),
            outputByteCount: 32)
        // Any 32 bytes are a private key (RFC 7748 §5).
        agreement = secret.withUnsafeBytes { try? Curve25519.KeyAgreement.PrivateKey(rawRepresentation: $0) }
    }

    /// Private key, for the state directory only. Never logged.
    public var privateBytes: [UInt8] { Array(key.rawRepresentation) }
    public var publicBytes: [UInt8] { Array(key.publicKey.rawRepresentation) }
    /// Public X25519 key, 32 bytes.
    public var agreementBytes: [UInt8] { agreement.map { Array($0.publicKey.rawRepresentation) } ?? [] }

    /// Signs and verifies records with this key.
    public var signing: any RecordSigning { RecordSigner(key: key) }

    /// Id of the node in the cluster: the first 128 bits of SHA-256 of the public key.
    public var id: NodeID { Self.id(of: publicBytes) }

    static func id(of publicKey: [UInt8]) -> NodeID {
        NodeID(bits: Array(SHA256.hash(data: publicKey)).prefix(16).reduce(0) { $0 << 8 | UInt128($1) })
    }

    /// Shared secret of this node and the other.
    func secret(with agreementKey: [UInt8]) -> SharedSecret? { agreement?.secret(with: agreementKey) }
}

/// Ed25519 (RFC 8032) and SHA-256.
private struct RecordSigner: RecordSigning {
    let key: Curve25519.Signing.PrivateKey

    func hash(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }

    /// Signature; empty if the library refuses, which no input causes. An empty signature is never valid.
    func sign(_ bytes: [UInt8]) -> [UInt8] { (try? key.signature(for: bytes)).map { Array($0) } ?? [] }

    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        Ed25519.verify(signature, of: bytes, by: publicKey)
    }
}

extension Curve25519.KeyAgreement.PrivateKey {
    /// Shared secret; nil for an invalid key. A key of low order would give everybody the same secret, all zeros (RFC 7748 §6.1).
    func secret(with publicKey: some Collection<UInt8>) -> SharedSecret? {
        guard let other = try? Curve25519.KeyAgreement.PublicKey(rawRepresentation: Array(publicKey)),
            let secret = try? sharedSecretFromKeyAgreement(with: other),
            secret.withUnsafeBytes({ bytes in bytes.contains { $0 != 0 } })
        else { return nil }
        return secret
    }
}

enum Ed25519 {
    static func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool {
        guard signature.count == 64, let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else { return false }
        return key.isValidSignature(signature, for: bytes)
    }
}
