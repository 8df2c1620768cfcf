import OverlayCatalogue
import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Mirroring of networks to all engines, and names from the engine's API.
@Suite struct MirrorTests {
    private func world(_ count: Int = 3, seed: UInt64 = 1) throws -> World {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        for index in 0..<count { world.startEngine(index) }
        world.run(for: .milliseconds(100))
        return world
    }

    private static let front = EngineNetwork(
        name: "front", labels: ["com.docker.compose.project": "shop", "tier": "a"], options: ["x": "y"], ipamOptions: ["o": "p"],
        isAttachable: true)

    private func create(_ world: World, _ index: Int, _ network: EngineNetwork = front) -> EngineNetworkID? {
        var made: EngineNetworkID?
        var isDone = false
        world.dockerCreate(index, network) {
            made = $0
            isDone = true
        }
        world.run(atMost: .seconds(10)) { isDone }
        return made
    }

    private func remove(_ world: World, _ index: Int, _ id: EngineNetworkID) -> EngineAPIAnswer? {
        var answer: EngineAPIAnswer?
        world.dockerRemove(index, id) { answer = $0 }
        world.run(atMost: .seconds(10)) { answer != nil }
        return answer
    }

    private func names(_ world: World, _ index: Int) -> [String] { world.dockerNetworks(index).map(\.name) }

    private func id(_ world: World, _ index: Int, _ name: String = "front") -> EngineNetworkID? {
        world.dockerNetworks(index).first { $0.name == name }?.id
    }

    private func networks(_ world: World, _ index: Int) -> [NetworkReport] {
        guard case .networks(let reports) = world.control(index, .networks) else { return [] }
        return reports
    }

    private func problems(_ world: World, _ index: Int) -> [String] {
        guard case .status(let status) = world.control(index, .status) else { return [] }
        return status.problems
    }

    @Test func aNetworkOfOneEngineIsOnAllOthersAsItIs() throws {
        let world = try world()
        let made = try #require(create(world, 0))
        world.run(for: .seconds(1))
        let first = try #require(world.dockerNetworks(0).first)
        for index in 1...2 {
            var other = try #require(world.dockerNetworks(index).first)
            #expect(other.id != made)
            other.id = made
            #expect(other == first)
        }
        #expect(networks(world, 2).map(\.nodes) == [["host1", "host2", "host3"]])
        #expect(networks(world, 2).map(\.labels) == [Self.front.labels])
        #expect(problems(world, 1).isEmpty)
    }

    @Test func hostsAndEnginesThatComeLaterGetIt() throws {
        let world = try world()
        world.stopEngine(1)
        world.crash(2)
        world.run(for: .milliseconds(50))
        _ = try #require(create(world, 0))
        world.run(for: .seconds(2))
        #expect(names(world, 1).isEmpty)
        world.startEngine(1)
        try world.restart(2)
        world.startEngine(2)
        world.run(for: .seconds(2))
        #expect(names(world, 1) == ["front"] && names(world, 2) == ["front"])
    }

