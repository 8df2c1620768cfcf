import OverlayDatapath
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode
@testable import OverlaySimulation

/// Leftovers of engines and daemons that died go within a minute, and nothing that lives goes.
@Suite struct LeftoverTests {
    private static let subnet = IPPrefix(IPAddress(v4: 10, 90, 0, 0), length: 24)
    private static let minute = Interval.seconds(60)

    /// A cluster whose engines have a network, with its ids there.
    private func world(_ count: Int = 2, seed: UInt64 = 1) throws -> (world: World, network: World.Created) {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        for index in 0..<count {
            world.startEngine(index)
            EngineConfigurations(world).setExact(index, true)
        }
        world.run(for: .milliseconds(100))
        let prefix = try #require(Self.subnet)
        world.dockerCreate(0, EngineNetwork(name: "front", subnets: [.init(subnet: prefix)]))
        world.run(for: .seconds(2))
        let id = try #require(world.dockerNetworks(0).first?.id)
        let pool = try #require(EngineConfigurations(world).pool(0, of: id))
        return (world, World.Created(network: id, pool: pool, prefix: prefix))
    }

    private func status(_ world: World, _ index: Int = 0) throws -> StatusReport {
        guard case .status(let report) = world.control(index, .status) else { throw World.Failed("no status") }
        return report
    }

    /// Endpoints and leases of the first host.
    private func counts(_ world: World) throws -> [Int] {
        let report = try status(world)
        return [report.endpoints, report.leases]
    }

    /// Endpoints that a node knows of on all hosts.
    private func endpoints(_ world: World, _ index: Int) -> [EndpointReport] {
        guard case .networks(let reports) = world.control(index, .networks) else { return [] }
        return reports.flatMap(\.endpoints)
    }

    private func expectNothing(_ world: World, _ comment: Comment? = nil, networks: Int = 1) throws {
        world.run(for: .milliseconds(200))
        let report = try status(world)
        #expect(report.endpoints == 0 && report.leases == 0 && report.networks.count == networks, comment)
        #expect(report.problems.isEmpty, comment)
        let ports = world.nodes[0].kernel.state.networks.values.flatMap(\.ports.keys)
        #expect(ports.isEmpty, comment)
        for index in world.nodes.indices { #expect(endpoints(world, index).isEmpty, comment) }
        #expect(world.violations.isEmpty, comment)
    }

    private func request(_ world: World, _ network: World.Created, _ name: String, _ address: IPAddress? = nil) throws -> IPAddress
    {
        let call = RequestAddress(pool: network.pool, address: address, purpose: .endpoint(World.mac(name)))
        guard case .address(let prefix) = try world.checked(world.call(0, .requestAddress(call))) else {
            throw World.Failed("none")
        }
        return prefix.address
    }

    // MARK: Containers that ended

    @Test func aContainerThatEndedWhileTheDaemonWasAwayLeavesNothing() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        let other = try world.dockerRun(0, "other", on: network.network)
        world.run(for: .seconds(1))
        world.crash(0)
        EngineConfigurations(world).lose(0, web)
        world.run(for: .seconds(60))
        try world.restart(0)
        world.run(for: .seconds(8))
        #expect(endpoints(world, 0).map(\.id) == [other.endpoint.text] && endpoints(world, 1).map(\.id) == [other.endpoint.text])
        #expect(try status(world).leases == 1)
        #expect(world.nodes[0].kernel.state.networks.values.flatMap(\.ports.keys) == [KernelName.port(other.endpoint)])
        // `docker start` of a container with `--ip`.
        #expect(try request(world, network, "again", web.address) == web.address)
        #expect(world.violations.isEmpty)
    }

    /// The engine died with its containers, and the daemon was away when it swept up.
    @Test func anEngineThatSweptUpAloneLeavesNothing() throws {
        let (world, network) = try world()
        let all = try (0..<5).map { try world.dockerRun(0, "web\($0)", on: network.network) }
        world.run(for: .seconds(1))
        world.crash(0)
        world.stopEngine(0)
        for one in all { EngineConfigurations(world).lose(0, one) }
        world.startEngine(0)
        try world.restart(0)
        world.run(for: .seconds(8))
        try expectNothing(world)
    }

