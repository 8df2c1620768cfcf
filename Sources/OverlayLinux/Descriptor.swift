import Glibc

/// File descriptor with one owner, closed when the owner goes.
public struct Descriptor: ~Copyable, Sendable {
    /// Number of the descriptor, valid while the value is borrowed.
    public let number: Int32

    /// Takes over an open descriptor.
    public init(owning number: Int32) { self.number = number }

    /// Opens a file for reading, close-on-exec.
    public init(path: String) throws(SystemError) {
        let number = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw SystemError(operation: "open", path: path, errno: Glibc.errno) }
        self.number = number
    }

    /// Passes the number to a new owner, who has to close it.
    public consuming func release() -> Int32 {
        let number = self.number
        discard self
        return number
    }

    deinit { close(number) }
}
