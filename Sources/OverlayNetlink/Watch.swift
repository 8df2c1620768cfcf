import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import Synchronization

/// Thread that hears of changes in namespaces, and tells where something was changed by others.
///
/// A place is told of at most once in ``pause``. Meanwhile it is not read, so whoever changes it without end costs a bounded share of
/// one thread. What the kernel had no room for counts as a change.
final class Watch: Sendable {
    typealias Report = @Sendable (KernelPlace) -> Void

    /// Time from the first news to the report. Changes are made in steps.
    private static let settling = Interval.milliseconds(20)
    /// Pause of a place that was told of.
    private static let pause = Interval.milliseconds(200)
    /// Number of messages of a place that are read in one turn, and its pause when there were as many.
    private static let messagesPerTurn = 128
    private static let breath = Interval.milliseconds(10)
    /// Pause between looks whether the files of namespaces are there. The kernel does not tell of those.
    private static let filePeriod = Interval.milliseconds(400)

    /// Namespace's file, and the identity of the namespace that it pins.
    struct Pin: Sendable {
        var path: String
        var identity: UInt64
    }

    private enum Command: Sendable {
        case add(KernelPlace, MonitorSocket, Pin?)
        case remove(KernelPlace)
    }

    private struct Shared {
        var commands: [Command] = []
        var known: [KernelPlace: Known] = [:]
        var hasEnded = false
    }

    private let shared = Mutex(Shared())
    private let executor = ThreadExecutor(name: "watch")
    private let ready: ReadySet

    /// - Parameter report: Called on the thread with a place where something was changed by others.
    init(_ report: @escaping Report) throws(SystemError) {
        let ready = try ReadySet()
        self.ready = ready
        executor.execute { [weak self] in
            let work = Work(ready: ready, report: report)
            // The thread must not keep the value that ends it.
            while true {
                guard let commands = self?.takeCommands() else { return }
                work.carryOut(commands)
                do throws(SystemError) {
                    let all = try ready.wait(milliseconds: work.patience())
                    guard let self else { return }
                    work.turn(all) { place, change in self.learn(place, change) }
                } catch {
                    // Changes are found by the look of every minute from now on.
                    self?.shared.withLock { $0.hasEnded = true }
                    return
                }
            }
        }
    }

    deinit { ready.wake() }

    /// True if the thread ended by itself.
    var hasEnded: Bool { shared.withLock { $0.hasEnded } }

    private func takeCommands() -> [Command] {
        shared.withLock { shared in
            defer { shared.commands = [] }
            return shared.commands
        }
    }

    /// Watches a place from now on, in place of what was watched there.
    func add(_ place: KernelPlace, _ socket: MonitorSocket, pin: Pin? = nil) {
        shared.withLock { shared in
            shared.known[place] = Known(place)
            shared.commands.append(.add(place, socket, pin))
        }
        ready.wake()
    }

    /// Watches a place no more.
    func remove(_ place: KernelPlace) {
        shared.withLock { shared in
            shared.known[place] = nil
            shared.commands.append(.remove(place))
        }
        ready.wake()
    }

    /// Takes note of own changes that are about to be made, or of what was seen.
    func learn(_ place: KernelPlace, _ body: (inout Known) -> Void) {
        shared.withLock { shared in
            guard shared.known[place] != nil else { return }
            body(&shared.known[place, default: Known(place)])
        }
    }

    // MARK: On the thread

    private final class Work {
        private struct Watched {
            var place: KernelPlace
            var socket: MonitorSocket
            var pin: Pin?
            /// Time of the report of what was heard.
            var due: Instant?
            /// True if something was heard that is news whatever comes after it.
            var isCertain = false
            /// Time until which the place is not read.
            var restsUntil: Instant?
        }

        private let ready: ReadySet
        private let report: Report
        private var watched: [UInt64: Watched] = [:]
        private var tokens: [KernelPlace: UInt64] = [:]
        private var next = ReadySet.wakeToken + 1
        private var filesDue = Instant(nanoseconds: 0)
        private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)

