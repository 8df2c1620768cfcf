import Glibc
import OverlayDNS
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayDNSServer

@Suite(.enabled(if: kernelIsUsable), .serialized) struct ServerTests {
    @Test func namesOfOursAreAnsweredAndOthersGoToDocker() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        #expect(container.isRedirected)
        #expect(summary(try container.ask(question("web-7"))) == "10.0.0.7")
        #expect(summary(try container.ask(question("WEB-7.Test-Net"))) == "10.0.0.7")
        #expect(summary(try container.ask(question("example.com"))) == "192.0.2.9")
        #expect(try container.ask(question("example.com", id: 0xBEEF)).prefix(2) == [0xBE, 0xEF])
        #expect(summary(try container.ask(question("nobody.test-net"))) == "code 3, 0 answers")
        #expect(summary(try container.ask(question("old.example"))) == "code 1, 0 answers")
        #expect(summary(try container.ask(question("loud.example"))) == "192.0.2.9")
        // The part of a longer answer that fits a plain datagram.
        let some = try container.ask(question("many"))
        #expect(some.count <= 512 && some[2] & 0x02 == 0 && some[7] > 20)
        await server.dns.stop()
    }

    @Test func connectionsCarrySeveralQuestions() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_STREAM.rawValue))
        let names = ["web-1", "example.com", "web-2", "nobody.test-net", "many", "other.example"]
        let bytes = names.enumerated().flatMap { framed(question($1, id: UInt16($0))) }
        // In pieces, of which none ends where a question does.
        for start in stride(from: 0, to: bytes.count, by: 7) {
            let piece = Array(bytes[start..<min(start + 7, bytes.count)])
            #expect(send(client.number, piece, piece.count, 0) == piece.count)
        }
        var answers: [UInt8: String] = [:]
        for _ in names {
            let answer = container.receiveMessage(client.number)
            try #require(answer.count > 12)
            answers[answer[1]] = summary(answer)
        }
        #expect(
            answers == [
                0: "10.0.0.1", 1: "192.0.2.9", 2: "10.0.0.2", 3: "code 3, 0 answers", 4: "code 0, 100 answers", 5: "192.0.2.9",
            ])
        // A message that is no question ends the connection.
        let wrong = framed([0, 1, 0x80, 0])
        #expect(send(client.number, wrong, wrong.count, 0) == wrong.count)
        #expect(container.receiveMessage(client.number).isEmpty)
        await server.dns.stop()
    }

    /// A container can pose as the resolver: talk without end ends its own question, and holds up nobody.
    @Test func aResolverThatTalksRubbishEndsItsQuestion() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_STREAM.rawValue))
        let bytes = framed(question("rubbish.example", id: 1)) + framed(question("web-1", id: 2))
        #expect(send(client.number, bytes, bytes.count, 0) == bytes.count)
        var answers: [UInt8: String] = [:]
        for _ in 1...2 {
            let answer = container.receiveMessage(client.number)
            try #require(answer.count > 12)
            answers[answer[1]] = summary(answer)
        }
        #expect(answers == [1: "code 2, 0 answers", 2: "10.0.0.1"])
        await server.dns.stop()
    }

    /// A client that sends no more may still listen (RFC 7766 §6.2.3).
    @Test func whoHasSaidAllGetsAllAnswers() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_STREAM.rawValue))
        let bytes = (0..<100 as Range<UInt16>).flatMap { framed(question($0 % 10 == 0 ? "example.com" : "web-1", id: $0)) }
        #expect(send(client.number, bytes, bytes.count, 0) == bytes.count)
        shutdown(client.number, Int32(SHUT_WR))
        var answers: [String: Int] = [:]
        while true {
            let answer = container.receiveMessage(client.number)
            guard !answer.isEmpty else { break }
            answers[summary(answer), default: 0] += 1
        }
        #expect(answers == ["10.0.0.1": 90, "192.0.2.9": 10])
        await server.dns.stop()
    }

    /// However we go, Docker answers: there is nothing in its way.
    @Test func withoutUsDockerAnswers() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        // One socket, before and after: nothing remembers where its questions went.
        let client = try container.socket(Int32(SOCK_DGRAM.rawValue))
        func ask() -> String {
            let bytes = question("web-1")
            return send(client.number, bytes, bytes.count, 0) == bytes.count
                ? summary(container.receive(client.number)) : "not sent"
        }
        #expect(ask() == "10.0.0.1")
        server.dns.end(container.path)
        #expect(try await server.until { !container.isRedirected })
        #expect(ask() == "192.0.2.9")
        #expect(await server.serve(container) == .serving)
        #expect(ask() == "10.0.0.1")
        await server.dns.stop()
        #expect(!container.isRedirected)
        #expect(ask() == "192.0.2.9")
    }

    @Test func aSandboxThatComesLaterIsServedThen() async throws {
        let container = try Container(exists: false)
        let server = try Server()
        #expect(await server.serve(container) == .waiting)
        // As engines do: the file first, the namespace on it then.
        #expect(shell("touch \(container.path)").status == 0)
        try container.create()
        #expect(try await server.until { server.changes == [.serving] })
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1")
        await server.dns.stop()
    }

    /// Its container ended, and another one has the path: what was open for the first holds nothing any more.
    @Test func aSandboxThatIsAnotherOneIsServedAnew() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        container.destroy()
        try container.create()
        #expect(try await server.until { server.changes == [.gone, .serving] })
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1")
        await server.dns.stop()
    }

    /// A question that is asked once a change of scope was accepted is answered by the new scope, however late the thread wakes.
    @Test func aScopeCanChange() async throws {
        let container = try Container()
        let server = try Server()
        for _ in 0..<300 {
            #expect(await server.serve(container, forwards: false) == .serving)
            try #require(summary(try container.ask(question("example.com"))) == "code 5, 0 answers")
            #expect(await server.serve(container) == .serving)
            try #require(summary(try container.ask(question("example.com"))) == "192.0.2.9")
        }
        await server.dns.stop()
    }

    /// The gateway's address comes after its namespace.
    @Test func aGatewayAnswersItsNetworksNamesAlone() async throws {
        let space = try Container(hasResolver: false)
        let server = try Server()
        let gateway: UInt32 = 0x0A4D_0001
        #expect(await server.serve(space, forwards: false, gateway: IPAddress(v4: 10, 77, 0, 1)) == .waiting)
        space.expect("ip link add br0 type bridge && ip link set br0 up && ip address add 10.77.0.1/24 dev br0")
        #expect(try await server.until { (try? space.ask(question("web-7"), of: gateway)).map(summary) == "10.0.0.7" })
        #expect(!space.isRedirected)
        #expect(summary(try space.ask(question("nobody"), of: gateway)) == "code 3, 0 answers")
        #expect(summary(try space.ask(question("example.com"), of: gateway)) == "code 5, 0 answers")
        let client = try space.socket(Int32(SOCK_STREAM.rawValue), to: gateway)
        let bytes = question("many")
        let message = [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
        #expect(send(client.number, message, message.count, 0) == message.count)
        #expect(space.receiveMessage(client.number).count > 512)
        await server.dns.stop()
    }

    @Test func withoutDockersResolverTheAnswerIsAFailure() async throws {
        let container = try Container(hasResolver: false)
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        let failure = try container.ask(question("example.com"))
        #expect(summary(failure) == "code 2, 0 answers")
        #expect(failure.dropFirst(4).prefix(2) == [0, 1] && failure.dropFirst(12) == question("example.com").dropFirst(12))
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1")
        // It comes, goes, and comes by another port: an engine that restarts.
        try container.startResolver()
        #expect(try await server.until { (try? container.ask(question("example.com"))).map(summary) == "192.0.2.9" })
        container.stopResolver()
        container.expect("nft delete table ip docker")
        try container.startResolver()
        var last = ""
        for _ in 0..<20 where last != "192.0.2.9" {
            let client = try container.socket(Int32(SOCK_DGRAM.rawValue))
            var patience = timeval(tv_sec: 1, tv_usec: 0)
            setsockopt(client.number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            let bytes = question("example.com")
            _ = send(client.number, bytes, bytes.count, 0)
            last = summary(container.receive(client.number))
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(last == "192.0.2.9")
        await server.dns.stop()
    }

    @Test func questionsThatWaitAreBounded() async throws {
        let container = try Container()
        var limits = DNSServer.Limits()
        limits.forwards = 4
        let server = try Server(limits)
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_DGRAM.rawValue))
        for number in 0..<6 as Range<UInt16> {
            let bytes = question("silent-\(number).example", id: number)
            _ = send(client.number, bytes, bytes.count, 0)
        }
        for number in 4...5 as ClosedRange<UInt8> {
            let answer = container.receive(client.number)
            #expect(answer.dropFirst().first == number && summary(answer) == "code 2, 0 answers")
        }
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1", "what is ours is answered all the same")
        await server.dns.stop()
    }

    @Test func questionsBeyondTheRateAreDropped() async throws {
        let container = try Container()
        var limits = DNSServer.Limits()
        limits.queriesPerSecond = 1
        let server = try Server(limits)
        #expect(await server.serve(container) == .serving)
        let client = try container.socket(Int32(SOCK_DGRAM.rawValue))
        for number in 0..<20 as Range<UInt16> {
            let bytes = question("web-1", id: number)
            _ = send(client.number, bytes, bytes.count, 0)
        }
        #expect(try await server.until { server.dns.counters.dropped > 10 })
        #expect(server.dns.counters.answered < 10)
        await server.dns.stop()
    }

    /// One that asks without end takes nothing from another.
    @Test func aFloodStarvesNobody() async throws {
        let loud = try Container()
        let quiet = try Container()
        let server = try Server()
        #expect(await server.serve(loud) == .serving)
        #expect(await server.serve(quiet) == .serving)
        let client = try loud.socket(Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue))
        let bytes = question("many")
        for _ in 0..<20 {
            for _ in 0..<2000 { _ = send(client.number, bytes, bytes.count, 0) }
            #expect(summary(try quiet.ask(question("web-1"))) == "10.0.0.1")
        }
        await server.dns.stop()
    }

    /// A client that does not read, one that says nothing, and more than there may be.
    @Test func connectionsAreBounded() async throws {
        let container = try Container()
        var limits = DNSServer.Limits()
        limits.connections = 3
        limits.idleTime = .seconds(1)
        let server = try Server(limits)
        #expect(await server.serve(container) == .serving)
        let deaf = try container.socket(Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue))
        let many = Array(repeatElement(framed(question("many")), count: 100).joined())
        #expect(
            try await server.until {
                send(deaf.number, many, many.count, Int32(MSG_NOSIGNAL)) < 0 && errno != EAGAIN
            }, "its connection ends when nothing moves")
        let silent = try (0..<3).map { _ in try container.socket(Int32(SOCK_STREAM.rawValue)).release() }
        defer { for socket in silent { close(socket) } }
        // The next one is not served, but ended at once.
        var refusals = 0
        for _ in 0..<10 where refusals == 0 {
            let more = try container.socket(Int32(SOCK_STREAM.rawValue))
            let bytes = framed(question("web-1"))
            _ = send(more.number, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            if container.receiveMessage(more.number).isEmpty { refusals += 1 }
        }
        #expect(refusals == 1)
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1")
        await server.dns.stop()
    }

    /// Port 53 is the container's own.
    @Test func aNameServerCanRunInTheContainer() async throws {
        let container = try Container()
        let server = try Server()
        #expect(await server.serve(container) == .serving)
        let own = try container.socket(Int32(SOCK_DGRAM.rawValue), connected: false)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(53).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(own.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0)
        #expect(summary(try container.ask(question("web-1"))) == "10.0.0.1")
        await server.dns.stop()
    }

    @Test func aPathThatIsNoNamespaceIsWaitedFor() async throws {
        let server = try Server()
        for path in ["/etc/hostname", "/nowhere/at/all", ""] {
            let state = await withCheckedContinuation { continuation in
                server.dns.serve(path, SandboxScope(networks: [], forwards: true)) { continuation.resume(returning: $0) }
            }
            #expect(state == .waiting)
        }
        await server.dns.stop()
    }
}
