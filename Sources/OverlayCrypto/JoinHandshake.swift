import Crypto
public import OverlayModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Frames by which a joining node with a token and a member of the cluster authenticate each other, over one connection:
///
/// 1. hello: the joiner's ephemeral X25519 key.
/// 2. proof: the member's ephemeral key; sealed: the cluster's root key, the member's certificate and its signature over all of
/// this.
/// 3. request, sealed: the joiner's record, its signature, and an HMAC under the token's secret over all of this.
/// 4. result, sealed: the answer.
///
/// The secret never travels, and a recording is useless, as each key comes from two ephemeral keys. A node without the root key
/// learns nothing on which it could try out secrets.
public enum JoinFrame {
    /// Protocol version, the first byte of every frame. The second byte is the kind.
    public static let version: UInt8 = 2
    /// Largest frame of an unauthenticated node, in bytes.
    public static let limit = 4096

    enum Kind: UInt8 {
        case hello = 3
        case proof = 4
        case request = 5
        case result = 6
        case failure = 7
    }

    /// True if an unauthenticated node may send the frame. Any version passes, as another version is answered with an error.
    public static func isFromJoiner(_ frame: [UInt8]) -> Bool {
        frame.count >= 2 && frame.count <= limit && (frame[1] == Kind.hello.rawValue || frame[1] == Kind.request.rawValue)
    }

    static func header(_ kind: Kind) -> [UInt8] { [version, kind.rawValue] }
    static func failure(_ failure: JoinFailure) -> [UInt8] { header(.failure) + [failure.rawValue] }

    static func isOf(_ kind: Kind, _ frame: [UInt8]) -> Bool { frame.starts(with: header(kind)) }
}

/// Reason why a member refuses before it knows the other side. It is not authenticated, so it decides only which message is
/// printed.
public enum JoinFailure: UInt8, Error, Sendable {
    /// The version of the protocol differs.
    case version = 1
    case noCluster = 2
    /// The proof was not made with the current secret.
    case wrongSecret = 3
    case expired = 4
    case tooManyAttempts = 5
    case malformed = 6
    /// The member cannot admit nodes at present.
    case unable = 7
}

/// Reason why a joiner gives up.
public enum JoinError: Error, Hashable, Sendable {
    /// The other side speaks this version.
    case version(UInt8)
    case refused(JoinFailure)
    /// The frame is not what the protocol expects at this point.
    case malformed
    /// The member belongs to another cluster than the token.
    case wrongPin
    /// The member cannot prove its identity.
    case notAuthentic
    /// Seconds by which this host's clock is ahead of the member's; negative if it is behind.
    case clock(Int64, member: String)
    case expiredCertificate(member: String)
}

/// Keys of one handshake, each of which is used once.
private struct JoinKeys {
    private let secret: SharedSecret
    /// Hash of the transcript.
    private(set) var hash: [UInt8]

    init?(_ own: Curve25519.KeyAgreement.PrivateKey, _ other: ArraySlice<UInt8>, hello: [UInt8], answer: [UInt8]) {
        guard let secret = own.secret(with: other) else { return nil }
        self.secret = secret
        hash = Array(SHA256.hash(data: Array("swift-overlay join v2".utf8) + hello + answer))
    }

    private mutating func add(_ bytes: [UInt8]) { hash = Array(SHA256.hash(data: hash + bytes)) }

    private func key(_ kind: JoinFrame.Kind) -> SymmetricKey {
        secret.hkdfDerivedSymmetricKey(
            using: SHA256.self, salt: Data(hash), sharedInfo: Data("swift-overlay join".utf8) + [kind.rawValue],
            outputByteCount: 32)
    }

    /// Seals a plaintext and adds the sealed bytes to the transcript.
    mutating func seal(_ plaintext: [UInt8], _ kind: JoinFrame.Kind) -> [UInt8]? {
        guard let nonce = try? AES.GCM.Nonce(data: [UInt8](repeating: 0, count: 12)),
            let box = try? AES.GCM.seal(plaintext, using: key(kind), nonce: nonce)
        else { return nil }
        let sealed = Array(box.ciphertext) + Array(box.tag)
        add(sealed)
        return sealed
    }

