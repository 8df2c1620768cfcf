import Glibc
import OverlayDNS
import OverlayLinux

/// Sandboxes that are to be served: opens and closes them, on a thread that may wait for the kernel.
actor Sandboxes {
    /// Time between two looks for a namespace that does not exist yet, by how long it has been waited for.
    private static let looks: [(every: Duration, until: Duration)] = [
        (.milliseconds(5), .seconds(2)), (.milliseconds(50), .seconds(30)), (.seconds(1), .seconds(1 << 40)),
    ]
    /// Time between two looks at a namespace that is served.
    private static let checkPeriod = Duration.seconds(5)

    private struct Sandbox {
        var scope: SandboxScope
        var open: (redirect: Redirect?, identity: UInt64)?
        var watch: Task<Void, Never>?
    }

    private let executor = ThreadExecutor(name: "dns-sandboxes")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
    private let loop: AnswerLoop
    private let changed: @Sendable (String, DNSServer.State) -> Void
    private var all: [String: Sandbox] = [:]
    private var isStopped = false

    init(loop: AnswerLoop, changed: @escaping @Sendable (String, DNSServer.State) -> Void) {
        self.loop = loop
        self.changed = changed
    }

    /// Runs work on the thread, in the order of the calls.
    nonisolated func submit(_ work: @escaping @Sendable (isolated Sandboxes) -> Void) {
        executor.execute { self.assumeIsolated { work($0) } }
    }

    func serve(_ path: String, _ scope: SandboxScope, _ done: @Sendable (DNSServer.State) -> Void) {
        guard !isStopped else { return done(.failed("the daemon stops")) }
        if all[path]?.open != nil, all[path]?.scope.gateway != scope.gateway { close(path) }
        if all[path]?.open != nil {
            all[path]?.scope = scope
            loop.submit(.scope(path, scope))
            return done(.serving)
        }
        if all[path] != nil {
            all[path]?.scope = scope
            return done(.waiting)
        }
        all[path] = Sandbox(scope: scope)
        let state = open(path)
        done(state)
        watch(path)
    }

    func end(_ path: String) {
        close(path)
        all.removeValue(forKey: path)?.watch?.cancel()
    }

    func stop() {
        isStopped = true
        for path in all.keys.sorted() { end(path) }
    }

    /// Takes the rules away everywhere, as nobody answers any more: Docker does then.
    func fail(_ reason: SystemError) {
        for path in all.keys.sorted() where all[path]?.open != nil {
            close(path)
            changed(path, .failed("\(reason)"))
        }
    }

    /// Stops serving a sandbox. The rules go before the sockets that they lead to.
    private func close(_ path: String) {
        guard all[path]?.open != nil else { return }
        all[path]?.open = nil
        loop.submit(.remove(path))
    }

    /// Begins to serve a sandbox, if its namespace exists.
    private func open(_ path: String) -> DNSServer.State {
        guard let scope = all[path]?.scope else { return .gone }
        do throws(SystemError) {
            guard try NetworkNamespace.state(path: path) == .namespace, let identity = try NetworkNamespace.identity(path: path)
            else { return .waiting }
            let namespace = try NetworkNamespace.open(path: path)
            let redirect = scope.gateway == nil ? try Redirect(in: namespace) : nil
            if let failure = loop.failure { throw failure }
            let sockets = try SandboxSockets(in: namespace, at: scope.gateway)
            loop.submit(.add(path, try WatchedSockets(sockets, in: loop), scope))
            do {
                try redirect?.begin(udp: sockets.udpPort, tcp: sockets.tcpPort)
                all[path]?.open = (redirect, identity)
                // It may have ended after the sockets were added.
                if let failure = loop.failure { throw failure }
            } catch {
                all[path]?.open = nil
                loop.submit(.remove(path))
                // ENOENT as well: the kernel means by it that it does not know nf_tables.
                return .failed("\(error)")
            }
            return .serving
        } catch {
            return [ENOENT, ENETUNREACH, EADDRNOTAVAIL].contains(error.errno) ? .waiting : .failed("\(error)")
        }
    }

    private func watch(_ path: String) {
        all[path]?.watch = Task { await self.follow(path) }
    }

    /// Looks at a sandbox again and again, until it is served no more.
    private func follow(_ path: String) async {
        var waited = Duration.zero
        var last: DNSServer.State = all[path]?.open == nil ? .waiting : .serving
        while all[path] != nil, !Task.isCancelled {
            let pause =
                last == .serving ? Self.checkPeriod : Self.looks.first { waited < $0.until }?.every ?? Self.checkPeriod
            try? await Task.sleep(for: pause)
            guard let sandbox = all[path], !Task.isCancelled else { return }
            waited = waited + pause
            if let open = sandbox.open {
                let identity = try? NetworkNamespace.identity(path: path)
                let isThere = (try? NetworkNamespace.state(path: path)) == .namespace && identity == open.identity
                guard !isThere else { continue }
                close(path)
                waited = .zero
                last = .waiting
                changed(path, .gone)
                continue
            }
            let state = self.open(path)
            if state != last, state != .waiting { changed(path, state) }
            if state != .waiting { last = state }
            // A sandbox that failed is tried less often than one that does not exist yet.
            if case .failed = state { waited = max(waited, .seconds(30)) }
        }
    }
}
