import Glibc

/// A system call that failed.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried, in words an operator knows (`open`, `mount namespace`).
    public var operation: String
    /// The file it was tried on, where there is one.
    public var path: String?
    /// The positive errno.
    public var errno: Int32

    /// A failure with the errno that the call left.
    public init(operation: String, path: String? = nil, errno: Int32) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }

    /// `operation path: strerror text`.
    public var description: String {
        let subject = path.map { "\(operation) \($0)" } ?? operation
        return "\(subject): \(Self.text(of: errno))"
    }

    /// What `strerror` says about an errno.
    public static func text(of errno: Int32) -> String {
        // strerror's static buffer is shared between threads; strerror_r writes into ours.
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let base = buffer.baseAddress, strerror_r(errno, base, buffer.count) == 0 else { return "error \(errno)" }
            return String(cString: base)
        }
    }
}

/// Turns the −errno of a CLinux function into an error, and passes its other results on.
@inline(__always)
func check(_ result: Int32, _ operation: String, path: String? = nil) throws(SystemError) -> Int32 {
    guard result >= 0 else { throw SystemError(operation: operation, path: path, errno: -result) }
    return result
}
