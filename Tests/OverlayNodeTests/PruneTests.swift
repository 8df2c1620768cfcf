import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// `docker network prune` takes a network from one engine alone, and from none whose containers have it in their configuration.
@Suite struct PruneTests {
    private static let container = ContainerID(String(repeating: "ab", count: 32))!

    private func world(_ count: Int = 3, seed: UInt64 = 1, networks: [String] = ["front"]) throws -> World {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        for index in 0..<count { world.startEngine(index) }
        world.run(for: .milliseconds(100))
        for name in networks { world.dockerCreate(0, EngineNetwork(name: name)) }
        world.run(for: .seconds(1))
        return world
    }

    private func prune(_ world: World, _ index: Int) {
        var isDone = false
        EngineConfigurations(world).prune(index) { isDone = true }
        world.run(atMost: .seconds(30)) { isDone }
    }

    private func remove(_ world: World, _ index: Int, _ name: String = "front") {
        guard let id = id(world, index, name) else { return }
        var isDone = false
        world.dockerRemove(index, id) { _ in isDone = true }
        world.run(atMost: .seconds(10)) { isDone }
    }

    private func names(_ world: World, _ index: Int) -> [String] { world.dockerNetworks(index).map(\.name) }
    private func id(_ world: World, _ index: Int, _ name: String = "front") -> EngineNetworkID? {
        world.dockerNetworks(index).first { $0.name == name }?.id
    }

    private func problems(_ world: World, _ index: Int) -> [String] {
        guard case .status(let status) = world.control(index, .status) else { return [] }
        return status.problems
    }

    /// Nobody is on the network anywhere, and an idle host prunes by cron.
    @Test(arguments: [1, 12]) func itGoesFromThatEngineAlone(count: Int) throws {
        let all = (0..<count).map { "net\($0)" }
        let world = try world(networks: all)
        prune(world, 1)
        world.run(for: .seconds(10))
        #expect(names(world, 0).count == count && names(world, 1).isEmpty && names(world, 2).count == count)
        world.crash(1)
        try world.restart(1)
        world.startEngine(1)
        world.run(for: .seconds(3))
        #expect(names(world, 1).isEmpty)
        // Whoever needs it there gets it: a container that was created with its name.
        EngineConfigurations(world).add(1, Self.container, on: "net0")
        world.run(for: .seconds(1))
        #expect(names(world, 1) == ["net0"] && EngineConfigurations(world).network(1, of: Self.container, named: "net0") != nil)
        #expect((0...2).allSatisfy { problems(world, $0).isEmpty } && world.violations.isEmpty)
    }

    /// Another host has a container that does not run.
    @Test(arguments: [true, false]) func whatAContainerElsewhereNamesStays(isPrune: Bool) throws {
        let world = try world()
        let there = try #require(id(world, 2))
        EngineConfigurations(world).add(2, Self.container, on: "front", there)
        world.run(for: .milliseconds(100))
        if isPrune { prune(world, 1) } else { remove(world, 1) }
        world.run(for: .seconds(10))
        #expect(names(world, 1).isEmpty && id(world, 2) == there && names(world, 0) == ["front"])
        #expect(EngineConfigurations(world).network(2, of: Self.container, named: "front") == there)
        // It goes with the container.
        EngineConfigurations(world).remove(2, Self.container)
        remove(world, 2)
        world.run(for: .seconds(5))
        #expect((0...2).allSatisfy { names(world, $0).isEmpty })
    }