        init(ready: ReadySet, report: @escaping Report) {
            self.ready = ready
            self.report = report
        }

        deinit { buffer.deallocate() }

        private func now() -> Instant { Instant(nanoseconds: MonotonicClock.now()) }

        func carryOut(_ commands: [Command]) {
            for command in commands {
                switch command {
                case .remove(let place): remove(place)
                case .add(let place, let socket, let pin):
                    remove(place)
                    let token = next
                    next += 1
                    // A socket that cannot be waited for leaves its place to the look of every minute.
                    guard (try? ready.watch(socket.number, token, .readable)) != nil else { continue }
                    tokens[place] = token
                    watched[token] = Watched(place: place, socket: socket, pin: pin)
                }
            }
        }

        private func remove(_ place: KernelPlace) {
            if let token = tokens.removeValue(forKey: place) { watched[token] = nil }
        }

        /// Time to wait for messages, in milliseconds.
        func patience() -> Int32 {
            let now = now()
            var at = now + .seconds(60)
            for one in watched.values {
                if let due = one.due { at = min(at, due) }
                if let rest = one.restsUntil { at = min(at, rest) }
                if one.pin != nil { at = min(at, max(now, filesDue)) }
            }
            return Int32(clamping: ((at - now).nanoseconds + 999_999) / 1_000_000)
        }

        func turn(
            _ all: [(token: UInt64, events: ReadySet.Events)], _ learn: (KernelPlace, (inout Known) -> Void) -> Void
        ) {
            for (token, _) in all where token != ReadySet.wakeToken { read(token, learn) }
            let now = now()
            if filesDue <= now {
                filesDue = now + Watch.filePeriod
                for (token, one) in watched {
                    guard let pin = one.pin, (try? NetworkNamespace.identity(path: pin.path)) != pin.identity else { continue }
                    news(token, isCertain: true)
                }
            }
            for (token, one) in watched {
                if let rest = one.restsUntil, rest <= now {
                    watched[token]?.restsUntil = nil
                    _ = try? ready.change(one.socket.number, token, .readable)
                }
                guard let due = one.due, due <= now else { continue }
                var isAltered = false
                learn(one.place) { isAltered = !$0.altered.isEmpty }
                watched[token]?.due = nil
                watched[token]?.isCertain = false
                guard one.isCertain || isAltered else { continue }
                rest(token, until: now + Watch.pause)
                report(one.place)
            }
        }

        private func rest(_ token: UInt64, until: Instant) {
            guard let one = watched[token] else { return }
            watched[token]?.restsUntil = max(one.restsUntil ?? until, until)
            _ = try? ready.change(one.socket.number, token, [])
        }

        private func news(_ token: UInt64, isCertain: Bool) {
            guard let one = watched[token] else { return }
            if isCertain { watched[token]?.isCertain = true }
            // One that rests is told of when it has rested.
            if one.due == nil { watched[token]?.due = max(now() + Watch.settling, one.restsUntil ?? now()) }
        }

        private func read(_ token: UInt64, _ learn: (KernelPlace, (inout Known) -> Void) -> Void) {
            guard let one = watched[token], one.restsUntil == nil else { return }
            var isNews = false
            var isAltered = false
            for _ in 0..<Watch.messagesPerTurn {
                var reading = MonitorSocket.Reading.nothing
                var hasFailed = false
                learn(one.place) { known in
                    do throws(SystemError) {
                        reading = try one.socket.read(into: buffer) { type, payload in
                            if known.isNews(type, payload) { isNews = true }
                        }
                    } catch {
                        hasFailed = true
                    }
                    isAltered = !known.altered.isEmpty
                }
                if hasFailed {
                    remove(one.place)
                    return report(one.place)
                }
                switch reading {
                case .some: continue
                case .overflow: isNews = true
                case .nothing:
                    if isNews || isAltered { news(token, isCertain: isNews) }
                    return
                }
            }
            if isNews || isAltered { news(token, isCertain: isNews) }
            rest(token, until: now() + Watch.breath)
        }
    }
}
