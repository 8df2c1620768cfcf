import OverlayCatalogue
import OverlayDriver
import OverlayMembership
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Hosts of two releases in one cluster: what is used, what is told, and who is refused.
@Suite struct VersionTests {
    private func status(_ world: World, _ host: Int) throws -> ProtocolReport {
        guard case .status(let report) = world.control(host, .status), let protocols = report.protocols else {
            throw World.Failed("no status")
        }
        return protocols
    }

    private func spoken(_ world: World, _ host: Int) throws -> [String?] {
        guard case .nodes(let nodes) = world.control(host, .nodes) else { throw World.Failed("no nodes") }
        return nodes.map(\.speaks)
    }

    private func start(_ world: World, _ host: Int, _ versions: ProtocolVersions) throws {
        world.nodes[host].versions = versions
        world.crash(host)
        try world.restart(host)
        world.run(for: .seconds(1))
    }

    private static func old(_ count: Int) throws -> World {
        try VirtualHost.$versionsOfNew.withValue(.silent) { try World(count: count) }
    }

    @Test func aLaterVersionIsUsedTenMinutesAfterAllSpeakIt() throws {
        let world = try Self.old(3)
        #expect(world.makeCluster())
        #expect(try status(world, 0).text == "2 in use, speaks 2")
        for host in [0, 1] { try start(world, host, .present) }
        #expect(try spoken(world, 1) == ["2 to 3", "2 to 3", "2"])
        #expect(
            try status(world, 1).text
                == "2 in use, speaks 2 to 3; held back by host3; until then without facts of endpoints that only later releases know"
        )
        #expect(try status(world, 2).text == "2 in use, speaks 2")
        world.run(for: .seconds(1000))
        #expect(try status(world, 0).inUse == 2)
        try start(world, 2, .present)
        #expect(try status(world, 2).text.contains("; every member speaks 3, used soon; "))
        world.run(for: .seconds(590))
        #expect(try status(world, 0).inUse == 2)
        world.run(for: .seconds(20))
        for host in 0...2 {
            #expect(try status(world, host).text == "3 in use, speaks 2 to 3" && world.nodes[host].core.catalogue.versionInUse == 3)
        }
        // It is durable.
        try start(world, 1, .present)
        #expect(world.nodes[1].core.catalogue.versionInUse == 3)
        #expect(world.violations == [])
    }

    /// One that is taken back to its release of before stops the count.
    @Test func whoIsTakenBackHoldsItBack() throws {
        let world = try Self.old(2)
        #expect(world.makeCluster())
        for host in [0, 1] { try start(world, host, .present) }
        world.run(for: .seconds(500))
        try start(world, 1, .silent)
        world.run(for: .seconds(500))
        #expect(try status(world, 0).inUse == 2 && status(world, 0).older == ["host2"])
        try start(world, 1, .present)
        world.run(for: .seconds(500))
        #expect(try status(world, 0).inUse == 2)
        world.run(for: .seconds(120))
        #expect(try status(world, 0).inUse == 3 && world.violations == [])
    }

    /// The second host leaves, and asks to join again with another release.
    private func join(_ world: World, with versions: ProtocolVersions) throws -> ControlResponse {
        guard case .token(let token) = world.control(0, .joinToken(newSecret: nil)) else { throw World.Failed("no token") }
        if world.nodes[1].core.catalogue.cluster != nil {
            guard case .done = world.control(1, .leave(force: true)) else { throw World.Failed("stays") }
        }
        world.run(for: .seconds(1))
        try start(world, 1, versions)
        return world.control(1, .join(token: token.token, host: "\(World.address(0))", port: nil))
    }

    private func refusal(_ response: ControlResponse) -> String? {
        if case .refused(let reason) = response { reason } else { nil }
    }

    @Test func whoCannotSpeakWithTheMembersDoesNotJoin() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        // Another one of the release before may join while its version is in use.
        guard case .done = try join(world, with: .silent) else { throw World.Failed("not joined") }
        guard case .done = try join(world, with: .present) else { throw World.Failed("not joined") }
        let later = try #require(ProtocolVersions(oldest: 4, newest: 5))
        #expect(
            try refusal(join(world, with: later))
                == "node host2 speaks protocol 4 to 5, and node host1 only 2 to 3: upgrade swift-overlay on host1 first")
        #expect(world.nodes[0].core.catalogue.members.count == 1)
        world.run(for: .seconds(620))
        #expect(try status(world, 0).inUse == 3)
        #expect(
            try refusal(join(world, with: .silent))
                == "node host2 speaks protocol 2, and the cluster uses 3, as all of its members can: upgrade swift-overlay on that host"
        )
        guard case .done = try join(world, with: .present) else { throw World.Failed("not joined") }
        #expect(world.violations == [])
    }

    /// A member of an earlier release lets in whoever has the token, so the newcomer looks for itself.
    @Test func whoIsLetInByAnEarlierReleaseLooksForItself() throws {
        let world = try Self.old(2)
        #expect(world.makeCluster())
        var snapshot = world.nodes[0].core.catalogue
        let later = try #require(ProtocolVersions(oldest: 4, newest: 5))
        guard case .done = world.control(1, .leave(force: true)) else { throw World.Failed("stays") }
        try start(world, 1, later)
        guard case .token(let token) = world.control(0, .joinToken(newSecret: nil)) else { throw World.Failed("no token") }
        let id = RequestID(900)
        world.handle(1, .control(id, .join(token: token.token, host: "192.0.2.99", port: nil)))
        world.run(for: .milliseconds(50))
        var member = world.nodes[1].core.member
        member.routes = []
        let entry = Entry(
            index: snapshot.index + 1, termNumber: 1, proposer: World.id(0), epoch: 1, sequence: 1 << 40, command: .admit(member))
        #expect(snapshot.apply(entry) == .accepted)
        world.handle(1, .joinAnswer(id, .admitted(snapshot)))
        world.run(for: .milliseconds(50))
        guard case .refused(let reason)? = world.answers[id] else { throw World.Failed("joined") }
        #expect(
            reason.hasPrefix(
                "node host2 speaks protocol 4 to 5, and node host1 only 2: upgrade swift-overlay on host1 first; then remove"))
        #expect(reason.contains("swift-overlay node rm --force --now host2") && world.nodes[1].core.catalogue.cluster == nil)
    }

    @Test func aReleaseThatIsTooOldForItsClusterSaysSo() throws {
        let world = try World(count: 1)
        #expect(world.makeCluster())
        world.run(for: .seconds(620))
        #expect(world.nodes[0].core.versionProblem == nil && world.nodes[0].core.catalogue.versionInUse == 3)
        try start(world, 0, .silent)
        #expect(
            world.nodes[0].core.versionProblem
                == "the cluster uses protocol 3, and this release of swift-overlay speaks 2: start a later release here")
    }

    /// Kinds that a later release may send, of each core: nothing is changed, nobody traps, and the log says it.
    @Test func unknownKindsChangeNothing() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        var node = world.nodes[0].core
        let before = (node.catalogue, node.localRecords, node.membership.view)
        for kind in UInt8.min...UInt8.max {
            for body in [[], [200], [8], [19, 0, 9], [UInt8](repeating: 255, count: 100)] as [[UInt8]] {
                let effects = node.handle(.message(from: World.id(1), [kind] + body, .datagram), at: world.now)
                if (1...4).contains(kind) {
                    #expect(effects.contains { if case .log(.warning, _, _) = $0 { true } else { false } })
                }
            }
        }
        #expect(node.catalogue == before.0 && node.localRecords == before.1 && node.membership.view == before.2)
    }
}
