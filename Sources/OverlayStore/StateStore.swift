import CSQLite
import Glibc
import OverlayLinux
public import OverlayModel
import Synchronization

/// The node's durable state: one SQLite file in the state directory, and a lock that keeps a second daemon away from it.
///
/// A committed batch survives a power cut: WAL mode with `synchronous=FULL`, one fdatasync per commit. It works on a thread of its own.
public actor StateStore {
    private let executor: ThreadExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
    private let lock: LockFile
    private let database: Database
    private nonisolated let submitted = Mutex<[Submission]>([])

    private struct Submission: Sendable {
        var writes: [StoreWrite]
        var done: @Sendable (StoreError?) -> Void
    }

    /// Opens or creates the state directory (0700) and the database (0600).
    ///
    /// - Parameter schema: Forms of the rows. Those of an earlier version are migrated, in one transaction.
    /// - Throws: ``StoreError``, or ``StateInUse``.
    public init(directory: String, schema: StoreSchema = .first) throws {
        executor = ThreadExecutor(name: "overlay-store")
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw StoreError(SystemError(operation: "make", path: directory, errno: errno))
        }
        try Self.check(directory)
        lock = try Self.lock(directory)
        database = try Database(path: directory + "/state.db", schema)
    }

    /// Refuses a directory in which another user could replace the database: the keys of the node are in it.
    private static func check(_ directory: String) throws(StoreError) {
        var status = stat()
        guard stat(directory, &status) == 0 else { throw StoreError(SystemError(operation: "stat", path: directory, errno: errno)) }
        func refusal(_ reason: String) -> StoreError {
            StoreError(operation: "open", path: directory, code: SQLITE_PERM, reason: reason)
        }
        guard status.st_uid == 0 || status.st_uid == geteuid() else {
            throw refusal(
                "it belongs to user \(status.st_uid), who could take the node's keys; `chown root \(directory)`, or give another one"
            )
        }
        guard status.st_mode & 0o022 == 0 else {
            throw refusal(
                "other users may write in it, and could take the node's keys; `chmod go-w \(directory)`, or give another one")
        }
    }

    private static func lock(_ directory: String) throws -> LockFile {
        do throws(LockError) {
            return try LockFile(path: directory + "/lock")
        } catch {
            switch error {
            case .held(let process): throw StateInUse(directory: directory, process: process)
            case .system(let error): throw StoreError(error)
            }
        }
    }

    /// All rows.
    public func load() throws(StoreError) -> StoredRows { try database.load() }

    /// Writes batches in order, in one transaction: all or nothing.
    public func commit(_ batches: [[StoreWrite]]) throws(StoreError) { try database.commit(batches) }

    /// Writes a batch after those submitted before. Batches that come while the disk is busy share the next transaction.
    ///
    /// - Parameter done: Called on the store's thread, with nil when the batch is durable, else with the error.
    public nonisolated func submit(_ writes: [StoreWrite], done: @escaping @Sendable (StoreError?) -> Void) {
        let isFirst = submitted.withLock { submitted in
            submitted.append(Submission(writes: writes, done: done))
            return submitted.count == 1
        }
        if isFirst { executor.execute { self.assumeIsolated { $0.commitSubmitted() } } }
    }

    /// Returns when all batches submitted before are done.
    public func drain() {}

    private func commitSubmitted() {
        let batch = submitted.withLock { submitted in
            defer { submitted.removeAll(keepingCapacity: true) }
            return submitted
        }
        do throws(StoreError) {
            try database.commit(batch.map(\.writes))
            for submission in batch { submission.done(nil) }
        } catch {
            if batch.count == 1 { return batch[0].done(error) }
            // A batch that cannot be written must not take those before it with it. Nothing is written after a missing one: the disk always
            // holds a prefix of what was submitted.
            var failure: StoreError?
            for submission in batch {
                if failure == nil {
                    do throws(StoreError) { try database.commit([submission.writes]) } catch { failure = error }
                }
                submission.done(failure)
            }
        }
    }
}

extension StoreSchema {
    /// Schema of a store that has no earlier one.
    public static let first = StoreSchema(version: 1) { _, _ in [] }
}

/// Database with its statements. Not Sendable: it belongs to the store.
private final class Database {
    private let connection: SQLiteConnection
    private let put: SQLiteStatement
    private let delete: SQLiteStatement
    private let deleteThrough: SQLiteStatement
    private let clear: SQLiteStatement
    private let begin: SQLiteStatement
    private let end: SQLiteStatement

