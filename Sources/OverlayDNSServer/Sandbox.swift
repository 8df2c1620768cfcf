import Glibc
import OverlayDNS
import OverlayLinux
import OverlayModel

/// One sandbox, as the answering thread knows it.
final class Sandbox {
    /// Docker's resolver asks up to three servers for four seconds each.
    static let patience: Int64 = 15_000_000_000
    /// Of an answer by datagram.
    static let answerBytes = 65_535
    /// When nothing has come for so long, the resolver may listen elsewhere.
    private static let silence: Int64 = 2_000_000_000

    let sockets: SandboxSockets
    var scope: SandboxScope
    var tokens: [UInt64] = []
    /// False while there is no room for another connection in this process.
    var isListening = true
    var listenerToken: UInt64 = 0
    var streams: [UInt64: Stream] = [:]
    var relays: [UInt64: Relay] = [:]
    /// Questions that Docker's resolver was asked, by the id that it was given.
    private(set) var pending: [UInt16: Pending] = [:]
    private let limits: DNSServer.Limits
    private var allowance: Double
    private var counted: Int64
    private var number: UInt64 = 0
    private var udpPort: UInt16?
    private var tcpPort: UInt16?
    private var heard: Int64

    struct Pending {
        var client: (address: UInt32, port: UInt16)
        var id: (UInt8, UInt8)
        /// What follows the header: the answer begins with the same.
        var question: ArraySlice<UInt8>
        var sent: Int64
    }

    init(_ sockets: SandboxSockets, _ scope: SandboxScope, limits: DNSServer.Limits, now: Int64) {
        self.sockets = sockets
        self.scope = scope
        self.limits = limits
        allowance = Double(limits.queriesPerSecond)
        counted = now
        heard = now
    }

    func nextNumber() -> UInt64 {
        number += 1
        return number
    }

    /// A second's worth may come at once.
    func mayAsk(_ now: Int64) -> Bool {
        guard limits.queriesPerSecond > 0 else { return true }
        let rate = Double(limits.queriesPerSecond)
        allowance = min(rate, allowance + Double(now - counted) * rate / 1e9)
        counted = now
        guard allowance >= 1 else { return false }
        allowance -= 1
        return true
    }

    // MARK: Docker's resolver

    func forgetResolver() {
        udpPort = nil
        tcpPort = nil
    }

    /// False where nobody can be asked.
    func forward(
        _ question: [UInt8], from client: (address: UInt32, port: UInt16), _ now: Int64, _ generator: inout SeededGenerator
    ) -> Bool {
        guard pending.count + relays.count < limits.forwards else { return false }
        // Nothing but questions on the way, and none answered: it may have started anew.
        if let oldest = pending.values.map(\.sent).min(), now - max(oldest, heard) > Self.silence { forgetResolver() }
        var id = UInt16(truncatingIfNeeded: generator.next())
        while pending[id] != nil { id &+= 1 }
        var message = question
        message[0] = UInt8(id >> 8)
        message[1] = UInt8(id & 0xFF)
        guard send(message) else { return false }
        pending[id] = Pending(
            client: client, id: (question[0], question[1]),
            question: question[DNSQuery.headerBytes...].prefix(Self.questionLength(question)),
            sent: now)
        return true
    }

    /// Name, type and class; the name was read before.
    private static func questionLength(_ message: [UInt8]) -> Int {
        var position = DNSQuery.headerBytes
        while position < message.count, message[position] != 0 { position += Int(message[position]) + 1 }
        return position + 5 - DNSQuery.headerBytes
    }

    private func send(_ message: [UInt8]) -> Bool {
        for _ in 0..<2 {
            guard let port = udpPort ?? sockets.resolverUDPPort() else { return false }
            udpPort = port
            let target = SandboxSockets.endpoint(SandboxSockets.address, port)
            let sent = SandboxSockets.withEndpoint(target) {
                sendto(sockets.upstream.number, message, message.count, 0, $0, $1)
            }
            if sent == message.count { return true }
            // An earlier one was refused: nobody listens there any more.
            udpPort = nil
        }
        return false
    }

