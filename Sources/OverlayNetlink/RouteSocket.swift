import CNetlink
import Glibc
import OverlayLinux

/// Owner of one libnl socket.
private struct LibnlSocket: ~Copyable {
    let raw: OpaquePointer

    /// Takes over a netlink descriptor that was opened in the right namespace.
    init(_ descriptor: consuming Descriptor) throws(NetlinkError) {
        guard let raw = nl_socket_alloc() else { throw NetlinkError(code: ENOMEM, message: "nl_socket_alloc") }
        let result = nl_socket_set_fd(raw, NETLINK_ROUTE, descriptor.number)
        if result < 0 {
            nl_socket_free(raw)
            throw NetlinkError(code: 0, message: "nl_socket_set_fd \(result)")
        }
        _ = descriptor.release()
        self.raw = raw
    }

    var descriptor: Int32 { nl_socket_get_fd(raw) }

    deinit { nl_socket_free(raw) }
}

/// Socket for NETLINK_ROUTE in one namespace. Not Sendable, as only one actor uses it.
///
/// Rows go in batches: many requests in one send, of which only the last asks for an acknowledgement. The kernel answers every
/// failed request anyway, with its sequence number, so the failed one is known, and saving 255 acknowledgements makes it fast.
final class RouteSocket {
    /// Number of requests per send. The errors of a whole batch must fit in the receive buffer, or the last acknowledgement is
    /// lost.
    static let batchLimit = 256
    private static let receiveBuffer: Int32 = 1 << 20
    /// Longest wait for an answer. The kernel answers at once, except while it waits for the RTNL lock, which dying namespaces can
    /// hold for seconds.
    private static let patience = timeval(tv_sec: 30, tv_usec: 0)

    private let socket: LibnlSocket
    private let buffer: UnsafeMutableRawBufferPointer
    private var sequence: UInt32 = 0
    private var batch: [UInt8] = []
    private var batchFirst: UInt32 = 0
    private(set) var batchCount = 0

