import Glibc
import OverlayLinux
import OverlayModel

/// TCP connection whose messages follow their lengths (RFC 1035 §4.2.2).
final class Stream {
    /// Bytes that wait for a client before no more of its questions are looked at; an answer has at most a quarter of that.
    private static let outputLimit = 256 << 10
    /// Bytes sent after which their memory is freed: a client that never takes everything would hold it for ever.
    private static let writtenLimit = 64 << 10
    /// Bytes read at a time.
    private static let readSize = 16_384

    let descriptor: Descriptor
    let token: UInt64
    /// Time of the last byte read or written.
    var active: Instant
    var watched = ReadySet.Events.readable
    /// True if the other side sends no more; it may still listen.
    private(set) var isEnded = false
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var written = 0

    init(_ descriptor: consuming Descriptor, token: UInt64, active: Instant) {
        self.descriptor = descriptor
        self.token = token
        self.active = active
    }

    var hasOutput: Bool { written < output.count }
    /// Bytes of memory held for the other side.
    var held: Int { output.count }
    var isFull: Bool { output.count - written >= Self.outputLimit }
    var hasMessage: Bool { input.count >= 2 && input.count >= 2 + (Int(input[0]) << 8 | Int(input[1])) }

    /// Reads what has come, but no more than one message of the greatest length and what follows it.
    ///
    /// - Returns: False if the connection is broken.
    func read() -> Bool {
        guard !isEnded, input.count < 2 * Self.readSize + 65_537 else { return true }
        var piece = [UInt8](repeating: 0, count: Self.readSize)
        let count = Glibc.read(descriptor.number, &piece, piece.count)
        if count > 0 {
            input += piece.prefix(count)
            return true
        }
        if count == 0 { isEnded = true }
        return count == 0 || errno == EAGAIN || errno == EINTR
    }

    /// Removes the next whole message; nil if there is none yet.
    func nextMessage() -> [UInt8]? {
        guard input.count >= 2 else { return nil }
        let length = Int(input[0]) << 8 | Int(input[1])
        guard input.count >= 2 + length else { return nil }
        defer { input.removeFirst(2 + length) }
        return Array(input[2..<2 + length])
    }

    /// A message behind its length.
    static func framed(_ message: [UInt8]) -> [UInt8] { [UInt8(message.count >> 8 & 0xFF), UInt8(message.count & 0xFF)] + message }

    func queue(_ bytes: [UInt8]) { output += bytes }

    /// Writes what the socket takes.
    ///
    /// - Returns: Number of bytes written; nil if the connection is broken.
    func write() -> Int? {
        var total = 0
        while hasOutput {
            let count = output[written...].withUnsafeBytes {
                send(descriptor.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count >= 0 else {
                guard [EAGAIN, EINTR, EINPROGRESS, ENOTCONN].contains(errno) else { return nil }
                if written >= Self.writtenLimit {
                    output.removeFirst(written)
                    written = 0
                }
                return total
            }
            written += count
            total += count
        }
        output = []
        written = 0
        return total
    }
}
