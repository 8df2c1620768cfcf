/// Answer to a ``ControlRequest``.
public enum ControlResponse: Sendable {
    case done(String)
    case token(JoinTokenReport)
    case nodes([NodeReport])
    case nodeChanges(NodeChanges)
    case networks([NetworkReport])
    case network(NetworkReport)
    case status(StatusReport)
    /// Refused: the cause and the way out, in one line.
    case refused(String)
}
