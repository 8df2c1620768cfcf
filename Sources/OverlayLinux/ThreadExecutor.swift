internal import CLinux
import Glibc

/// Serial executor on a thread of its own, for actors whose work blocks in the kernel, which the cooperative pool must not.
///
/// An actor keeps it in a `let` and returns `asUnownedSerialExecutor()` as its `unownedExecutor`. The thread ends after the last
/// job, once the executor is released or ``shutdown()`` was called. Jobs that come later trap, as nothing would run them.
public final class ThreadExecutor: SerialExecutor {
    private let state: ThreadState

    /// Starts the thread.
    /// - Parameter name: Name that `ps -T` shows, cut to 15 bytes.
    public init(name: String) {
        let state = ThreadState(name: name)
        self.state = state
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(state)
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<ThreadState>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        precondition(result == 0, "pthread_create \(name): \(SystemError.text(of: result))")
        pthread_detach(thread)
    }

    /// Queues a job. Called by the concurrency runtime.
    public func enqueue(_ job: consuming ExecutorJob) { state.push(.job(UnownedJob(job), asUnownedSerialExecutor())) }

    /// Queues work without a task. It may assume the isolation of an actor that runs on this executor.
    public func execute(_ work: @escaping @Sendable () -> Void) { state.push(.work(work)) }

    /// Lets the thread end when its queue is empty.
    public func shutdown() { state.stop() }

    /// Traps on any other thread. Called by `assumeIsolated`.
    public func checkIsolated() {
        precondition(state.isCurrent, "not on the thread of this executor")
    }

    /// True if the caller runs on the thread.
    public func isIsolatingCurrentContext() -> Bool? { state.isCurrent }

    deinit { state.stop() }
}

/// Queue between the executor's users and its thread.
///
/// `@unchecked Sendable`: every mutable field is accessed only while `mutex` is held. The standard library's `Mutex` is not used,
/// as the thread sanitizer on Linux does not know it, and a condition variable needs a pthread mutex anyway.
private final class ThreadState: @unchecked Sendable {
    enum Item {
        case job(UnownedJob, UnownedSerialExecutor)
        case work(@Sendable () -> Void)

        func run() {
            switch self {
            case .job(let job, let executor): job.runSynchronously(on: executor)
            case .work(let work): work()
            }
        }
    }

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private let name: String
    private var items: [Item] = []
    private var stopped = false
    private var thread: pthread_t?

    init(name: String) {
        self.name = name
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        precondition(pthread_mutex_init(mutex, nil) == 0 && pthread_cond_init(condition, nil) == 0, "pthread init")
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    private func locked<T>(_ body: () -> T) -> T {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    var isCurrent: Bool { locked { thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false } }

    func push(_ item: Item) {
        locked {
            precondition(!stopped, "job for the stopped executor \(name)")
            items.append(item)
            pthread_cond_signal(condition)
        }
    }

    func stop() {
        locked {
            stopped = true
            pthread_cond_signal(condition)
        }
    }

    func run() {
        // The name is only for operators, so a failure does not matter.
        _ = overlay_name_thread(name)
        locked { thread = pthread_self() }
        while true {
            let batch = locked { () -> [Item] in
                while items.isEmpty, !stopped { pthread_cond_wait(condition, mutex) }
                defer { items.removeAll(keepingCapacity: true) }
                return items
            }
            if batch.isEmpty { return }
            for item in batch { item.run() }
        }
    }
}