    /// - Parameter namespace: Namespace of the devices.
    init(in namespace: borrowing Descriptor) throws(NetlinkError) {
        let descriptor: Descriptor
        do {
            descriptor = try NetworkNamespace.openSocket(
                in: namespace, domain: AF_NETLINK, type: Int32(SOCK_RAW.rawValue), protocol: NETLINK_ROUTE)
        } catch {
            throw NetlinkError(error)
        }
        let number = descriptor.number
        socket = try LibnlSocket(descriptor)
        buffer = .allocate(byteCount: 1 << 18, alignment: 16)
        var size = Self.receiveBuffer
        // Without CAP_NET_ADMIN in the initial user namespace the ordinary limit applies. The default size suits small batches.
        _ = setsockopt(number, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
        var patience = Self.patience
        _ = setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var on: Int32 = 1
        // Error messages of the kernel, without a copy of the request. Kernels before 4.12 lack both, and nothing else is lost.
        _ = setsockopt(number, SOL_NETLINK, NETLINK_EXT_ACK, &on, socklen_t(MemoryLayout<Int32>.size))
        _ = setsockopt(number, SOL_NETLINK, NETLINK_CAP_ACK, &on, socklen_t(MemoryLayout<Int32>.size))
        // Strict checking, so that headers of dump requests act as filters (kernel 4.20).
        _ = setsockopt(number, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { buffer.deallocate() }

    // MARK: Requests

    /// Carries out one request.
    func request(_ message: borrowing Message) throws(NetlinkError) {
        var bytes: [UInt8] = []
        sequence &+= 1
        message.finish(into: &bytes, sequence: sequence, flags: NLM_F_ACK)
        try send(&bytes)
        var failure: NetlinkError?
        try receive(until: sequence) { number, error in
            if number == sequence { failure = error }
        }
        if let failure { throw failure }
    }

    /// Carries out one request and treats `tolerated` errors as success.
    /// - Returns: False if it failed with a tolerated error.
    @discardableResult
    func request(_ message: borrowing Message, tolerating tolerated: Int32...) throws(NetlinkError) -> Bool {
        do {
            try request(message)
            return true
        } catch {
            guard tolerated.contains(error.code) else { throw error }
            return false
        }
    }

    /// Adds a request to the batch.
    /// - Returns: Its position in the batch.
    @discardableResult
    func enqueue(_ message: borrowing Message) -> Int {
        sequence &+= 1
        if batchCount == 0 { batchFirst = sequence }
        batchCount += 1
        message.finish(into: &batch, sequence: sequence, flags: batchCount == Self.batchLimit ? NLM_F_ACK : 0)
        return batchCount - 1
    }

    var batchIsFull: Bool { batchCount >= Self.batchLimit }

    /// Sends the batch and receives its results.
    /// - Returns: The requests that failed, by position.
    func flush() throws(NetlinkError) -> [(position: Int, error: NetlinkError)] {
        guard batchCount > 0 else { return [] }
        defer {
            batch.removeAll(keepingCapacity: true)
            batchCount = 0
        }
        if !batchIsFull {
            // A no-op request that only asks for the acknowledgement.
            sequence &+= 1
            try Message(Int(NLMSG_NOOP), UInt32(0)).finish(into: &batch, sequence: sequence, flags: NLM_F_ACK)
        }
        let last = sequence
        let first = batchFirst
        var failures: [(position: Int, error: NetlinkError)] = []
        let count = batchCount
        try send(&batch)
        try receive(until: last) { number, error in
            let position = Int(number &- first)
            if let error, position < count { failures.append((position, error)) }
        }
        return failures
    }

    /// Dumps a table.
    ///
    /// - Parameters:
    /// - begin: Called before each attempt. It must forget what `each` has collected, as a dump that was interrupted by a change is
    ///     repeated.
    ///   - each: Called with the type and the payload of each message.
    func dump(
        _ message: borrowing Message, begin: () -> Void, each: (UInt16, Received) -> Void
    ) throws(NetlinkError) {
        for attempt in 1...16 {
            begin()
            var bytes: [UInt8] = []
            sequence &+= 1
            message.finish(into: &bytes, sequence: sequence, flags: NLM_F_DUMP)
            try send(&bytes)
            do {
                if try readDump(each) { return }
            } catch {
                guard error.code == ENOBUFS, attempt < 16 else { throw error }
            }
        }
        throw NetlinkError(code: EAGAIN, message: "the list changed during each of 16 readings")
    }

    /// - Returns: True if the dump was not interrupted by a change.
    private func readDump(_ each: (UInt16, Received) -> Void) throws(NetlinkError) -> Bool {
        var whole = true
        while true {
            var done = false
            var failure: NetlinkError?
            try receiveOnce { header, payload in
                guard header.nlmsg_seq == sequence, !done else { return }
                if header.nlmsg_flags & UInt16(NLM_F_DUMP_INTR) != 0 { whole = false }
                switch Int32(header.nlmsg_type) {
                case NLMSG_DONE:
                    done = true
                    if let code: Int32 = payload.load(), code < 0 { failure = NetlinkError(code: -code) }
                case NLMSG_ERROR:
                    done = true
                    failure = Self.error(header, payload) ?? NetlinkError(code: EPROTO)
                default: each(header.nlmsg_type, payload)
                }
            }
            if let failure {
                // The kernel reports an interrupted dump of some lists as EINTR.
                if failure.code == EINTR { return false }
                throw failure
            }
            if done { return whole }
        }
    }

    /// Sends one request that is answered with data (such as `RTM_GETLINK` by name).
    func get(_ message: borrowing Message, each: (UInt16, Received) -> Void) throws(NetlinkError) {
        var bytes: [UInt8] = []
        sequence &+= 1
        message.finish(into: &bytes, sequence: sequence, flags: NLM_F_ACK)
        try send(&bytes)
        var done = false
        var failure: NetlinkError?
        while !done {
            try receiveOnce { header, payload in
                guard header.nlmsg_seq == sequence else { return }
                if Int32(header.nlmsg_type) == NLMSG_ERROR {
                    failure = Self.error(header, payload)
                    done = true
                } else {
                    each(header.nlmsg_type, payload)
                }
            }
        }
        if let failure { throw failure }
    }

    // MARK: Bytes

    private func send(_ bytes: inout [UInt8]) throws(NetlinkError) {
        let count = bytes.count
        let result = bytes.withUnsafeMutableBytes { nl_sendto(socket.raw, $0.baseAddress, count) }
        guard result == Int32(count) else {
            throw NetlinkError(code: Glibc.errno, message: "send of \(count) bytes")
        }
    }

    /// Receives until the request `last` was acknowledged or refused.
    private func receive(until last: UInt32, _ each: (UInt32, NetlinkError?) -> Void) throws(NetlinkError) {
        var done = false
        while !done {
            try receiveOnce { header, payload in
                guard Int32(header.nlmsg_type) == NLMSG_ERROR else { return }
                each(header.nlmsg_seq, Self.error(header, payload))
                if header.nlmsg_seq == last { done = true }
            }
        }
    }

    /// Failure in an NLMSG_ERROR; nil for an acknowledgement.
    private static func error(_ header: nlmsghdr, _ payload: Received) -> NetlinkError? {
        guard let code: Int32 = payload.load() else { return NetlinkError(code: EPROTO, message: "short error message") }
        guard code != 0 else { return nil }
        var error = NetlinkError(code: -code)
        // NLM_F_ACK_TLVS: attributes follow the copied header, and the request if it was not capped.
        if header.nlmsg_flags & UInt16(0x200) != 0 {
            var skip = 4 + MemoryLayout<nlmsghdr>.size
            if header.nlmsg_flags & UInt16(0x100) == 0, let inner: nlmsghdr = payload.load(at: 4) {  // NLM_F_CAPPED
                skip = 4 + (Int(inner.nlmsg_len) + 3) & ~3
            }
            payload.dropping(skip).forEachAttribute { type, value in
                if type == 1 { error.message = value.text }  // NLMSGERR_ATTR_MSG
            }
        }
        return error
    }

    private func receiveOnce(_ each: (nlmsghdr, Received) -> Void) throws(NetlinkError) {
        var count: Int
        repeat {
            count = recv(socket.descriptor, buffer.baseAddress, buffer.count, Int32(MSG_TRUNC))
        } while count < 0 && Glibc.errno == EINTR
        guard count > 0 else {
            let code = Glibc.errno == EAGAIN ? ETIMEDOUT : Glibc.errno
            throw NetlinkError(code: code, message: "no answer from the kernel")
        }
        guard count <= buffer.count else { throw NetlinkError(code: EMSGSIZE, message: "answer of \(count) bytes") }
        let all = Received(bytes: UnsafeRawBufferPointer(start: buffer.baseAddress, count: count))
        var position = 0
        let size = MemoryLayout<nlmsghdr>.size
        while let header: nlmsghdr = all.load(at: position) {
            let end = position + Int(header.nlmsg_len)
            guard Int(header.nlmsg_len) >= size, end <= count else { break }
            each(header, Received(bytes: UnsafeRawBufferPointer(rebasing: all.bytes[(position + size)..<end])))
            position = (end + 3) & ~3
        }
    }
}
