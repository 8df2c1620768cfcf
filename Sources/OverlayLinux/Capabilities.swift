import Glibc

/// A set of Linux capabilities (capabilities(7)).
public struct Capabilities: Hashable, Sendable {
    /// One bit per capability.
    public let bits: UInt64

    /// Creates a set from its bits.
    public init(bits: UInt64) { self.bits = bits }

    /// CAP_NET_ADMIN: links, addresses, neighbours, bridges.
    public static let netAdmin = 12
    /// CAP_NET_RAW: packet sockets.
    public static let netRaw = 13
    /// CAP_SYS_ADMIN: namespaces and mounts.
    public static let sysAdmin = 21

    /// True if the capability with this number is in the set.
    public func contains(_ capability: Int) -> Bool {
        (0..<64).contains(capability) && bits & (1 << UInt64(capability)) != 0
    }

    /// Names of the capabilities that this process needs and does not have.
    public var missing: [String] {
        [(Self.netAdmin, "CAP_NET_ADMIN"), (Self.netRaw, "CAP_NET_RAW"), (Self.sysAdmin, "CAP_SYS_ADMIN")]
            .filter { !contains($0.0) }.map(\.1)
    }

    /// Effective set of this process.
    public static var effective: Capabilities {
        get throws(SystemError) {
            let path = "/proc/self/status"
            let text = try readFile(path)
            guard let set = parse(status: text) else { throw SystemError(operation: "parse", path: path, errno: EINVAL) }
            return set
        }
    }

    /// Parses the `CapEff` line of /proc/…/status; nil if there is none.
    static func parse(status: String) -> Capabilities? {
        for line in status.split(separator: "\n") where line.hasPrefix("CapEff:") {
            return UInt64(line.dropFirst(7).drop { $0 == "\t" || $0 == " " }, radix: 16).map(Capabilities.init(bits:))
        }
        return nil
    }
}

/// Reads a small file as text. Files under /proc have no size.
func readFile(_ path: String) throws(SystemError) -> String {
    let descriptor = try Descriptor(path: path)
    var content: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(descriptor.number, &buffer, buffer.count)
        if count < 0, Glibc.errno == EINTR { continue }
        guard count >= 0 else { throw SystemError(operation: "read", path: path, errno: Glibc.errno) }
        if count == 0 { return String(decoding: content, as: UTF8.self) }
        content += buffer[..<count]
    }
}
