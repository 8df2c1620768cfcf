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
    private var hellos = HelloBudget()
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
        if sessions[connection] == nil { guard hellos.take(from: source, at: now) else { throw .tooManyAttempts } }
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
            if certificate?.cluster != cluster.id || certificate?.isOld(at: clock) != false {
                // Parsing the key costs as much as a signature.
                guard let root = RootKey(privateBytes: cluster.rootKey) else { throw .unable }
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

/// Hellos, each of which costs this node two key exchanges and a signature: bounded by source and minute, and in all by second.
struct HelloBudget {
    static let perSource = 20
    static let period = Interval.seconds(60)
    static let perSecond = 100
    static let sources = 4096
    private var counts: [IPAddress?: Int] = [:]
    private var minute: Instant?
    private var inSecond = 0
    private var second: Instant?
    /// Number of sources that are remembered.
    var count: Int { counts.count }

    /// True if a hello may be worked on; counts it then.
    mutating func take(from source: IPAddress?, at now: Instant) -> Bool {
        if minute.map({ now - $0 >= Self.period }) ?? true {
            minute = now
            counts = [:]
        }
        if second.map({ now - $0 >= .seconds(1) }) ?? true {
            second = now
            inSecond = 0
        }
        let group = source?.sourceGroup
        let count = counts[group] ?? 0
        // The bound on all counts for whoever has more addresses than are remembered.
        guard count < Self.perSource, inSecond < Self.perSecond else { return false }
        if count > 0 || counts.count < Self.sources { counts[group] = count + 1 }
        inSecond += 1
        return true
    }
}

/// Lines about refused joins: one by source and minute, and a few in all. What is left out is counted.
struct RefusalLog {
    /// Line to be written.
    struct Line: Equatable {
        /// Number of refusals of this source since its last line.
        var unsaid: Int
        /// Number of refusals, of whatever source, for which there was no line in the minute before.
        var others: Int
    }

    static let period = Interval.seconds(60)
    static let linesPerPeriod = 8
    private var minute: Instant?
    private var unsaid: [IPAddress?: Int] = [:]
    private var before: [IPAddress?: Int] = [:]
    private var others = 0
    private var othersBefore = 0

    /// Counts a refusal.
    ///
    /// - Returns: The line to be written for it, if any.
    mutating func line(for source: IPAddress?, at now: Instant) -> Line? {
        if minute.map({ now - $0 >= Self.period }) ?? true {
            minute = now
            (before, unsaid) = (unsaid, [:])
            (othersBefore, others) = (others, 0)
        }
        let group = source?.sourceGroup
        if let count = unsaid[group] {
            unsaid[group] = count + 1
            return nil
        }
        guard unsaid.count < Self.linesPerPeriod else {
            others += 1
            return nil
        }
        unsaid[group] = 0
        defer { othersBefore = 0 }
        return Line(unsaid: before[group] ?? 0, others: othersBefore)
    }
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
        let source = source?.sourceGroup
        guard let known = failures[source] else { return true }
        let recent = known.filter { now - $0 < Self.period }
        failures[source] = recent.isEmpty ? nil : recent
        return recent.count < Self.limit
    }

    mutating func add(_ source: IPAddress?, now: Instant) {
        // An attacker with this many addresses is not stopped by counting. Memory is bounded.
        if failures.count >= Self.sources { failures = [:] }
        failures[source?.sourceGroup, default: []].append(now)
    }
}
