import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

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

    private static let plain = EngineNetworkID(String(repeating: "f", count: 64))!

    private func shop(_ attached: World.Attached, elsewhere: Bool = false) -> EngineContainer {
        var attachments = [
            EngineContainer.Attachment(network: attached.network, endpoint: attached.endpoint, aliases: ["shop", "a1b2c3d4a1b2"])
        ]
        if elsewhere { attachments.append(.init(network: Self.plain, networkName: "bridge", endpoint: nil)) }
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
        let expected = ["given", "shop-1", "shop", "a1b2c3d4a1b2", "till.example", "tasks.shop"]
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

    /// A container of `docker-compose run`, one of a committed image, and one whose image has a label: none has the service's alias.
    @Test func labelsGiveNoNames() throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "net")
        let attached = try world.attach(0, "given", to: network)
        var oneOff = shop(attached)
        oneOff.attachments[0].aliases = ["a1b2c3d4a1b2"]
        tell(world, 0, oneOff)
        #expect(Set(table(world, 0).keys) == ["given", "shop-1", "a1b2c3d4a1b2", "till.example"])
    }

    /// Names up to the bound are told to all, and what is cut is a problem as long as the container is there.
    @Test func aThousandNamesAreToldAndMoreAreAProblem() throws {
        let world = try world()
        let networks = try (0..<2).map { try world.createNetwork($0, "net") }
        let attached = try world.attach(0, "given", to: networks[0])
        func problems() -> [String] {
            guard case .status(let status) = world.control(0, .status) else { return [] }
            // The engine was given the container alone, without its network.
            return status.problems.filter { !$0.hasPrefix("the engine does not have network") }
        }
        var crowded = shop(attached)
        crowded.attachments[0].aliases += (0..<500).map { "an-alias-of-quite-some-length-\($0)" }
        tell(world, 0, crowded)
        world.run(for: .seconds(1))
        for index in 0...1 { #expect(table(world, index).count == 506 && table(world, index)["till.example"] != nil) }
        #expect(problems().isEmpty)
        crowded.attachments[0].aliases += (0..<1000).map { "more-\($0)" }
        tell(world, 0, crowded)
        world.run(for: .seconds(1))
        for index in 0...1 { #expect(table(world, index).count == Limits.namesPerEndpoint) }
        #expect(
            problems() == [
                "container shop-1 has 482 names too many on network net, from more-518 on, which are not answered: 1024 names of together "
                    + "65536 bytes are; give it fewer aliases"
            ])
        world.detach(0, attached)
        world.run(for: .seconds(1))
        #expect(problems().isEmpty && table(world, 1).isEmpty)
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

    /// Docker asks internal networks last, whatever their names.
    @Test func aSandboxSeesItsNetworksWhileItIsOnThem() throws {
        let world = try world(1)
        let inner = try world.createNetwork(0, "a-inner", options: [OptionName.isInternal: .bool(true)])
        let front = try world.createNetwork(0, "front")
        func scope() -> SandboxScope? { world.nodes[0].core.sandboxScopes[Self.sandbox] }
        func id(_ name: String) throws -> NetworkID { try #require(world.nodes[0].core.catalogue.network(named: name)).id }
        let one = try world.attach(0, "one", to: inner)
        #expect(scope() == SandboxScope(places: [.ours(try id("a-inner"))], forwards: false, isSettled: false))
        let two = try world.attach(0, "two", to: front)
        #expect(
            scope() == SandboxScope(places: [.ours(try id("front")), .ours(try id("a-inner"))], forwards: true, isSettled: false))
        world.detach(0, two)
        #expect(scope()?.forwards == false)
        // A container that is on one of Docker's own networks, too, may ask Docker's resolver.
        tell(world, 0, shop(one, elsewhere: true))
        #expect(scope() == SandboxScope(networks: [try id("a-inner")], forwards: true), "Docker's own has no names")
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(2))
        #expect(scope() == SandboxScope(networks: [try id("a-inner")], forwards: true), "after a restart")
        world.detach(0, one)
        #expect(world.nodes[0].core.sandboxScopes.isEmpty)
    }

    /// A network's gateway answers as long as the network is up here, and no other names.
    @Test func theGatewayOfANetworkThatIsUpAnswers() throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "net")
        let shared = try #require(world.nodes[0].core.catalogue.network(named: "net"))
        let path = "/run/netns/swov-\(shared.vni.value)"
        #expect(world.nodes[0].core.sandboxScopes[path] == nil)
        let attached = try world.attach(0, "a", to: network)
        let scope = SandboxScope(places: [.ours(shared.id)], forwards: false, gateway: shared.subnets.first?.gateway)
        #expect(scope.gateway != nil && world.nodes[0].core.sandboxScopes[path] == scope)
        guard case .status(let status) = world.control(0, .status) else { throw World.Failed("no status") }
        #expect(status.sandboxes == 1, "containers alone are counted")
        world.detach(0, attached)
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

    /// Docker's order of networks is by priority, then by name, over ours and others; names on others are those of this engine.
    @Test func networksOfOthersStandAmongOurs() throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "shared")
        let attached = try world.attach(0, "one", to: network, isNamed: false)
        let shared = try #require(world.nodes[0].core.catalogue.network(named: "shared")).id
        func scope() -> SandboxScope? { world.nodes[0].core.sandboxScopes[Self.sandbox] }
        var others: OtherNames? { world.nodes[0].core.otherNames[Self.plain] }
        let neighbour = ContainerID(String(repeating: "b", count: 64))!
        func db(_ name: String) -> EngineContainer {
            EngineContainer(
                id: neighbour, name: name,
                attachments: [
                    .init(network: Self.plain, networkName: "aproj", endpoint: EndpointID("0123456789ee"), aliases: ["Db"])
                ])
        }
        world.adopt(0, db("aproj-db-1"))
        var container = shop(attached)
        container.attachments[0].networkName = "shared"
        container.attachments.append(.init(network: Self.plain, networkName: "aproj", endpoint: EndpointID("0123456789ef")))
        tell(world, 0, container)
        #expect(scope() == SandboxScope(places: [.other(Self.plain), .ours(shared)], forwards: true))
        #expect(others == OtherNames(names: ["aproj-db-1", "db", "shop-1"], isComplete: true))
        // A container that comes, and one that goes.
        world.adopt(0, db("renamed"))
        world.handle(0, .engineNews(.elsewhere(Self.plain, .connect, neighbour)))
        #expect(others?.isComplete == false)
        world.run(for: .milliseconds(20))
        #expect(others == OtherNames(names: ["renamed", "db", "shop-1"], isComplete: true))
        world.handle(0, .engineNews(.elsewhere(Self.plain, .disconnect, neighbour)))
        #expect(others == OtherNames(names: ["shop-1"], isComplete: true))
        // By priority it is behind, and its names are needed no more.
        container.attachments[0].priority = 1
        tell(world, 0, container)
        #expect(scope() == SandboxScope(networks: [shared], forwards: true) && others == nil)
    }

    /// Docker's order of networks: priority, internal ones last, both families first, name.
    @Test func networksAreRankedAsByDocker() {
        let ranks = [
            NetworkRank(name: "z", priority: 2, isInternal: true, families: 1),
            NetworkRank(name: "y", priority: 0, isInternal: false, families: 2),
            NetworkRank(name: "a", priority: 0, isInternal: false, families: 1),
            NetworkRank(name: "b", priority: 0, isInternal: false, families: 1),
            NetworkRank(name: "a", priority: 0, isInternal: true, families: 2),
            NetworkRank(name: "a", priority: -1, isInternal: false, families: 2),
        ]
        for seed in 0..<20 {
            var generator = SeededGenerator(seed: UInt64(seed))
            #expect(ranks.shuffled(using: &generator).sorted() == ranks)
        }
    }

    /// One of both families comes before ours of one, whatever its name.
    @Test(arguments: [["10.1.0.0/24"], ["10.1.0.0/24", "fd01::/64"]]) func bothFamiliesComeFirst(subnets: [String]) throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "shared")
        let attached = try world.attach(0, "one", to: network, isNamed: false)
        let shared = try #require(world.nodes[0].core.catalogue.network(named: "shared")).id
        world.startEngine(0)
        let plain = try #require(
            world.otherNetworks(0).create(
                EngineNetwork(
                    name: "zproj", driver: "bridge", subnets: subnets.compactMap { IPPrefix($0) }.map { .init(subnet: $0) })))
        world.run(for: .seconds(1))
        var container = shop(attached)
        container.attachments[0].networkName = "shared"
        container.attachments.append(.init(network: plain, networkName: "zproj", endpoint: EndpointID("0123456789ef")))
        tell(world, 0, container)
        let places: [SandboxScope.Place] = subnets.count == 2 ? [.other(plain), .ours(shared)] : [.ours(shared)]
        #expect(world.nodes[0].core.sandboxScopes[Self.sandbox]?.places == places)
    }

    /// The engine does not answer: what was awaited for long is taken as it is.
    @Test func nothingIsAwaitedForEver() throws {
        let world = try world(1)
        let network = try world.createNetwork(0, "net")
        world.setMute(0, true)
        _ = try world.attach(0, "one", to: network)
        func isSettled() -> Bool? { world.nodes[0].core.sandboxScopes[Self.sandbox]?.isSettled }
        world.run(for: .seconds(9))
        #expect(isSettled() == false)
        world.run(for: .seconds(2))
        #expect(isSettled() == true)
    }

    /// Without an engine there is nothing to wait for.
    @Test func withoutALinkNothingIsAwaited() throws {
        let world = try World(count: 1)
        try #require(world.makeCluster())
        let network = try world.createNetwork(0, "net")
        _ = try world.attach(0, "one", to: network)
        #expect(world.nodes[0].core.sandboxScopes[Self.sandbox]?.isSettled == true)
    }

    /// Engines from 29 on tell the container's name with the request for its address.
    @Test func theNameOfARequestIsTheNameAtOnce() throws {
        let world = try World(count: 1)
        try #require(world.makeCluster())
        let network = try world.createNetwork(0, "net")
        let mac = World.mac("one")
        let request = RequestAddress(pool: network.pool, address: nil, purpose: .endpoint(mac), containerName: "shop-1")
        guard case .address(let prefix) = world.call(0, .requestAddress(request)) else { throw World.Failed("no address") }
        let endpoint = CreateEndpoint(
            network: network.network, endpoint: World.endpointID("one"), v4: prefix, v6: nil, mac: mac, options: [:])
        _ = world.call(0, .createEndpoint(endpoint))
        #expect(table(world, 0) == ["shop-1": [prefix.address]])
    }
}
