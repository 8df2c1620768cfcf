import OverlayLinux

/// What the kernel, or libnl, said to one request.
struct NetlinkError: Error, Hashable, Sendable {
    /// Positive errno; 0 when libnl refused to build the message.
    var code: Int32
    /// The kernel's own words (extended acknowledgement), or libnl's; empty when there are none.
    var message: String

    init(code: Int32, message: String = "") {
        self.code = code
        self.message = message
    }

    init(_ error: SystemError) { self.init(code: error.errno, message: error.description) }

    /// `strerror` and the kernel's words.
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