    init(path: String, _ schema: StoreSchema) throws(StoreError) {
        // Created before SQLite would do it with the mode of the umask. Its -wal and -shm files take the mode of this file.
        let descriptor = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw StoreError(SystemError(operation: "open", path: path, errno: errno))
        }
        defer { close(descriptor) }
        guard fchmod(descriptor, 0o600) == 0 else { throw StoreError(SystemError(operation: "chmod", path: path, errno: errno)) }
        let connection = try SQLiteConnection(path: path)
        try connection.execute("PRAGMA journal_mode=WAL", to: "open")
        try connection.execute("PRAGMA synchronous=FULL", to: "open")
        try connection.execute("PRAGMA busy_timeout=2000", to: "open")
        let version = try Self.prepared(connection, schema)
        put = try connection.prepare("INSERT OR REPLACE INTO rows(space, key, value) VALUES (?, ?, ?)")
        delete = try connection.prepare("DELETE FROM rows WHERE space = ? AND key = ?")
        deleteThrough = try connection.prepare("DELETE FROM rows WHERE space = ? AND key <= ?")
        clear = try connection.prepare("DELETE FROM rows WHERE space = ?")
        begin = try connection.prepare("BEGIN IMMEDIATE")
        end = try connection.prepare("COMMIT")
        self.connection = connection
        guard version < schema.version else { return }
        try change { () throws(StoreError) in try migrate(to: schema, from: version) }
    }

    /// Makes the table, if it is not there.
    ///
    /// - Returns: Version of the rows; that of the schema where there are none yet.
    private static func prepared(_ connection: borrowing SQLiteConnection, _ schema: StoreSchema) throws(StoreError) -> Int {
        let query = try connection.prepare("PRAGMA user_version")
        _ = query.step()
        let version = Int(query.integer(0))
        query.reset()
        guard version <= schema.version else {
            throw StoreError(
                operation: "read", path: connection.path, code: SQLITE_MISMATCH,
                reason: "written by a later version of swift-overlay (schema \(version), and this one knows those up to "
                    + "\(schema.version)); upgrade this daemon, or start that version again")
        }
        guard version == 0 else { return version }
        try connection.execute(
            """
            BEGIN; CREATE TABLE IF NOT EXISTS rows(space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, \
            PRIMARY KEY(space, key)) WITHOUT ROWID; PRAGMA user_version=\(schema.version); COMMIT
            """, to: "write")
        return schema.version
    }

    private func migrate(to schema: StoreSchema, from version: Int) throws(StoreError) {
        let rows = try load()
        let writes: [StoreWrite]
        do throws(DecodeError) {
            writes = try schema.migrate(rows, version)
        } catch {
            throw StoreError(
                operation: "migrate", path: connection.path, code: SQLITE_CORRUPT,
                reason: "a row of schema \(version) does not decode (\(error))")
        }
        for write in writes { try apply(write) }
        try connection.execute("PRAGMA user_version=\(schema.version)", to: "migrate")
    }

    func load() throws(StoreError) -> StoredRows {
        var rows: StoredRows = [:]
        let query = try connection.prepare("SELECT space, key, value FROM rows")
        while true {
            let code = query.step()
            guard code == SQLITE_ROW else {
                guard code == SQLITE_DONE else { throw connection.error("read", code) }
                return rows
            }
            // Rows of a kind that this version does not know are kept.
            guard let space = StoreSpace(rawValue: query.text(0)) else { continue }
            rows[space, default: [:]][query.blob(1)] = query.blob(2)
        }
    }

    func commit(_ batches: [[StoreWrite]]) throws(StoreError) {
        try change { () throws(StoreError) in
            for write in batches.joined() { try apply(write) }
        }
    }

    /// Runs the body in one transaction.
    private func change(_ body: () throws(StoreError) -> Void) throws(StoreError) {
        try run(begin)
        do throws(StoreError) {
            try body()
            try run(end)
        } catch {
            // SQLite rolls back by itself after some errors. Then this does nothing.
            try? connection.execute("ROLLBACK", to: "write")
            throw error
        }
    }

    private func apply(_ write: StoreWrite) throws(StoreError) {
        switch write {
        case .put(let space, let key, let value):
            put.bind(space.rawValue, at: 1)
            put.bind(key, at: 2)
            put.bind(value, at: 3)
            try run(put)
        case .delete(let space, let key):
            delete.bind(space.rawValue, at: 1)
            delete.bind(key, at: 2)
            try run(delete)
        case .deleteThrough(let space, let key):
            deleteThrough.bind(space.rawValue, at: 1)
            deleteThrough.bind(key, at: 2)
            try run(deleteThrough)
        case .clear(let space):
            clear.bind(space.rawValue, at: 1)
            try run(clear)
        }
    }

    private func run(_ statement: borrowing SQLiteStatement) throws(StoreError) {
        let code = statement.step()
        let error = code == SQLITE_DONE ? nil : connection.error("write", code)
        statement.reset()
        if let error { throw error }
    }
}
