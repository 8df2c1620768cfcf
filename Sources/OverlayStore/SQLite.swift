import CSQLite
import Glibc
import OverlayLinux

/// Failure of the state directory, and what the user can do about it.
public struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Operation in words an operator knows: `open`, `write`.
    public var operation: String
    public var path: String
    /// Primary result code of SQLite.
    public var code: Int32
    public var reason: String
    /// errno; 0 if the system did not refuse.
    public var systemError: Int32

    init(operation: String, path: String, code: Int32, reason: String, systemError: Int32 = 0) {
        self.operation = operation
        self.path = path
        self.code = code & 0xFF
        self.reason = reason
        self.systemError = systemError
    }

    /// Failure of a system call on a file of the state directory.
    init(_ error: SystemError) {
        self.init(
            operation: error.operation, path: error.path ?? "", code: SQLITE_CANTOPEN, reason: "", systemError: error.errno)
    }

    /// True if there is no space. SQLite says so for ENOSPC only, and not for files it creates; a quota is the same to the user.
    private var isFull: Bool { code == SQLITE_FULL || [ENOSPC, EDQUOT].contains(systemError) }

    /// Text for a daemon that goes on running; ``text(isStarting:)`` has one for a daemon that ends because of it.
    public var description: String { text(isStarting: false) }

    /// Sentence with the operation, the file, the cause and the way out.
    public func text(isStarting: Bool) -> String {
        var causes = reason.isEmpty ? [] : [reason]
        if isFull, !reason.contains("disk is full") { causes.append("the disk is full") }
        if systemError != 0 { causes.append(SystemError.text(of: systemError)) }
        return "\(operation) \(path): \(causes.joined(separator: ": "))\(advice(isStarting: isStarting))"
    }

    private func advice(isStarting: Bool) -> String {
        if isFull {
            return isStarting
                ? "; free some space and start the daemon again" : "; free some space, the daemon goes on by itself"
        }
        switch systemError {
        case EROFS, EACCES, EPERM: return "; the state directory must be writable for the daemon"
        case EIO: return "; the disk may be failing: see the kernel's log"
        case ENOENT: return "; create its parent directory"
        case ENOTDIR: return "; --state-dir must name a directory"
        case ELOOP: return "; it must not be a link: remove it"
        case 0: break
        default: return ""
        }
        switch code {
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_CANTOPEN: return "; the state directory must be writable for the daemon"
        case SQLITE_CORRUPT, SQLITE_NOTADB: return "; restore it from a backup, or remove it, and let this node join anew"
        case SQLITE_BUSY, SQLITE_LOCKED: return "; another program has the file open: end it"
        default: return ""
        }
    }
}

/// State directory that another daemon holds.
public struct StateInUse: Error, Hashable, Sendable, CustomStringConvertible {
    public var directory: String
    /// Process that holds it; nil if the lock does not tell.
    public var process: Int?

    public var description: String {
        "the state directory \(directory) is held by \(process.map { "process \($0)" } ?? "another process"); stop that daemon, or give "
            + "this one a directory of its own with --state-dir"
    }
}

/// One connection to one database file. Confined to the store's thread.
struct SQLiteConnection: ~Copyable {
    private let handle: OpaquePointer
    let path: String

    init(path: String) throws(StoreError) {
        var raw: OpaquePointer?
        Glibc.errno = 0
        let code = sqlite3_open_v2(path, &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let raw else {
            let error = raw.map { Self.error("open", path, code, on: $0) }
            sqlite3_close_v2(raw)
            throw error ?? StoreError(operation: "open", path: path, code: code, reason: "out of memory")
        }
        self.path = path
        handle = raw
    }

    deinit { sqlite3_close_v2(handle) }

    func error(_ operation: String, _ code: Int32) -> StoreError { Self.error(operation, path, code, on: handle) }

    private static func error(_ operation: String, _ path: String, _ code: Int32, on handle: OpaquePointer) -> StoreError {
        // Set to 0 before each call. sqlite3_system_errno would return an earlier error after a failed COMMIT.
        let systemError = Glibc.errno
        let isOfSystem = [SQLITE_CANTOPEN, SQLITE_IOERR].contains(code & 0xFF)
        return StoreError(
            operation: operation, path: path, code: code, reason: String(cString: sqlite3_errmsg(handle)),
            systemError: isOfSystem ? systemError : 0)
    }

    /// - Parameter operation: Purpose of the statement, for the error.
    func execute(_ sql: String, to operation: String) throws(StoreError) {
        Glibc.errno = 0
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(operation, code) }
    }

    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var raw: OpaquePointer?
        Glibc.errno = 0
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &raw, nil)
        guard code == SQLITE_OK, let raw else { throw error("open", code) }
        return SQLiteStatement(raw)
    }
}

/// One prepared statement.
struct SQLiteStatement: ~Copyable {
    private let handle: OpaquePointer

    init(_ handle: OpaquePointer) { self.handle = handle }

    deinit { sqlite3_finalize(handle) }

    /// Copies: the bytes need not outlive the call.
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    func bind(_ text: String, at index: Int32) { sqlite3_bind_text(handle, index, text, -1, Self.transient) }

    func bind(_ bytes: [UInt8], at index: Int32) {
        // A null pointer would bind NULL instead of an empty blob.
        if bytes.isEmpty {
            sqlite3_bind_zeroblob(handle, index, 0)
        } else {
            sqlite3_bind_blob(handle, index, bytes, Int32(bytes.count), Self.transient)
        }
    }

    /// SQLITE_ROW, SQLITE_DONE or an error code.
    func step() -> Int32 {
        Glibc.errno = 0
        return sqlite3_step(handle)
    }

    func reset() { sqlite3_reset(handle) }

    func text(_ column: Int32) -> String { sqlite3_column_text(handle, column).map { String(cString: $0) } ?? "" }

    func blob(_ column: Int32) -> [UInt8] {
        guard let base = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: base, count: Int(sqlite3_column_bytes(handle, column))))
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
}
