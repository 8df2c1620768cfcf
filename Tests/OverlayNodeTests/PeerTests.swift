import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// States of other nodes in `node ls` and `node ls --watch`.
@Suite struct PeerTests {
    private func changes(_ world: World, after sequence: UInt64?) -> NodeChanges? {
        guard case .nodeChanges(let changes) = world.control(0, .nodeChanges(after: sequence)) else { return nil }
        return changes
    }

    private func report(_ world: World, of name: String) -> NodeReport? {
        guard case .nodes(let reports) = world.control(0, .nodes) else { return nil }
        return reports.first { $0.name == name }
    }

    @Test func aDeadHostIsSuspectThenUnreachableThenBack() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        let start = try #require(changes(world, after: nil))
        #expect(start.changes.isEmpty)
        world.crash(2, hostToo: true)
        world.run(for: .seconds(10))
        let dead = try #require(changes(world, after: start.last))
        #expect(dead.changes.map(\.state) == ["suspect", "unreachable"])
        #expect(dead.changes.allSatisfy { $0.node == "host3" && !$0.reason.isEmpty && $0.age > 5000 })
        let row = try #require(report(world, of: "host3"))
        #expect(row.state == "unreachable" && row.since >= 5 && row.reason.contains("UDP or TCP"))
        try world.restart(2)
        // A connection attempt fails after the host is back. Its reason does not stay.
        world.run(for: .seconds(5))
        #expect(try #require(changes(world, after: dead.last)).changes.map(\.state) == ["alive"])
        #expect(try #require(report(world, of: "host3")).reason.isEmpty)
    }

    @Test func aDeadDaemonOnALivingHostIsToldApart() throws {
        let world = try World(count: 3)
        #expect(world.makeCluster())
        world.crash(2)
        world.run(for: .seconds(5))
        let row = try #require(report(world, of: "host3"))
        #expect(row.state == "daemon-down" && row.reason.contains("no daemon listens"))
    }

    @Test func aWatcherIsAnsweredWhenSomethingChanges() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let start = try #require(changes(world, after: nil))
        let call = world.beginControl(0, .nodeChanges(after: start.last))
        world.run(for: .seconds(2))
        #expect(world.answers[call] == nil)
        world.crash(1, hostToo: true)
        world.run(for: .seconds(4))
        guard case .nodeChanges(let news)? = world.answers[call] else {
            Issue.record("not answered")
            return
        }
        #expect(news.changes.first?.state == "suspect")
        // A number of an earlier run of the daemon does not make the call wait.
        #expect(changes(world, after: 1_000_000)?.changes.isEmpty == false)
    }

    @Test func aWatcherWhomNothingHappensToAsksAgain() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let start = try #require(changes(world, after: nil))
        let call = world.beginControl(0, .nodeChanges(after: start.last))
        world.run(for: .seconds(9))
        guard case .nodeChanges(let news)? = world.answers[call] else {
            Issue.record("not answered")
            return
        }
        #expect(news.changes.isEmpty && news.last == start.last)
    }
}