    /// A host that prunes has a container that does not run. Its engine goes by the id that the network had.
    @Test(arguments: [1, 3]) func itComesBackForAContainerOfThisHost(hosts: Int) throws {
        let world = try world(hosts)
        let before = try #require(id(world, 0))
        EngineConfigurations(world).add(0, Self.container, on: "front", before)
        world.run(for: .milliseconds(100))
        for _ in 0..<5 {
            prune(world, 0)
            world.run(for: .milliseconds(500))
            let found = EngineConfigurations(world).network(0, of: Self.container, named: "front")
            #expect(found != nil && found != before && found == id(world, 0))
        }
        let attached = try world.dockerRun(0, "web", on: try #require(id(world, 0)))
        world.dockerStop(0, attached)
        #expect(problems(world, 0).isEmpty && world.violations.isEmpty)
    }

    /// A container in its back-off was to be restarted while its network was away. Its engine gives up then.
    @Test(arguments: [true, false]) func whoWasGivenUpMeanwhileIsStarted(wants: Bool) throws {
        let world = try world()
        let before = try #require(id(world, 0))
        let engine = EngineConfigurations(world)
        engine.add(0, Self.container, on: "front", before)
        engine.setStart(
            0, of: Self.container,
            ContainerStart(hasEnded: true, error: wants ? "network \(before.text) not found" : "", isRestarted: true))
        prune(world, 0)
        world.run(for: .seconds(1))
        #expect(engine.network(0, of: Self.container, named: "front") != nil)
        #expect(engine.start(0, of: Self.container)?.hasEnded == !wants)
    }

    /// The engine gives the container up a moment after its network is there again, or as its own docker_gwbridge was away.
    @Test(arguments: ["network ID not found", "container 1: endpoint create on GW Network failed: network 2 not found", "oom"])
    func whoIsGivenUpLateIsStarted(error: String) throws {
        let world = try world()
        let before = try #require(id(world, 0))
        let engine = EngineConfigurations(world)
        engine.add(0, Self.container, on: "front", before)
        engine.setStart(0, of: Self.container, ContainerStart(hasEnded: false, error: "", isRestarted: true))
        prune(world, 0)
        world.run(for: .milliseconds(900))
        let text = error.replacing("ID", with: before.text)
        engine.setStart(0, of: Self.container, ContainerStart(hasEnded: true, error: text, isRestarted: true))
        world.run(for: .seconds(4))
        #expect(engine.start(0, of: Self.container)?.hasEnded == (error == "oom"))
        // Later ends have other reasons.
        world.run(for: .seconds(20))
        engine.setStart(0, of: Self.container, ContainerStart(hasEnded: true, error: text, isRestarted: true))
        world.run(for: .seconds(20))
        #expect(engine.start(0, of: Self.container)?.hasEnded == true)
    }

    /// Others use it, so the pruning host has given it up before the engine tells of the prune.
    @Test func itComesBackWhereOthersUseIt() throws {
        let world = try world()
        _ = try world.dockerRun(2, "web", on: try #require(id(world, 2)))
        EngineConfigurations(world).add(0, Self.container, on: "front", try #require(id(world, 0)))
        world.run(for: .milliseconds(100))
        prune(world, 0)
        world.run(for: .seconds(1))
        #expect(EngineConfigurations(world).network(0, of: Self.container, named: "front") != nil && problems(world, 0).isEmpty)
    }

    /// The daemon dies after the removal, before the engine tells of the prune.
    @Test func aCrashInBetweenTakesItFromNobodyElse() throws {
        for time in [1, 5, 20, 100, 1000] {
            let world = try world(seed: UInt64(time))
            remove(world, 1)
            world.run(for: .milliseconds(Int64(time)))
            world.crash(1)
            try world.restart(1)
            world.startEngine(1)
            world.run(for: .seconds(10))
            #expect(names(world, 0) == ["front"] && names(world, 2) == ["front"], "after \(time) ms")
            #expect(world.violations.isEmpty)
        }
    }

    /// A host that does not answer may have containers that name it.
    @Test func whoDoesNotAnswerKeepsIt() throws {
        let world = try world()
        world.setMute(2, true)
        remove(world, 1)
        world.run(for: .seconds(40))
        #expect(names(world, 1).isEmpty && names(world, 2) == ["front"])
    }

    @Test func aRemovalIsStillOne() throws {
        let world = try world()
        remove(world, 1)
        let start = world.now
        #expect(world.run(atMost: .seconds(5)) { (0...2).allSatisfy { names(world, $0).isEmpty } })
        #expect(world.now - start < .seconds(4))
        // A command of ours is no prune, and is not held back.
        world.dockerCreate(0, EngineNetwork(name: "back"))
        world.run(for: .seconds(1))
        guard case .done = world.control(1, .removeNetwork("back")) else { throw World.Failed("rm") }
        #expect(world.run(atMost: .milliseconds(500)) { (0...2).allSatisfy { names(world, $0).isEmpty } })
    }

    /// `docker compose down && docker compose up`, with options that have changed.
    @Test(arguments: ["10.9.0.0/24", nil]) func whatIsMadeAnewInItsPlaceCounts(subnet: String?) throws {
        let world = try world(networks: [])
        let subnets = subnet.flatMap { IPPrefix($0) }.map { [EngineNetwork.Subnet(subnet: $0)] } ?? []
        for isInternal in [false, true, false] {
            var made: EngineNetworkID?
            world.dockerCreate(0, EngineNetwork(name: "shop", subnets: subnets, isInternal: isInternal)) { made = $0 }
            #expect(world.run(atMost: .seconds(5)) { made != nil })
            let attached = try world.dockerRun(0, "web", on: try #require(made))
            world.dockerStop(0, attached)
            world.run(for: .milliseconds(200))
            #expect(names(world, 0) == ["shop"] && problems(world, 0).isEmpty, "\(problems(world, 0))")
            if !isInternal { remove(world, 0, "shop") } else { world.run(for: .seconds(3)) }
            if isInternal {
                for index in 0...2 { #expect(world.dockerNetworks(index).map(\.isInternal) == [true]) }
                remove(world, 0, "shop")
            }
        }
        world.run(for: .seconds(5))
        #expect((0...2).allSatisfy { names(world, $0).isEmpty } && world.violations.isEmpty)
    }
}
