import OverlayDNS
import OverlayLinux
import OverlayModel
import Synchronization

/// Thread that answers: all sockets of all sandboxes are in one epoll set, and each has its turn. It waits for nobody else: the tables
/// of names are a value that it takes a copy of.
final class AnswerLoop: Sendable {
    enum Command: Sendable {
        case add(String, WatchedSockets, SandboxScope)
        case scope(String, SandboxScope)
        case remove(String)
    }

    private struct Inbox {
        var commands: [Command] = []
        var isStopped = false
        var isRunning = false
        var waiters: [CheckedContinuation<Void, Never>] = []
        /// Reason why nothing is answered any more.
        var failure: SystemError?
        /// Told once of that reason.
        var failed: (@Sendable (SystemError) -> Void)?
    }

    let limits: DNSServer.Limits
    private let inbox = Mutex(Inbox())
    private let tables = Mutex(NameTables())
    private let counts = Mutex(DNSCounters())
    private let executor = ThreadExecutor(name: "dns")
    private let lastToken = Atomic(ReadySet.wakeToken)
    let ready: Readiness

    init(limits: DNSServer.Limits, ready: Readiness) {
        self.limits = limits
        self.ready = ready
    }

    /// Number by which the events of a descriptor are known; another one each time.
    func newToken() -> UInt64 { lastToken.add(1, ordering: .relaxed).newValue }

    /// Reason why nothing is answered any more; nil while all is well.
    var failure: SystemError? { inbox.withLock { $0.failure } }

    /// Sets what is told, on the answering thread, when nothing is answered any more.
    func whenFailed(_ failed: @escaping @Sendable (SystemError) -> Void) { inbox.withLock { $0.failed = failed } }

    func publish(_ new: NameTables) { tables.withLock { $0 = new } }
    var counters: DNSCounters { counts.withLock { $0 } }

    func submit(_ command: Command) {
        inbox.withLock { inbox in
            // Sockets would wait here for ever.
            if inbox.failure == nil { inbox.commands.append(command) }
        }
        ready.wake()
    }

    func start() {
        inbox.withLock { $0.isRunning = true }
        executor.execute { self.run() }
    }

    func stop() async {
        await withCheckedContinuation { continuation in
            let isOver = inbox.withLock { inbox in
                inbox.isStopped = true
                if inbox.isRunning { inbox.waiters.append(continuation) }
                return !inbox.isRunning
            }
            if isOver { continuation.resume() }
            ready.wake()
        }
    }

    // MARK: On the thread

    /// Time between two looks for what has waited too long.
    private static let sweep = Interval.milliseconds(500)
    /// Time between two looks at questions that wait until more is known.
    private static let glance = Interval.milliseconds(5)
    /// Time to sleep when nothing waits.
    private static let rest = Interval.seconds(60)

    private static func now() -> Instant { Instant(nanoseconds: MonotonicClock.now()) }

    private func run() {
        defer {
            let waiters = inbox.withLock { inbox in
                inbox.isRunning = false
                defer { inbox.waiters = [] }
                return inbox.waiters
            }
            for waiter in waiters { waiter.resume() }
        }
        do throws(SystemError) {
            try answer()
        } catch {
            // The rules lead here still. Whoever set them takes them away now.
            let failed = inbox.withLock { inbox in
                inbox.failure = error
                inbox.commands = []
                return inbox.failed
            }
            failed?(error)
        }
    }

    /// Answers until it is told to end.
    private func answer() throws(SystemError) {
        let batch = try DatagramBatch(count: limits.datagramsPerTurn, bytes: 1500)
        var work = Answering(loop: self, batch: batch, seed: systemRandom64())
        var swept = Self.now()
        var glanced = swept
        while true {
            let pause = work.isHolding ? Self.glance : work.isWaiting ? Self.sweep : Self.rest
            let all = try ready.wait(Int32(pause.nanoseconds / 1_000_000))
            let now = Self.now()
            // Commands first: whoever asks after a change was accepted is answered by what it changed.
            if drain(&work, now) { return }
            let tables = tables.withLock { $0 }
            for (token, events) in all where token != ReadySet.wakeToken { work.handle(token, events, tables, now) }
            if work.isHolding, now - glanced >= Self.glance {
                glanced = now
                work.look(tables, now)
            }
            if now - swept >= Self.sweep {
                swept = now
                work.expire(tables, now)
            }
            work.count(into: counts)
        }
    }

    /// Carries out the commands that were submitted; true if the thread is to end.
    private func drain(_ work: inout Answering, _ now: Instant) -> Bool {
        let (commands, isStopped) = inbox.withLock { inbox in
            defer { inbox.commands = [] }
            return (inbox.commands, inbox.isStopped)
        }
        for command in commands {
            switch command {
            case .add(let path, let sockets, let scope): work.add(path, sockets, scope, now)
            case .scope(let path, let scope): work.setScope(path, scope)
            case .remove(let path): work.remove(path)
            }
        }
        return isStopped
    }
}
