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
    /// It is not looked for more often: that costs as much as the container has sockets.
    private static let lookPeriod: Int64 = 200_000_000

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
    /// When they were looked for last.
    private var lookedForUDP: Int64?
    private var lookedForTCP: Int64?
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
        var id = UInt16(truncatingIfNeeded: generator.next())
        while pending[id] != nil { id &+= 1 }
        var message = question
        message[0] = UInt8(id >> 8)
        message[1] = UInt8(id & 0xFF)
        guard send(message, now) else { return false }
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

    private func send(_ message: [UInt8], _ now: Int64) -> Bool {
        for _ in 0..<2 {
            guard isConnected(now) else { return false }
            if Glibc.send(sockets.upstream.number, message, message.count, 0) == message.count { return true }
            // An earlier one was refused: nobody listens there any more.
            udpPort = nil
        }
        return false
    }

    /// Connected, the socket hears of its refusals, and of nobody else (udp(7)).
    private func isConnected(_ now: Int64) -> Bool {
        guard udpPort == nil else { return true }
        if let looked = lookedForUDP, now - looked < Self.lookPeriod { return false }
        lookedForUDP = now
        guard let port = sockets.resolverUDPPort() else { return false }
        let target = SandboxSockets.endpoint(SandboxSockets.address, port)
        guard SandboxSockets.withEndpoint(target, { connect(sockets.upstream.number, $0, $1) }) == 0 else { return false }
        udpPort = port
        return true
    }

    /// Answers of Docker's resolver, back to who asked.
    ///
    /// - Parameter buffer: Room for the largest.
    func receiveFromResolver(_ now: Int64, in buffer: inout [UInt8]) {
        for _ in 0..<limits.datagramsPerTurn {
            let count = recv(sockets.upstream.number, &buffer, Self.answerBytes, 0)
            guard count >= 0 else {
                if errno == ECONNREFUSED {
                    udpPort = nil
                    continue
                }
                return
            }
            guard count >= DNSQuery.headerBytes, buffer[2] & 0x80 != 0 else { continue }
            let id = UInt16(buffer[0]) << 8 | UInt16(buffer[1])
            guard let asked = pending[id], Self.isAnswer(buffer[..<count], to: asked.question) else { continue }
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

    /// With its question in whatever case, or without one where it is an error: old servers say so of what they do not know.
    private static func isAnswer(_ message: ArraySlice<UInt8>, to question: ArraySlice<UInt8>) -> Bool {
        if message.count == DNSQuery.headerBytes { return message[4] == 0 && message[5] == 0 && message[3] & 0x0F != 0 }
        func folded(_ byte: UInt8) -> UInt8 { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte }
        let given = message.dropFirst(DNSQuery.headerBytes).prefix(question.count)
        return given.count == question.count && zip(given, question).allSatisfy { $0 == $1 || folded($0) == folded($1) }
    }

    func expirePending(_ now: Int64) {
        // Nothing but questions on the way, and none answered: it may have started anew.
        if let oldest = pending.values.map(\.sent).min(), now - max(oldest, heard) > Self.silence { forgetResolver() }
        let old = pending.filter { now - $0.value.sent >= Self.patience }
        for id in old.keys { pending[id] = nil }
    }

    /// A connection that is being made; nil where it cannot be.
    func connectToResolver(_ now: Int64) -> Descriptor? {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        if tcpPort == nil, lookedForTCP.map({ now - $0 >= Self.lookPeriod }) ?? true {
            lookedForTCP = now
            tcpPort = sockets.resolverTCPPort()
        }
        guard let port = tcpPort,
            let descriptor = try? NetworkNamespace.openSocket(in: sockets.namespace, domain: AF_INET, type: kind, protocol: 0)
        else { return nil }
        let target = SandboxSockets.endpoint(SandboxSockets.address, port)
        let result = SandboxSockets.withEndpoint(target) { connect(descriptor.number, $0, $1) }
        guard result == 0 || errno == EINPROGRESS else {
            tcpPort = nil
            return nil
        }
        return descriptor
    }
}
