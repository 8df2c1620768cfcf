import OverlayCatalogue
import OverlayCrypto
import OverlayModel
import Testing

@testable import OverlayDaemon

/// A cluster, its member that lets nodes in, and nodes that want in.
private final class Scene {
    let root = RootKey()
    let member = NodeKey()
    var secret = JoinSecret(secret: [UInt8](repeating: 5, count: 16), expires: 0)
    var acceptor: JoinAcceptor
    var now = Instant(nanoseconds: 0)
    var clock: UInt64 = 1_800_000_000
    var isMember = true
    let source = IPAddress("192.0.2.7")

    init() { acceptor = JoinAcceptor(key: member) }

    var cluster: Cluster? {
        get throws {
            guard isMember else { return nil }
            return Cluster(
                id: root.cluster, writer: member.id, addressPool: try #require(IPPrefix("10.32.0.0/12")), subnetLength: 24,
                dataPathPort: 4789, rootKey: root.privateBytes, rootPublicKey: root.publicBytes,
                gossipKey: [UInt8](repeating: 1, count: 32), joinSecret: secret)
        }
    }

    static func record(_ key: NodeKey, as id: NodeID? = nil) throws -> Member {
        let address = try #require(IPAddress("192.0.2.7"))
        return Member(
            id: id ?? key.id, name: "newcomer", address: address, port: 7947, vtep: address, publicKey: key.publicBytes,
            agreementKey: key.agreementBytes, epoch: 1)
    }

    func joiner(_ key: NodeKey, secret: [UInt8]? = nil) -> Joiner {
        Joiner(node: key, pin: root.pin, secret: secret ?? self.secret.secret)
    }

    func take(_ frame: [UInt8], on connection: UInt64 = 1, from source: IPAddress? = nil) throws -> JoinAcceptor.Step {
        try acceptor.take(
            frame, on: connection, from: source ?? self.source, cluster: try cluster, name: "first", now: now, clock: clock)
    }

    /// Takes a hello and gives the request of this joiner.
    func request(
        _ joiner: inout Joiner, _ record: Member, on connection: UInt64 = 1, from source: IPAddress? = nil
    ) throws -> [UInt8] {
        guard case .answer(let proof, isLast: false) = try take(joiner.hello, on: connection, from: source) else {
            throw JoinFailure.malformed
        }
        return try joiner.request(record.wireBytes, to: proof, now: clock)
    }

    func result(_ plaintext: [UInt8], on connection: UInt64) -> [UInt8]? { acceptor.result(plaintext, on: connection) }

    /// A whole attempt with the wrong secret.
    func failOnce(on connection: UInt64, from source: IPAddress? = nil) throws {
        let key = NodeKey()
        var joiner = joiner(key, secret: [UInt8](repeating: 9, count: 16))
        let request = try request(&joiner, try Self.record(key), on: connection, from: source)
        #expect(throws: JoinFailure.wrongSecret) { try take(request, on: connection, from: source) }
    }

    func wait(_ seconds: Int64) {
        now = Instant(nanoseconds: now.nanoseconds + seconds * 1_000_000_000)
        clock += UInt64(seconds)
    }
}