    mutating func open(_ sealed: ArraySlice<UInt8>, _ kind: JoinFrame.Kind) -> [UInt8]? {
        guard sealed.count >= 16, let nonce = try? AES.GCM.Nonce(data: [UInt8](repeating: 0, count: 12)),
            let box = try? AES.GCM.SealedBox(nonce: nonce, ciphertext: sealed.dropLast(16), tag: sealed.suffix(16)),
            let plaintext = try? AES.GCM.open(box, using: key(kind))
        else { return nil }
        add(Array(sealed))
        return Array(plaintext)
    }

    func proof(of secret: [UInt8]) -> HMAC<SHA256>.MAC {
        HMAC<SHA256>.authenticationCode(for: hash, using: SymmetricKey(data: secret))
    }
}

/// Introduction of a member: root key, certificate and clock.
private struct Introduction: Wire {
    var root: [UInt8]
    var certificate: NodeCertificate
    /// Unix time in seconds.
    var clock: UInt64

    init(root: [UInt8], certificate: NodeCertificate, clock: UInt64) {
        self.root = root
        self.certificate = certificate
        self.clock = clock
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        root = try reader.sized(limit: 32)
        certificate = try reader.value()
        clock = try reader.integer()
    }

    func encode(to writer: inout ByteWriter) {
        writer.sized(root)
        writer.value(certificate)
        writer.integer(clock)
    }
}

/// Side of the handshake that has a token.
public struct Joiner: Sendable {
    /// Largest difference of clocks in seconds. With more, tokens and certificates would expire at any time.
    static let clockTolerance: UInt64 = 3600

    private let node: NodeKey
    private let pin: [UInt8]
    private let secret: [UInt8]
    private let ephemeral = Curve25519.KeyAgreement.PrivateKey()
    private var keys: JoinKeys?
    public let hello: [UInt8]

    /// - Parameters:
    ///   - pin: 20 bytes of the token.
    ///   - secret: 16 bytes of the token. Never logged.
    public init(node: NodeKey, pin: [UInt8], secret: [UInt8]) {
        self.node = node
        self.pin = pin
        self.secret = secret
        hello = JoinFrame.header(.hello) + Array(ephemeral.publicKey.rawRepresentation)
    }

    /// Checks the member's proof.
    ///
    /// - Parameters:
    ///   - record: Record of this node for the member.
    ///   - now: Unix time in seconds.
    /// - Returns: The request.
    public mutating func request(_ record: [UInt8], to frame: [UInt8], now: UInt64) throws(JoinError) -> [UInt8] {
        try Self.check(frame, .proof)
        guard frame.count >= 2 + 32 + 16,
            var keys = JoinKeys(ephemeral, frame[2..<34], hello: hello, answer: Array(frame[..<34])),
            let plaintext = keys.open(frame[34...], .proof), plaintext.count > 64
        else { throw .malformed }
        let body = Array(plaintext.dropLast(64))
        guard let introduction = try? Introduction(wire: body) else { throw .malformed }
        guard RootKey.pin(of: introduction.root) == pin else { throw .wrongPin }
        let certificate = introduction.certificate
        guard certificate.isSigned(by: introduction.root),
            Ed25519.verify(
                Array(plaintext.suffix(64)), of: Self.signed(hello, Array(frame[..<34]), body), by: certificate.publicKey)
        else { throw .notAuthentic }
        let ahead = Int64(clamping: now) - Int64(clamping: introduction.clock)
        guard ahead.magnitude <= Self.clockTolerance else { throw .clock(ahead, member: certificate.name) }
        guard certificate.isValid(at: now) else { throw .expiredCertificate(member: certificate.name) }
        let hash = keys.hash
        let payload = record + node.signing.sign(hash + record) + Array(keys.proof(of: secret))
        guard let sealed = keys.seal(payload, .request) else { throw .malformed }
        self.keys = keys
        return JoinFrame.header(.request) + sealed
    }

