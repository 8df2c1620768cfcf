/// Signing of what a node says about its own endpoints, and checking of what others say about theirs. Cores take it as a value, because
/// they import no cryptographic library; the daemon gives them Ed25519 and SHA-256.
public protocol RecordSigning: Sendable {
    /// Collision-resistant hash, 32 bytes.
    func hash(_ bytes: [UInt8]) -> [UInt8]
    /// Signature with this node's key, 64 bytes.
    func sign(_ bytes: [UInt8]) -> [UInt8]
    /// True if the signature was made with the private half of `publicKey` (32 bytes). False for a key or signature of a wrong length.
    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool
}