    /// Answers of Docker's resolver, back to who asked.
    ///
    /// - Parameter buffer: Room for the largest.
    func receiveFromResolver(_ now: Int64, in buffer: inout [UInt8]) {
        for _ in 0..<limits.datagramsPerTurn {
            var source = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = withUnsafeMutablePointer(to: &source) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(sockets.upstream.number, &buffer, Self.answerBytes, 0, $0, &length)
                }
            }
            guard count >= 0 else {
                if errno == ECONNREFUSED {
                    udpPort = nil
                    continue
                }
                return
            }
            guard count >= DNSQuery.headerBytes, source.sin_addr.s_addr == SandboxSockets.address.bigEndian,
                UInt16(bigEndian: source.sin_port) == udpPort, buffer[2] & 0x80 != 0
            else { continue }
            let id = UInt16(buffer[0]) << 8 | UInt16(buffer[1])
            guard let asked = pending[id], buffer[DNSQuery.headerBytes..<count].starts(with: asked.question) else { continue }
            pending[id] = nil
            heard = now
            buffer[0] = asked.id.0
            buffer[1] = asked.id.1
            var client = sockaddr_in()
            client.sin_family = sa_family_t(AF_INET)
            client.sin_addr.s_addr = asked.client.address
            client.sin_port = asked.client.port
            _ = SandboxSockets.withEndpoint(client) { sendto(sockets.datagrams.number, buffer, count, 0, $0, $1) }
        }
    }

    func expirePending(_ now: Int64) {
        let old = pending.filter { now - $0.value.sent >= Self.patience }
        for id in old.keys { pending[id] = nil }
    }

    /// A connection that is being made; nil where it cannot be.
    func connectToResolver() -> Descriptor? {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard let port = tcpPort ?? sockets.resolverTCPPort(),
            let descriptor = try? NetworkNamespace.openSocket(in: sockets.namespace, domain: AF_INET, type: kind, protocol: 0)
        else { return nil }
        tcpPort = port
        let target = SandboxSockets.endpoint(SandboxSockets.address, port)
        let result = SandboxSockets.withEndpoint(target) { connect(descriptor.number, $0, $1) }
        guard result == 0 || errno == EINPROGRESS else {
            tcpPort = nil
            return nil
        }
        return descriptor
    }
}

/// A question of a connection that Docker's resolver was asked, on a connection of its own.
struct Relay {
    var stream: Stream
    /// Who asked.
    var connection: UInt64
    var question: [UInt8]
    var deadline: Int64
    var token: UInt64 { stream.token }
}

/// A TCP connection with messages behind their lengths (RFC 1035 §4.2.2).
final class Stream {
    /// What waits for a client before no more of its questions are looked at; an answer is at most a quarter of it.
    private static let outputLimit = 256 << 10
    private static let readSize = 16_384

    let descriptor: Descriptor
    let token: UInt64
    var active: Int64
    var watched = ReadySet.Events.readable
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var written = 0

    init(_ descriptor: consuming Descriptor, token: UInt64, active: Int64) {
        self.descriptor = descriptor
        self.token = token
        self.active = active
    }

    var hasOutput: Bool { written < output.count }

    /// False at its end. Takes no more at a time than a message and what follows it.
    func read() -> Bool {
        guard input.count < 2 * Self.readSize + 65_537 else { return true }
        var piece = [UInt8](repeating: 0, count: Self.readSize)
        let count = Glibc.read(descriptor.number, &piece, piece.count)
        if count > 0 {
            input += piece.prefix(count)
            return true
        }
        return count < 0 && (errno == EAGAIN || errno == EINTR)
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

    var isFull: Bool { output.count - written >= Self.outputLimit }
    var hasMessage: Bool { input.count >= 2 && input.count >= 2 + (Int(input[0]) << 8 | Int(input[1])) }

    /// How much went; nil where it has failed.
    func write() -> Int? {
        var total = 0
        while hasOutput {
            let count = output[written...].withUnsafeBytes {
                send(descriptor.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count >= 0 else {
                return errno == EAGAIN || errno == EINTR || errno == EINPROGRESS || errno == ENOTCONN ? total : nil
            }
            written += count
            total += count
        }
        output = []
        written = 0
        return total
    }
}