@Suite struct JoinAcceptorTests {
    @Test func `A node with the token is let in and reads the result`() throws {
        let scene = Scene()
        let key = NodeKey()
        let record = try Scene.record(key)
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, record)
        guard case .admit(let member) = try scene.take(request) else { throw JoinFailure.malformed }
        #expect(member == record)
        let sealed = try #require(scene.result([1, 2, 3], on: 1))
        #expect(try joiner.result(sealed) == [1, 2, 3])
    }

    @Test func `A wrong secret is refused and ends the conversation`() throws {
        let scene = Scene()
        try scene.failOnce(on: 1)
        #expect(scene.result([1], on: 1) == nil)
    }

    @Test func `An expired secret is told to a node that proves it knows it, and to no other`() throws {
        let scene = Scene()
        scene.secret.expires = scene.clock
        let key = NodeKey()
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key))
        #expect(throws: JoinFailure.expired) { try scene.take(request) }
        try scene.failOnce(on: 2)
        scene.secret.expires = scene.clock + 1
        var second = scene.joiner(key)
        let late = try scene.request(&second, try Scene.record(key), on: 3)
        guard case .admit = try scene.take(late, on: 3) else { throw JoinFailure.malformed }
    }

    @Test func `A node outside a cluster lets nobody in`() throws {
        let scene = Scene()
        scene.isMember = false
        let joiner = scene.joiner(NodeKey())
        for number in 1...10 as ClosedRange<UInt64> {
            #expect(throws: JoinFailure.noCluster) { try scene.take(joiner.hello, on: number) }
        }
    }

    @Test func `A frame of another version is told so, and counts as no attempt`() throws {
        let scene = Scene()
        var frame = scene.joiner(NodeKey()).hello
        frame[0] = 1
        for number in 1...10 as ClosedRange<UInt64> {
            #expect(throws: JoinFailure.version) { try scene.take(frame, on: number) }
        }
        #expect(throws: JoinFailure.version) { try scene.take([], on: 11) }
    }

    @Test func `Another protocol on the port is malformed`() throws {
        let http = [2] + Array("GET / HTTP/1.1\r\n\r\n".utf8)
        for frame in [[2], [2, 99], [2, 3], http, [UInt8](repeating: 2, count: 4096)] as [[UInt8]] {
            let scene = Scene()
            #expect(throws: JoinFailure.malformed, "\(frame.prefix(4))") { try scene.take(frame) }
        }
    }

    @Test func `A request without a hello is malformed`() throws {
        let scene = Scene()
        let key = NodeKey()
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key), on: 1)
        #expect(throws: JoinFailure.malformed) { try scene.take(request, on: 2) }
        // The conversation that it belongs to goes on.
        guard case .admit = try scene.take(request, on: 1) else { throw JoinFailure.malformed }
    }

    @Test func `A second hello on one connection is malformed`() throws {
        let scene = Scene()
        let joiner = scene.joiner(NodeKey())
        _ = try scene.take(joiner.hello)
        #expect(throws: JoinFailure.malformed) { try scene.take(joiner.hello) }
    }

    @Test func `A request that was recorded is of no use on another connection`() throws {
        let scene = Scene()
        let key = NodeKey()
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key), on: 1)
        guard case .admit = try scene.take(request, on: 1) else { throw JoinFailure.malformed }
        scene.acceptor.ended(1)
        // Both frames again, as they were: the member's ephemeral key is another one.
        _ = try scene.take(joiner.hello, on: 2)
        #expect(throws: JoinFailure.malformed) { try scene.take(request, on: 2) }
        #expect(scene.result([1], on: 2) == nil)
    }

    @Test func `A record of another node than its key's is malformed`() throws {
        let scene = Scene()
        let key = NodeKey()
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key, as: NodeKey().id))
        #expect(throws: JoinFailure.malformed) { try scene.take(request) }
    }

    @Test func `A connection that closes in the middle is forgotten, and is no attempt`() throws {
        let scene = Scene()
        let key = NodeKey()
        for number in 1...10 as ClosedRange<UInt64> {
            _ = try scene.take(scene.joiner(key).hello, on: number)
            scene.acceptor.ended(number)
        }
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key), on: 21)
        scene.acceptor.ended(21)
        #expect(throws: JoinFailure.malformed) { try scene.take(request, on: 21) }
        #expect(scene.result([1], on: 21) == nil)
    }

    @Test func `Five wrong secrets in a minute close the door to that address alone`() throws {
        let scene = Scene()
        for number in 1...5 as ClosedRange<UInt64> { try scene.failOnce(on: number) }
        let hello = scene.joiner(NodeKey()).hello
        #expect(throws: JoinFailure.tooManyAttempts) { try scene.take(hello, on: 6) }
        let other = try #require(IPAddress("192.0.2.8"))
        guard case .answer = try scene.take(hello, on: 7, from: other) else { throw JoinFailure.malformed }
        scene.wait(59)
        #expect(throws: JoinFailure.tooManyAttempts) { try scene.take(hello, on: 8) }
        scene.wait(1)
        guard case .answer = try scene.take(hello, on: 9) else { throw JoinFailure.malformed }
    }

    @Test func `A refusal for too many attempts does not prolong itself`() throws {
        let scene = Scene()
        for number in 1...5 as ClosedRange<UInt64> { try scene.failOnce(on: number) }
        let hello = scene.joiner(NodeKey()).hello
        for second in 1...59 as ClosedRange<UInt64> {
            scene.wait(1)
            #expect(throws: JoinFailure.tooManyAttempts) { try scene.take(hello, on: 100 + second) }
        }
        scene.wait(1)
        guard case .answer = try scene.take(hello, on: 200) else { throw JoinFailure.malformed }
    }

    @Test func `Hellos are bounded by source, and another source is heard`() throws {
        let scene = Scene()
        for number in 1...20 as ClosedRange<UInt64> { _ = try scene.take(scene.joiner(NodeKey()).hello, on: number) }
        let hello = scene.joiner(NodeKey()).hello
        #expect(throws: JoinFailure.tooManyAttempts) { try scene.take(hello, on: 21) }
        let other = try #require(IPAddress("192.0.2.8"))
        guard case .answer = try scene.take(hello, on: 22, from: other) else { throw JoinFailure.malformed }
        scene.wait(60)
        guard case .answer = try scene.take(hello, on: 23) else { throw JoinFailure.malformed }
    }

    @Test func `Hellos are bounded in all, and conversations under way go on`() throws {
        let scene = Scene()
        let key = NodeKey()
        var joiner = scene.joiner(key)
        let request = try scene.request(&joiner, try Scene.record(key))
        let hello = scene.joiner(NodeKey()).hello
        var answered = 1
        for number in 2...1000 as ClosedRange<UInt64> {
            let source = IPAddress(v4: 10, 0, UInt8(number >> 8), UInt8(number & 255))
            if case .answer? = try? scene.take(hello, on: number, from: source) { answered += 1 }
        }
        #expect(answered == 100)
        guard case .admit = try scene.take(request) else { throw JoinFailure.malformed }
        scene.wait(1)
        guard case .answer = try scene.take(hello, on: 1001) else { throw JoinFailure.malformed }
    }

    @Test func `The certificate is made anew for another cluster`() throws {
        let scene = Scene()
        _ = try scene.take(scene.joiner(NodeKey()).hello)
        let other = Scene()
        other.acceptor = scene.acceptor
        let key = NodeKey()
        var joiner = other.joiner(key)
        // The joiner checks whose certificate it is shown.
        guard
            case .answer(let proof, _) = try other.acceptor.take(
                joiner.hello, on: 2, from: nil, cluster: try other.cluster, name: "first", now: other.now, clock: other.clock)
        else { throw JoinFailure.malformed }
        // The acceptor's key is the first scene's, and the root key the second's.
        #expect(throws: Never.self) { try joiner.request(try Scene.record(key).wireBytes, to: proof, now: other.clock) }
    }

    @Test func `The certificate is renewed before it expires`() throws {
        let scene = Scene()
        _ = try scene.take(scene.joiner(NodeKey()).hello)
        scene.clock += 365 * 86400
        let key = NodeKey()
        var joiner = scene.joiner(key)
        #expect(throws: Never.self) { try scene.request(&joiner, try Scene.record(key), on: 2) }
    }
}