    @Test func oneThatNobodyIsOnGoesEverywhere() throws {
        let world = try world()
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        #expect(remove(world, 1, try #require(id(world, 1))) == .removed)
        world.run(for: .seconds(4))
        for index in 0...2 { #expect(names(world, index).isEmpty) }
        #expect(networks(world, 0).isEmpty)
        // A network of that name can be made again on any host.
        _ = try #require(create(world, 2))
        world.run(for: .seconds(1))
        for index in 0...2 { #expect(names(world, index) == ["front"]) }
        #expect(world.violations.isEmpty)
    }

    /// The network is made again before the other engines have removed the old one.
    @Test(arguments: 1...20) func itsNameIsFreeAtOnce(seed: UInt64) throws {
        let world = try world(seed: seed)
        for round in 0..<5 {
            let made = try #require(create(world, round % 3), "round \(round)")
            world.run(for: .milliseconds(Int64(seed) * 7))
            #expect(remove(world, round % 3, made) == .removed)
            // Docker refuses it on a host that still has the old one of that name.
            world.run(atMost: .seconds(5)) { names(world, (round + 1) % 3).isEmpty }
        }
        world.run(for: .seconds(3))
        for index in 0...2 { #expect(names(world, index).isEmpty) }
        #expect(networks(world, 0).isEmpty)
    }

    /// The network is made again with its subnet, as a Compose file names it: `docker compose down && docker compose up`.
    @Test(arguments: 1...20) func soAreItsAddresses(seed: UInt64) throws {
        let world = try world(seed: seed)
        var wanted = Self.front
        wanted.subnets = [.init(subnet: try #require(IPPrefix("10.9.0.0/24")))]
        var last: EngineNetworkID?
        for round in 0..<4 {
            let made = try #require(create(world, 0, wanted), "round \(round)")
            world.run(for: .milliseconds(Int64(seed) * 11))
            last = made
            guard round < 3 else { break }
            #expect(remove(world, 0, made) == .removed)
        }
        world.run(for: .seconds(3))
        #expect(id(world, 0) == last)
        for index in 0...2 {
            #expect(world.dockerNetworks(index).map(\.subnets) == world.dockerNetworks(0).map(\.subnets))
            #expect(names(world, index) == ["front"] && problems(world, index).isEmpty, "\(problems(world, index))")
        }
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]])
        #expect(world.violations.isEmpty)
    }

    /// While the writer was away, a container came onto the network that was to be removed.
    @Test func aRemovalThatWaitedIsLookedAtAgain() throws {
        let world = try world()
        _ = try #require(create(world, 1))
        world.run(for: .seconds(1))
        world.crash(0)
        world.run(for: .seconds(5))
        #expect(remove(world, 1, try #require(id(world, 1))) == .removed)
        world.run(for: .seconds(1))
        let attached = try world.dockerRun(2, "web", on: try #require(id(world, 2)))
        world.run(for: .seconds(1))
        try world.restart(0)
        world.startEngine(0)
        world.run(for: .seconds(10))
        #expect(names(world, 0) == ["front"] && names(world, 1).isEmpty && names(world, 2) == ["front"])
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host3"]] && networks(world, 0).map(\.isRemoved) == [false])
        world.dockerStop(2, attached)
        #expect(remove(world, 2, try #require(id(world, 2))) == .removed)
        world.run(for: .seconds(4))
        #expect((0...2).allSatisfy { names(world, $0).isEmpty } && networks(world, 0).isEmpty)
    }

    /// A host that cannot be reached may have containers on the network.
    @Test func whoCannotBeReachedKeepsIt() throws {
        let world = try world()
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        world.split([0, 1], [2])
        let there = try #require(id(world, 2))
        world.run(for: .seconds(20))
        let attached = try world.dockerRun(2, "web", on: there)
        guard case .done(let text) = world.control(1, .removeNetwork("front")) else { throw World.Failed("rm") }
        #expect(text == "front: gone from this host's engine; it lives on, on host3")
        world.run(for: .seconds(2))
        world.heal()
        world.run(for: .seconds(20))
        #expect(names(world, 0) == ["front"] && names(world, 1).isEmpty && names(world, 2) == ["front"])
        #expect(problems(world, 2).isEmpty)
        world.dockerStop(2, attached)
    }

    @Test func oneThatOthersUseGoesFromHereAlone() throws {
        let world = try world()
        let made = try #require(create(world, 0))
        world.run(for: .seconds(1))
        let attached = try world.dockerRun(0, "web", on: made)
        world.run(for: .milliseconds(100))
        let there = try #require(id(world, 1))
        #expect(remove(world, 1, there) == .removed)
        world.run(for: .seconds(70))
        #expect(names(world, 1).isEmpty && names(world, 0) == ["front"] && names(world, 2) == ["front"])
        #expect(networks(world, 1).map(\.nodes) == [["host1", "host3"]])
        // The network does not come back with a restart.
        world.crash(1)
        try world.restart(1)
        world.startEngine(1)
        world.run(for: .seconds(3))
        #expect(names(world, 1).isEmpty)
        // A user who creates it again has it again.
        let answer = world.control(1, .createNetwork(EngineNetwork(name: "front")))
        guard case .done = answer else { throw World.Failed("\(answer)") }
        #expect(names(world, 1) == ["front"])
        world.dockerStop(0, attached)
        guard case .done("front") = world.control(2, .removeNetwork("front")) else { throw World.Failed("rm") }
        world.run(for: .seconds(1))
        for index in 0...2 { #expect(names(world, index).isEmpty) }
    }

    /// Two hosts make it at the same moment. It ends as one network, as no container is on the other one.
    @Test(arguments: 1...30) func oneNameIsOneNetwork(seed: UInt64) throws {
        let world = try world(seed: seed)
        world.dockerCreate(0, Self.front)
        world.run(for: .microseconds(Int64(seed) * 100))
        world.dockerCreate(1, Self.front)
        world.run(for: .seconds(5))
        for index in 0...2 {
            #expect(names(world, index) == ["front"])
            #expect(problems(world, index).isEmpty)
        }
        #expect(networks(world, 0).count == 1)
        // An id that an engine gave stays as long as somebody may go on with it.
        world.run(for: .seconds(40))
        #expect(Set((0...2).map { world.dockerNetworks($0).map(\.subnets) }).count == 1)
        #expect((0...2).allSatisfy { names(world, $0) == ["front"] && problems(world, $0).isEmpty })
    }

    /// A conflict with containers on both networks is reported. It ends as one network when the containers of one are gone.
    @Test func aConflictIsSeen() throws {
        let world = try world()
        world.stopEngine(1)
        world.run(for: .milliseconds(50))
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        // This engine has a network of the name, with a container, before its daemon has heard of the other one.
        let plugin = try world.createNetwork(1, "other", subnet: IPPrefix("10.77.0.0/24"))
        let own = EngineNetwork(
            id: plugin.network, name: "front", subnets: [.init(subnet: plugin.prefix)])
        let attached = try world.attach(1, "there", to: plugin)
        world.adopt(1, own)
        world.startEngine(1)
        world.run(for: .seconds(2))
        #expect(
            problems(world, 1).contains { $0.contains("network front") && $0.contains("10.32.0.0/24") }, "\(problems(world, 1))")
        // The network stays for a container that only starts anew.
        world.detach(1, attached)
        world.run(for: .seconds(5))
        let restarted = try world.attach(1, "there", to: plugin)
        world.run(for: .seconds(20))
        #expect(world.dockerNetworks(1).map(\.id) == [plugin.network] && !problems(world, 1).isEmpty)
        world.detach(1, restarted)
        world.run(for: .seconds(12))
        #expect(problems(world, 1).isEmpty)
        #expect(
            world.dockerNetworks(1).map { $0.subnets.first?.subnet } == world.dockerNetworks(0).map { $0.subnets.first?.subnet })
    }

    /// The engine is connected, but does not answer for a while.
    @Test func whatIsNotAnsweredIsAskedAgain() throws {
        let world = try world()
        world.stopEngine(1)
        world.run(for: .milliseconds(20))
        world.setMute(1, true)
        world.startEngine(1)
        let made = try #require(create(world, 0))
        _ = try world.dockerRun(0, "web", on: made)
        world.run(for: .seconds(3))
        #expect(names(world, 1).isEmpty)
        world.setMute(1, false)
        world.run(for: .seconds(3))
        #expect(names(world, 1) == ["front"])
    }

    /// A user who removed the network here, and creates one of that name again, gets the cluster's again.
    @Test func aDeclinedNetworkComesBackByItsName() throws {
        let world = try world()
        let made = try #require(create(world, 0))
        world.run(for: .seconds(1))
        _ = try world.dockerRun(0, "web", on: made)
        #expect(remove(world, 1, try #require(id(world, 1))) == .removed)
        world.run(for: .seconds(1))
        _ = try #require(create(world, 1))
        world.run(for: .seconds(5))
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]])
        world.run(for: .seconds(40))
        #expect(world.dockerNetworks(1).map(\.subnets) == world.dockerNetworks(0).map(\.subnets))
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]])
        #expect(problems(world, 1).isEmpty)
    }

    @Test func anEngineThatLostItsNetworksGetsThemAgain() throws {
        let world = try world()
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        world.stopEngine(1)
        world.wipeEngine(1)
        world.run(for: .seconds(1))
        world.startEngine(1)
        world.run(for: .seconds(3))
        #expect(names(world, 1) == ["front"])
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]])
    }

    /// The engine was killed after the plugin's answer, before it wrote its own state.
    @Test(arguments: [true, false]) func aNetworkThatNoEngineKnowsIsGivenUp(restarts: Bool) throws {
        let world = try world()
        _ = try world.createNetwork(1, "lost")
        if restarts {
            world.stopEngine(1)
            world.run(for: .milliseconds(50))
            world.startEngine(1)
        }
        world.run(for: .seconds(28))
        #expect(networks(world, 0).map(\.name) == ["lost"], "an engine may be slow")
        world.run(for: .seconds(15))
        #expect(networks(world, 0).isEmpty)
        _ = try #require(create(world, 1, EngineNetwork(name: "lost", ipamOptions: [OptionName.net: "lost"])))
    }

    @Test func anEmptyNameIsNoNetworks() throws {
        let world = try world()
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        guard case .refused = world.control(0, .removeNetwork("")), case .refused = world.control(0, .network("")) else {
            throw World.Failed("removed")
        }
        #expect(names(world, 0) == ["front"])
    }

    @Test func withoutALinkNothingIsMadeAndStatusSaysSo() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        world.startEngine(0)
        world.run(for: .milliseconds(50))
        _ = try #require(create(world, 0))
        world.run(for: .seconds(2))
        guard case .status(let status) = world.control(1, .status) else { throw World.Failed("status") }
        #expect(status.engine.state == "none")
        guard case .refused(let reason) = world.control(1, .createNetwork(EngineNetwork(name: "x"))) else {
            throw World.Failed("made")
        }
        #expect(reason.contains("--engine none"))
        // The other engine's network is joined by its name.
        let joined = try world.createNetwork(1, "front")
        #expect(joined.prefix == world.dockerNetworks(0).first?.subnets.first?.subnet)
        world.stopEngine(0)
        world.run(for: .milliseconds(50))
        #expect(problems(world, 0).contains { $0.contains("the engine closed the connection") })
    }

    /// A host that leaves and joins keeps its engine's networks, which no node knows any more.
    @Test func whatIsLeftOfAnEarlierLifeGivesWay() throws {
        let world = try world()
        _ = try #require(create(world, 0))
        world.run(for: .seconds(1))
        let old = id(world, 1)
        guard case .done = world.control(1, .leave(force: false)) else { throw World.Failed("leave") }
        world.run(for: .seconds(1))
        #expect(id(world, 1) == old)
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)),
            case .done = world.control(1, .join(token: report.token, host: "192.0.2.1", port: 7947))
        else { throw World.Failed("join") }
        world.run(for: .seconds(5))
        #expect(id(world, 1) != nil && id(world, 1) != old)
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]] && problems(world, 1).isEmpty)
    }

    /// The engine keeps the old network while containers are on it.
    @Test func whatIsLeftWithContainersGivesWayAfterThem() throws {
        let world = try world()
        let made = try #require(create(world, 0))
        world.run(for: .seconds(1))
        let old = try #require(id(world, 1))
        let attached = try world.dockerRun(1, "web", on: old)
        guard case .done = world.control(1, .leave(force: true)) else { throw World.Failed("leave") }
        world.run(for: .seconds(1))
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)),
            case .done = world.control(1, .join(token: report.token, host: "192.0.2.1", port: 7947))
        else { throw World.Failed("join") }
        world.run(for: .seconds(100))
        #expect(id(world, 1) == old && id(world, 0) == made)
        #expect(problems(world, 1).contains { $0.contains("network front: this host's engine does not make it") })
        world.dockerStop(1, attached)
        world.run(for: .seconds(70))
        #expect(id(world, 1) != nil && id(world, 1) != old && problems(world, 1).isEmpty)
    }

    // MARK: Names

    private func table(_ world: World, _ index: Int) -> [String: [IPAddress]] {
        world.nodes[index].core.nameTables.values.first?.all ?? [:]
    }

    @Test func namesComeFromTheEngineAndGoWithTheEndpoint() throws {
        let world = try world()
        let made = try #require(create(world, 0))
        world.run(for: .seconds(1))
        let web = try world.dockerRun(0, "Web", on: made)
        let other = try world.dockerRun(1, "web", on: try #require(id(world, 1)))
        #expect(world.run(atMost: .milliseconds(100)) { table(world, 2)["web"]?.count == 2 })
        #expect(table(world, 2)["web"] == [web.address, other.address].sorted())
        world.dockerStop(0, web)
        #expect(world.run(atMost: .milliseconds(10)) { table(world, 2)["web"] == [other.address] })
        world.expectConvergence(within: .seconds(1))
        #expect(world.violations.isEmpty, "\(world.violations)")
        // A container's name is answered while its daemon is down, but not while its host is unreachable.
        world.crash(1)
        world.run(for: .seconds(20))
        #expect(table(world, 2)["web"] == [other.address])
        try world.restart(1)
        world.startEngine(1)
        world.run(for: .seconds(2))
        #expect(table(world, 2)["web"] == [other.address])
        world.crash(1, hostToo: true)
        #expect(world.run(atMost: .seconds(20)) { table(world, 2)["web"] == nil })
        try world.restart(1)
        #expect(world.run(atMost: .seconds(5)) { table(world, 2)["web"] == [other.address] })
    }
}
