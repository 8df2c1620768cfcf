import Glibc
import OverlayLinux
import Synchronization
import Testing

@testable import OverlayDNSServer

/// An epoll set that refuses: no question is led to where nobody answers.
@Suite(.enabled(if: kernelIsUsable), .serialized) struct ReadinessTests {
    /// A real set, with calls that fail while they are told to.
    private final class Faults: Sendable {
        private let set: ReadySet
        /// Number of descriptors that are still taken; nil for all.
        let room = Mutex<Int?>(nil)
        let waitFails = Atomic(false)
        let changeFails = Atomic(false)

        init() throws { set = try ReadySet() }

        var ready: Readiness {
            var ready = Readiness(set)
            let (watch, change, wait) = (ready.watch, ready.change, ready.wait)
            ready.watch = { descriptor, token, events throws(SystemError) in
                let isFull = self.room.withLock { room in
                    guard let left = room else { return false }
                    room = max(0, left - 1)
                    return left == 0
                }
                if isFull { throw SystemError(operation: "epoll_ctl", errno: ENOSPC) }
                try watch(descriptor, token, events)
            }
            ready.change = { descriptor, token, events throws(SystemError) in
                if self.changeFails.load(ordering: .relaxed) { throw SystemError(operation: "epoll_ctl", errno: ENOMEM) }
                try change(descriptor, token, events)
            }
            ready.wait = { milliseconds throws(SystemError) in
                if self.waitFails.load(ordering: .relaxed) { throw SystemError(operation: "epoll_wait", errno: EINVAL) }
                return try wait(min(milliseconds, 100))
            }
            return ready
        }
    }

    @Test(arguments: 0...2)
    func aSandboxWhoseSocketsAreRefusedIsDockers(room: Int) async throws {
        let container = try Container()
        let faults = try Faults()
        let server = try Server(ready: faults.ready)
        faults.room.withLock { $0 = room }
        guard case .failed(let reason) = await server.serve(container) else {
            Issue.record("served")
            return await server.dns.stop()
        }
        #expect(reason.contains("epoll_ctl"))
        #expect(!container.isRedirected)
        #expect(summary(try container.ask(question("web-7"))) == "192.0.2.9")
        // It is tried again.
        faults.room.withLock { $0 = nil }
        #expect(try await server.until { server.changes.last == .serving })
        #expect(container.isRedirected)
        #expect(summary(try container.ask(question("web-7"))) == "10.0.0.7")
        await server.dns.stop()
    }

    /// Other sandboxes do not suffer by one that is refused.
    @Test func aRefusalConcernsOneSandbox() async throws {
        let (first, second) = (try Container(), try Container())
        let faults = try Faults()
        let server = try Server(ready: faults.ready)
        #expect(await server.serve(first) == .serving)
        faults.room.withLock { $0 = 1 }
        #expect(await server.serve(second) != .serving)
        #expect(summary(try first.ask(question("web-7"))) == "10.0.0.7")
        #expect(summary(try second.ask(question("web-7"))) == "192.0.2.9")
        await server.dns.stop()
    }

    @Test func aThreadThatEndsLeavesAllToDocker() async throws {
        let (first, second) = (try Container(), try Container())
        let faults = try Faults()
        let server = try Server(ready: faults.ready)
        #expect(await server.serve(first) == .serving)
        #expect(summary(try first.ask(question("web-7"))) == "10.0.0.7")
        faults.waitFails.store(true, ordering: .relaxed)
        #expect(try await server.until { !first.isRedirected })
        #expect(summary(try first.ask(question("web-7"))) == "192.0.2.9")
        guard case .failed(let reason)? = server.changes.first else { throw SystemError(operation: "change", errno: ENOENT) }
        #expect(reason.contains("epoll_wait"))
        #expect(await server.serve(second) == .failed(reason))
        #expect(!second.isRedirected)
        #expect(summary(try second.ask(question("web-7"))) == "192.0.2.9")
        await server.dns.stop()
    }

    /// A connection that could not be watched any more is closed: its client asks anew.
    @Test func aConnectionThatCannotBeWatchedIsClosed() async throws {
        let container = try Container()
        let faults = try Faults()
        let server = try Server(ready: faults.ready)
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_STREAM.rawValue))
        faults.changeFails.store(true, ordering: .relaxed)
        // More questions than a turn answers: the rest waits for the next event.
        let bytes = (0..<200 as Range<UInt16>).flatMap { framed(question("web-1", id: $0)) }
        #expect(send(client.number, bytes, bytes.count, 0) == bytes.count)
        var answers = 0
        while !container.receiveMessage(client.number).isEmpty { answers += 1 }
        #expect(answers < 200)
        faults.changeFails.store(false, ordering: .relaxed)
        let again = try container.socket(Int32(SOCK_STREAM.rawValue))
        let one = framed(question("web-1", id: 1))
        #expect(send(again.number, one, one.count, 0) == one.count)
        #expect(summary(container.receiveMessage(again.number)) == "10.0.0.1")
        await server.dns.stop()
    }
}
