import Crypto
public import OverlayModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Seals the two messages of a join under the secret that the token carries. The answer is bound to its request, so that it cannot be
/// played to another one. What is not sealed with the cluster's secret is dropped before it is parsed.
public struct JoinSealer: Sendable {
    /// First bytes of a join frame: version, and a channel no packet has.
    static let header: [UInt8] = [1, 3]
    static let saltBytes = 16

    private let cluster: ClusterID
    private let requestKey: SymmetricKey
    private let answerKey: SymmetricKey

    /// - Parameter secret: 32 bytes, from the token or the catalogue.
    public init(cluster: ClusterID, secret: [UInt8]) {
        self.cluster = cluster
        func key(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: SymmetricKey(data: secret), salt: Data(cluster.bytes),
                info: Data("swift-overlay join \(purpose) v1".utf8), outputByteCount: 32)
        }
        requestKey = key("request")
        answerKey = key("answer")
    }

    /// Is this frame the request of a join?
    public static func isRequest(_ frame: [UInt8]) -> Bool { frame.starts(with: header) }

    /// - Parameter salt: 16 random bytes, new for each request.
    public func sealRequest(_ plaintext: [UInt8], salt: [UInt8]) -> [UInt8]? {
        guard salt.count == Self.saltBytes else { return nil }
        let front = Self.header + salt
        return (try? AES.GCM.seal(plaintext, using: requestKey, authenticating: front))?.combined.map { front + $0 }
    }

    /// nil when it is not sealed with this cluster's secret.
    public func openRequest(_ frame: [UInt8]) -> (salt: [UInt8], plaintext: [UInt8])? {
        let front = Self.header.count + Self.saltBytes
        guard frame.count > front, Self.isRequest(frame),
            let box = try? AES.GCM.SealedBox(combined: frame[front...]),
            let plaintext = try? AES.GCM.open(box, using: requestKey, authenticating: frame[..<front])
        else { return nil }
        return (Array(frame[Self.header.count..<front]), Array(plaintext))
    }

    public func sealAnswer(_ plaintext: [UInt8], to salt: [UInt8]) -> [UInt8]? {
        (try? AES.GCM.seal(plaintext, using: answerKey, authenticating: salt))?.combined.map { Array($0) }
    }

    public func openAnswer(_ frame: [UInt8], to salt: [UInt8]) -> [UInt8]? {
        guard let box = try? AES.GCM.SealedBox(combined: frame),
            let plaintext = try? AES.GCM.open(box, using: answerKey, authenticating: salt)
        else { return nil }
        return Array(plaintext)
    }
}
