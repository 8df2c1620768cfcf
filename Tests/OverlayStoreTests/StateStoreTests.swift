import FoundationEssentials
import Glibc
import OverlayLinux
import OverlayModel
import OverlayStore
import Synchronization
import Testing

@Suite struct StateStoreTests {
    private static func put(_ number: UInt32, _ value: [UInt8] = [1]) -> StoreWrite {
        .put(.lease, key: number.wireBytes, value: value)
    }

    @Test func aNewStoreIsEmptyAndPrivate() async throws {
        let scratch = try Scratch()
        let store = try StateStore(directory: scratch.state)
        #expect(try await store.load().isEmpty)
        try await store.commit([[Self.put(1)]])
        #expect(try Scratch.mode(scratch.state) == 0o700)
        for file in ["lock", "state.db", "state.db-wal", "state.db-shm"] {
            #expect(try Scratch.mode(scratch.state + "/" + file) == 0o600, "\(file)")
        }
    }

    @Test(arguments: [0o775, 0o757, 0o777, 0o1777] as [mode_t])
    func aDirectoryThatOthersMayWriteInIsRefused(mode: mode_t) async throws {
        let scratch = try Scratch()
        #expect(mkdir(scratch.state, 0o700) == 0 && chmod(scratch.state, mode) == 0)
        let error = #expect(throws: StoreError.self) { try StateStore(directory: scratch.state) }
        #expect(error.map { "\($0)" }?.contains("chmod go-w") == true)
        #expect(chmod(scratch.state, 0o755) == 0)
        _ = try StateStore(directory: scratch.state)
    }

    @Test(.enabled(if: geteuid() == 0, "needs root to give a directory away"))
    func aDirectoryOfAnotherUserIsRefused() async throws {
        let scratch = try Scratch()
        #expect(mkdir(scratch.state, 0o700) == 0 && chown(scratch.state, 12345, 12345) == 0)
        let error = #expect(throws: StoreError.self) { try StateStore(directory: scratch.state) }
        #expect(error.map { "\($0)" }?.contains("belongs to user 12345") == true)
    }

    @Test func aDatabaseIsNotOpenedThroughALinkAndIsPrivate() async throws {
        let scratch = try Scratch()
        let elsewhere = scratch.path + "/elsewhere"
        #expect(mkdir(scratch.state, 0o700) == 0 && symlink(elsewhere, scratch.state + "/state.db") == 0)
        #expect(throws: StoreError.self) { try StateStore(directory: scratch.state) }
        #expect(access(elsewhere, F_OK) != 0)
        #expect(unlink(scratch.state + "/state.db") == 0)
        _ = try StateStore(directory: scratch.state)
        #expect(chmod(scratch.state + "/state.db", 0o644) == 0)
        _ = try await reopen(scratch.state)
        #expect(try Scratch.mode(scratch.state + "/state.db") == 0o600)
    }

    @Test func rowsOutliveTheProcess() async throws {
        let scratch = try Scratch()
        let batches: [[StoreWrite]] = [
            [.put(.node, key: Array("identity".utf8), value: [0, 255, 0]), .put(.lease, key: [], value: [])],
            [], [.put(.network, key: [0], value: [UInt8](repeating: 9, count: 100_000))],
        ]
        try await StateStore(directory: scratch.state).commit(batches)
        var expected: StoredRows = [:]
        for batch in batches { expected.apply(batch) }
        #expect(try await reopen(scratch.state).load() == expected)
    }

