import Crypto
public import OverlayModel

/// Root key of the cluster, by which a joining node recognises it. Every member holds it, as every member may admit nodes.
public struct RootKey: Sendable {
    private let key: Curve25519.Signing.PrivateKey

    public init() { key = Curve25519.Signing.PrivateKey() }

    /// - Parameter bytes: 32 bytes from ``privateBytes``. The result is nil for anything else.
    public init?(privateBytes bytes: [UInt8]) {
        guard let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: bytes) else { return nil }
        self.key = key
    }

    /// Private key, for the catalogue only. Never logged.
    public var privateBytes: [UInt8] { Array(key.rawRepresentation) }
    public var publicBytes: [UInt8] { Array(key.publicKey.rawRepresentation) }
    public var pin: [UInt8] { Self.pin(of: publicBytes) }
    /// Id of the cluster: the first 128 bits of SHA-256 of the public key.
    public var cluster: ClusterID { ClusterID(bits: pin.prefix(16).reduce(0) { $0 << 8 | UInt128($1) }) }

    /// Pin in a token: the first 160 bits of SHA-256 of the public key.
    static func pin(of publicKey: [UInt8]) -> [UInt8] { Array(Array(SHA256.hash(data: publicKey)).prefix(20)) }

    func sign(_ bytes: [UInt8]) -> [UInt8] { (try? key.signature(for: bytes)).map { Array($0) } ?? [] }
}

/// Certificate, signed with the root key, that a node belongs to the cluster.
public struct NodeCertificate: Hashable, Sendable, Wire {
    /// Seconds from issue to expiry, and the seconds left at which it is renewed.
    static let lifetime: UInt64 = 30 * 86400
    static let renewal: UInt64 = 20 * 86400

    public var cluster: ClusterID
    /// Public Ed25519 key of the node, 32 bytes.
    public var publicKey: [UInt8]
    public var name: String
    /// Validity, in Unix seconds.
    public var notBefore: UInt64
    public var notAfter: UInt64
    private var signature: [UInt8]

    /// - Parameter now: Unix time in seconds.
    public init(of node: NodeKey, name: String, root: RootKey, now: UInt64) {
        cluster = root.cluster
        publicKey = node.publicBytes
        self.name = name
        // Clocks may differ by up to an hour.
        notBefore = now > 3600 ? now - 3600 : 0
        notAfter = now + Self.lifetime
        signature = []
        signature = root.sign(signed)
    }

    public init(from reader: inout ByteReader) throws(DecodeError) {
        cluster = try reader.value()
        publicKey = try reader.sized(limit: 32)
        name = try reader.string(limit: 255)
        notBefore = try reader.integer()
        notAfter = try reader.integer()
        signature = try reader.sized(limit: 64)
    }

    public func encode(to writer: inout ByteWriter) {
        encodeSigned(to: &writer)
        writer.sized(signature)
    }

    private func encodeSigned(to writer: inout ByteWriter) {
        writer.value(cluster)
        writer.sized(publicKey)
        writer.string(name)
        writer.integer(notBefore)
        writer.integer(notAfter)
    }

    private var signed: [UInt8] {
        var writer = ByteWriter()
        encodeSigned(to: &writer)
        return Array("swift-overlay certificate v1".utf8) + writer.bytes
    }

    func isSigned(by root: [UInt8]) -> Bool { Ed25519.verify(signature, of: signed, by: root) }
    public func isValid(at now: UInt64) -> Bool { notBefore <= now && now < notAfter }
    /// True if it is time to renew the certificate.
    public func isOld(at now: UInt64) -> Bool { now + Self.renewal > notAfter || now < notBefore }
}