    @Test func whatLivesStaysThroughEverything() throws {
        let (world, network) = try world()
        let all = try (0..<3).map { try world.dockerRun(0, "web\($0)", on: network.network) }
        for round in 0..<4 {
            world.run(for: .seconds(90))
            if round == 1 { world.stopEngine(0) }
            world.crash(0)
            world.run(for: .seconds(20))
            try world.restart(0)
            if round == 1 { world.startEngine(0) }
        }
        world.run(for: .seconds(300))
        #expect(Set(endpoints(world, 1).map(\.id)) == Set(all.map(\.endpoint.text)))
        #expect(try status(world).leases == 3)
        #expect(world.violations.isEmpty)
    }

    /// The link of its veth pair was deleted by hand: the endpoint goes, and so does its lease.
    @Test func theLeaseOfALostInterfaceGoesToo() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        EngineConfigurations(world).lose(0, web)
        world.endPair(0, of: web.endpoint)
        world.run(for: .seconds(110))
        try expectNothing(world)
    }

    // MARK: Calls that were cut off

    /// Each prefix of the calls of a container's life, cut off by the end of the engine, of the daemon, or of both.
    @Test(arguments: 1...5, [(true, false), (false, true), (true, true)]) func callsOfAContainer(
        count: Int, ends: (engine: Bool, daemon: Bool)
    ) throws {
        let (world, network) = try world()
        let address = try request(world, network, "web")
        let endpoint = World.endpointID("web")
        let prefix = IPPrefix(address, length: 24)
        let create = CreateEndpoint(
            network: network.network, endpoint: endpoint, v4: prefix, v6: nil, mac: World.mac("web"), options: [:])
        let calls: [DriverRequest] = [
            .createEndpoint(create), .join(Join(network: network.network, endpoint: endpoint, sandboxKey: "/run/docker/netns/1")),
            .leave(network: network.network, endpoint: endpoint), .deleteEndpoint(network: network.network, endpoint: endpoint),
        ]
        for call in calls.prefix(count - 1) { _ = try world.checked(world.call(0, call)) }
        if ends.daemon { world.crash(0) }
        if ends.engine { world.stopEngine(0) }
        world.run(for: .seconds(1))
        if ends.engine { world.startEngine(0) }
        if ends.daemon { try world.restart(0) }
        world.run(for: Self.minute)
        try expectNothing(world, "\(count) calls")
    }

    /// Each prefix of the calls that make a network, and of those that remove it.
    @Test(arguments: 1...5, [(true, false), (false, true), (true, true)]) func callsOfANetwork(
        count: Int, ends: (engine: Bool, daemon: Bool)
    ) throws {
        let (world, _) = try world()
        let id = World.networkID(0, "back")
        let request = RequestPool(addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: nil, family: .v4)
        guard case .pool(let pool, let prefix, let gateway) = try world.checked(world.call(0, .requestPool(request))) else {
            throw World.Failed("no pool")
        }
        let data = IPAMData(addressSpace: "swift-overlay", pool: prefix, gateway: gateway)
        let calls: [DriverRequest] = [
            .requestAddress(RequestAddress(pool: pool, address: gateway?.address, purpose: .gateway)),
            .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: [])),
            .releaseAddress(pool, try #require(gateway?.address)), .releasePool(pool), .deleteNetwork(id),
        ]
        for call in calls.prefix(count - 1) { _ = try world.checked(world.call(0, call)) }
        if ends.daemon { world.crash(0) }
        if ends.engine { world.stopEngine(0) }
        world.run(for: .seconds(1))
        if ends.engine { world.startEngine(0) }
        if ends.daemon { try world.restart(0) }
        world.run(for: Self.minute)
        try expectNothing(world, "\(count) calls")
    }

    /// Engines remove a network whatever the driver answers, so DeleteNetwork may be lost. Their event tells of the end.
    @Test(arguments: [CallFaults.Kind.lost, .answerLost, .twice])
    func aNetworkGoesThoughNobodyDeletedIt(kind: CallFaults.Kind) throws {
        for dies in [false, true] {
            let (world, network) = try world()
            world.docker.isPatient = true
            world.docker.callFaults.arm(
                .init(node: 0, call: "deleteNetwork", kind: kind) {
                    guard dies else { return }
                    world.after(Interval(nanoseconds: 0)) { $0.crash(0, keeping: 0) }
                    world.after(.milliseconds(200)) { try? $0.restart(0) }
                })
            world.dockerRemove(0, network.network)
            world.run(for: .seconds(10))
            try expectNothing(world, "\(dies)", networks: 0)
            for index in 0..<2 { #expect(world.dockerNetworks(index).isEmpty, "\(dies)") }
        }
    }

    @Test func aRequestAloneIsNoLeaseForEver() throws {
        let (world, network) = try world()
        let address = try request(world, network, "web")
        world.run(for: .seconds(25))
        #expect(try status(world).leases == 1, "an engine may be slow")
        // The engine goes on: it asks once more, and is waited for again.
        #expect(try request(world, network, "web") == address)
        world.run(for: .seconds(25))
        #expect(try status(world).leases == 1)
        world.run(for: .seconds(35))
        try expectNothing(world)
    }

    @Test func gatewaysAndAuxiliaryAddressesStay() throws {
        let (world, network) = try world()
        let auxiliary = IPAddress(v4: 10, 90, 0, 77)
        let gateway = IPAddress(v4: 10, 90, 0, 1)
        for (address, purpose) in [(auxiliary, RequestAddress.Purpose.auxiliary), (gateway, .gateway)] {
            let call = RequestAddress(pool: network.pool, address: address, purpose: purpose)
            _ = try world.checked(world.call(0, .requestAddress(call)))
        }
        world.run(for: .seconds(200))
        #expect(throws: DriverError.self) { try request(world, network, "web", auxiliary) }
        #expect(throws: DriverError.self) { try request(world, network, "web", gateway) }
    }

    /// An engine that was slow releases the address of an endpoint that was given up when another one has it.
    @Test func aLateReleaseTakesNothingFromTheNext() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        EngineConfigurations(world).lose(0, web)
        world.run(for: .seconds(70))
        try expectNothing(world)
        let next = try world.attach(0, "next", to: network, address: web.address)
        EngineConfigurations(world).hold(0, next.endpoint, on: network.network, "next", [next.address])
        for call in [
            DriverRequest.leave(network: network.network, endpoint: web.endpoint),
            .deleteEndpoint(network: network.network, endpoint: web.endpoint), .releaseAddress(network.pool, web.address),
        ] {
            _ = try world.checked(world.call(0, call))
        }
        #expect(endpoints(world, 1).map(\.id) == [next.endpoint.text])
        #expect(try status(world).leases == 1)
        // Its own release is one.
        world.detach(0, next)
        try expectNothing(world)
    }

    // MARK: What cannot be asked

    @Test func anEngineThatSaysNothingTakesNothing() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        EngineConfigurations(world).lose(0, web)
        world.setMute(0, true)
        world.run(for: .seconds(300))
        #expect(try counts(world) == [1, 1])
        #expect(
            try status(world).problems.contains { $0.hasPrefix("the engine does not say which containers are on network front") })
        world.stopEngine(0)
        world.run(for: .seconds(300))
        #expect(try status(world).endpoints == 1)
        #expect(try status(world).problems.contains { $0.contains("what containers that are gone left behind is kept") })
        world.setMute(0, false)
        world.startEngine(0)
        world.run(for: .seconds(8))
        try expectNothing(world)
    }

    /// A second engine uses the plugin, or the engine has another data root. Its containers run.
    @Test func anotherEnginesContainersStay() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        let foreign = try world.createNetwork(0, "foreign")
        let there = try world.attach(0, "there", to: foreign, sandbox: "/run/docker/netns/2")
        world.run(for: .seconds(300))
        #expect(Set(endpoints(world, 1).map(\.id)).isSuperset(of: [web.endpoint.text]))
        #expect(try counts(world) == [2, 2])
        let problem = try #require(try status(world).problems.first { $0.contains("containers seem to be on it") })
        #expect(problem.contains(there.endpoint.short))
        // Now the network that the engine had is not there either, and a container runs on.
        world.stopEngine(0)
        world.wipeEngine(0)
        world.startEngine(0)
        world.run(for: .seconds(300))
        #expect(try status(world).endpoints == 2)
        // Their ends show by their sandboxes.
        world.nodes[0].kernel.missingSandboxes = ["/run/docker/netns/1", "/run/docker/netns/2"]
        world.run(for: .seconds(100))
        #expect(try counts(world) == [0, 0])
    }

    // MARK: By hand

    private func disconnect(_ world: World, _ endpoint: String, network: String = "front", force: Bool = true) -> String {
        switch world.control(0, .disconnect(network: network, endpoint: endpoint, force: force)) {
        case .done(let text): text
        case .refused(let reason): "refused: \(reason)"
        default: "?"
        }
    }

    @Test func theCommandFreesWhatNoContainerHas() throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        // The same question is on its way, for the container's name.
        world.run(for: .microseconds(1500))
        #expect(disconnect(world, "\(web.address)").hasPrefix("refused: endpoint \(web.endpoint.short) is that of container web"))
        world.run(for: .seconds(1))
        #expect(disconnect(world, "web", force: false).contains("docker network disconnect"))
        for text in ["web", web.endpoint.text, web.endpoint.short, "\(web.address)"] {
            #expect(disconnect(world, text).hasPrefix("refused: endpoint \(web.endpoint.short) is that of container web"))
        }
        for text in ["", "nothing", "10.90.0.200"] {
            #expect(disconnect(world, text).hasPrefix("refused: no endpoint of this host"))
        }
        #expect(disconnect(world, "web", network: "none") == "refused: no such network: none")
        #expect(disconnect(world, "web", network: "").hasPrefix("refused: no such network"))
        #expect(try status(world).endpoints == 1)
        for (index, how) in ["name", "id", "prefix", "address"].enumerated() {
            let one = index == 0 ? web : try world.dockerRun(0, "web\(index)", on: network.network)
            world.run(for: .milliseconds(100))
            EngineConfigurations(world).lose(0, one)
            let text =
                ["name": "WEB", "id": one.endpoint.text, "prefix": one.endpoint.short, "address": "\(one.address)"][how] ?? ""
            #expect(disconnect(world, text) == "endpoint \(one.endpoint.short) is gone, and \(one.address) is free", "by \(how)")
            try expectNothing(world, "by \(how)")
        }
        let lease = try request(world, network, "alone")
        #expect(disconnect(world, "\(lease)") == "\(lease) is free")
        try expectNothing(world)
    }

    @Test(arguments: [true, false]) func theCommandWorksWithoutTheEngine(isMute: Bool) throws {
        let (world, network) = try world()
        let web = try world.dockerRun(0, "web", on: network.network)
        world.run(for: .seconds(1))
        if isMute { world.setMute(0, true) } else { world.stopEngine(0) }
        #expect(disconnect(world, "web") == "endpoint \(web.endpoint.short) is gone, and \(web.address) is free")
        #expect(try counts(world) == [0, 0])
    }

    // MARK: Containers that did not start

    private static let container = ContainerID(unchecked: String(repeating: "ab", count: 32))

    @Test(arguments: [true, false]) func whoWasStartedTooEarlyIsNamed(starts: Bool) throws {
        let (world, network) = try world()
        let engine = EngineConfigurations(world)
        engine.add(0, Self.container, on: "front", network.network)
        engine.setStart(
            0, of: Self.container, ContainerStart(hasEnded: true, error: "x", isRestarted: false, isMissed: true))
        world.run(for: .seconds(100))
        world.crash(0)
        try world.restart(0)
        world.nodes[0].core.reconciliation.missed = MissedStarts(starts: starts)
        world.run(for: .seconds(3))
        let problem = "containers do not run, as this daemon was not there when they were started: `docker start "
        #expect(try status(world).problems.contains { $0.hasPrefix(problem + Self.container.short) } == !starts)
        #expect(engine.startCalls(0) == (starts ? [Self.container] : []))
        // It fails once more, and is not started again.
        engine.setStart(
            0, of: Self.container, ContainerStart(hasEnded: true, error: "x", isRestarted: false, isMissed: true))
        world.stopEngine(0)
        world.startEngine(0)
        world.run(for: .seconds(130))
        #expect(try status(world).problems.contains { $0.hasPrefix(problem) })
        #expect(engine.startCalls(0).count == (starts ? 1 : 0))
        // Its user starts it.
        engine.setStart(0, of: Self.container, ContainerStart(hasEnded: false, error: "", isRestarted: false))
        world.run(for: .seconds(70))
        #expect(try status(world).problems.isEmpty)
    }
}
