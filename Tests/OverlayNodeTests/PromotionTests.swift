import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

@Suite struct PromotionTests {
    private func refusal(_ world: World, _ host: Int, force: Bool = false) -> String? {
        if case .refused(let reason) = world.control(host, .promote(force: force)) { reason } else { nil }
    }

    private func status(_ world: World, _ host: Int) throws -> StatusReport {
        guard case .status(let report) = world.control(host, .status) else { throw World.Failed("no status") }
        return report
    }

    @Test func aWriterThatIsThereIsNotReplaced() throws {
        let alone = try World(count: 1)
        alone.run(for: .milliseconds(2))
        #expect(refusal(alone, 0, force: true)?.contains("swift-overlay init") == true)
        let world = try World(count: 3)
        #expect(world.makeCluster())
        for force in [false, true] {
            #expect(refusal(world, 0, force: force)?.contains("this node writes the catalogue already") == true)
            #expect(refusal(world, 1, force: force)?.hasPrefix("node host1 writes the catalogue and answers; ") == true)
        }
        // A node that has just started does not know whether the writer answers.
        world.crash(1)
        world.split([1], [0, 2])
        try world.restart(1)
        world.run(for: .milliseconds(3))
        #expect(refusal(world, 1, force: true)?.contains("try again in a few seconds") == true)
    }