/// Attempts that a test can ask within an expectation.
private final class Attempts {
    private var value = FailedAttempts()
    var count: Int { value.count }
    func mayTry(_ source: IPAddress?, now: Instant) -> Bool { value.mayTry(source, now: now) }
    func add(_ source: IPAddress?, now: Instant) { value.add(source, now: now) }
}

@Suite struct FailedAttemptsTests {
    private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
    private let source = IPAddress("2001:db8::1")

    @Test func `The limit counts attempts of the last minute`() {
        let attempts = Attempts()
        // One every 20 s: never five within a minute.
        for number in 0..<20 as Range<Int64> {
            #expect(attempts.mayTry(source, now: at(number * 20)))
            attempts.add(source, now: at(number * 20))
        }
        for _ in 0..<2 { attempts.add(source, now: at(390)) }
        #expect(!attempts.mayTry(source, now: at(399)))
        // That of 340 s is a minute old; four are left.
        #expect(attempts.mayTry(source, now: at(400)))
    }

    @Test func `An address without an address counts as one`() {
        let attempts = Attempts()
        for _ in 0..<FailedAttempts.limit { attempts.add(nil, now: at(0)) }
        #expect(!attempts.mayTry(nil, now: at(1)))
        #expect(attempts.mayTry(source, now: at(1)))
    }

    @Test func `Memory is bounded, and an attacker with many addresses gains no more than a new start`() {
        let attempts = Attempts()
        for _ in 0..<FailedAttempts.limit { attempts.add(source, now: at(0)) }
        for number in 0..<FailedAttempts.sources * 3 {
            attempts.add(IPAddress(v4: 10, UInt8(number >> 16), UInt8(number >> 8 & 255), UInt8(number & 255)), now: at(0))
            #expect(attempts.count <= FailedAttempts.sources)
        }
        #expect(attempts.mayTry(source, now: at(1)))
    }

    @Test func `Old attempts are forgotten when they are looked at`() {
        let attempts = Attempts()
        attempts.add(source, now: at(0))
        #expect(attempts.count == 1)
        #expect(attempts.mayTry(source, now: at(60)))
        #expect(attempts.count == 0)
    }
}

/// Log that a test can ask within an expectation.
private final class Refusals {
    private var value = RefusalLog()
    func line(for source: IPAddress?, at seconds: Int64) -> RefusalLog.Line? {
        value.line(for: source, at: Instant(nanoseconds: seconds * 1_000_000_000))
    }
}

@Suite struct RefusalLogTests {
    private let source = IPAddress("192.0.2.7")

    @Test func `A source has one line in a minute, which says how much was left out before`() {
        let log = Refusals()
        let lines = (0..<600).compactMap { log.line(for: source, at: $0 / 10) }
        #expect(lines == [RefusalLog.Line(unsaid: 0, others: 0)])
        #expect(log.line(for: source, at: 60) == RefusalLog.Line(unsaid: 599, others: 0))
    }

    @Test func `Many sources have few lines, and the rest is counted`() {
        let log = Refusals()
        let lines = (0..<1000).compactMap { log.line(for: IPAddress(v4: 10, 0, UInt8($0 >> 8), UInt8($0 & 255)), at: 0) }
        #expect(lines.count == RefusalLog.linesPerPeriod)
        #expect(log.line(for: source, at: 60) == RefusalLog.Line(unsaid: 0, others: 992))
        #expect(log.line(for: nil, at: 60) == RefusalLog.Line(unsaid: 0, others: 0))
    }
}
