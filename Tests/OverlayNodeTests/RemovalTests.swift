import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayMembership
import OverlayModel
import OverlayNode
import Testing

@testable import OverlaySimulation

/// Quarantine of a removed node's addresses: they are not handed out for ten minutes (rule R5).
@Suite struct RemovalTests {
    private struct Scene {
        var world: World
        var networks: [World.Created]
        var taken: World.Attached
    }

    /// Three hosts on one small network, the third of which is cut off, with one container.
    private static func scene() throws -> Scene {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        let networks = try (0..<3).map { try world.createNetwork($0, "net", subnet: IPPrefix("10.9.0.0/28")) }
        let taken = try world.attach(2, "gone", to: networks[2])
        world.run(for: .seconds(1))
        world.split([0, 1], [2])
        return Scene(world: world, networks: networks, taken: taken)
    }

    private static func remove(_ world: World, by node: Int = 0, now: Bool = false) -> ControlResponse {
        world.control(node, .removeNode("host3", force: true, now: now))
    }

    private static func refusal(_ scene: Scene, _ name: String, on node: Int = 1) -> String {
        let error = #expect(throws: DriverError.self) {
            try scene.world.attach(node, name, to: scene.networks[node], address: scene.taken.address)
        }
        return error.map { "\($0)" } ?? ""
    }

    @Test func theyAreRefusedUntilTheTimeIsOver() throws {
        let scene = try Self.scene()
        let world = scene.world
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        world.run(for: .seconds(590))
        let refused = Self.refusal(scene, "early")
        #expect(refused.contains("in quarantine for ten minutes") && refused.contains("node rm --now host3"), "\(refused)")
        guard case .networks(let reports) = world.control(1, .networks) else { throw World.Failed("no networks") }
        let blocks = reports.flatMap { $0.subnets.flatMap(\.blocks) }
        #expect(
            blocks.filter(\.isResting).map(\.owner).allSatisfy { $0 == "host3" } && blocks.contains(where: \.isResting), "\(blocks)"
        )
        guard case .refused(let again) = Self.remove(world, by: 1) else { throw World.Failed("removed twice") }
        #expect(again.contains("is removed already") && again.contains("--now"), "\(again)")
        world.run(for: .seconds(20))
        let endpoint = try world.attach(1, "late", to: scene.networks[1], address: scene.taken.address)
        #expect(endpoint.address == scene.taken.address)
    }

    /// The writer that removed the node is replaced, and follows when it comes back: the new one ends the quarantine.
    @Test func aPromotedWriterEndsIt() throws {
        let scene = try Self.scene()
        let world = scene.world
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        world.run(for: .seconds(60))
        world.crash(0)
        world.run(for: .seconds(70))
        guard case .done = world.control(1, .promote(force: true)) else { throw World.Failed("not promoted") }
        try world.restart(0)
        world.run(for: .seconds(620))
        let endpoint = try world.attach(1, "late", to: scene.networks[1], address: scene.taken.address)
        #expect(endpoint.address == scene.taken.address)
    }

    /// A daemon that dies when it has stored its removal, and nothing after that, takes its containers off at the next start.
    @Test func aRemovalThatWasCutOffIsFinishedAtTheStart() throws {
        let scene = try Self.scene()
        let world = scene.world
        world.crash(2)
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        world.run(for: .seconds(1))
        var rows = world.nodes[2].rows
        for space in [StoreSpace.catalogueEntry, .catalogueSnapshot] { rows[space] = world.nodes[0].rows[space] }
        world.rollBack(2, to: rows)
        try world.restart(2)
        world.run(for: .seconds(2))
        #expect(world.nodes[2].core.catalogue.cluster == nil && world.nodes[2].core.localRecords.isEmpty)
        #expect(world.nodes[2].kernel.state.networks.isEmpty)
    }

    /// A host that uses up the free addresses of a network is told about those in quarantine.
    @Test func theyAreNoneOfThoseThatAreLeft() throws {
        let scene = try Self.scene()
        let world = scene.world
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        var given: Set<IPAddress> = []
        var refused = ""
        for number in 0..<20 where refused.isEmpty {
            do { given.insert(try world.attach(number % 2, "c\(number)", to: scene.networks[number % 2]).address) } catch {
                refused = "\(error)"
            }
        }
        #expect(!given.contains(scene.taken.address))
        #expect(refused.contains("host3 (removed; its addresses are in quarantine)"), "\(refused)")
        world.run(for: .seconds(620))
        let more = try world.attach(0, "more", to: scene.networks[0])
        #expect(!given.contains(more.address))
    }

    @Test(arguments: [false, true])
    func theyAreFreeAtOnceWhereSomebodySaysSo(afterwards: Bool) throws {
        let scene = try Self.scene()
        if afterwards { _ = Self.remove(scene.world) }
        guard case .done = Self.remove(scene.world, by: afterwards ? 1 : 0, now: true) else { throw World.Failed("not removed") }
        scene.world.run(for: .seconds(1))
        _ = try scene.world.attach(1, "next", to: scene.networks[1], address: scene.taken.address)
    }

    /// A host that lost its state joins under its old name. `--now` frees the addresses of its earlier life.
    @Test func theyAreFreedByANameThatAnotherHasByThen() throws {
        let scene = try Self.scene()
        let world = scene.world
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        world.crash(2)
        world.loseState(2)
        world.heal()
        try world.restart(2)
        world.run(for: .seconds(1))
        guard case .token(let token) = world.control(0, .joinToken(newSecret: nil)) else { throw World.Failed("no token") }
        let joined = world.control(2, .join(token: token.token, host: "\(World.address(0))", port: 7947))
        guard case .done = joined else { throw World.Failed("\(joined)") }
        world.run(for: .seconds(1))
        #expect(Self.refusal(scene, "early").contains("node rm --now host3"))
        guard case .done = world.control(0, .removeNode("host3", force: false, now: true)) else { throw World.Failed("not freed") }
        world.run(for: .seconds(1))
        #expect(world.nodes[0].core.catalogue.members.count == 3)
        _ = try world.attach(1, "next", to: scene.networks[1], address: scene.taken.address)
    }

    /// The writer counts the time from when its process first knew of the removal, by an entry or a snapshot.
    @Test func aWriterThatStartedAnewCountsFromItsStart() throws {
        let scene = try Self.scene()
        let world = scene.world
        guard case .done = Self.remove(world) else { throw World.Failed("not removed") }
        world.run(for: .seconds(500))
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(500))
        #expect(Self.refusal(scene, "early").contains("in quarantine for ten minutes"))
        world.run(for: .seconds(120))
        _ = try world.attach(1, "late", to: scene.networks[1], address: scene.taken.address)
    }

    @Test func whoLeavesTakesNothingAlong() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let networks = try (0..<2).map { try world.createNetwork($0, "net", subnet: IPPrefix("10.9.0.0/28")) }
        let taken = try world.attach(1, "gone", to: networks[1])
        guard case .done = world.control(1, .leave(force: true)) else { throw World.Failed("did not leave") }
        world.run(for: .seconds(1))
        _ = try world.attach(0, "next", to: networks[0], address: taken.address)
    }

    /// The quarantine ends on a cluster where nothing else happens for days.
    @Test func aWriterThatStartedAnewChangesTheKey() throws {
        let world = try World(count: 2, seed: 1, parameters: MembershipParameters(), rules: .all, hasMembership: false)
        #expect(world.makeCluster())
        world.crash(0)
        try world.restart(0)
        world.run(for: .seconds(11 * 3600))
        #expect(world.nodes[0].core.catalogue.cluster?.gossipKeys.count == 1)
        world.run(for: .seconds(2 * 3600))
        #expect(world.nodes[0].core.catalogue.cluster?.gossipKeys.count == 2)
    }
}