    @Test func aWriterThatIsAwayForAMomentIsNotReplaced() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        world.crash(0, hostToo: true)
        world.run(for: .seconds(20))
        let reason = try #require(refusal(world, 1))
        #expect(reason.contains("host1, which writes the catalogue, has been unreachable for 1") && reason.contains("--force"))
        world.run(for: .seconds(50))
        #expect(refusal(world, 1) == nil)
        #expect(try status(world, 1).writer == "host2" && status(world, 1).term == 2)
    }

    @Test func aMinorityNeedsForce() throws {
        let world = try World(count: 5)
        #expect(world.makeCluster())
        world.split([3, 4], [0, 1, 2])
        world.run(for: .seconds(90))
        #expect(refusal(world, 3)?.hasPrefix("2 of 5 nodes are reachable from here") == true)
        #expect(refusal(world, 3, force: true) == nil)
        world.run(for: .seconds(1))
        #expect(try status(world, 4).writer == "host4" && status(world, 1).writer == "host1")
        // The greater term counts, also with fewer nodes, as `--force` says.
        world.heal()
        world.run(for: .seconds(10))
        for host in 0..<5 { #expect(try status(world, host).writer == "host4") }
    }

    @Test func whoKnowsLessCatchesUpFirst() throws {
        let world = try World(count: 4)
        #expect(world.makeCluster())
        world.split([1], [0, 2, 3])
        for host in [2, 3] { _ = try world.createNetwork(host, "net") }
        world.split([0], [2, 3])
        world.network.cuts = world.network.cuts.filter { $0.from == 0 || $0.to == 0 }
        world.run(for: .seconds(90))
        #expect(world.nodes[1].core.catalogue.index < world.nodes[2].core.catalogue.index)
        let reason = try #require(refusal(world, 1))
        #expect(reason.contains("knows the catalogue to index") && reason.contains("try again in a moment"))
        world.run(for: .seconds(1))
        #expect(world.nodes[1].core.catalogue.index == world.nodes[2].core.catalogue.index)
        #expect(refusal(world, 1) == nil)
        #expect(world.nodes[1].core.catalogue.networks.count == 1)
    }

    @Test func everythingWorksAgain() throws {
        let world = try World(count: 4)
        // The last host joins later.
        world.split([3], [0, 1, 2])
        world.heal()
        #expect(world.makeCluster())
        let networks = try (0..<3).map { try world.createNetwork($0, "net") }
        let attached = try (0..<3).map { try world.attach($0, "c\($0)", to: networks[$0]) }
        world.crash(0)
        world.run(for: .seconds(5))
        #expect(refusal(world, 2, force: true) == nil)
        world.run(for: .seconds(1))
        for host in 1..<3 {
            let other = try world.createNetwork(host, "other")
            _ = try world.attach(host, "d\(host)", to: other)
            #expect(try status(world, host).writer == "host3" && status(world, host).writerState == "alive")
        }
        guard case .nodes(let rows) = world.control(1, .nodes) else { throw World.Failed("no nodes") }
        #expect(rows.map(\.isWriter) == [false, false, true, false])
        // The old writer comes back as a replica.
        try world.restart(0)
        world.run(for: .seconds(10))
        #expect(world.difference() == nil)
        let logged = world.logs.filter { $0.contains("host1 warning: the catalogue has a new writer; this node follows it") }
        #expect(logged.contains { $0.contains("term=2") && $0.contains("writer=host3") }, "\(logged)")
        let other = try world.createNetwork(0, "other")
        _ = try world.attach(0, "d0", to: other)
        #expect(try status(world, 0).problems == [])
        // The old writer can be removed, but not the new one.
        world.detach(0, attached[0])
        guard case .refused(let reason) = world.control(1, .removeNode("host3", force: true)) else { throw World.Failed("removed") }
        #expect(reason.contains("swift-overlay promote"))
        guard case .done = world.control(1, .removeNode("host1", force: true)) else { throw World.Failed("not removed") }
        world.run(for: .seconds(2))
        #expect(world.nodes[0].core.catalogue.cluster == nil)
        // Joins go to the new writer.
        guard case .token(let token) = world.control(1, .joinToken(newSecret: nil)),
            case .done = world.control(0, .join(token: token.token, host: "192.0.2.2", port: 7947))
        else { throw World.Failed("did not join again") }
        #expect(world.nodes[0].core.catalogue.term.number == 2)
    }

    /// Grants of the old writer from after the fork are void: none of their addresses is handed out, and containers that have one
    /// are named.
    @Test func addressesThatWereLostAreNamed() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        let range = try #require(IPPrefix("10.50.0.0/27"))
        let networks = try [0, 1, 2].map { try world.createNetwork($0, "net", subnet: range) }
        _ = try [0, 1, 2].map { try world.attach($0, "first \($0)", to: networks[$0]) }
        world.run(for: .seconds(1))
        world.split([0], [1, 2])
        world.run(for: .seconds(10))
        // The old writer grants itself more blocks.
        let granted = try (0..<8).map { try world.attach(0, "late \($0)", to: networks[0]) }
        #expect(refusal(world, 1, force: true) == nil)
        world.run(for: .seconds(1))
        let others = try (0..<4).map { try world.attach(1, "other \($0)", to: networks[1]) }
        world.heal()
        world.run(for: .seconds(10))
        let subnet = try #require(world.nodes[0].core.catalogue.subnet(networks[0].pool))
        let strays = granted.filter { subnet.block(holding: $0.address)?.owner != World.id(0) }
        #expect(!strays.isEmpty && strays.count < granted.count + 1)
        #expect(try status(world, 0).problems.count == strays.count)
        for stray in strays {
            let text = "address \(stray.address) of network net was given to this node by a catalogue writer that was replaced"
            #expect(world.logs.contains { $0.contains("host1 error") && $0.contains(text) && $0.contains("disconnect") })
            world.detach(0, stray)
        }
        #expect(try status(world, 0).problems == [])
        // Addresses come from blocks of the new term only.
        let again = try (0..<4).map { try world.attach(0, "again \($0)", to: networks[0]) }
        #expect(Set(again.map(\.address)).isDisjoint(with: others.map(\.address)))
        let blocks = try #require(world.nodes[0].core.catalogue.subnet(networks[0].pool)).blocks(of: World.id(0))
        for attached in again { #expect(blocks.contains { $0.contains(attached.address) }) }
    }

    /// A network that only the old writer's side knew is named, and no network of the new term is taken for it.
    @Test func networksThatWereLostAreNamed() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        world.split([0], [1, 2])
        world.run(for: .seconds(10))
        let lost = try world.createNetwork(0, "lost")
        let attached = try world.attach(0, "a", to: lost)
        let before = try #require(world.nodes[0].core.catalogue.networks.values.first)
        #expect(refusal(world, 1, force: true) == nil)
        let new = try world.createNetwork(1, "new")
        let other = try world.attach(1, "b", to: new)
        world.heal()
        world.run(for: .seconds(10))
        let after = try #require(world.nodes[0].core.catalogue.networks.values.first)
        #expect(world.nodes[0].core.catalogue.networks.count == 1 && after.id != before.id && after.vni != before.vni)
        #expect(lost.pool != new.pool)
        let problems = try status(world, 0).problems
        #expect(problems.count == 1 && problems.first?.contains("remove it with `docker network rm`") == true)
        #expect(world.nodes[0].kernel.state.networks.isEmpty)
        #expect(throws: (any Error).self) { try world.attach(0, "c", to: lost) }
        world.detach(0, attached)
        world.removeNetwork(0, lost)
        let again = try world.createNetwork(0, "new")
        let joined = try world.attach(0, "d", to: again)
        #expect(joined.address != other.address)
        world.run(for: .seconds(1))
        #expect(try status(world, 0).problems == [])
        #expect(world.difference() == nil)
    }
}
