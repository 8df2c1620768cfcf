public import OverlayDNS
public import OverlayLinux
public import OverlayModel

/// Server that answers containers' questions for names: on sockets of its own in each sandbox, from one value of name tables.
///
/// It has two threads: one looks after sandboxes (opens sockets in them, sets rules, sees them come and go), the other one answers.
public final class DNSServer: Sendable {
    /// Bounds of what one container may take of what serves all.
    public struct Limits: Sendable {
        /// Datagrams, or messages of a connection, answered before the next container has its turn.
        public var datagramsPerTurn = 32
        /// Questions per second; 0 is no bound.
        public var queriesPerSecond = 200_000
        /// Questions that wait for Docker's resolver, which takes as many (libnetwork's `maxConcurrent`).
        public var forwards = 1024
        /// Open TCP connections.
        public var connections = 32
        /// Time after which a connection without traffic is closed.
        public var idleTime = Interval.seconds(10)

        public init() {}

        var responder: Responder.Limits {
            var limits = Responder.Limits()
            limits.queriesPerSecond = queriesPerSecond
            limits.forwards = forwards
            return limits
        }
    }

    /// State of a sandbox.
    public enum State: Hashable, Sendable {
        /// Its namespace does not exist yet.
        case waiting
        case serving
        /// Its questions go to Docker alone, for this reason.
        case failed(String)
        /// Its namespace is gone, or is another one: the container has ended.
        case gone
    }

    public typealias Counters = DNSCounters

    private let loop: AnswerLoop
    private let sandboxes: Sandboxes

    /// - Parameter changed: Called, on any thread, when the state of a sandbox becomes another than `serve` told.
    public convenience init(
        limits: Limits = .init(), changed: @escaping @Sendable (_ path: String, State) -> Void
    ) throws(SystemError) {
        self.init(limits: limits, ready: Readiness(try ReadySet()), changed: changed)
    }

    init(limits: Limits, ready: Readiness, changed: @escaping @Sendable (_ path: String, State) -> Void) {
        loop = AnswerLoop(limits: limits, ready: ready)
        let sandboxes = Sandboxes(loop: loop, changed: changed)
        self.sandboxes = sandboxes
        loop.whenFailed { [weak sandboxes] reason in sandboxes?.submit { $0.fail(reason) } }
    }

    /// Starts to answer.
    public func start() { loop.start() }

    /// Answers from these tables from now on.
    public func publish(_ tables: NameTables) { loop.publish(tables) }

    /// Serves a sandbox, by the path of its namespace. Called again for the same sandbox, it changes the scope.
    ///
    /// - Parameter done: Called once, when questions are answered here, or it is clear that they are not, or not yet.
    public func serve(_ path: String, _ scope: SandboxScope, done: @escaping @Sendable (State) -> Void) {
        sandboxes.submit { $0.serve(path, scope, done) }
    }

    /// Stops serving a sandbox. The redirection goes first, so that no question is lost.
    public func end(_ path: String) { sandboxes.submit { $0.end(path) } }

    /// Stops serving all sandboxes.
    public func stop() async {
        await sandboxes.stop()
        await loop.stop()
    }

    public var counters: Counters { loop.counters }
}
