internal import CLinux
import Glibc

/// Datagrams of an IPv4 socket that are received together, with answers that are sent together (recvmmsg(2), sendmmsg(2)).
public struct DatagramBatch: ~Copyable {
    private let batch: OpaquePointer
    /// Largest number of datagrams.
    public let count: Int

    public init(count: Int, bytes: Int) throws(SystemError) {
        guard let batch = overlay_batch_new(UInt32(count), bytes) else {
            throw SystemError(operation: "room for datagrams", errno: ENOMEM)
        }
        self.batch = batch
        self.count = count
    }

    deinit { overlay_batch_free(batch) }

    /// Receives waiting datagrams.
    ///
    /// - Returns: Their number; 0 if none waits.
    public mutating func receive(from socket: Int32) throws(SystemError) -> Int {
        let result = overlay_batch_receive(batch, socket)
        if result == -EAGAIN || result == -EINTR { return 0 }
        return Int(try check(result, "recvmmsg"))
    }

    /// Bytes of a datagram; nil for one that was too long.
    public func bytes(at index: Int) -> [UInt8]? {
        var length = 0
        guard let start = overlay_batch_bytes(batch, UInt32(index), &length) else { return nil }
        return Array(UnsafeBufferPointer(start: start, count: length))
    }

    /// Source of a datagram, in network byte order.
    public func source(at index: Int) -> (address: UInt32, port: UInt16) {
        var address: UInt32 = 0
        var port: UInt16 = 0
        overlay_batch_source(batch, UInt32(index), &address, &port)
        return (address, port)
    }

    /// Sets the answer to a datagram.
    public mutating func answer(_ index: Int, _ bytes: [UInt8]) {
        bytes.withUnsafeBytes { overlay_batch_answer(batch, UInt32(index), $0.baseAddress, $0.count) }
    }

    /// Sends the answers.
    ///
    /// - Returns: The number that was sent.
    public mutating func send(to socket: Int32) -> Int { Int(overlay_batch_send(batch, socket)) }
}
