/// Join token, and the command that uses it.
public struct JoinTokenReport: Codable, Hashable, Sendable {
    /// Join token: `SOVT1-`, pin, `-`, secret. Never logged.
    public var token: String
    /// The whole command for another host.
    public var command: String
    /// Time of its end in Unix seconds; 0 for never.
    public var expires: UInt64
}
