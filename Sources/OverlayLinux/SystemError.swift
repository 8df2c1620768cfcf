import Glibc

/// Failure of a system call.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Operation that failed, in words an operator knows (`open`, `mount namespace`).
    public var operation: String
    /// File that the operation was for; nil if there is none.
    public var path: String?
    /// errno, positive.
    public var errno: Int32

    /// Creates a failure with an errno.
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

    /// Text of `strerror` for an errno.
    public static func text(of errno: Int32) -> String {
        // The static buffer of strerror is shared between threads; strerror_r writes into ours.
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let base = buffer.baseAddress, strerror_r(errno, base, buffer.count) == 0 else { return "error \(errno)" }
            return String(cString: base)
        }
    }
}

/// Turns the −errno of a CLinux function into an error, and returns other results.
@inline(__always)
func check(_ result: Int32, _ operation: String, path: String? = nil) throws(SystemError) -> Int32 {
    guard result >= 0 else { throw SystemError(operation: operation, path: path, errno: -result) }
    return result
}
