import Glibc
import OverlayDNS
import OverlayLinux

/// A question of a connection that Docker's resolver was asked, on a connection of its own.
struct Relay {
    var stream: Stream
    /// Who asked.
    var connection: UInt64
    var query: DNSQuery
    var deadline: Int64
    var token: UInt64 { stream.token }
}

/// A TCP connection with messages behind their lengths (RFC 1035 §4.2.2).
final class Stream {
    /// What waits for a client before no more of its questions are looked at; an answer is at most a quarter of it.
    private static let outputLimit = 256 << 10
    /// What has gone is let go of at this size: a client that never takes all of it is never finished with.
    private static let writtenLimit = 64 << 10
    private static let readSize = 16_384

    let descriptor: Descriptor
    let token: UInt64
    var active: Int64
    var watched = ReadySet.Events.readable
    /// The other side says no more; it may still listen.
    private(set) var isEnded = false
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var written = 0

    init(_ descriptor: consuming Descriptor, token: UInt64, active: Int64) {
        self.descriptor = descriptor
        self.token = token
        self.active = active
    }

    var hasOutput: Bool { written < output.count }
    /// In bytes, for the other side.
    var held: Int { output.count }
    var isFull: Bool { output.count - written >= Self.outputLimit }
    var hasMessage: Bool { input.count >= 2 && input.count >= 2 + (Int(input[0]) << 8 | Int(input[1])) }

    /// Takes no more at a time than a message and what follows it.
    ///
    /// - Returns: False where the connection is broken.
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

    func nextMessage() -> [UInt8]? {
        guard input.count >= 2 else { return nil }
        let length = Int(input[0]) << 8 | Int(input[1])
        guard input.count >= 2 + length else { return nil }
        defer { input.removeFirst(2 + length) }
        return Array(input[2..<2 + length])
    }

    static func framed(_ message: [UInt8]) -> [UInt8] { [UInt8(message.count >> 8 & 0xFF), UInt8(message.count & 0xFF)] + message }

    func queue(_ bytes: [UInt8]) { output += bytes }

    /// How much went; nil where it has failed.
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
