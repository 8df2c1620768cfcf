import OverlayDNS
import OverlayLinux
import OverlayModel
import Synchronization

/// The thread that answers: all sockets of all sandboxes in one epoll set, each with its turn. It asks nobody; the table of names is a
/// value that it takes a copy of.
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
    private let counts = Mutex(DNSServer.Counters())
    private let executor = ThreadExecutor(name: "dns")
    let ready: ReadySet

    init(limits: DNSServer.Limits) throws(SystemError) {
        self.limits = limits
        ready = try ReadySet()
    }

    func publish(_ new: NameTables) { tables.withLock { $0 = new } }
    var counters: DNSServer.Counters { counts.withLock { $0 } }

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

    /// How often what waits too long is looked for.
    private static let sweep: Int64 = 500_000_000

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
        var swept = MonotonicClock.now()
        while true {
            guard let all = try? ready.wait(milliseconds: work.isWaiting ? Int32(Self.sweep / 1_000_000) : 60_000) else { return }
            let now = MonotonicClock.now()
            let tables = tables.withLock { $0 }
            for (token, events) in all where token != ReadySet.wakeToken { work.handle(token, events, tables, now) }
            if drain(&work, now) { return }
            if now - swept >= Self.sweep {
                swept = now
                work.expire(now)
            }
            work.count(into: counts)
        }
    }

    /// What was submitted; true when it is over.
    private func drain(_ work: inout Answering, _ now: Int64) -> Bool {
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
