internal import CLinux
import Glibc

/// Named network namespaces, as `ip netns` keeps them under /run/netns. The calling thread never changes its own namespace.
public enum NetworkNamespace {
    /// State of a path.
    public enum State: Hashable, Sendable {
        /// There is nothing.
        case missing
        /// There is a pinned namespace.
        case namespace
        /// There is another file: a pin that was lost in a reboot with a persistent /run, or in a crash between creating and
        /// mounting.
        case stale
    }

    /// State of `path`.
    public static func state(path: String) throws(SystemError) -> State {
        let result = overlay_netns_check(path)
        if result == -ENOENT { return .missing }
        return try check(result, "statfs", path: path) == 1 ? .namespace : .stale
    }

    /// Creates a network namespace pinned at `path`. An existing one is left alone, a stale plain file is replaced.
    /// - Returns: True if it was created now.
    @discardableResult
    public static func create(path: String) throws(SystemError) -> Bool {
        switch try state(path: path) {
        case .namespace: return false
        case .stale: try remove(path: path)
        case .missing: break
        }
        try pin(path) { overlay_netns_create(path) }
        return true
    }

    /// Pins an open namespace at `path` again, where its pin was removed. A stale plain file is replaced.
    public static func pin(_ namespace: borrowing Descriptor, path: String) throws(SystemError) {
        let number = namespace.number
        if try state(path: path) != .missing { try remove(path: path) }
        try pin(path) { overlay_netns_pin(number, path) }
    }

    private static func pin(_ path: String, _ work: () -> Int32) throws(SystemError) {
        let file = Glibc.open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o444)
        guard file >= 0 else { throw SystemError(operation: "create namespace", path: path, errno: Glibc.errno) }
        close(file)
        let result = work()
        if result < 0 {
            unlink(path)
            throw SystemError(operation: "create namespace", path: path, errno: -result)
        }
    }

    /// Unpins the namespace at `path`, which dies when the last socket in it is closed. A missing one is no error.
    public static func remove(path: String) throws(SystemError) {
        _ = try check(overlay_netns_remove(path), "remove namespace", path: path)
    }

    /// Creates the directory of namespaces (0755) and makes its mount shared, as `ip netns` does. Otherwise the first use of `ip
    /// netns` would bind the directory on itself and hide our pins under copies that nobody could remove.
    public static func prepareDirectory(_ path: String) throws(SystemError) {
        if mkdir(path, 0o755) != 0, Glibc.errno != EEXIST {
            throw SystemError(operation: "mkdir", path: path, errno: Glibc.errno)
        }
        _ = try check(overlay_share_mount(path), "mount --make-rshared", path: path)
    }

    /// Opens the namespace at `path`. Refuses other files.
    public static func open(path: String) throws(SystemError) -> Descriptor {
        let descriptor = try Descriptor(path: path)
        guard try state(path: path) == .namespace else {
            throw SystemError(operation: "open namespace", path: path, errno: EINVAL)
        }
        return descriptor
    }

    /// Namespace of this process.
    public static func current() throws(SystemError) -> Descriptor { try Descriptor(path: "/proc/self/ns/net") }

    /// Opens a socket that stays in a namespace.
    /// - Parameter namespace: Open descriptor of the namespace.
    public static func openSocket(
        in namespace: borrowing Descriptor, domain: Int32, type: Int32, protocol number: Int32
    ) throws(SystemError) -> Descriptor {
        Descriptor(owning: try check(overlay_netns_socket(namespace.number, domain, type, number), "socket in namespace"))
    }

    /// Accepts a connection of a listening socket and makes it non-blocking; nil if none waits.
    ///
    /// - Throws: An error if one waits but cannot be accepted (EMFILE and the like). It goes on waiting.
    public static func accept(_ socket: Int32) throws(SystemError) -> Descriptor? {
        while true {
            let number = overlay_accept(socket)
            switch -number {
            case EAGAIN: return nil
            // This connection is gone, but others may wait.
            case ECONNABORTED, EINTR, EPROTO: continue
            default: return Descriptor(owning: try check(number, "accept"))
            }
        }
    }

    /// Opens a file for reading as seen from a namespace. The descriptor keeps showing that namespace's content.
    public static func openFile(_ path: String, in namespace: borrowing Descriptor) throws(SystemError) -> Descriptor {
        Descriptor(owning: try check(overlay_netns_open(namespace.number, path), "open", path: path))
    }

    /// Runs work on a throwaway thread in a namespace.
    public static func run<T>(in namespace: borrowing Descriptor, _ work: () -> T) throws(SystemError) -> T {
        var result: T?
        let code = withoutActuallyEscaping(work) { work in
            var job: () -> Void = { result = work() }
            return withUnsafeMutablePointer(to: &job) { job in
                overlay_netns_run(namespace.number, { $0?.assumingMemoryBound(to: (() -> Void).self).pointee() }, job)
            }
        }
        _ = try check(code, "enter namespace")
        guard let result else { throw SystemError(operation: "run in namespace", errno: EIO) }
        return result
    }

    /// Writes a file as seen from a namespace. /proc/sys/net shows each thread the settings of its own namespace.
    public static func write(_ text: String, to path: String, in namespace: borrowing Descriptor) throws(SystemError) {
        _ = try check(overlay_netns_write(namespace.number, path, text), "write", path: path)
    }

    /// First 255 bytes of a file as seen from a namespace, without the newline at the end.
    public static func read(_ path: String, in namespace: borrowing Descriptor) throws(SystemError) -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        _ = try check(overlay_netns_read(namespace.number, path, &buffer, buffer.count), "read", path: path)
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    /// Identity of an open namespace: its inode number in nsfs, unique while it exists.
    public static func identity(of namespace: borrowing Descriptor) throws(SystemError) -> UInt64 {
        var status = stat()
        guard fstat(namespace.number, &status) == 0 else { throw SystemError(operation: "fstat namespace", errno: Glibc.errno) }
        return UInt64(status.st_ino)
    }

    /// Identity of the namespace at `path`; nil if there is nothing.
    public static func identity(path: String) throws(SystemError) -> UInt64? {
        var status = stat()
        if stat(path, &status) == 0 { return UInt64(status.st_ino) }
        if Glibc.errno == ENOENT { return nil }
        throw SystemError(operation: "stat", path: path, errno: Glibc.errno)
    }

    /// Names of the files in a directory of namespaces, sorted; empty if the directory is missing.
    public static func names(in directory: String) throws(SystemError) -> [String] {
        guard let stream = opendir(directory) else {
            if Glibc.errno == ENOENT { return [] }
            throw SystemError(operation: "opendir", path: directory, errno: Glibc.errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
