import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct FollowingTests {
    @Test func networksAreThoseOfTheLastSubscription() {
        var following = Following()
        following.subscribe(to: [Part.network])
        following.subscribe(to: [Part.other])
        #expect(following.networks == [Part.other])
    }

    @Test func theFirstMemberIsFollowedAtOnce() {
        var outbox = Part.outbox(at: .seconds(1))
        Following().followSoon(members: 1000, into: &outbox)
        #expect(outbox.timers[.follow] == .seconds(1))
    }

    @Test func theMoreMembersThereAreTheLongerIsThePause() {
        var following = Following()
        following.followed(at: .seconds(1))
        var outbox = Part.outbox(at: .seconds(1))
        following.followSoon(members: 1000, into: &outbox)
        #expect(outbox.timers[.follow] == .seconds(1) + .milliseconds(10))
        // Those who come meanwhile do not put it off.
        outbox.begin(at: .milliseconds(1005))
        following.followSoon(members: 2000, into: &outbox)
        #expect(outbox.timers[.follow] == .seconds(1) + .milliseconds(10))
        outbox.timers.clear(.follow)
        outbox.begin(at: .seconds(2))
        following.followSoon(members: 2000, into: &outbox)
        #expect(outbox.timers[.follow] == .seconds(2))
    }
}
