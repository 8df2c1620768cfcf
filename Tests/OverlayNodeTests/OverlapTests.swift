import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Subnets of the cluster, routes of hosts, and networks of their engines.
@Suite struct OverlapTests {
    private func world(_ count: Int = 2, engines: Bool = true) throws -> World {
        let world = try World(count: count)
        try #require(world.makeCluster())
        if engines { for index in 0..<count { world.startEngine(index) } }
        world.run(for: .seconds(3))
        return world
    }

    private static func network(_ name: String, _ subnet: String?, driver: String = "", _ options: [String: String] = [:])
        -> EngineNetwork
    {
        EngineNetwork(
            name: name, driver: driver, options: options,
            subnets: [subnet].compactMap { $0.flatMap { IPPrefix($0) } }.map { .init(subnet: $0) })
    }

    private func create(_ world: World, _ index: Int, _ network: EngineNetwork) -> EngineNetworkID? {
        var made: EngineNetworkID?
        var isDone = false
        world.dockerCreate(index, network) {
            made = $0
            isDone = true
        }
        world.run(atMost: .seconds(10)) { isDone }
        return made
    }

    private func problems(_ world: World, _ index: Int) -> [String] {
        guard case .status(let status) = world.control(index, .status) else { return [] }
        return status.problems
    }

    private func refusal(_ world: World, _ index: Int, _ subnet: String, _ options: [String: String] = [:]) throws -> String {
        let generic = Options(uniqueKeysWithValues: [(OptionName.generic, .object(options.mapValues { .string($0) }))])
        do {
            let made = try world.createNetwork(index, "n", subnet: IPPrefix(subnet), options: generic)
            world.removeNetwork(index, made)
            world.run(for: .seconds(1))
            return ""
        } catch let error as DriverError {
            return error.message
        }
    }

    private func gateway(_ world: World, _ index: Int) -> IPPrefix? {
        world.otherNetworks(index).all.first { $0.name == "docker_gwbridge" }?.subnets.first?.subnet
    }

    // MARK: docker_gwbridge

    @Test func dockerGwbridgeIsMadeInTime() throws {
        let world = try world()
        for index in 0...1 {
            #expect(gateway(world, index) == IPPrefix("192.168.240.0/20"))
            let made = try #require(world.otherNetworks(index).all.first)
            #expect(made.driver == "bridge" && made.ipamDriver == "default")
            #expect(made.options["com.docker.network.bridge.name"] == "docker_gwbridge")
        }
        // A Compose file's subnet, on hosts that never had a container on an overlay network.
        let id = try #require(create(world, 0, Self.network("front", "172.18.0.0/16")))
        world.run(for: .seconds(1))
        let other = try #require(world.dockerNetworks(1).first?.id)
        _ = try world.dockerRun(0, "a", on: id)
        _ = try world.dockerRun(1, "b", on: other)
        #expect(problems(world, 0).isEmpty && problems(world, 1).isEmpty)
    }

