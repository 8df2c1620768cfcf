import NIOCore
import OverlayCrypto
import OverlayGossip
import OverlayModel
import OverlayNode

/// Joiner's attempts to reach a member: one port after the other, until a node of swift-overlay answers at one.
enum JoinAttempts {
    /// Result of one attempt.
    private struct Outcome: Sendable {
        var answer: JoinAnswer
        /// False if nothing answered, or something that is no node of swift-overlay.
        var isOfNode: Bool
    }

    /// - Parameter timeout: Time that all attempts together may take.
    /// - Returns: Future on `loop` with the answer, or with the reason why there is none. Where no node answered at any port, the reason
    ///   is that of the first port: another program may be at the others.
    static func ask(
        _ contact: JoinContact, as key: NodeKey, timeout: TimeAmount = .seconds(7), on loop: any EventLoop
    ) -> EventLoopFuture<JoinAnswer> {
        attempt(contact, contact.ports[...], as: key, until: loop.now + timeout, on: loop).map(\.answer)
    }

    private static func attempt(
        _ contact: JoinContact, _ ports: ArraySlice<UInt16>, as key: NodeKey, until deadline: NIODeadline, on loop: any EventLoop
    ) -> EventLoopFuture<Outcome> {
        guard let port = ports.first else {
            return loop.makeSucceededFuture(Outcome(answer: .refused("no port to ask \(contact.host) at"), isOfNode: false))
        }
        return attempt(contact, at: port, as: key, until: deadline, on: loop).flatMap { outcome in
            guard !outcome.isOfNode, ports.count > 1, loop.now < deadline else { return loop.makeSucceededFuture(outcome) }
            return attempt(contact, ports.dropFirst(), as: key, until: deadline, on: loop).map { $0.isOfNode ? $0 : outcome }
        }
    }

    private static func attempt(
        _ contact: JoinContact, at port: UInt16, as key: NodeKey, until deadline: NIODeadline, on loop: any EventLoop
    ) -> EventLoopFuture<Outcome> {
        let conversation = JoinConversation(
            joiner: Joiner(node: key, pin: contact.pin, secret: contact.secret), record: contact.member.wireBytes)
        let target = "\(contact.host):\(port)"
        return JoinClient.converse(
            host: contact.host, port: port, first: conversation.joiner.hello, timeout: deadline - loop.now, on: loop
        ) { frame in
            try conversation.next(frame)
        }
        .map {
            Outcome(answer: conversation.answer ?? .refused("\(target) gave an answer that does not decode"), isOfNode: true)
        }
        .flatMapErrorThrowing { error in
            if let error = error as? JoinError {
                return Outcome(answer: .refused(error.text(target)), isOfNode: error != .malformed)
            }
            let failure = error as? JoinClient.Failure ?? .noAnswer
            return Outcome(answer: .refused(failure.text(target)), isOfNode: conversation.isAsked)
        }
    }
}
