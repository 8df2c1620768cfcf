import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// Claims of endpoints travel with their owner's log.
@Suite struct ClaimTests {
    private static func key(_ number: Int) -> LogNetwork.Claimant {
        LogNetwork.Claimant(owner: LogNetwork.id(0), endpoint: LogNetwork.record(number).endpoint)
    }

    @Test func theyArriveInOneHopAndGoWithTheEndpoint() {
        var world = LogNetwork(count: 3, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.run(for: .seconds(1))
        world.claim(LogNetwork.claims(1))
        world.run(for: .microseconds(200))
        #expect((1...2).allSatisfy { world.claimed[$0] == [Self.key(1): LogNetwork.claims(1)] })
        world.claim(LogNetwork.claims(1, count: 3, version: 2))
        world.run(for: .milliseconds(50))
        #expect((1...2).allSatisfy { world.claimed[$0] == [Self.key(1): LogNetwork.claims(1, count: 3, version: 2)] })
        world.remove(1)
        world.run(for: .milliseconds(50))
        #expect((1...2).allSatisfy { world.claimed[$0].isEmpty })
        world.expectEqual()
    }

    @Test func anEndpointThatIsNotThereClaimsNothing() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.run(for: .seconds(1))
        world.forgetSent()
        world.claim(LogNetwork.claims(1))
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty && world.claimed[1].isEmpty)
    }

    @Test func whatChangesNothingIsNotSent() {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        world.put(1)
        world.claim(LogNetwork.claims(1))
        world.run(for: .seconds(1))
        world.forgetSent()
        world.claim(LogNetwork.claims(1))
        world.run(for: .seconds(1))
        #expect(world.sent.isEmpty)
    }

    /// A late subscriber gets them in a snapshot of one part, or of many.
    @Test(arguments: [1, 40], [0, 0.3])
    func aSnapshotHasThem(endpoints: Int, loss: Double) {
        var world = LogNetwork(count: 3, seed: 3)
        world.wires.loss = loss
        world.subscribeAll()
        for number in 0..<endpoints {
            world.put(number)
            world.claim(LogNetwork.claims(number, count: 16))
        }
        world.settle()
        world.restart(2)
        world.subscribe(2, to: Set((0...2).map(LogNetwork.id)))
        world.reset(2, at: 0)
        for _ in 0..<20 {
            world.run(for: .seconds(1))
            world.compareDigests()
        }
        #expect(world.claimed[2].count == endpoints && world.claimed[2] == world.claimed[1])
        world.expectEqual()
        // The end of an endpoint, and of claims alone, is told.
        world.remove(0)
        world.claim(EndpointClaims(of: LogNetwork.record(1).endpoint))
        world.settle()
        #expect(world.claimed[2].count == max(0, endpoints - 2) && world.claimed[2] == world.claimed[1])
    }

    /// An owner cannot be made to claim anything by those who pass its log on.
    @Test func theDigestHoldsThem() {
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        _ = contents.apply([.endpoint(LogNetwork.record(1))], signing: signing)
        let bare = contents.root(signing)
        #expect(contents.apply([.claims(LogNetwork.claims(1))], signing: signing).count == 1)
        let claimed = contents.root(signing)
        #expect(contents.apply([.claims(LogNetwork.claims(1))], signing: signing).isEmpty)
        #expect(contents.apply([.claims(LogNetwork.claims(1, version: 2))], signing: signing).count == 1)
        #expect(Set([bare, claimed, contents.root(signing)]).count == 3)
        _ = contents.apply([.claims(EndpointClaims(of: LogNetwork.record(1).endpoint))], signing: signing)
        #expect(contents.root(signing) == bare)
        // Claims of what is not there count for nothing.
        #expect(contents.apply([.claims(LogNetwork.claims(2))], signing: signing).isEmpty)
        #expect(contents.root(signing) == bare)
    }

    @Test func aLogHasAsManyClaimantsAsItMay() {
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        let numbers = 0..<Limits.claimantsPerLog + 2
        _ = contents.apply(numbers.map { .endpoint(LogNetwork.record($0)) }, signing: signing)
        let differences = contents.apply(numbers.map { .claims(LogNetwork.claims($0)) }, signing: signing)
        #expect(differences.count == Limits.claimantsPerLog && contents.claims.count == Limits.claimantsPerLog)
    }
}
