/// How a node signs what it says of its own endpoints, and checks what others say of theirs. Cores take it as a value, because they see no
/// cryptographic library; the daemon gives them Ed25519 and SHA-256.
public protocol RecordSigning: Sendable {
    /// A collision-resistant hash, 32 bytes.
    func hash(_ bytes: [UInt8]) -> [UInt8]
    /// With this node's key; 64 bytes.
    func sign(_ bytes: [UInt8]) -> [UInt8]
    /// Is it the signature of whoever has the private half of `publicKey` (32 bytes)? False for a key or signature of a wrong length.
    func verify(_ signature: [UInt8], of bytes: [UInt8], by publicKey: [UInt8]) -> Bool
}
