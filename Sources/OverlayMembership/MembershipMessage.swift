import OverlayModel

/// Statement about a member, passed from node to node.
struct Update: Hashable, Sendable {
    enum Claim: UInt8, Hashable, Sendable {
        case alive = 1
        case suspect = 2
        case daemonDown = 3
        case unreachable = 4
    }

    var subject: NodeID
    /// Incarnation of the subject, as the source knows it. Statements about a newer one override those about an older one.
    var incarnation: Incarnation
    var claim: Claim
    /// Node that made the observation; for `alive` the subject.
    var source: NodeID
}

/// Message between members about reachability.
struct MembershipMessage: Hashable, Sendable {
    enum Body: Hashable, Sendable {
        case ping(UInt32)
        /// Answer to a ping of the receiver.
        case acknowledge(UInt32)
        /// Request to ping `target` for the sender, and to report within `milliseconds` if it answered.
        case request(UInt32, target: NodeID, milliseconds: UInt16)
        /// The target answered the helper.
        case reached(UInt32)
        /// The target did not answer the helper. The request did arrive, so the sender's own link works.
        case notReached(UInt32)
        /// The updates are the sender's unreachable members. An answer gets no answer.
        case states(isAnswer: Bool)
        /// Only what every message carries: the receiver spoke in a life that is over.
        case notice
    }

    var body: Body
    /// Incarnation of the sender.
    var incarnation: Incarnation
    /// Probe round of the sender.
    var round: UInt32
    /// Health score of the sender, 0 (well) to 7.
    var healthScore: UInt8
    var report: Membership.PeerReport
    /// Hash of the members and their reachability; equal if views are.
    var view: UInt64
    /// Random number of the sender's process (``StateMark/run``).
    var run: UInt32 = 0
    /// Mark that the sender echoes to the receiver.
    var heard = StateMark.none
    var updates: [Update]
}

extension Update: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        subject = try reader.value()
        incarnation = try reader.value()
        guard let claim = Claim(rawValue: try reader.byte()) else { throw .invalid("claim") }
        self.claim = claim
        source = claim == .alive ? subject : try reader.value()
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(subject)
        writer.value(incarnation)
        writer.byte(claim.rawValue)
        if claim != .alive { writer.value(source) }
    }
}

extension MembershipMessage: Wire {
    /// Number of updates that a message may carry. More do not fit a datagram.
    static let updateLimit = 24

    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: body = .ping(try reader.integer())
        case 2: body = .acknowledge(try reader.integer())
        case 3: body = .request(try reader.integer(), target: try reader.value(), milliseconds: try reader.integer())
        case 4: body = .reached(try reader.integer())
        case 5: body = .notReached(try reader.integer())
        case 6: body = .states(isAnswer: try reader.bool())
        case 7: body = .notice
        default: throw .invalid("membership message")
        }
        incarnation = try reader.compactIncarnation()
        round = try reader.integer()
        healthScore = try reader.byte()
        guard healthScore <= Membership.worst else { throw .invalid("healthScore") }
        let term = Term(number: try reader.compactCounter(), writer: try reader.value())
        report = Membership.PeerReport(
            catalogue: CataloguePosition(term: term, index: try reader.compactCounter()), digest: try reader.integer(),
            writes: try reader.compactCounter())
        view = try reader.integer()
        run = try reader.integer()
        heard = StateMark(
            life: try reader.compactIncarnation().life, run: try reader.integer(), writes: try reader.compactCounter())
        let count = Int(try reader.byte())
        guard count <= Self.updateLimit else { throw .tooLong(limit: Self.updateLimit) }
        updates = []
        for _ in 0..<count { updates.append(try reader.value()) }
    }

    func encode(to writer: inout ByteWriter) {
        switch body {
        case .ping(let number):
            writer.byte(1)
            writer.integer(number)
        case .acknowledge(let number):
            writer.byte(2)
            writer.integer(number)
        case .request(let number, let target, let milliseconds):
            writer.byte(3)
            writer.integer(number)
            writer.value(target)
            writer.integer(milliseconds)
        case .reached(let number):
            writer.byte(4)
            writer.integer(number)
        case .notReached(let number):
            writer.byte(5)
            writer.integer(number)
        case .states(let isAnswer):
            writer.byte(6)
            writer.bool(isAnswer)
        case .notice: writer.byte(7)
        }
        writer.compact(incarnation)
        writer.integer(round)
        writer.byte(healthScore)
        writer.compact(report.catalogue.term.number)
        writer.value(report.catalogue.term.writer)
        writer.compact(report.catalogue.index)
        writer.integer(report.digest)
        writer.compact(report.writes)
        writer.integer(view)
        writer.integer(run)
        writer.compact(Incarnation(value: heard.life << 24))
        writer.integer(heard.run)
        writer.compact(heard.writes)
        writer.byte(UInt8(updates.count))
        for update in updates { writer.value(update) }
    }
}

/// Compact forms of numbers that are mostly small, because each node sends four of these messages a second.
extension ByteReader {
    fileprivate mutating func compactCounter() throws(DecodeError) -> UInt64 {
        let value = try compact()
        guard value < Limits.counter else { throw .invalid("counter") }
        return value
    }

    fileprivate mutating func compactIncarnation() throws(DecodeError) -> Incarnation {
        let (epoch, boot, sequence) = (try compact(), try compact(), try compact())
        guard epoch < 1 << 16, boot < 1 << 24, sequence < 1 << 24 else { throw .invalid("incarnation") }
        return Incarnation(value: epoch << 48 | boot << 24 | sequence)
    }
}

extension ByteWriter {
    fileprivate mutating func compact(_ incarnation: Incarnation) {
        compact(incarnation.value >> 48)
        compact(incarnation.value >> 24 & 0xFF_FFFF)
        compact(incarnation.value & 0xFF_FFFF)
    }
}
