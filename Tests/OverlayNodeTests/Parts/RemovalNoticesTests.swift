import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct RemovalNoticesTests {
    @Test func noticesAreSentAndCheckedNoMoreOftenThanThePause() {
        var notices = RemovalNotices()
        let next = Instant.zero + RemovalNotices.pause
        let before = Instant(nanoseconds: next.nanoseconds - 1)
        #expect(notices.maySend(at: .zero) == true)
        #expect(notices.maySend(at: before) == false)
        // One end's work is not the other's.
        #expect(notices.mayCheck(at: before) == true)
        #expect(notices.mayCheck(at: next) == false)
        #expect(notices.maySend(at: next) == true)
        #expect(notices.maySend(at: next) == false)
    }

    @Test func whatMayNotBeSentDoesNotPutTheNextOneOff() {
        var notices = RemovalNotices()
        #expect(notices.maySend(at: .zero) == true)
        for nanoseconds in stride(from: 0, to: RemovalNotices.pause.nanoseconds, by: 10_000_000) {
            #expect(notices.maySend(at: Instant(nanoseconds: nanoseconds)) == false)
        }
        #expect(notices.maySend(at: .zero + RemovalNotices.pause) == true)
    }
}