    /// The store behaves like ``StoredRows/apply(_:)``.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func theStoreDoesWhatTheValueDoes(seed: UInt64) async throws {
        let scratch = try Scratch()
        var generator = SeededGenerator(seed: seed)
        var model: StoredRows = [:]
        for round in 0..<4 {
            // Each round is a life of the daemon.
            let store = try await reopen(scratch.state)
            for step in 0..<20 {
                var batches: [[StoreWrite]] = []
                for _ in 0..<Int.random(in: 0...4, using: &generator) {
                    batches.append(
                        (0..<Int.random(in: 0...6, using: &generator)).map { _ in Self.randomWrite(UInt8(step), &generator) })
                }
                try await store.commit(batches)
                for batch in batches { model.apply(batch) }
                let rows = try await store.load()
                #expect(rows == model.filter { !$0.value.isEmpty }, "seed \(seed), round \(round), step \(step)")
            }
        }
    }

    private static func randomWrite(_ value: UInt8, _ generator: inout SeededGenerator) -> StoreWrite {
        let space = StoreSpace.allCases.randomElement(using: &generator)!
        let bytes: [UInt8] = [0, 1, 127, 128, 255]
        var key: [UInt8] = []
        for _ in 0..<Int.random(in: 0...2, using: &generator) { key.append(bytes.randomElement(using: &generator)!) }
        return switch Int.random(in: 0..<10, using: &generator) {
        case 0: .clear(space)
        case 1: .deleteThrough(space, key: key)
        case 2: .delete(space, key: key)
        default: .put(space, key: key, value: [value])
        }
    }

    @Test func parallelCommitsAllArrive() async throws {
        let scratch = try Scratch()
        let store = try StateStore(directory: scratch.state)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<64 as Range<UInt32> {
                group.addTask { try await store.commit([[Self.put(number)], [Self.put(1000 + number)]]) }
            }
            try await group.waitForAll()
        }
        #expect(try await store.load()[.lease]?.count == 128)
    }

    @Test func submissionsAreWrittenInTheirOrder() async throws {
        let scratch = try Scratch()
        let store = try StateStore(directory: scratch.state)
        let answered = Mutex<[UInt32]>([])
        for number in 0..<500 as Range<UInt32> {
            store.submit([Self.put(number % 7, number.wireBytes)]) { error in
                if error == nil { answered.withLock { $0.append(number) } }
            }
        }
        await store.drain()
        #expect(answered.withLock { $0 } == Array(0..<500))
        let rows = try await store.load()[.lease] ?? [:]
        #expect(Set(rows.values) == Set((493..<500 as Range<UInt32>).map(\.wireBytes)))
    }

    /// Writes submitted before it are kept without it. What shares the transaction and comes behind it is refused with it: the disk
    /// never has the later without the earlier.
    @Test(.enabled(if: tmpfsIsUsable)) func aSubmissionThatDoesNotFitTakesNoEarlierOneAlong() async throws {
        let scratch = try Scratch()
        let disk = try scratch.mountSmall(512)
        let store = try StateStore(directory: disk + "/state")
        let failed = Mutex<[UInt32]>([])
        for number in 0..<20 as Range<UInt32> {
            let size = number == 11 ? 1 << 20 : 100
            store.submit([Self.put(number, [UInt8](repeating: 3, count: size))]) { error in
                if error != nil { failed.withLock { $0.append(number) } }
            }
        }
        await store.drain()
        let refused = failed.withLock { $0 }
        #expect(refused.first == 11 && refused == Array(11..<11 + UInt32(refused.count)), "\(refused)")
        let keys = try await store.load()[.lease].map { Set($0.keys) }
        #expect(keys == Set((0..<20 as Range<UInt32>).filter { !refused.contains($0) }.map(\.wireBytes)))
    }

    @Test func aSecondDaemonIsRefused() async throws {
        let scratch = try Scratch()
        let store = try StateStore(directory: scratch.state)
        let error = try #require(throws: StateInUse.self) { try StateStore(directory: scratch.state) }
        #expect(
            "\(error)"
                == "the state directory \(scratch.state) is held by process \(getpid()); stop that daemon, or give this one a "
                + "directory of its own with --state-dir")
        try await store.commit([[Self.put(1)]])
        #expect(try await store.load()[.lease]?.count == 1, "the first one is not disturbed")
    }

    // MARK: Schemas

    private static func schema(_ version: Int, fails: Bool = false) -> StoreSchema {
        StoreSchema(version: version) { rows, from throws(DecodeError) in
            if fails { throw .truncated }
            return (rows[.lease] ?? [:]).sorted { $0.key.lexicographicallyPrecedes($1.key) }.map {
                .put(.lease, key: $0.key, value: $0.value + [UInt8(from)])
            } + [.clear(.claim)]
        }
    }

    private func opened(_ directory: String, _ schema: StoreSchema) async throws -> StateStore {
        try await closed(directory)
        return try StateStore(directory: directory, schema: schema)
    }

    @Test func anEarlierSchemaIsMigratedOnce() async throws {
        let scratch = try Scratch()
        try await StateStore(directory: scratch.state).commit([[Self.put(1, [7]), .put(.claim, key: [1], value: [1])]])
        for _ in 0..<2 {
            let rows = try await opened(scratch.state, Self.schema(3)).load()
            #expect(rows[.lease].map { Array($0.values) } == [[7, 1]] && rows[.claim] == nil)
        }
        #expect(try await opened(scratch.state, Self.schema(4)).load()[.lease].map { Array($0.values) } == [[7, 1, 3]])
        try await closed(scratch.state)
        let error = try await failure(of: scratch.state)
        #expect(error.contains("schema 4, and this one knows those up to 1"))
    }

    @Test func whatCannotBeMigratedStaysAsItWas() async throws {
        let scratch = try Scratch()
        try await StateStore(directory: scratch.state).commit([[Self.put(1, [7])]])
        try await closed(scratch.state)
        let error = try #require(throws: StoreError.self) {
            try StateStore(directory: scratch.state, schema: Self.schema(2, fails: true))
        }
        #expect(error.text(isStarting: true).contains("a row of schema 1 does not decode"))
        #expect(error.text(isStarting: true).contains("restore it from a backup, or remove it, and let this node join anew"))
        #expect(try await opened(scratch.state, .first).load()[.lease].map { Array($0.values) } == [[7]])
    }

    @Test func aNewStoreIsOfThePresentSchema() async throws {
        let scratch = try Scratch()
        let never = StoreSchema(version: 5) { _, _ throws(DecodeError) in throw .truncated }
        try await StateStore(directory: scratch.state, schema: never).commit([[Self.put(1)]])
        #expect(try await opened(scratch.state, never).load()[.lease]?.count == 1)
    }

    @Test func aLaterSchemaIsLeftAlone() async throws {
        let scratch = try Scratch()
        try await StateStore(directory: scratch.state).commit([[Self.put(1)]])
        _ = try await reopen(scratch.state).load()
        let file = scratch.state + "/state.db"
        // user_version of the database header (SQLite file format §1.3).
        try await closed(scratch.state)
        var bytes = try Scratch.read(file)
        try #require(Array(bytes[60..<64]) == [0, 0, 0, 1])
        bytes[63] = 9
        try Scratch.write(bytes, to: file)
        let error = try await failure(of: scratch.state)
        #expect(
            error.contains("written by a later version of swift-overlay (schema 9, and this one knows those up to 1)")
                && error.contains("upgrade this daemon, or start that version again") && error.contains(file))
        bytes[63] = 1
        try Scratch.write(bytes, to: file)
        #expect(try await reopen(scratch.state).load()[.lease]?.count == 1)
    }

    @Test func whatIsNoDatabaseIsAnErrorWithAdvice() async throws {
        let scratch = try Scratch()
        #expect(mkdir(scratch.state, 0o700) == 0)
        try Scratch.write([UInt8]((0..<8192).map { UInt8(truncatingIfNeeded: $0 &* 31) }), to: scratch.state + "/state.db")
        let error = try await failure(of: scratch.state)
        #expect(
            error.contains("not a database") && error.contains("let this node join anew") && error.contains(scratch.state),
            "\(error)")
    }

    @Test func aDamagedDatabaseIsAnErrorWithAdvice() async throws {
        let scratch = try Scratch()
        try await StateStore(directory: scratch.state).commit([(0..<2000).map { Self.put($0, [UInt8](repeating: 1, count: 50)) }])
        try await closed(scratch.state)
        let file = scratch.state + "/state.db"
        var bytes = try Scratch.read(file)
        try #require(bytes.count > 65_536)
        for index in 4096..<bytes.count { bytes[index] = 0xA5 }
        try Scratch.write(bytes, to: file)
        let error = try await failure(of: scratch.state)
        #expect(error.contains("malformed") && error.contains("let this node join anew"), "\(error)")
    }

    @Test(.enabled(if: tmpfsIsUsable)) func aFullDiskFailsOneCommitAndNoMore() async throws {
        let scratch = try Scratch()
        let disk = try scratch.mountSmall(512)
        try Scratch.write([UInt8](repeating: 0, count: 200 << 10), to: disk + "/ballast")
        let store = try StateStore(directory: disk + "/state")
        var kept: StoredRows = [:]
        try await store.commit([[Self.put(0)]])
        kept.apply([Self.put(0)])
        var failed: StoreError?
        for number in 1..<200 as Range<UInt32> where failed == nil {
            // The small row goes in first and must not stay without the large one.
            let batch = [Self.put(10_000 + number), Self.put(number, [UInt8](repeating: 2, count: 10_000))]
            do throws(StoreError) {
                try await store.commit([batch])
                kept.apply(batch)
            } catch {
                failed = error
            }
        }
        let error = try #require(failed)
        #expect(
            "\(error)".hasPrefix("write \(disk)/state/state.db: ") && "\(error)".contains("disk is full")
                && "\(error)".contains("free some space, the daemon goes on by itself"), "\(error)")
        let atStart = error.text(isStarting: true)
        #expect(atStart.contains("disk is full; free some space and start the daemon again"), "\(atStart)")
        #expect(try await store.load() == kept)
        try FileManager.default.removeItem(atPath: disk + "/ballast")
        try await store.commit([[Self.put(77_777)]])
        kept.apply([Self.put(77_777)])
        #expect(try await store.load() == kept)
    }

    @Test(.enabled(if: tmpfsIsUsable)) func aReadOnlyDirectoryIsAClearError() async throws {
        let scratch = try Scratch()
        let disk = try scratch.mountSmall(512)
        try await StateStore(directory: disk + "/state").commit([[Self.put(1)]])
        try await closed(disk + "/state")
        try #require(scratch.makeReadOnly(disk))
        let error = try await failure(of: disk + "/state")
        #expect(error.contains("Read-only file system") && error.contains(disk), "\(error)")
        #expect(error.contains("must be writable"), "\(error)")
        let none = try await failure(of: disk + "/new")
        #expect(none.contains("make \(disk)/new: Read-only file system; the state directory must be writable"), "\(none)")
    }

    /// Not even the files that SQLite makes beside the database fit.
    @Test(.enabled(if: tmpfsIsUsable)) func aDiskThatIsFullAtTheStartIsAClearError() async throws {
        let scratch = try Scratch()
        let disk = try scratch.mountSmall(512)
        try await StateStore(directory: disk + "/state").commit([[Self.put(1)]])
        try await closed(disk + "/state")
        try? Scratch.write([UInt8](repeating: 0, count: 1 << 20), to: disk + "/ballast")
        let descriptor = open(disk + "/ballast", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        while write(descriptor, [UInt8](repeating: 0, count: 4096), 4096) > 0 {}
        close(descriptor)
        do {
            try await reopen(disk + "/state").commit([[Self.put(2, [UInt8](repeating: 1, count: 100_000))]])
            Issue.record("no error")
        } catch let error as StoreError {
            let text = error.text(isStarting: true)
            #expect(text.contains("disk is full") && text.contains("; free some space and start the daemon again"), "\(text)")
            #expect(text.contains(disk) && text.contains("\(SystemError.text(of: ENOSPC))"), "\(text)")
        }
    }

    /// SQLite itself says only "disk I/O error".
    @Test func whatTheSystemSaysIsSaid() async throws {
        let scratch = try Scratch()
        #expect(mkdir(scratch.state, 0o700) == 0)
        #expect(mkdir(scratch.state + "/state.db-wal", 0o700) == 0)
        let error = try await failure(of: scratch.state)
        #expect(error == "open \(scratch.state)/state.db: disk I/O error: Is a directory", "\(error)")
    }

    /// A write that the system refuses while the daemon runs, as on a file system that became read-only after an error.
    @Test func whatTheSystemSaysOfAWriteIsSaid() async throws {
        let scratch = try Scratch()
        let store = try StateStore(directory: scratch.state)
        try await store.commit([[Self.put(1)]])
        let log = scratch.state + "/state.db-wal"
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int32($0) }
            .filter { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == log }
        try #require(!open.isEmpty)
        // The descriptor can no longer write.
        let readOnly = Glibc.open(log, O_RDONLY | O_CLOEXEC)
        for descriptor in open { #expect(dup2(readOnly, descriptor) == descriptor) }
        close(readOnly)
        let error = try #require(await #expect(throws: StoreError.self) { try await store.commit([[Self.put(2)]]) })
        #expect("\(error)" == "write \(scratch.state)/state.db: disk I/O error: Bad file descriptor", "\(error)")
        #expect(try await store.load()[.lease]?.count == 1)
    }

    @Test func whatIsNoDirectoryIsAClearError() async throws {
        let scratch = try Scratch()
        try Scratch.write([1], to: scratch.state)
        #expect(try await failure(of: scratch.state).contains("lock: Not a directory; --state-dir must name a directory"))
        let missing = try await failure(of: scratch.path + "/a/b")
        #expect(missing == "make \(scratch.path)/a/b: No such file or directory; create its parent directory")
    }

    /// A link in the place of the lock file would truncate another file.
    @Test func theLockIsNoLink() async throws {
        let scratch = try Scratch()
        #expect(mkdir(scratch.state, 0o700) == 0)
        try Scratch.write([1, 2, 3], to: scratch.path + "/victim")
        #expect(symlink(scratch.path + "/victim", scratch.state + "/lock") == 0)
        #expect(throws: StoreError.self) { try StateStore(directory: scratch.state) }
        #expect(try Scratch.read(scratch.path + "/victim") == [1, 2, 3])
    }

    // MARK: Helpers

    /// Waits until the store is closed everywhere, when SQLite has put everything into one file.
    private func closed(_ directory: String) async throws {
        for _ in 0..<100_000 {
            if (try? LockFile(path: directory + "/lock")) != nil { break }
            await Task.yield()
        }
        for _ in 0..<100_000 where FileManager.default.fileExists(atPath: directory + "/state.db-wal") { await Task.yield() }
    }

    /// Message of the error when opening or reading.
    private func failure(of directory: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
        do {
            _ = try await reopen(directory).load()
        } catch {
            return "\(error)"
        }
        Issue.record("no error", sourceLocation: sourceLocation)
        return ""
    }
}
