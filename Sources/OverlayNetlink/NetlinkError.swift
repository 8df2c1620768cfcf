import OverlayLinux

/// Error answer of the kernel, or of libnl, to one request.
struct NetlinkError: Error, Hashable, Sendable {
    /// Positive errno; 0 when libnl refused to build the message.
    var code: Int32
    /// Message of the kernel (extended acknowledgement) or of libnl; empty if there is none.
    var message: String

    init(code: Int32, message: String = "") {
        self.code = code
        self.message = message
    }

    init(_ error: SystemError) { self.init(code: error.errno, message: error.description) }

    /// Text of `strerror`, followed by the kernel's message.
    var text: String {
        let name = code == 0 ? "netlink library" : SystemError.text(of: code)
        return message.isEmpty ? name : "\(name) (\(message))"
    }
}

/// Runs a call of OverlayLinux inside netlink work.
func system<T: ~Copyable>(_ body: () throws(SystemError) -> T) throws(NetlinkError) -> T {
    do {
        return try body()
    } catch {
        throw NetlinkError(error)
    }
}
