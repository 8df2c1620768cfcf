import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct SettlingTests {
    @Test func whatIsAwaitedEndsByNewsOrByTime() {
        var settling = Settling()
        #expect(settling.isSettled(Part.endpoint(1)) && settling.nextDeadline == nil && settling.networks.isEmpty)
        settling.begin(Part.endpoint(1), on: Part.network, now: .zero)
        settling.begin(Part.endpoint(2), on: Part.other, now: .seconds(1))
        #expect(!settling.isSettled(Part.endpoint(1)) && settling.networks == [Part.network, Part.other])
        #expect(settling.end(Part.endpoint(2)) && !settling.end(Part.endpoint(2)))
        #expect(settling.nextDeadline == .seconds(10) && settling.expire(at: .seconds(9)).isEmpty)
        #expect(settling.expire(at: .seconds(10)) == [Part.endpoint(1)] && settling.nextDeadline == nil)
        #expect(settling.isSettled(Part.endpoint(1)) && settling.networks.isEmpty)
    }
}