    @Test func dockerGwbridgeAvoidsWhatIsThere() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        world.nodes[0].routes = [HostSubnet(prefix: IPPrefix("192.168.250.0/24")!, link: "eth1")]
        _ = try world.createNetwork(1, "n", subnet: IPPrefix("192.168.224.0/20")!)
        world.run(for: .seconds(15))
        world.startEngine(0)
        world.run(for: .seconds(1))
        #expect(gateway(world, 0) == IPPrefix("192.168.208.0/20"))
        // An engine with pools of its own keeps to them, and to what it has.
        let pool = EngineAddressPool(base: IPPrefix("10.200.0.0/22")!, size: 24)!
        world.otherNetworks(1).setAddressPools([pool])
        world.startEngine(1)
        world.run(for: .milliseconds(1))
        world.otherNetworks(1).create(Self.network("own", "10.200.3.0/25", driver: "bridge"))
        world.run(for: .seconds(1))
        #expect(gateway(world, 1) == IPPrefix("10.200.2.0/24"))
    }

    @Test func dockerGwbridgeIsLeftAloneWhereItIsAndAWhileAfterItsEnd() throws {
        let world = try World(count: 1)
        world.startEngine(0)
        world.otherNetworks(0).create(Self.network("docker_gwbridge", "172.25.0.0/16", driver: "bridge"))
        world.run(for: .seconds(1))
        try #require(world.makeCluster())
        world.run(for: .seconds(30))
        #expect(gateway(world, 0) == IPPrefix("172.25.0.0/16"))
        // A user makes it anew by hand.
        world.otherNetworks(0).remove("docker_gwbridge")
        world.run(for: .seconds(50))
        #expect(gateway(world, 0) == nil)
        world.run(for: .seconds(20))
        #expect(gateway(world, 0) == IPPrefix("192.168.240.0/20"))
    }

    @Test func anEngineThatGivesNoAnswerHoldsUpNothing() throws {
        let world = try World(count: 1)
        world.startEngine(0)
        world.setMute(0, true)
        try #require(world.makeCluster())
        world.run(for: .seconds(30))
        _ = try world.createNetwork(0, "n", subnet: IPPrefix("172.18.0.0/16")!)
        world.setMute(0, false)
        world.run(for: .seconds(30))
        #expect(gateway(world, 0) != nil)
    }

    // MARK: New networks

    @Test func aSubnetThatOverlapsARouteOfAnyHostIsRefused() throws {
        let world = try world(3)
        // The host's own link, another host's, an engine's network, docker_gwbridge.
        #expect(try refusal(world, 0, "10.47.0.128/25").contains("overlaps the route 10.47.0.0/24 dev eth0, of node host1"))
        #expect(try refusal(world, 0, "10.46.0.0/15").contains("10.47.0.0/24"))
        #expect(try refusal(world, 0, "10.47.2.0/24").contains("overlaps the route 10.47.2.0/24 of node host3"))
        #expect(
            try refusal(world, 1, "192.168.241.0/24").contains(
                "the engine's network docker_gwbridge, 192.168.240.0/20, of node host2"))
        world.otherNetworks(2).create(Self.network("own", "10.9.0.0/16", driver: "bridge"))
        world.run(for: .seconds(35))
        let refused = try refusal(world, 0, "10.9.8.0/24")
        #expect(refused.contains("the route 10.9.0.0/16 of node host3"))
        #expect(refused.contains("-o swift-overlay.allow-overlap=true"))
        #expect(try refusal(world, 0, "10.9.8.0/24", [OptionName.allowOverlap: "true"]) == "")
        #expect(try refusal(world, 0, "10.9.8.0/24", [OptionName.allowOverlap: "false"]) == refused)
        world.otherNetworks(2).remove("own")
        world.run(for: .seconds(35))
        #expect(try refusal(world, 0, "10.9.8.0/24") == "")
    }

    @Test func routesThatAreNoObstacleAreNone() throws {
        let world = try world(2)
        let routes = ["0.0.0.0/1", "128.0.0.0/1", "169.254.0.0/16", "10.32.0.0/12", "fe80::/64", "ff00::/8", "224.0.0.0/4"]
        for index in 0...1 { world.nodes[index].routes = routes.map { HostSubnet(prefix: IPPrefix($0)!, link: "tun0") } }
        world.run(for: .seconds(45))
        #expect(try refusal(world, 0, "10.33.0.0/24") == "")
        #expect(try refusal(world, 1, "172.20.0.0/16") == "")
        let made = try world.createNetwork(0, "chosen")
        #expect(made.prefix == IPPrefix("10.32.0.0/24"))
        #expect(problems(world, 0).isEmpty && problems(world, 1).isEmpty)
    }

    /// A network that others made comes to a host that has its subnet in use: told there, and not refused.
    @Test func aNetworkOfTheClusterIsNotRefused() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        let options = [OptionName.allowOverlap: "true"]
        world.startEngine(0)
        world.startEngine(1)
        world.run(for: .seconds(3))
        _ = try #require(create(world, 0, Self.network("wide", "10.47.1.0/24", options)))
        _ = try #require(create(world, 0, Self.network("front", "10.8.0.0/24")))
        world.nodes[1].routes = [HostSubnet(prefix: IPPrefix("10.8.0.0/16")!, link: "eth1")]
        world.run(for: .seconds(12))
        #expect(world.dockerNetworks(1).map(\.name) == ["front", "wide"])
        #expect(problems(world, 0).isEmpty)
        let told = problems(world, 1)
        #expect(told.count == 1 && told[0].contains("subnet 10.8.0.0/24 of network front overlaps the route 10.8.0.0/16 dev eth1"))
        world.nodes[1].routes = []
        world.run(for: .seconds(11))
        #expect(problems(world, 1).isEmpty)
    }

    @Test func overlapsThatComeLaterAreToldWhereTheyAre() throws {
        let world = try world(2)
        _ = try #require(create(world, 0, Self.network("front", "172.20.0.0/16")))
        world.run(for: .seconds(2))
        world.otherNetworks(1).create(Self.network("project_default", "172.20.4.0/24", driver: "bridge"))
        world.run(for: .seconds(1))
        let told = problems(world, 1)
        #expect(told.count == 1 && told[0].contains("overlaps the engine's network project_default, 172.20.4.0/24"))
        #expect(problems(world, 0).isEmpty)
        world.otherNetworks(1).remove("project_default")
        world.run(for: .seconds(1))
        #expect(problems(world, 1).isEmpty)
    }

    /// A node joins whose docker_gwbridge has a subnet of the cluster. Nothing starts there, so that is said even of a network whose
    /// overlaps are allowed.
    @Test func aDockerGwbridgeInTheWayIsTold() throws {
        let world = try World(count: 1)
        world.startEngine(0)
        world.otherNetworks(0).create(Self.network("docker_gwbridge", "172.18.0.0/16", driver: "bridge"))
        world.run(for: .seconds(1))
        try #require(world.makeCluster())
        let options = [OptionName.allowOverlap: "true"]
        let id = try #require(create(world, 0, Self.network("front", "172.18.0.0/16", options)))
        #expect(throws: World.Failed.self) { try world.dockerRun(0, "a", on: id) }
        #expect(problems(world, 0).contains { $0.contains("no container of the network starts here") })
        // As the problem says.
        world.otherNetworks(0).remove("docker_gwbridge")
        world.run(for: .seconds(70))
        _ = try world.dockerRun(0, "a", on: id)
        #expect(problems(world, 0).isEmpty)
    }

    /// Changes of routes are entries of the catalogue, so a host that changes them all the time tells some of them only.
    @Test func routesThatChangeAllTheTimeAreToldSeldom() throws {
        let world = try world(2)
        let before = world.nodes[0].core.catalogue.index
        for round in 0..<120 {
            world.otherNetworks(1).create(Self.network("n\(round)", "10.\(round).0.0/16", driver: "bridge"))
            world.run(for: .seconds(1))
            if round.isMultiple(of: 2) { world.otherNetworks(1).remove("n\(round)") }
        }
        #expect(world.nodes[0].core.catalogue.index - before <= 5)
    }
}
