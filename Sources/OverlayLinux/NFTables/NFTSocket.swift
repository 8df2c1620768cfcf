import Glibc

/// Netlink socket for nf_tables in one network namespace. It belongs to one thread at a time.
public final class NFTSocket: Sendable {
    private let socket: Descriptor
    /// Words of an error's operation.
    private let purpose: String

    /// Opens the socket.
    ///
    /// - Parameters:
    ///   - namespace: Namespace of the tables.
    ///   - purpose: Words for errors: which rules could not be set.
    public init(in namespace: borrowing Descriptor, purpose: String) throws(SystemError) {
        let netfilter: Int32 = 12
        self.purpose = purpose
        socket = try NetworkNamespace.openSocket(
            in: namespace, domain: AF_NETLINK, type: Int32(SOCK_RAW.rawValue), protocol: netfilter)
        // A missing answer must not hold up everything else.
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(socket.number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    /// Lets a transaction and its answers be as long as this, in bytes. Needs CAP_NET_ADMIN; without it the ordinary limits stay.
    public func allow(bytes: Int32) {
        var size = bytes
        setsockopt(socket.number, SOL_SOCKET, SO_SNDBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
        setsockopt(socket.number, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Netlink port of the socket (nl_pid), by which notifications name who made a change.
    public func port() throws(SystemError) -> UInt32 {
        // struct sockaddr_nl (linux/netlink.h): family, padding, port, groups.
        var address: [UInt32] = [UInt32(AF_NETLINK), 0, 0]
        var length = socklen_t(12)
        let result = address.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { name -> Int32 in
                guard let name = name.baseAddress else { return -1 }
                // The kernel gives a port, unless the socket has one.
                _ = bind(socket.number, name, length)
                return getsockname(socket.number, name, &length)
            }
        }
        guard result == 0 else { throw failure(errno) }
        return address[1]
    }

    private func failure(_ number: Int32) -> SystemError { SystemError(operation: purpose, errno: number) }

    /// Carries out a transaction.
    ///
    /// - Throws: The first error; nothing of the transaction is in the kernel then.
    public func commit(_ batch: NFTBatch) throws(SystemError) {
        let bytes = batch.whole
        guard send(socket.number, bytes, bytes.count, 0) == bytes.count else { throw failure(errno) }
        var left = batch.requests
        var first: Int32 = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while left > 0 {
            let count = recv(socket.number, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(first != 0 ? first : count < 0 ? errno : EIO) }
            forEachMessage(buffer[..<count]) { type, payload in
                // NLMSG_ERROR: an errno, 0 of which acknowledges. What a failed transaction did before is answered, too.
                guard type == 2, payload.count >= 4 else { return }
                let code = payload.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
                if code != 0, first == 0 { first = -code }
                left -= 1
            }
            // The kernel does not answer every message of a transaction that failed.
            if first != 0 {
                drain(&buffer)
                break
            }
        }
        if first != 0 { throw failure(first) }
    }

    /// Reads away answers that wait.
    private func drain(_ buffer: inout [UInt8]) { while recv(socket.number, &buffer, buffer.count, Int32(MSG_DONTWAIT)) > 0 {} }

    /// Lists objects.
    ///
    /// - Parameter each: Called with the attributes of each object.
    /// - Throws: An error if the kernel refuses, or the list changed while it was read (EINTR).
    public func list(
        _ kind: NFTBatch.Kind, _ family: NFTBatch.Family, _ fill: (inout NFTAttributes) -> Void = { _ in },
        _ each: (NFTReceived) -> Void
    ) throws(SystemError) {
        let request = NFTBatch.list(kind, family, sequence: 1, fill)
        guard send(socket.number, request, request.count, 0) == request.count else { throw failure(errno) }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var isDone = false
        var error: Int32 = 0
        while !isDone {
            let count = recv(socket.number, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(count < 0 ? errno : EIO) }
            buffer.withUnsafeBytes { raw in
                var position = 0
                while position + 16 <= count {
                    let flags = raw.loadUnaligned(fromByteOffset: position + 6, as: UInt16.self)
                    // NLM_F_DUMP_INTR
                    if flags & 0x10 != 0 { error = EINTR }
                    let length = Int(raw.loadUnaligned(fromByteOffset: position, as: UInt32.self))
                    guard length >= 16 else { break }
                    position += (length + 3) & ~3
                }
            }
            forEachMessage(buffer[..<count]) { type, payload in
                switch type {
                case 2:
                    let code = payload.count >= 4 ? payload.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) } : -EIO
                    error = -code
                    isDone = true
                case 3: isDone = true
                // Behind nfgenmsg.
                default: each(NFTReceived(payload.dropFirst(4)))
                }
            }
        }
        if error != 0 { throw failure(error) }
    }

    /// Calls `body` with type and payload of each message that is whole.
    private func forEachMessage(_ bytes: ArraySlice<UInt8>, _ body: (UInt16, ArraySlice<UInt8>) -> Void) {
        var position = bytes.startIndex
        while position + 16 <= bytes.endIndex {
            let (length, type) = bytes[position...].withUnsafeBytes {
                (Int($0.loadUnaligned(as: UInt32.self)), $0.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
            }
            guard length >= 16, position + length <= bytes.endIndex else { return }
            body(type, bytes[(position + 16)..<(position + length)])
            position += (length + 3) & ~3
        }
    }
}

/// Attributes of nf_tables that were received. Bounds are checked; what does not fit is not there.
public struct NFTReceived: Sendable {
    public let bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// Attributes in their order, with their types.
    public var all: [(type: UInt16, value: NFTReceived)] {
        var result: [(UInt16, NFTReceived)] = []
        var position = bytes.startIndex
        while position + 4 <= bytes.endIndex {
            let (length, type) = bytes[position...].withUnsafeBytes {
                (Int($0.loadUnaligned(as: UInt16.self)), $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            }
            guard length >= 4, position + length <= bytes.endIndex else { break }
            result.append((type & 0x3FFF, NFTReceived(bytes[(position + 4)..<(position + length)])))
            position += (length + 3) & ~3
        }
        return result
    }

    /// First attribute of a type.
    public subscript(_ type: UInt16) -> NFTReceived? { all.first { $0.type == type }?.value }

    /// Text up to the first zero byte.
    public var text: String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }

    /// Number in network byte order; nil unless it has 32 bits.
    public var number: UInt32? {
        bytes.count == 4 ? bytes.withUnsafeBytes { UInt32(bigEndian: $0.loadUnaligned(as: UInt32.self)) } : nil
    }
}
