import CSQLite

/// What SQLite said, and what the user can do.
public struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    public var operation: String
    public var path: String
    /// SQLite's primary result code.
    public var code: Int32
    public var reason: String

    public var description: String {
        let advice =
            switch code {
            case SQLITE_FULL: "; free some space, the daemon goes on by itself"
            case SQLITE_READONLY, SQLITE_PERM, SQLITE_CANTOPEN: "; the state directory must be writable for the daemon"
            case SQLITE_CORRUPT, SQLITE_NOTADB: "; restore it from a backup, or remove it, and let this node join anew"
            default: ""
            }
        return "\(operation) \(path): \(reason)\(advice)"
    }
}

/// One connection to one database file. Confined to the store's thread.
struct SQLiteConnection: ~Copyable {
    private let handle: OpaquePointer
    let path: String

    init(path: String) throws(StoreError) {
        var raw: OpaquePointer?
        let code = sqlite3_open_v2(path, &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let raw else {
            let reason = raw.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(raw)
            throw StoreError(operation: "open", path: path, code: code & 0xFF, reason: reason)
        }
        self.path = path
        handle = raw
    }

    deinit { sqlite3_close_v2(handle) }

    func error(_ operation: String, _ code: Int32) -> StoreError {
        StoreError(operation: operation, path: path, code: code & 0xFF, reason: String(cString: sqlite3_errmsg(handle)))
    }

    func execute(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(sql.split(separator: " ").first.map(String.init) ?? sql, code) }
    }

    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var raw: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &raw, nil)
        guard code == SQLITE_OK, let raw else { throw error("prepare", code) }
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
    func step() -> Int32 { sqlite3_step(handle) }
    func reset() { sqlite3_reset(handle) }

    func text(_ column: Int32) -> String { sqlite3_column_text(handle, column).map { String(cString: $0) } ?? "" }

    func blob(_ column: Int32) -> [UInt8] {
        guard let base = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: base, count: Int(sqlite3_column_bytes(handle, column))))
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
}
