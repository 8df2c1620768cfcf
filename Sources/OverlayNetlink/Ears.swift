import OverlayDatapath
import OverlayLinux
import OverlayModel
import Synchronization

/// Thread that hears what comes in at the ports of containers. One set of sockets, each with its turn.
final class Ears: Sendable {
    typealias Report = @Sendable (EndpointID, KernelNetlink.Hearsay) -> Void

    /// Number of frames of a port that are read in one turn.
    private static let framesPerTurn = 64
    /// Pause of a port that had as many. A container that floods costs a bounded share of one thread.
    private static let pause = Interval.milliseconds(50)
    private static let rest = Interval.seconds(60)

    private enum Command: Sendable {
        case add(EndpointID, HearingSocket)
        case remove(EndpointID)
    }

    private struct Inbox {
        var commands: [Command] = []
        /// Reason why the thread ended by itself.
        var failure: SystemError?
    }

    private let inbox = Mutex(Inbox())
    private let executor = ThreadExecutor(name: "hear")
    private let ready: ReadySet
    private let report: Report

    /// - Parameter wait: Waits for events of the set, at most for some milliseconds. Tests make it fail.
    init(
        wait: @escaping @Sendable (ReadySet, Int32) throws(SystemError) -> [(token: UInt64, events: ReadySet.Events)] = {
            set, milliseconds throws(SystemError) in try set.wait(milliseconds: milliseconds)
        }, _ report: @escaping Report
    ) throws(SystemError) {
        let ready = try ReadySet()
        self.ready = ready
        self.report = report
        executor.execute { [weak self] in
            var work = Work(ready: ready, report: report)
            // The thread must not keep the value that ends it.
            while let milliseconds = self?.takeCommands(&work) {
                do throws(SystemError) {
                    work.turn(try wait(ready, milliseconds))
                } catch {
                    self?.end(&work, error)
                    return
                }
            }
        }
    }

    /// True if the thread ended by itself: nothing is heard by this value any more.
    var hasEnded: Bool { inbox.withLock { $0.failure != nil } }

    /// Reports all ports deaf, those that were about to be added as well.
    private func end(_ work: inout Work, _ failure: SystemError) {
        inbox.withLock { $0.failure = failure }
        _ = takeCommands(&work)
        work.silence(failure)
    }

    deinit { ready.wake() }

    func add(_ endpoint: EndpointID, _ socket: HearingSocket) { submit(.add(endpoint, socket)) }
    func remove(_ endpoint: EndpointID) { submit(.remove(endpoint)) }

    private func submit(_ command: Command) {
        let failure = inbox.withLock { inbox in
            if inbox.failure == nil { inbox.commands.append(command) }
            return inbox.failure
        }
        if let failure, case .add(let endpoint, _) = command { report(endpoint, .deaf("\(failure)")) }
        ready.wake()
    }

    /// - Returns: Time to wait for frames, in milliseconds.
    private func takeCommands(_ work: inout Work) -> Int32 {
        let commands = inbox.withLock { inbox in
            defer { inbox.commands = [] }
            return inbox.commands
        }
        for command in commands {
            switch command {
            case .add(let endpoint, let socket): work.add(endpoint, socket)
            case .remove(let endpoint): work.remove(endpoint)
            }
        }
        return work.isPausing ? Int32(Self.pause.nanoseconds / 1_000_000) : Int32(Self.rest.nanoseconds / 1_000_000)
    }

    // MARK: On the thread

    private struct Work {
        let ready: ReadySet
        let report: Report
        private var tokens: [EndpointID: UInt64] = [:]
        private var ears: [UInt64: (endpoint: EndpointID, socket: HearingSocket)] = [:]
        private var paused: [UInt64: Instant] = [:]
        private var next = ReadySet.wakeToken + 1

        init(ready: ReadySet, report: @escaping Report) {
            self.ready = ready
            self.report = report
        }

        var isPausing: Bool { !paused.isEmpty }

        mutating func add(_ endpoint: EndpointID, _ socket: HearingSocket) {
            remove(endpoint)
            let token = next
            next += 1
            do throws(SystemError) {
                try ready.watch(socket.number, token, .readable)
            } catch {
                return report(endpoint, .deaf("\(error)"))
            }
            tokens[endpoint] = token
            ears[token] = (endpoint, socket)
        }

        mutating func remove(_ endpoint: EndpointID) {
            guard let token = tokens.removeValue(forKey: endpoint) else { return }
            ears[token] = nil
            paused[token] = nil
        }

        /// Ends everything, for this reason.
        mutating func silence(_ failure: SystemError) {
            for endpoint in tokens.keys { deafen(endpoint, failure) }
        }

        private mutating func deafen(_ endpoint: EndpointID, _ failure: SystemError) {
            remove(endpoint)
            report(endpoint, .deaf("\(failure)"))
        }

        mutating func turn(_ all: [(token: UInt64, events: ReadySet.Events)]) {
            for (token, _) in all where token != ReadySet.wakeToken { hear(token) }
            let now = Instant(nanoseconds: MonotonicClock.now())
            for (token, until) in paused where until <= now {
                paused[token] = nil
                guard let ear = ears[token] else { continue }
                do throws(SystemError) {
                    try ready.change(ear.socket.number, token, .readable)
                } catch {
                    deafen(ear.endpoint, error)
                }
            }
        }

        private mutating func hear(_ token: UInt64) {
            guard let (endpoint, socket) = ears[token] else { return }
            var all: [Heard] = []
            var known: Set<Heard> = []
            do throws(SystemError) {
                for _ in 0..<Ears.framesPerTurn {
                    guard let frame = try socket.receive(limit: Heard.frameBytes) else { return tell(endpoint, all) }
                    // Keepalived says each thing five times.
                    if let heard = Heard(frame: frame), known.insert(heard).inserted { all.append(heard) }
                }
                tell(endpoint, all)
                paused[token] = Instant(nanoseconds: MonotonicClock.now()) + Ears.pause
                try ready.change(socket.number, token, [])
            } catch {
                // The port is gone, or was taken down (ENETDOWN).
                deafen(endpoint, error)
            }
        }

        private func tell(_ endpoint: EndpointID, _ all: [Heard]) {
            if !all.isEmpty { report(endpoint, .heard(all)) }
        }
    }
}
