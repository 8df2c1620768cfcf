import Glibc
import OverlayLinux
import Testing

@testable import OverlayLinux

@Suite("system calls")
struct LinuxTests {
    private func temporary(_ name: String) -> String { "/tmp/\(name)-\(getpid())-\(systemRandom64())" }

    @Test func `a lock is exclusive, names its holder, and ends with it`() throws {
        let path = temporary("lock")
        defer { unlink(path) }
        do {
            let lock = try LockFile(path: path)
            #expect(throws: LockError.held(byPID: Int(getpid()))) { try LockFile(path: path) }
            withExtendedLifetime(lock) {}
        }
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        _ = try LockFile(path: path)
        #expect(throws: LockError.system(SystemError(operation: "open", path: "/nowhere/lock", errno: ENOENT))) {
            try LockFile(path: "/nowhere/lock")
        }
        #expect(LockError.held(byPID: 7).description == "held by process 7")
    }

    @Test func `capabilities are read from CapEff`() throws {
        let text = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000203000\nCapBnd:\tffffffffffffffff\n"
        let set = try #require(Capabilities.parse(status: text))
        for wanted in [Capabilities.netAdmin, Capabilities.netRaw, Capabilities.sysAdmin] { #expect(set.contains(wanted)) }
        #expect(!set.contains(0) && !set.contains(64))
        #expect(set.missing.isEmpty)
        #expect(Capabilities(bits: 1 << 12).missing == ["CAP_NET_RAW", "CAP_SYS_ADMIN"])
        #expect(Capabilities.parse(status: "Name:\tx\n") == nil)
        #expect(Capabilities.parse(status: "CapEff:\tnonsense\n") == nil)
        _ = try Capabilities.effective
    }

    @Test func `errors read like a sentence`() {
        #expect(SystemError(operation: "open", path: "/x", errno: ENOENT).description == "open /x: No such file or directory")
        #expect(SystemError(operation: "getrandom", errno: EPERM).description == "getrandom: Operation not permitted")
    }

    @Test func `clock and randomness`() {
        let first = MonotonicClock.now()
        usleep(1000)
        #expect(MonotonicClock.now() - first >= 1_000_000)
        #expect(systemRandom(count: 0).isEmpty)
        #expect(systemRandom(count: 5000).count == 5000)
        #expect(systemRandom64() != systemRandom64())
    }

    @Test func `what is no namespace is told apart`() throws {
        let path = temporary("ns")
        #expect(try NetworkNamespace.state(path: path) == .missing)
        try NetworkNamespace.remove(path: path)
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        #expect(try NetworkNamespace.state(path: path) == .stale)
        #expect(throws: SystemError.self) { _ = try NetworkNamespace.open(path: path) }
        unlink(path)
        #expect(try NetworkNamespace.names(in: path) == [])
    }

    @Test(.enabled(if: kernelIsUsable)) func `a namespace is made, found, entered and removed`() throws {
        let path = temporary("ns")
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        #expect(try NetworkNamespace.create(path: path), "over a stale file")
        #expect(try !NetworkNamespace.create(path: path), "adopted")
        #expect(try NetworkNamespace.state(path: path) == .namespace)
        let namespace = try NetworkNamespace.open(path: path)
        let own = try NetworkNamespace.current()
        #expect(try NetworkNamespace.identity(of: namespace) != NetworkNamespace.identity(of: own))
        #expect(try NetworkNamespace.identity(path: path) == NetworkNamespace.identity(of: namespace))
        let socket = try NetworkNamespace.openSocket(in: namespace, domain: AF_INET, type: Int32(SOCK_DGRAM.rawValue), protocol: 0)
        #expect(socket.number >= 0)
        // The setting belongs to the namespace, not to the host.
        let setting = "/proc/sys/net/ipv4/conf/lo/rp_filter"
        let before = try NetworkNamespace.read(setting, in: own)
        try NetworkNamespace.write(before == "1" ? "2" : "1", to: setting, in: namespace)
        #expect(try NetworkNamespace.read(setting, in: namespace) != before)
        #expect(try NetworkNamespace.read(setting, in: own) == before)
        try NetworkNamespace.remove(path: path)
        #expect(try NetworkNamespace.identity(path: path) == nil)
    }

    @Test func `the executor runs jobs in order on its own thread`() async {
        let counter = Counter()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<100 { group.addTask { await counter.add() } }
        }
        #expect(await counter.value == 100)
        #expect(await counter.name() == "swift-test-exec\n")
    }
}

@Suite struct ProgramTests {
    @Test func openFilesAreRaisedToWhatIsAllowed() throws {
        let limit = try Program.raiseOpenFiles()
        var files = rlimit()
        #expect(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files) == 0)
        #expect(Int(files.rlim_cur) == limit && files.rlim_cur == files.rlim_max)
    }

    /// Code that is let go comes back when it runs.
    @Test func codeIsLetGoAndComesBack() throws {
        try touchCode()
        let before = try residentCode()
        try #require(before > 4096, "the program is too small to tell")
        Program.releaseCode()
        let after = try residentCode()
        // Reading the sizes runs some of it again.
        #expect(after < before / 2)
        #expect([3, 1, 2].sorted().map(String.init).joined() == "123")
    }

    /// Reads a byte of each page of the program's code, so that all of it is in memory.
    private func touchCode() throws {
        let path = try #require(realpath("/proc/self/exe", nil))
        defer { free(path) }
        let program = String(cString: path)
        var sum: UInt8 = 0
        for line in try readFile("/proc/self/maps").split(separator: "\n") where line.contains("r-xp") && line.hasSuffix(program) {
            let bounds = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
            try #require(bounds.count == 2)
            for address in stride(from: bounds[0], to: bounds[1], by: 4096) {
                sum ^= try #require(UnsafePointer<UInt8>(bitPattern: address)).pointee
            }
        }
        withExtendedLifetime(sum) {}
    }

    /// Resident code of the program that runs, in KiB.
    private func residentCode() throws -> Int {
        let path = try #require(realpath("/proc/self/exe", nil))
        defer { free(path) }
        let program = String(cString: path)
        var isCode = false
        var sum = 0
        for line in try readFile("/proc/self/smaps").split(separator: "\n") {
            if line.contains(program) {
                isCode = line.contains("r-xp")
            } else if line.contains("-") && line.contains(":") {
                isCode = false
            }
            if isCode, line.hasPrefix("Rss:") { sum += Int(line.split(separator: " ")[1]) ?? 0 }
        }
        return sum
    }
}

/// Actor on a thread of its own.
private actor Counter {
    private let executor = ThreadExecutor(name: "swift-test-executor")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
    private(set) var value = 0

    func add() {
        preconditionIsolated()
        value += 1
    }

    func name() -> String {
        (try? readFile("/proc/thread-self/comm")) ?? ""
    }
}
