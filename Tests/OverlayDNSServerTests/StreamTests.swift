import Glibc
import OverlayLinux
import OverlayModel
import Testing

@testable import OverlayDNSServer

@Suite struct StreamTests {
    /// A client that never takes all that is there for it costs no more than one that takes nothing.
    @Test func whatHasGoneIsLetGoOf() throws {
        var ends: [Int32] = [0, 0]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        defer { close(ends[1]) }
        let stream = Stream(Descriptor(owning: ends[0]), token: 1, active: Instant(nanoseconds: 0))
        let bytes = [UInt8](repeating: 7, count: 100_000)
        var buffer = [UInt8](repeating: 0, count: 90_000)
        for _ in 0..<300 {
            if !stream.isFull { stream.queue(bytes) }
            #expect(stream.write() != nil)
            _ = recv(ends[1], &buffer, buffer.count, 0)
            #expect(stream.hasOutput || stream.held == 0)
            #expect(stream.held < 600_000)
        }
        #expect(stream.hasOutput)
    }
}