    /// Opens the result.
    public mutating func result(_ frame: [UInt8]) throws(JoinError) -> [UInt8] {
        try Self.check(frame, .result)
        guard let plaintext = keys?.open(frame[2...], .result) else { throw .malformed }
        return plaintext
    }

    private static func check(_ frame: [UInt8], _ kind: JoinFrame.Kind) throws(JoinError) {
        guard frame.count >= 3, frame.count <= Limits.frameBytes else { throw .malformed }
        if frame[1] == JoinFrame.Kind.failure.rawValue {
            if frame[0] != JoinFrame.version { throw .version(frame[0]) }
            throw JoinFailure(rawValue: frame[2]).map { .refused($0) } ?? .malformed
        }
        guard JoinFrame.isOf(kind, frame) else { throw frame[0] == JoinFrame.version ? .malformed : .version(frame[0]) }
    }

    fileprivate static func signed(_ hello: [UInt8], _ answer: [UInt8], _ introduction: [UInt8]) -> [UInt8] {
        Array("swift-overlay join proof v2".utf8) + Array(SHA256.hash(data: hello + answer + introduction))
    }
}

/// Side of the handshake that is a member.
public struct JoinResponder: Sendable {
    private var keys: JoinKeys?

    public init() {}

    /// Answers a hello.
    ///
    /// - Returns: The proof.
    public mutating func proof(
        to hello: [UInt8], node: NodeKey, certificate: NodeCertificate, root: [UInt8], now: UInt64
    ) throws(JoinFailure) -> [UInt8] {
        guard keys == nil, hello.count == 34, JoinFrame.isOf(.hello, hello) else { throw .malformed }
        let ephemeral = Curve25519.KeyAgreement.PrivateKey()
        let answer = JoinFrame.header(.proof) + Array(ephemeral.publicKey.rawRepresentation)
        guard var keys = JoinKeys(ephemeral, hello[2...], hello: hello, answer: answer) else { throw .malformed }
        let introduction = Introduction(root: root, certificate: certificate, clock: now).wireBytes
        let signature = node.signing.sign(Joiner.signed(hello, answer, introduction))
        guard let sealed = keys.seal(introduction + signature, .proof) else { throw .unable }
        self.keys = keys
        return answer + sealed
    }

    /// Checks a request. Nothing in it is parsed before its proof is verified.
    ///
    /// - Parameters:
    ///   - secret: Current secret of the token.
    ///   - publicKey: Key in the record, which must have signed the request.
    /// - Returns: The joiner's record.
    public mutating func record<Record>(
        of frame: [UInt8], secret: [UInt8], decode: ([UInt8]) -> (record: Record, publicKey: [UInt8])?
    ) throws(JoinFailure) -> Record {
        guard JoinFrame.isOf(.request, frame), var keys else { throw .malformed }
        let (proof, hash) = (keys.proof(of: secret), keys.hash)
        guard let plaintext = keys.open(frame[2...], .request), plaintext.count > 64 + 32 else { throw .malformed }
        // Comparison in constant time.
        guard proof == Array(plaintext.suffix(32)) else { throw .wrongSecret }
        let body = Array(plaintext.dropLast(64 + 32))
        guard let (record, publicKey) = decode(body),
            Ed25519.verify(Array(plaintext.dropLast(32).suffix(64)), of: hash + body, by: publicKey)
        else { throw .malformed }
        self.keys = keys
        return record
    }

    /// Seals the result; nil before the request was accepted.
    public mutating func result(_ plaintext: [UInt8]) -> [UInt8]? {
        keys?.seal(plaintext, .result).map { JoinFrame.header(.result) + $0 }
    }

    public static func failure(_ failure: JoinFailure) -> [UInt8] { JoinFrame.failure(failure) }
}

extension NodeKey {
    /// True if the key belongs to the node with this id.
    public static func isKey(_ publicKey: [UInt8], of node: NodeID) -> Bool { id(of: publicKey) == node }
}
