import OverlayModel
import Testing

@testable import OverlayGossip

/// Account that a test can change within an expectation.
private final class Account {
    private var value = InboundStreams(StreamLimits())
    var strangersCount: Int { value.strangersCount }
    var membersCount: Int { value.membersCount }

    func open(from source: IPAddress?, isHome: Bool) -> (number: UInt64, evicted: UInt64?) {
        value.open(from: source, isHome: isHome)
    }
    func prove(_ number: UInt64, of member: NodeID) -> (isGood: Bool, evicted: UInt64?) { value.prove(number, of: member) }
    func isProven(_ number: UInt64) -> Bool { value.isProven(number) }
    func endStreams(except isMember: (NodeID) -> Bool) -> [UInt64] { value.endStreams(except: isMember) }
    func end(_ number: UInt64) { value.end(number) }
    func mayConnect(from source: IPAddress?, isHome: Bool, at now: Instant) -> Bool {
        value.mayConnect(from: source, isHome: isHome, at: now)
    }
}

/// Account of the streams that other nodes opened, as a value.
@Suite struct InboundStreamsTests {
    private static func address(_ number: Int) -> IPAddress {
        IPAddress(v4: 10, UInt8(number >> 16 & 255), UInt8(number >> 8 & 255), UInt8(number & 255))
    }

    private static let node = NodeID(bits: 1)

    @Test func `A source has its share, and its oldest stream goes first`() {
        let streams = Account()
        let all = (0..<20).map { _ in streams.open(from: Self.address(1), isHome: false) }
        #expect(all.prefix(8).allSatisfy { $0.evicted == nil })
        #expect(all.dropFirst(8).map(\.evicted) == all.prefix(12).map(\.number))
        #expect(streams.strangersCount == 8)
    }

    @Test func `A /64 is one source, and an IPv4 address is one in either form`() throws {
        let streams = Account()
        for number in 0..<8 {
            #expect(streams.open(from: try #require(IPAddress("2001:db8::\(number + 1)")), isHome: false).evicted == nil)
            let text = number % 2 == 0 ? "::ffff:192.0.2.1" : "192.0.2.1"
            #expect(streams.open(from: try #require(IPAddress(text)), isHome: false).evicted == nil)
        }
        #expect(streams.open(from: try #require(IPAddress("2001:db8::ffff")), isHome: false).evicted == 1)
        #expect(streams.open(from: try #require(IPAddress("192.0.2.1")), isHome: false).evicted == 2)
        #expect(streams.open(from: try #require(IPAddress("2001:db8:0:1::1")), isHome: false).evicted == nil)
    }

    @Test func `Strangers share a budget, and whoever has the most gives way`() {
        let streams = Account()
        let lonely = streams.open(from: Self.address(1), isHome: false).number
        for source in 2...16 { for _ in 0..<8 { _ = streams.open(from: Self.address(source), isHome: false) } }
        // By then the others have one each, and the oldest goes.
        for source in 17..<128 {
            #expect(streams.open(from: Self.address(source), isHome: false).evicted != lonely)
            #expect(streams.strangersCount <= 128)
        }
    }

    @Test func `Streams of members are outside of it, and a member has two`() {
        let streams = Account()
        let own = (1...3).map { _ in streams.open(from: Self.address(1), isHome: true).number }
        #expect(streams.prove(own[0], of: Self.node) == (true, nil))
        #expect(streams.prove(own[0], of: Self.node) == (true, nil))
        #expect(streams.prove(own[1], of: Self.node) == (true, nil))
        #expect(streams.prove(own[2], of: Self.node) == (true, own[0]))
        // An evicted stream proves nothing any more, and a stream is of one member.
        #expect(streams.prove(own[0], of: Self.node) == (false, nil))
        #expect(streams.prove(own[1], of: NodeID(bits: 2)) == (false, nil))
        for source in 0..<10_000 {
            if let evicted = streams.open(from: Self.address(source), isHome: false).evicted { #expect(!own.contains(evicted)) }
        }
        #expect(streams.membersCount == 2)
        #expect(streams.isProven(own[1]))
    }

    @Test func `The host of a member has places of its own`() {
        let streams = Account()
        let member = streams.open(from: Self.address(1), isHome: true).number
        for source in 2..<1000 { #expect(streams.open(from: Self.address(source), isHome: false).evicted != member) }
        for _ in 0..<7 { #expect(streams.open(from: Self.address(1), isHome: true).evicted == nil) }
        #expect(streams.open(from: Self.address(1), isHome: true).evicted == member)
    }

    @Test func `Nothing is left of streams that have ended`() {
        let streams = Account()
        var open: [UInt64] = []
        for round in 0..<1000 {
            let (number, evicted) = streams.open(from: Self.address(round % 300), isHome: round % 3 == 0)
            open.removeAll { $0 == evicted }
            open.append(number)
            if round % 5 == 0 {
                let (_, evicted) = streams.prove(number, of: NodeID(bits: UInt128(round % 7)))
                open.removeAll { $0 == evicted }
            }
            #expect(streams.strangersCount + streams.membersCount == open.count)
        }
        for number in open { streams.end(number) }
        #expect(streams.strangersCount == 0 && streams.membersCount == 0)
        // All places are free again.
        for source in 0..<128 { #expect(streams.open(from: Self.address(source), isHome: false).evicted == nil) }
    }

    @Test func `Streams of a removed member end`() {
        let streams = Account()
        let (first, second) = (streams.open(from: nil, isHome: false).number, streams.open(from: nil, isHome: false).number)
        _ = streams.prove(first, of: Self.node)
        _ = streams.prove(second, of: NodeID(bits: 2))
        #expect(streams.endStreams { $0 == NodeID(bits: 2) } == [first])
        #expect(!streams.isProven(first) && streams.isProven(second))
    }

    @Test func `Connections are counted by source and second, and those of members' hosts are not`() {
        let streams = Account()
        let now = Instant(nanoseconds: 5)
        let (source, other) = (Self.address(1), Self.address(2))
        let taken = (0..<1000).filter { _ in streams.mayConnect(from: source, isHome: false, at: now) }.count
        #expect(taken == 50)
        #expect(streams.mayConnect(from: other, isHome: false, at: now))
        #expect(streams.mayConnect(from: source, isHome: true, at: now))
        #expect(streams.mayConnect(from: source, isHome: false, at: Instant(nanoseconds: 1_000_000_005)))
    }
}
