import OverlayCrypto
import OverlayGossip
import OverlayLinux
import OverlayModel
import OverlayNode

/// Joiner's side of a join.
///
/// Unchecked, because it is used on one event loop only: that of the connection.
final class JoinConversation: @unchecked Sendable {
    private(set) var joiner: Joiner
    private let record: [UInt8]
    /// True once the other side has answered this host's first frame.
    private(set) var isAsked = false
    private(set) var answer: JoinAnswer?

    init(joiner: Joiner, record: [UInt8]) {
        self.joiner = joiner
        self.record = record
    }

    /// - Returns: The next frame to send; nil when there is an answer.
    func next(_ frame: [UInt8]) throws(JoinError) -> [UInt8]? {
        guard isAsked else {
            isAsked = true
            return try joiner.request(record, to: frame, now: UnixClock.now())
        }
        answer = try? JoinAnswer(wire: try joiner.result(frame))
        return nil
    }
}

extension JoinClient.Failure {
    func text(_ target: String) -> String {
        switch self {
        case .unreachable(let reason):
            "cannot reach \(target) over TCP: \(reason); is swift-overlay running there, and the port open?"
        case .noAnswer: "\(target) closed the connection; is that the port of swift-overlay, and this its present version?"
        case .timedOut: "\(target) did not answer in time; is its catalogue writer reachable?"
        }
    }
}

extension JoinError {
    /// Sentence for the user of the host that joins.
    func text(_ target: String) -> String {
        switch self {
        case .version(let theirs):
            "\(target) speaks version \(theirs) of the join protocol, this host version \(JoinFrame.version); "
                + "bring both to the same release of swift-overlay"
        case .refused(let failure): "\(target) refused: \(failure.text)"
        case .malformed: "\(target) does not answer as a node of swift-overlay"
        case .wrongPin:
            "\(target) is of another cluster than the token; `swift-overlay join-token` on a node of the right cluster prints both"
        case .notAuthentic:
            "\(target) cannot prove that it is of the token's cluster; somebody may be listening in between: nothing was told to it"
        case .clock(let ahead, let member):
            "the clock of this host is \(Self.span(ahead)) \(ahead > 0 ? "ahead of" : "behind") that of \(member); set it (NTP), and try again"
        case .expiredCertificate(let member): "the certificate of \(member) is not valid now; check the clocks of both hosts"
        }
    }

    private static func span(_ seconds: Int64) -> String {
        let seconds = seconds.magnitude
        return seconds >= 2 * 86400
            ? "\(seconds / 86400) days" : seconds >= 7200 ? "\(seconds / 3600) hours" : "\(seconds / 60) minutes"
    }
}

extension JoinFailure {
    var text: String {
        switch self {
        case .version: "it speaks another version of the join protocol; bring both to the same release of swift-overlay"
        case .noCluster: "it is in no cluster itself: run `swift-overlay init` there first"
        case .wrongSecret:
            "the token is not the cluster's current one, it was rotated perhaps; `swift-overlay join-token` there prints the one that holds"
        case .expired: "the token has expired; `swift-overlay join-token --rotate` there makes a new one"
        case .tooManyAttempts: "too many attempts from this address, or at once from all; wait a minute"
        case .malformed: "it did not understand this host's request"
        case .unable: "it cannot let nodes in now; see its log"
        }
    }
}
