import OverlayDNS
import OverlayLinux
import OverlayModel
import Synchronization

/// Thread that answers: all sockets of all sandboxes are in one epoll set, and each has its turn. It waits for nobody else: the tables
/// of names are a value that it takes a copy of.
final class AnswerLoop: Sendable {
    enum Command: Sendable {
        case add(String, SandboxSockets, SandboxScope)
        case scope(String, SandboxScope)
        case remove(String)
    }

    private struct Inbox {
        var commands: [Command] = []
        var isStopped = false
        var isRunning = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    let limits: DNSServer.Limits
    private let inbox = Mutex(Inbox())
    private let tables = Mutex(NameTables())
    private let counts = Mutex(DNSCounters())
    private let executor = ThreadExecutor(name: "dns")
    let ready: ReadySet

    init(limits: DNSServer.Limits) throws(SystemError) {
        self.limits = limits
        ready = try ReadySet()
    }

    func publish(_ new: NameTables) { tables.withLock { $0 = new } }
    var counters: DNSCounters { counts.withLock { $0 } }

    func submit(_ command: Command) {
        inbox.withLock { $0.commands.append(command) }
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
        guard let batch = try? DatagramBatch(count: limits.datagramsPerTurn, bytes: 1500) else { return }
        var work = Answering(loop: self, batch: batch, seed: systemRandom64())
        var swept = Self.now()
        var glanced = swept
        while true {
            let pause = work.isHolding ? Self.glance : work.isWaiting ? Self.sweep : Self.rest
            guard let all = try? ready.wait(milliseconds: Int32(pause.nanoseconds / 1_000_000)) else { return }
            let now = Self.now()
            // First, as a question may have come right after the scope by which it is to be answered.
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
