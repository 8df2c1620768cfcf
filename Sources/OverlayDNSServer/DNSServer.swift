public import OverlayDNS
public import OverlayLinux

/// Answers what containers ask for names: in each sandbox by sockets of its own, from one table of names.
///
/// Two threads: one looks after sandboxes (it opens sockets in them, sets rules, and sees them come and go), the other one answers.
public final class DNSServer: Sendable {
    /// What one container may take of what serves all.
    public struct Limits: Sendable {
        /// Answered in one go before the next container has its turn.
        public var datagramsPerTurn = 32
        /// 0 is no bound.
        public var queriesPerSecond = 200_000
        /// Questions that wait for Docker's resolver, which takes as many (libnetwork's `maxConcurrent`).
        public var forwards = 1024
        /// Open TCP connections.
        public var connections = 32
        /// Of a connection on which nothing is said or heard, in nanoseconds.
        public var idleTime: Int64 = 10_000_000_000

        public init() {}
    }

    /// How it is with a sandbox.
    public enum State: Hashable, Sendable {
        /// Its namespace is not there yet.
        case waiting
        case serving
        /// Why its questions go to Docker alone.
        case failed(String)
        /// Its namespace is gone, or is another one: the container has ended.
        case gone
    }

    private let loop: AnswerLoop
    private let sandboxes: Sandboxes

    /// - Parameter changed: Called, on any thread, when it is other with a sandbox than `serve` told.
    public init(limits: Limits = .init(), changed: @escaping @Sendable (_ path: String, State) -> Void) throws(SystemError) {
        loop = try AnswerLoop(limits: limits)
        sandboxes = Sandboxes(loop: loop, changed: changed)
    }

    /// Starts to answer.
    public func start() { loop.start() }

    /// From now on answers are of these.
    public func publish(_ tables: NameTables) { loop.publish(tables) }

    /// Serves a sandbox, by the path of its namespace; again with another scope, that alone is other.
    ///
    /// - Parameter done: Called once, when questions are answered here, or it is clear that they are not, or not yet.
    public func serve(_ path: String, _ scope: SandboxScope, done: @escaping @Sendable (State) -> Void) {
        sandboxes.submit { $0.serve(path, scope, done) }
    }

    /// Serves it no more: the redirection goes first.
    public func end(_ path: String) { sandboxes.submit { $0.end(path) } }

    /// Serves none any more.
    public func stop() async {
        await sandboxes.stop()
        await loop.stop()
    }

    public var counters: Counters { loop.counters }

    /// Since the start.
    public struct Counters: Hashable, Sendable {
        public var queries: UInt64 = 0
        public var answered: UInt64 = 0
        public var forwarded: UInt64 = 0
        /// With an error, as Docker's resolver is not there or has enough to do.
        public var refused: UInt64 = 0
        /// Beyond the rate, or no question.
        public var dropped: UInt64 = 0
    }
}
