import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct SurroundingsTests {
    private static func subnets(_ texts: String...) -> [HostSubnet] {
        texts.compactMap { IPPrefix($0).map { HostSubnet(prefix: $0, link: "eth0") } }
    }

    private static func network(_ name: String, _ subnet: String) -> EngineNetwork {
        EngineNetwork(name: name, driver: "bridge", subnets: [subnet].compactMap { IPPrefix($0) }.map { .init(subnet: $0) })
    }

    @Test func oneReadingIsUnderWayAtATime() throws {
        var part = Surroundings(routes: [])
        var outbox = Part.outbox()
        part.read(into: &outbox)
        let effects = outbox.take()
        #expect(effects.kinds == ["readRoutes"])
        part.read(into: &outbox)
        #expect(outbox.take().isEmpty)
        guard case .readRoutes(let id) = effects.first else { return }
        // An answer to another question is none, and what could not be read stands.
        part.wereRead(Part.effect(999), Self.subnets("10.0.0.0/24"), isWhole: true, into: &outbox)
        #expect(part.current.isEmpty)
        part.wereRead(id, Self.subnets("10.0.0.0/24"), isWhole: true, into: &outbox)
        part.read(into: &outbox)
        guard case .readRoutes(let next) = outbox.take().first else {
            Issue.record("not read again")
            return
        }
        part.wereRead(next, nil, isWhole: true, into: &outbox)
        #expect(part.current == [IPPrefix("10.0.0.0/24")])
        #expect(outbox.timers[.surroundings] == .seconds(10))
    }

    @Test func aHostWithVeryManyRoutesIsReadSeldom() {
        var part = Surroundings(routes: [])
        var outbox = Part.outbox()
        part.read(into: &outbox)
        guard case .readRoutes(let id) = outbox.take().first else { return }
        part.wereRead(id, [], isWhole: false, into: &outbox)
        #expect(outbox.timers[.surroundings] == .seconds(300))
    }

    @Test func whatIsLikeOnEveryHostDoesNotCount() {
        let all = [
            "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "127.0.0.0/8", "127.0.0.53/32", "169.254.169.254/32", "224.0.0.0/4",
            "fe80::/64", "ff00::/8", "::/0",
        ]
        #expect(Surroundings(routes: all.compactMap { IPPrefix($0) }).current.isEmpty)
        #expect(Surroundings(routes: ["64.0.0.0/2", "10.0.0.7/32", "fd00::/64"].compactMap { IPPrefix($0) }).current.count == 3)
    }

    @Test func changesThatDoNotLastAreNotTold() {
        var part = Surroundings(routes: [])
        var outbox = Part.outbox(at: .seconds(5))
        part.setNetworks([Self.network("a", "10.0.0.0/24")], into: &outbox)
        part.announceSoon(into: &outbox)
        #expect(outbox.timers[.announceRoutes] == .seconds(6))
        part.setNetworks([], into: &outbox)
        part.announceSoon(into: &outbox)
        #expect(outbox.timers[.announceRoutes] == nil)
        part.setNetworks([Self.network("b", "10.0.1.0/24")], into: &outbox)
        part.announce(at: .seconds(7))
        #expect(part.announced == [IPPrefix("10.0.1.0/24")])
        part.announceSoon(into: &outbox)
        #expect(outbox.timers[.announceRoutes] == nil)
        outbox.begin(at: .seconds(8))
        part.setNetworks([], into: &outbox)
        part.announceSoon(into: &outbox)
        #expect(outbox.timers[.announceRoutes] == .seconds(9))
        for second in 9...11 { part.announce(at: .seconds(Int64(second))) }
        outbox.timers.clear(.announceRoutes)
        part.setNetworks([Self.network("c", "10.0.2.0/24")], into: &outbox)
        part.announceSoon(into: &outbox)
        #expect(outbox.timers[.announceRoutes] == .seconds(127), "four times in two minutes")
    }

    @Test func aSubnetThatTheEngineRefusedIsNotTriedAgain() throws {
        var part = Surroundings(routes: [])
        var outbox = Part.outbox()
        #expect(!part.lacksGateway(at: .zero))
        part.setNetworks([], into: &outbox)
        #expect(part.lacksGateway(at: .zero))
        let subnet = try #require(IPPrefix("192.168.240.0/20"))
        part.makeGateway(of: subnet, by: Part.effect(1))
        #expect(!part.lacksGateway(at: .seconds(1000)))
        #expect(!part.gatewayEnded(Part.effect(2), into: &outbox))
        #expect(part.gatewayEnded(Part.effect(1), refusal: "Pool overlaps", into: &outbox))
        #expect(part.refused == [subnet])
        #expect(!part.lacksGateway(at: .seconds(59)) && part.lacksGateway(at: .seconds(60)))
        // A call without an answer tells nothing about the subnet. A new connection begins anew.
        part.makeGateway(of: subnet, by: Part.effect(3))
        part.connected()
        #expect(!part.gatewayEnded(Part.effect(3), into: &outbox))
        #expect(part.refused.isEmpty)
    }
}
