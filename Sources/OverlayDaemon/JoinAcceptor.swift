import OverlayCatalogue
import OverlayCrypto
import OverlayModel

/// Member's side of joins: the conversations under way, and the addresses that tried too often.
struct JoinAcceptor {
    /// Outcome of a frame.
    enum Step {
        case answer([UInt8], isLast: Bool)
        /// Proof of the secret: the catalogue may admit this node.
        case admit(Member)
    }

    private let key: NodeKey
    private var sessions: [UInt64: JoinResponder] = [:]
    private var attempts = FailedAttempts()
    private var certificate: NodeCertificate?

    init(key: NodeKey) { self.key = key }

    /// - Parameters:
    ///   - now: Running time.
    ///   - clock: Unix seconds.
    /// - Throws: ``JoinFailure``, to be answered and logged; the connection is over.
    mutating func take(
        _ frame: [UInt8], on connection: UInt64, from source: IPAddress?, cluster: Cluster?, name: String, now: Instant,
        clock: UInt64
    ) throws(JoinFailure) -> Step {
        guard attempts.mayTry(source, now: now) else { throw .tooManyAttempts }
        do throws(JoinFailure) {
            return try step(frame, connection, cluster, name, clock)
        } catch {
            sessions[connection] = nil
            switch error {
            case .noCluster, .unable, .tooManyAttempts, .version, .expired: break
            case .wrongSecret, .malformed: attempts.add(source, now: now)
            }
            throw error
        }
    }

    private mutating func step(
        _ frame: [UInt8], _ connection: UInt64, _ cluster: Cluster?, _ name: String, _ clock: UInt64
    ) throws(JoinFailure) -> Step {
        guard frame.first == JoinFrame.version else { throw .version }
        guard let cluster else { throw .noCluster }
        guard var session = sessions[connection] else {
            guard let root = RootKey(privateBytes: cluster.rootKey) else { throw .unable }
            if certificate?.cluster != cluster.id || certificate?.isOld(at: clock) != false {
                certificate = NodeCertificate(of: key, name: name, root: root, now: clock)
            }
            guard let certificate else { throw .unable }
            var session = JoinResponder()
            let proof = try session.proof(
                to: frame, node: key, certificate: certificate, root: cluster.rootPublicKey, now: clock)
            sessions[connection] = session
            return .answer(proof, isLast: false)
        }
        let member = try session.record(of: frame, secret: cluster.joinSecret.secret) {
            bytes -> (record: Member, publicKey: [UInt8])? in
            guard let member = try? Member(wire: bytes), NodeKey.isKey(member.publicKey, of: member.id) else { return nil }
            return (member, member.publicKey)
        }
        // After the proof: a node that does not know the secret is not told about its state.
        guard cluster.joinSecret.expires == 0 || clock < cluster.joinSecret.expires else { throw .expired }
        sessions[connection] = session
        return .admit(member)
    }

    /// Seals the answer of a join; nil if its connection has ended.
    mutating func result(_ plaintext: [UInt8], on connection: UInt64) -> [UInt8]? { sessions[connection]?.result(plaintext) }

    mutating func ended(_ connection: UInt64) { sessions[connection] = nil }
}

/// Failed attempts by source. After five within a minute a source is refused without a look at its frames, until the oldest is a minute
/// old.
struct FailedAttempts {
    static let limit = 5
    static let period = Interval.seconds(60)
    static let sources = 4096
    private var failures: [IPAddress?: [Instant]] = [:]
    /// Number of sources that are remembered.
    var count: Int { failures.count }

    mutating func mayTry(_ source: IPAddress?, now: Instant) -> Bool {
        guard let known = failures[source] else { return true }
        let recent = known.filter { now - $0 < Self.period }
        failures[source] = recent.isEmpty ? nil : recent
        return recent.count < Self.limit
    }

    mutating func add(_ source: IPAddress?, now: Instant) {
        // An attacker with this many addresses is not stopped by counting. Memory is bounded.
        if failures.count >= Self.sources { failures = [:] }
        failures[source, default: []].append(now)
    }
}
