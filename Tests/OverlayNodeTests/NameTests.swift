import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Names of containers, and the networks that a sandbox sees.
@Suite struct NameTests {
    private static let sandbox = "/run/docker/netns/1"

    private func world(_ count: Int = 2) throws -> World {
        let world = try World(count: count)
        try #require(world.makeCluster())
        for index in 0..<count { world.startEngine(index) }
        world.run(for: .milliseconds(20))
        return world
    }

    private func table(_ world: World, _ index: Int, _ name: String = "net") -> [String: [IPAddress]] {
        let network = world.nodes[index].core.catalogue.network(named: name)
        return network.flatMap { world.nodes[index].core.nameTables[$0.id]?.all } ?? [:]
    }

    private func tell(_ world: World, _ index: Int, _ container: EngineContainer) {
        world.adopt(index, container)
        world.run(for: .milliseconds(20))
    }

    private static let container = ContainerID(String(repeating: "a1b2c3d4", count: 8))!

    private func shop(_ attached: World.Attached, elsewhere: Bool = false) -> EngineContainer {
        var attachments = [
            EngineContainer.Attachment(network: attached.network, endpoint: attached.endpoint, aliases: ["shop", "a1b2c3d4a1b2"])
        ]
        if elsewhere { attachments.append(.init(network: EngineNetworkID(String(repeating: "f", count: 64))!, endpoint: nil)) }
        return EngineContainer(
            id: Self.container, name: "shop-1", hostname: "till.example",
            labels: ["com.docker.compose.service": "shop", "com.docker.swarm.service.name": "stack_shop", "other": "x"],
            ports: [ExposedPort(number: 80, transport: .tcp)], attachments: attachments)
    }

    @Test func allNamesOfAContainerAreToldToAll() throws {
        let world = try world()
        let networks = try (0..<2).map { try world.createNetwork($0, "net") }
        let attached = try world.attach(0, "given", to: networks[0])
        tell(world, 0, shop(attached))
        world.run(for: .milliseconds(20))
        let expected = ["given", "shop-1", "shop", "a1b2c3d4a1b2", "till.example", "stack_shop", "tasks.shop", "tasks.stack_shop"]
        for index in 0...1 {
            #expect(table(world, index) == Dictionary(uniqueKeysWithValues: expected.map { ($0, [attached.address]) }))
        }
        // The names survive a restart of the daemon, without a question to the engine.
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(2))
        for index in 0...1 { #expect(table(world, index).count == expected.count) }
        world.startEngine(0)
        world.run(for: .milliseconds(20))
        // The old name is gone after a rename.
        var renamed = shop(attached)
        renamed.name = "till"
        tell(world, 0, renamed)
        world.run(for: .milliseconds(20))
        for index in 0...1 { #expect(table(world, index)["shop-1"] == nil && table(world, index)["till"] != nil) }
        world.detach(0, attached)
        world.run(for: .milliseconds(20))
        for index in 0...1 { #expect(table(world, index).isEmpty) }
    }

    /// Endpoints that are not on this network are ignored.
    @Test func aStrangeAttachmentChangesNothing() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        let other = try world.createNetwork(0, "other")
        let attached = try world.attach(0, "a", to: network)
        var wrong = shop(attached)
        wrong.attachments = [
            .init(network: other.network, endpoint: attached.endpoint), .init(network: network.network, endpoint: nil),
        ]
        tell(world, 0, wrong)
        #expect(table(world, 0) == ["a": [attached.address]])
    }

    @Test func aSandboxSeesItsNetworksWhileItIsOnThem() throws {
        let world = try world(1)
        let inner = try world.createNetwork(0, "a-inner", options: [OptionName.isInternal: .bool(true)])
        let front = try world.createNetwork(0, "front")
        func scope() -> SandboxScope? { world.nodes[0].core.sandboxScopes[Self.sandbox] }
        func id(_ name: String) throws -> NetworkID { try #require(world.nodes[0].core.catalogue.network(named: name)).id }
        let one = try world.attach(0, "one", to: inner)
        #expect(scope() == SandboxScope(networks: [try id("a-inner")], forwards: false))
        let two = try world.attach(0, "two", to: front)
        #expect(scope() == SandboxScope(networks: [try id("a-inner"), try id("front")], forwards: true))
        world.detach(0, two)
        #expect(scope()?.forwards == false)
        // A container that is on one of Docker's own networks, too, may ask Docker's resolver.
        tell(world, 0, shop(one, elsewhere: true))
        #expect(scope() == SandboxScope(networks: [try id("a-inner")], forwards: true))
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(2))
        #expect(scope() == SandboxScope(networks: [try id("a-inner")], forwards: true), "after a restart")
        world.detach(0, one)
        #expect(world.nodes[0].core.sandboxScopes.isEmpty)
    }

    @Test func aSandboxWithoutAnswersIsAProblem() throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "net")
        let attached = try world.attach(0, "a", to: network)
        func problems() -> [String] {
            guard case .status(let status) = world.control(0, .status) else { return [] }
            return status.problems
        }
        world.handle(0, .sandbox(Self.sandbox, failure: "no such table"))
        #expect(problems().contains("names are not answered in the container at /run/docker/netns/1: no such table"))
        world.handle(0, .sandbox("/elsewhere", failure: "x"))
        #expect(problems().count == 1)
        world.detach(0, attached)
        #expect(problems().isEmpty)
    }
}
