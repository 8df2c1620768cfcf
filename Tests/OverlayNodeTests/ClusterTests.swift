import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

@Suite struct ClusterTests {
    @Test func twoHostsReachOneAnother() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "test-net")
        let second = try world.createNetwork(1, "test-net")
        #expect(first.prefix == second.prefix)
        let a = try world.attach(0, "alpine1", to: first)
        let b = try world.attach(1, "alpine2", to: second)
        #expect(a.address != b.address)
        world.run(for: .milliseconds(20))

        let state = try #require(world.kernel(0))
        #expect(state.forwarding[b.mac] == .vtep(IPAddress(v4: 192, 0, 2, 2)))
        #expect(state.forwarding[a.mac] == .port(KernelName.port(a.endpoint)))
        #expect(state.neighbours == [a.address: a.mac, b.address: b.mac])
        #expect(state.flood == [IPAddress(v4: 192, 0, 2, 2)])
        #expect(state.base.mtu == 1450)
        #expect(world.kernel(1)?.neighbours == state.neighbours)

        world.detach(0, a)
        world.run(for: .milliseconds(20))
        #expect(world.nodes[0].kernel.state.networks.isEmpty)
        #expect(world.kernel(1)?.neighbours == [b.address: b.mac])
        #expect(world.kernel(1)?.flood == [])
        world.detach(1, b)
        world.removeNetwork(0, first)
        world.removeNetwork(1, second)
        world.run(for: .seconds(2))
        for node in world.nodes {
            #expect(node.kernel.state.networks.isEmpty)
            #expect(node.core.catalogue.networks.isEmpty)
            for space in [StoreSpace.lease, .endpoint, .network, .closing] { #expect(node.rows[space, default: [:]].isEmpty) }
        }
        #expect(world.nodes[0].core.catalogue == world.nodes[1].core.catalogue)
    }

    @Test func endpointsArriveWithinOneHop() throws {
        let world = try World(count: 5)
        #expect(world.makeCluster())
        var networks: [World.Created] = []
        for index in 0..<5 { networks.append(try world.createNetwork(index, "net")) }
        for index in 1..<5 { _ = try world.attach(index, "c\(index)", to: networks[index]) }
        let before = world.now
        let new = try world.attach(0, "new", to: networks[0])
        // Join is answered when store and kernel are done. The other hosts have their rows by then.
        while !(1..<5).allSatisfy({ world.kernel($0)?.forwarding[new.mac] != nil }) {
            world.run(for: .microseconds(100))
            try #require(world.now - before < .milliseconds(50))
        }
    }

    /// Rows are spared at the start, as the owner's log is not known; and the owner is gone by then.
    @Test func rowsOfAHostThatLeftTheNetworkMeanwhileGo() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        let networks = try [1, 2].map { try world.createNetwork($0, "net") }
        let leaving = try world.attach(2, "leaving", to: networks[1])
        _ = try world.attach(1, "staying", to: networks[0])
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.forwarding[leaving.mac] != nil)
        world.crash(1)
        world.detach(2, leaving)
        world.removeNetwork(2, networks[1])
        world.run(for: .seconds(2))
        // The node is alone with its rows at first.
        world.split(1, for: .seconds(3))
        try world.restart(1)
        world.run(for: .seconds(2))
        #expect(world.kernel(1)?.forwarding[leaving.mac] != nil)
        world.run(for: .seconds(4))
        #expect(world.kernel(1)?.forwarding[leaving.mac] == nil)
        #expect(world.difference() == nil)
    }

    /// An engine that was killed between CreateEndpoint and Join does not know the endpoint when it starts again.
    @Test func anEndpointThatIsNeverJoinedIsGivenUp() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let networks = try [0, 1].map { try world.createNetwork($0, "net") }
        _ = try world.attach(0, "other", to: networks[0])
        let mac = World.mac("left")
        guard
            case .address(let prefix) = world.call(
                1, .requestAddress(RequestAddress(pool: networks[1].pool, address: nil, purpose: .endpoint(mac))))
        else {
            Issue.record("no address")
            return
        }
        let create = CreateEndpoint(
            network: networks[1].network, endpoint: World.endpointID("left"), v4: prefix, v6: nil, mac: mac, options: [:])
        _ = try world.checked(world.call(1, .createEndpoint(create)))
        #expect(world.nodes[1].core.localRecords.count == 1)
        world.crash(1)
        try world.restart(1)
        world.run(for: .seconds(60))
        #expect(world.nodes[1].core.localRecords.count == 1, "an engine may take its time")
        world.run(for: .seconds(720))
        #expect(world.nodes[1].core.localRecords == [])
        #expect(world.nodes[1].rows[.endpoint, default: [:]].isEmpty)
        // The MAC can be used again on another host.
        _ = try world.attach(0, "left", to: networks[0])
    }

    /// Members open no packet of the removed node, and its own catalogue still lists it. A member that gets one sends a notice.
    @Test(arguments: [false, true])
    func aNodeThatWasRemovedWhileItWasAwayIsTold(restarts: Bool) throws {
        let world = try World(count: 4)
        #expect(world.makeCluster())
        let networks = try (0..<4).map { try world.createNetwork($0, "net") }
        _ = try (0..<4).map { try world.attach($0, "c\($0)", to: networks[$0]) }
        world.run(for: .seconds(1))
        world.split([0, 1, 2], [3])
        if restarts { world.crash(3) }
        world.run(for: .seconds(20))
        guard case .done = world.control(0, .removeNode("host4", force: true)) else {
            Issue.record("not removed")
            return
        }
        if restarts { try world.restart(3) }
        world.run(for: .seconds(20))
        #expect(world.nodes[3].core.catalogue.cluster != nil)
        // Notices of another removed node, or of no node, are not believed.
        for bytes in [[], [1], [UInt8](repeating: 0, count: 200)] { world.handle(3, .notice(bytes)) }
        #expect(world.nodes[3].core.catalogue.cluster != nil)
        world.heal()
        world.run(for: .seconds(12))
        #expect(world.nodes[3].core.catalogue.cluster == nil)
        #expect(world.nodes[3].kernel.state.networks.isEmpty)
        #expect(world.logs.contains { $0.contains("was removed from the cluster while it was away") })
        // The old notice is not believed after the node has joined again.
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)) else {
            Issue.record("no token")
            return
        }
        guard case .done = world.control(3, .join(token: report.token, host: "\(World.address(1))", port: 7947)) else {
            Issue.record("cannot join again")
            return
        }
        world.run(for: .seconds(5))
        #expect(world.nodes[3].core.catalogue.members.count == 4)
        #expect(world.difference() == nil)
    }

    /// A notice is believed only if a member signed it, at a later position of the catalogue.
    @Test func noticesAreChecked() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        let engine = world.nodes[2].core
        let cluster = try #require(engine.catalogue.cluster)
        var position = engine.catalogue.position
        position.index += 1
        func notice(_ node: Int, _ position: CataloguePosition, by signer: Int, signedBy other: Int? = nil) -> [UInt8] {
            var notice = RemovalNotice(of: World.id(node), position: position, signer: World.id(signer))
            notice.signature = world.nodes[other ?? signer].core.signing.sign(notice.signed(in: cluster.id))
            return notice.wireBytes
        }
        let good = notice(2, position, by: 1)
        var altered = good
        altered[17] ^= 1
        for (bytes, why) in [
            (notice(1, position, by: 0), "of another"), (notice(2, engine.catalogue.position, by: 1), "not later"),
            (notice(2, position, by: 2), "its own"), (notice(2, position, by: 1, signedBy: 0), "signed by another"),
            (altered, "altered"), (Array(good.dropLast()), "short"), (good + [0], "long"),
        ] {
            world.handle(2, .notice(bytes))
            world.run(for: .milliseconds(1060))
            #expect(world.nodes[2].core.catalogue.cluster != nil, "believed one that is \(why)")
        }
        world.handle(2, .notice(good))
        #expect(world.nodes[2].core.catalogue.cluster == nil)
    }

    /// A row that the kernel refuses does not stop other networks, and is tried less and less often.
    @Test func whatTheKernelRefusesIsTriedLessAndLess() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let networks = try [0, 1].map { try world.createNetwork($0, "net") }
        let attached = try [0, 1].map { try world.attach($0, "c\($0)", to: networks[$0]) }
        world.run(for: .seconds(1))
        let vni = try #require(world.nodes[0].kernel.state.networks.keys.first)
        world.nodes[0].kernel.state.networks[vni]?.forwarding[attached[1].mac] = nil
        world.nodes[0].kernel.failsForwarding = true
        let before = world.nodes[0].kernel.batches
        world.run(for: .seconds(600))
        #expect((1...30).contains(world.nodes[0].kernel.batches - before))
        world.nodes[0].kernel.failsForwarding = false
        world.run(for: .seconds(61))
        #expect(world.difference() == nil)
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func lossIsRepaired(seed: UInt64) throws {
        let world = try World(count: 4, seed: seed)
        #expect(world.makeCluster())
        world.network.loss = 0.2
        var networks: [World.Created] = []
        for index in 0..<4 { networks.append(try world.createNetwork(index, "net")) }
        var live: [World.Attached] = []
        for round in 0..<12 {
            live.append(try world.attach(round % 4, "c\(round)", to: networks[round % 4]))
            if round % 3 == 2, let gone = live.firstIndex(where: { $0.network == networks[1].network }) {
                world.detach(1, live.remove(at: gone))
            }
        }
        world.run(for: .seconds(10))
        let expected = Dictionary(uniqueKeysWithValues: live.map { ($0.address, $0.mac) })
        for index in 0..<4 where world.kernel(index) != nil {
            #expect(world.kernel(index)?.neighbours == expected, "node \(index)")
        }
        #expect(Set(live.map(\.address)).count == live.count)
    }

    @Test func anAddressWithANewMACIsAnnounced() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        _ = try world.attach(1, "witness", to: second)
        let wanted = IPAddress("10.32.0.77")!
        let old = try world.attach(0, "old", to: first, address: wanted)
        world.run(for: .milliseconds(50))
        #expect(world.nodes[1].kernel.announcements.isEmpty)
        world.detach(0, old)
        let new = try world.attach(0, "new", to: first, address: wanted)
        world.run(for: .milliseconds(50))
        #expect(world.nodes[1].kernel.announcements.map { $0.1 } == [wanted])
        #expect(world.nodes[1].kernel.announcements.map { $0.2 } == [new.mac])
    }

    /// An address goes to another container before, while or after the daemon of a third one's host is away: that container hears of it,
    /// as its cache outlives the daemon.
    @Test(arguments: [0, 1, 2])
    func anAddressThatChangesHandsAroundARestartIsAnnounced(step: Int) throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        _ = try world.attach(1, "witness", to: second)
        let bystander = try world.attach(0, "bystander", to: first)
        let wanted = IPAddress("10.32.0.77")!
        let old = try world.attach(0, "old", to: first, address: wanted)
        world.run(for: .seconds(1))
        var new: World.Attached?
        for now in 0...2 {
            if now == 1 { world.crash(1) }
            if now == step { world.detach(0, old) }
            if now == 1, step == 1 { new = try world.attach(0, "new", to: first, address: wanted) }
            world.run(for: .seconds(1))
            if now == 1 { try world.restart(1) }
            world.run(for: .seconds(1))
        }
        if step != 1 { new = try world.attach(0, "new", to: first, address: wanted) }
        world.run(for: .seconds(1))
        let announcements = world.nodes[1].kernel.announcements
        #expect(announcements.map { $0.1 } == [wanted] && announcements.map { $0.2 } == [new?.mac])
        #expect(world.kernel(1)?.neighbours[bystander.address] == bystander.mac)
    }

    @Test func partitionKeepsRowsAndHeals() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        let a = try world.attach(0, "a", to: first)
        let b = try world.attach(1, "b", to: second)
        world.run(for: .milliseconds(5))
        world.split(1)
        world.run(for: .seconds(30))
        #expect(world.kernel(0)?.forwarding[b.mac] == .vtep(IPAddress(v4: 192, 0, 2, 2)))
        // Containers start from owned blocks. Calls that need the writer are refused, and name it.
        let c = try world.attach(1, "c", to: second)
        let error = #expect(throws: DriverError.self) { try world.createNetwork(1, "other") }
        #expect(error?.message.contains("catalogue writer host1 unreachable since") == true)
        world.heal()
        world.run(for: .seconds(5))
        #expect(world.kernel(0)?.neighbours == [a.address: a.mac, b.address: b.mac, c.address: c.mac])
        _ = try world.createNetwork(1, "other")
    }

    @Test func restartKeepsKernelStateAndPeersRows() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        let a = try world.attach(0, "a", to: first)
        let b = try world.attach(1, "b", to: second)
        world.run(for: .seconds(1))
        let before = try #require(world.kernel(0))
        world.crash(0)
        world.run(for: .seconds(20))
        #expect(world.kernel(1)?.forwarding[a.mac] == .vtep(IPAddress(v4: 192, 0, 2, 1)))
        try world.restart(0)
        #expect(world.kernel(0) == before)
        world.run(for: .seconds(3))
        #expect(world.kernel(0) == before)
        #expect(world.kernel(1)?.forwarding[a.mac] == .vtep(IPAddress(v4: 192, 0, 2, 1)))
        let c = try world.attach(0, "c", to: first)
        #expect(![a.address, b.address].contains(c.address))
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.neighbours[c.address] == c.mac)
    }

    @Test func rebootForgetsDeadEndpoints() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        let a = try world.attach(0, "a", to: first)
        let b = try world.attach(1, "b", to: second)
        world.crash(0)
        world.nodes[0].kernel = VirtualKernel()
        world.run(for: .seconds(5))
        try world.restart(0)
        world.run(for: .seconds(3))
        #expect(world.nodes[0].kernel.state.networks.isEmpty)
        #expect(world.kernel(1)?.neighbours == [b.address: b.mac])
        // The engine releases the address, and starts the container again.
        _ = world.call(0, .releaseAddress(a.pool, a.address))
        let again = try world.attach(0, "a2", to: first)
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.neighbours == [b.address: b.mac, again.address: again.mac])
    }

    @Test func aNetworkMadeAnewWhileAPeerWasAwayIsNotTakenForTheOld() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        var first = try world.createNetwork(1, "net")
        let second = try world.createNetwork(2, "net")
        for index in 0..<5 { world.detach(1, try world.attach(1, "old\(index)", to: first)) }
        let witness = try world.attach(2, "witness", to: second)
        world.run(for: .seconds(1))
        // The witness's host does not hear of the end and the new start; the writer does.
        world.split(2)
        world.removeNetwork(1, first)
        world.run(for: .seconds(1))
        first = try world.createNetwork(1, "net")
        let new = try world.attach(1, "new", to: first)
        world.heal()
        world.run(for: .seconds(8))
        #expect(world.kernel(2)?.neighbours == [witness.address: witness.mac, new.address: new.mac])
        #expect(world.kernel(1)?.neighbours == world.kernel(2)?.neighbours)
    }

    @Test func aHostWithANewTunnelAddressTellsTheOthers() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        let a = try world.attach(0, "a", to: first)
        _ = try world.attach(1, "b", to: second)
        world.crash(0)
        world.nodes[0].vtep = IPAddress(v4: 192, 0, 2, 200)
        try world.restart(0)
        world.run(for: .seconds(5))
        #expect(world.kernel(1)?.forwarding[a.mac] == .vtep(IPAddress(v4: 192, 0, 2, 200)))
        #expect(world.kernel(0)?.base.local == IPAddress(v4: 192, 0, 2, 200))
        #expect(world.kernel(0)?.ports.count == 1)
    }

    @Test func aDamagedNetworkIsMendedAndItsContainersStay() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        _ = try world.attach(0, "a", to: first)
        world.run(for: .seconds(1))
        let before = try #require(world.kernel(0))
        // The VXLAN device is gone, so the observation shows the network as broken.
        world.nodes[0].kernel.breakNetwork(before.base.vni)
        world.handle(0, .foreignChange)
        world.run(for: .seconds(2))
        #expect(world.kernel(0) == before)
        #expect(world.nodes[0].core.catalogue.networks.count == 1)
    }

    /// Reloading a firewall removes all tables of a host.
    @Test func aFilterThatIsGoneIsMadeAnew() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let (first, second) = (try world.createNetwork(0, "net"), try world.createNetwork(1, "net"))
        _ = try world.attach(0, "a", to: first)
        _ = try world.attach(1, "b", to: second)
        world.run(for: .seconds(1))
        let before = try #require(world.kernel(0))
        #expect(before.admitted == [IPAddress(v4: 192, 0, 2, 2)])
        world.nodes[0].kernel.removeFilter()
        world.handle(0, .foreignChange)
        world.run(for: .seconds(2))
        #expect(world.kernel(0) == before)
    }

    @Test func aWriterThatRestartsGoesOn() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        _ = try world.createNetwork(2, "one")
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(6))
        let two = try world.createNetwork(1, "two")
        #expect(world.nodes[0].core.catalogue.networks.count == 2)
        world.run(for: .seconds(2))
        #expect(Set(world.nodes.map { $0.core.catalogue }).count == 1)
        world.removeNetwork(1, two)
    }

    @Test func leaveTakesEverythingAway() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let second = try world.createNetwork(1, "net")
        let b = try world.attach(1, "b", to: second)
        guard case .refused(let reason) = world.control(1, .leave(force: false)) else {
            Issue.record("left with a container attached")
            return
        }
        #expect(reason.contains("--force"))
        world.detach(1, b)
        guard case .done = world.control(1, .leave(force: false)) else {
            Issue.record("did not leave")
            return
        }
        world.run(for: .seconds(2))
        #expect(world.nodes[1].core.catalogue.cluster == nil)
        #expect(world.nodes[1].kernel.state.networks.isEmpty)
        #expect(world.nodes[0].core.catalogue.members.count == 1)
        #expect(world.nodes[0].core.catalogue.networks.isEmpty)
        guard case .token(let token) = world.control(0, .joinToken(newSecret: nil)),
            case .done = world.control(1, .join(token: token.token, host: "192.0.2.1", port: 7947))
        else {
            Issue.record("did not join again")
            return
        }
        #expect(world.nodes[1].core.catalogue.members.count == 2)
    }

    @Test func aRemovedNodeTakesItsLinksDown() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let second = try world.createNetwork(1, "net")
        _ = try world.attach(1, "b", to: second)
        guard case .done = world.control(0, .removeNode("host2", force: true)) else {
            Issue.record("not removed")
            return
        }
        world.run(for: .seconds(1))
        #expect(world.nodes[1].kernel.state.networks.isEmpty)
        #expect(world.nodes[1].core.catalogue.cluster == nil)
    }
}
