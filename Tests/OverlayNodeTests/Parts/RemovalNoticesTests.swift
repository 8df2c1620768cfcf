import OverlayModel
import Testing

@testable import OverlayNode

/// Notices that a test can ask for within an expectation.
private final class Notices {
    private var value = RemovalNotices()
    func maySend(to source: IPAddress, isKnown: Bool = false, at milliseconds: Int64) -> Bool {
        value.maySend(to: source, isKnown: isKnown, at: Instant(nanoseconds: milliseconds * 1_000_000))
    }
    func mayCheck(of signer: NodeID, at milliseconds: Int64) -> Bool {
        value.mayCheck(of: signer, at: Instant(nanoseconds: milliseconds * 1_000_000))
    }
}

/// Work that strangers can have a node do, by datagrams in an invented name.
@Suite struct RemovalNoticesTests {
    private static func address(_ number: Int) -> IPAddress { IPAddress(v4: 10, 0, UInt8(number >> 8 & 255), UInt8(number & 255)) }

    @Test func `A flood by one source costs the others nothing`() {
        let notices = Notices()
        let sent = (0..<10_000).filter { notices.maySend(to: Self.address(1), at: Int64($0) / 10) }.count
        #expect(sent == 1)
        #expect(notices.maySend(to: Self.address(2), at: 999))
    }

    @Test func `A flood of sources is bounded, and a node that was removed is told all the same`() {
        let notices = Notices()
        let sent = (0..<10_000).filter { notices.maySend(to: Self.address($0), at: Int64($0) / 10) }.count
        #expect(sent == RemovalNotices.perSecond)
        #expect(notices.maySend(to: IPAddress(v4: 192, 0, 2, 1), isKnown: true, at: 999))
        #expect(notices.maySend(to: Self.address(1), at: 1001))
    }

    @Test func `Notices in the name of one signer keep none of another from being checked`() {
        let notices = Notices()
        #expect((0..<1000).filter { notices.mayCheck(of: NodeID(bits: 1), at: $0) }.count == 1)
        #expect(notices.mayCheck(of: NodeID(bits: 2), at: 999))
    }

    /// The kernel delivers datagrams from such sources, and refuses to send to them.
    @Test func `Only a source that can be answered is answered`() throws {
        for (text, port) in [
            ("192.0.2.1", 0), ("0.0.0.0", 7947), ("255.255.255.255", 7947), ("224.0.0.1", 7947), ("fe80::1", 7947),
            ("ff02::1", 7947),
            ("::", 7947), ("::ffff:0.0.0.0", 7947), ("::ffff:224.0.0.1", 7947),
        ] as [(String, UInt16)] {
            #expect(!SocketEndpoint(address: try #require(IPAddress(text)), port: port).isAnswerable, "\(text) port \(port)")
        }
        for text in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "169.254.1.1"] {
            #expect(SocketEndpoint(address: try #require(IPAddress(text)), port: 7947).isAnswerable, "\(text)")
        }
    }
}
