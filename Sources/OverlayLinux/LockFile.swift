internal import CLinux
import Glibc

/// Reason why a lock was not taken.
public enum LockError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Another process holds the lock. Its id, if the file contains one.
    case held(byPID: Int?)
    /// The file could not be opened, locked or written.
    case system(SystemError)

    /// Phrase for an error line.
    public var description: String {
        switch self {
        case .held(let pid?): "held by process \(pid)"
        case .held(nil): "held by another process"
        case .system(let error): error.description
        }
    }
}

/// Exclusive lock on a file (flock(2)), held while the value lives.
///
/// The file contains the owner's process id as text. It stays when the lock is released, as two processes could otherwise lock two
/// files of one name.
public final class LockFile: Sendable {
    private let descriptor: Descriptor

    /// Takes the lock, or fails at once. The file is created with mode 0600.
    public init(path: String) throws(LockError) {
        let number = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard number >= 0 else { throw .system(SystemError(operation: "open", path: path, errno: Glibc.errno)) }
        let descriptor = Descriptor(owning: number)
        let result = overlay_flock(number)
        if result == -EWOULDBLOCK { throw .held(byPID: Self.pid(in: number)) }
        guard result >= 0 else { throw .system(SystemError(operation: "flock", path: path, errno: -result)) }
        var text = Array("\(getpid())\n".utf8)
        guard ftruncate(number, 0) == 0, pwrite(number, &text, text.count, 0) == text.count else {
            throw .system(SystemError(operation: "write", path: path, errno: Glibc.errno))
        }
        self.descriptor = descriptor
    }

    private static func pid(in descriptor: Int32) -> Int? {
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return nil }
        return Int(String(decoding: buffer[..<count].prefix { $0 != 10 }, as: UTF8.self))
    }
}
