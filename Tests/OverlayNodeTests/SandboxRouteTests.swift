import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Routes for multicast and broadcast in containers. The engine of the simulation adds those of a Join as real ones do: a second
/// route to one destination fails the container.
@Suite struct SandboxRouteTests {
    private static let sandbox = "/run/docker/netns/5a"
    private static let multicast = IPPrefix("224.0.0.0/4")!
    private static let broadcast = IPPrefix("255.255.255.255/32")!

    private func world(_ count: Int = 1) throws -> World {
        let world = try World(count: count)
        try #require(world.makeCluster())
        return world
    }

    /// Links that multicast goes out by, the first one in use.
    private func links(_ world: World, _ sandbox: String = sandbox) -> [MACAddress] {
        let table = world.nodes[0].kernel.routes[sandbox]
        #expect(table?[Self.multicast] == table?[Self.broadcast])
        return table?[Self.multicast] ?? []
    }

    @Test func theFirstNetworkOfAContainerHasMulticast() throws {
        let world = try world()
        let networks = try ["a", "b", "c"].map { try world.createNetwork(0, $0) }
        let first = try world.attach(0, "one", to: networks[1], sandbox: Self.sandbox)
        for (index, name) in [(0, "two"), (2, "three")] {
            _ = try world.attach(0, name, to: networks[index], sandbox: Self.sandbox)
        }
        #expect(links(world) == [first.mac])
        let other = try world.attach(0, "other", to: networks[0], sandbox: "/run/docker/netns/5b")
        #expect(links(world, "/run/docker/netns/5b") == [other.mac])
    }

    @Test func aNetworkWithoutTheRouteGivesNone() throws {
        let world = try world()
        let off: Options = [OptionName.generic: .object([OptionName.multicastRoute: .string("false")])]
        let quiet = try world.createNetwork(0, "quiet", options: off)
        let loud = try world.createNetwork(0, "loud")
        let first = try world.attach(0, "one", to: quiet, sandbox: Self.sandbox)
        #expect(links(world).isEmpty)
        let second = try world.attach(0, "two", to: loud, sandbox: Self.sandbox)
        #expect(links(world) == [second.mac])
        // None of the others may have it.
        world.detach(0, second)
        #expect(links(world).isEmpty)
        world.detach(0, first)
        let wrong: Options = [OptionName.generic: .object([OptionName.multicastRoute: .string("maybe")])]
        let error = #expect(throws: DriverError.self) { try world.createNetwork(0, "wrong", options: wrong) }
        #expect(error?.message == "swift-overlay.multicast-route is true or false")
    }

    @Test func optionsForMulticastMustAgree() throws {
        let world = try world(2)
        let off: Options = [OptionName.generic: .object([OptionName.multicastRoute: .string("false")])]
        _ = try world.createNetwork(0, "net", options: off)
        let error = #expect(throws: DriverError.self) { try world.createNetwork(1, "net") }
        #expect(error?.message.contains("-o swift-overlay.multicast-route=false is given there and not here") == true)
        _ = try world.createNetwork(1, "net", options: off)
    }

    @Test(arguments: [false, true]) func anotherNetworkTakesOverWhenTheFirstIsLeft(restarts: Bool) throws {
        let world = try world()
        let networks = try ["a", "b", "c"].map { try world.createNetwork(0, $0) }
        let first = try world.attach(0, "one", to: networks[2], sandbox: Self.sandbox)
        let third = try world.attach(0, "three", to: networks[1], sandbox: Self.sandbox)
        let second = try world.attach(0, "two", to: networks[0], sandbox: Self.sandbox)
        if restarts {
            world.crash(0)
            try world.restart(0)
            world.run(for: .seconds(2))
        }
        world.detach(0, first)
        world.run(for: .milliseconds(1))
        #expect(links(world) == [second.mac])
        // It has them for good, so the first one that comes again gets none, and fails nothing.
        _ = try world.attach(0, "one", to: networks[2], sandbox: Self.sandbox)
        #expect(links(world) == [second.mac])
        world.detach(0, second)
        world.run(for: .milliseconds(1))
        #expect(links(world) == [third.mac])
    }

    /// Engines join the networks of a container that they start in any order.
    @Test(arguments: [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]]) func aContainerThatStartsHasMulticastOnTheFirstByName(
        order: [Int]
    )
        throws
    {
        let world = try world()
        let networks = try ["a", "b", "c"].map { try world.createNetwork(0, $0) }
        world.nodes[0].kernel.missingSandboxes = [Self.sandbox]
        var attached: [Int: World.Attached] = [:]
        for index in order { attached[index] = try world.attach(0, "e\(index)", to: networks[index], sandbox: Self.sandbox) }
        world.nodes[0].kernel.missingSandboxes = []
        world.run(for: .milliseconds(1))
        let first = try #require(attached[0])
        #expect(links(world) == [first.mac])
        // In a container that runs, nothing moves.
        world.detach(0, first)
        world.run(for: .milliseconds(1))
        let next = try #require(attached[1])
        #expect(links(world) == [next.mac])
        _ = try world.attach(0, "again", to: networks[0], sandbox: Self.sandbox)
        #expect(links(world) == [next.mac])
    }

    @Test func aJoinThatComesAgainAddsNoRouteTwice() throws {
        let world = try world()
        let networks = try ["a", "b"].map { try world.createNetwork(0, $0) }
        let first = try world.attach(0, "one", to: networks[0], sandbox: Self.sandbox)
        let second = try world.attach(0, "two", to: networks[1], sandbox: Self.sandbox)
        let alone = try world.attach(0, "alone", to: networks[1], sandbox: "/run/docker/netns/5b")
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(2))
        for (attached, count, sandbox) in [(first, 0, Self.sandbox), (second, 0, Self.sandbox), (alone, 2, "/run/docker/netns/5b")]
        {
            let join = Join(network: attached.network, endpoint: attached.endpoint, sandboxKey: sandbox)
            guard case .joined(_, _, let routes) = world.call(0, .join(join)) else {
                Issue.record("not joined")
                continue
            }
            #expect(routes.count == count)
        }
    }

    /// A container made such a route itself, or another driver did: a Join that gave it too would fail.
    @Test func aRouteOfTheContainersOwnStays() throws {
        let world = try world()
        let network = try world.createNetwork(0, "a")
        let own = MACAddress(bits: 0x0242_0000_0001)
        try world.addRoutes(0, [Self.multicast], through: own, in: Self.sandbox)
        let one = try world.attach(0, "one", to: network, sandbox: Self.sandbox)
        #expect(world.nodes[0].kernel.routes[Self.sandbox] == [Self.multicast: [own]])
        world.detach(0, one)
        world.removeLink(0, own)
        let two = try world.attach(0, "two", to: network, sandbox: Self.sandbox)
        #expect(links(world) == [two.mac])
    }
}
