import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayMembership
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// A node with an old copy of its state hands out nothing until that is safe (rule R4).
@Suite struct OldStateTests {
    private static func world(_ count: Int = 3, seed: UInt64 = 1) throws -> (World, [World.Created]) {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        let subnet = try #require(IPPrefix("10.9.0.0/24"))
        return (world, try (0..<count).map { try world.createNetwork($0, "net", subnet: subnet) })
    }

    private static func restore(_ world: World, _ host: Int, _ rows: StoredRows) throws {
        world.crash(host)
        world.rollBack(host, to: rows)
        try world.restart(host)
    }

    private static func problems(_ world: World, _ host: Int) -> [String] {
        guard case .status(let report) = world.control(host, .status) else { return [] }
        return report.problems
    }

    /// Backup of a running daemon, one from before a start, and one from before two.
    @Test(arguments: 0...2, [1, 2] as [UInt64])
    func whatWasHandedOutSinceTheCopyIsNotHandedOutAgain(starts: Int, seed: UInt64) throws {
        let (world, networks) = try Self.world(seed: seed)
        let kept = try world.attach(1, "kept", to: networks[1])
        _ = try world.attach(0, "witness", to: networks[0])
        world.run(for: .seconds(1))
        let copy = world.nodes[1].rows
        for _ in 0..<starts {
            world.crash(1)
            try world.restart(1)
            world.run(for: .seconds(1))
        }
        var since: [World.Attached] = []
        for number in 0..<5 { since.append(try world.attach(1, "since \(number)", to: networks[1])) }
        world.run(for: .seconds(2))
        try Self.restore(world, 1, copy)
        world.run(for: .microseconds(500))
        let error = #expect(throws: DriverError.self) { try world.attach(1, "at once", to: networks[1]) }
        #expect(error?.message.contains("older than what its peers have seen") == true, "\(error?.message ?? "")")
        world.run(for: .seconds(3))
        #expect(!world.nodes[1].core.isRolledBack)
        #expect(world.nodes[1].core.member.epoch == 3 || world.nodes[1].core.member.epoch == 2)
        #expect(Set(world.nodes.map(\.core.catalogue)).count == 1)
        #expect(Self.problems(world, 1).contains { $0.contains("in quarantine") && $0.contains("of network net") })
        // The container that the copy knows is unchanged.
        #expect(world.kernel(0)?.neighbours[kept.address] == kept.mac)
        let old = Set(since.map(\.address)).union([kept.address])
        for number in 0..<20 {
            let new = try world.attach(1, "new \(number)", to: networks[1])
            #expect(!old.contains(new.address), "\(new.address) is given twice")
        }
        // The address is refused by `--ip`, too; it is free when the engine has released it.
        #expect(throws: DriverError.self) { try world.attach(1, "by name", to: networks[1], address: since[2].address) }
        _ = world.call(1, .releaseAddress(networks[1].pool, since[2].address))
        #expect(try world.attach(1, "by name", to: networks[1], address: since[2].address).address == since[2].address)
        #expect(throws: DriverError.self) { try world.attach(1, "next", to: networks[1], address: since[3].address) }
    }

    /// Writes from before the node hears its peers, such as the end of containers that went with the machine, do not hide that
    /// later writes are missing.
    @Test(arguments: 1...2) func ownChangesDoNotHideThatOthersAreMissing(starts: Int) throws {
        let (world, networks) = try Self.world()
        _ = try world.attach(1, "ended", to: networks[1])
        world.run(for: .seconds(1))
        let copy = world.nodes[1].rows
        let request = RequestAddress(pool: networks[1].pool, address: nil, purpose: .endpoint(World.mac("since")))
        guard case .address(let since) = world.call(1, .requestAddress(request)) else {
            Issue.record("no address")
            return
        }
        world.run(for: .seconds(2))
        world.crash(1, hostToo: true)
        world.rollBack(1, to: copy)
        world.nodes[1].kernel = VirtualKernel()
        for other in [0, 2] { world.stall(other, for: .milliseconds(300)) }
        for start in 1...starts {
            if start > 1 { world.crash(1) }
            try world.restart(1)
            world.run(for: .milliseconds(100))
        }
        #expect(world.nodes[1].core.localRecords.isEmpty)
        #expect(!world.nodes[1].core.isRolledBack)
        world.run(for: .seconds(3))
        #expect(!world.nodes[1].core.isRolledBack && world.nodes[1].core.member.epoch > 2)
        for number in 0..<20 { #expect(try world.attach(1, "new \(number)", to: networks[1]).address != since.address) }
        // A start from the present state is a start from a good one.
        let epoch = world.nodes[1].core.member.epoch
        world.crash(1)
        try world.restart(1)
        world.run(for: .seconds(3))
        #expect(world.nodes[1].core.member.epoch == epoch)
    }

    /// A peer that started at the same time does not know the node either, and the writer is late. No address is handed out
    /// meanwhile.
    @Test(arguments: [0, 50, 400] as [Int64], [1, 2, 3] as [UInt64])
    func whoStartedWithItDoesNotAssureIt(lateness: Int64, seed: UInt64) throws {
        let (world, networks) = try Self.world(seed: seed)
        _ = try world.attach(1, "kept", to: networks[1])
        world.run(for: .seconds(2))
        let copy = world.nodes[1].rows
        let since = try (0..<3).map { try world.attach(1, "since \($0)", to: networks[1]).address }
        world.run(for: .seconds(3))
        world.crash(2)
        world.crash(1)
        world.rollBack(1, to: copy)
        if lateness > 0 { world.stall(0, for: .milliseconds(lateness)) }
        for host in [2, 1] { try world.restart(host) }
        world.run(for: .milliseconds(1))
        if let new = try? world.attach(1, "new", to: networks[1]) { #expect(!since.contains(new.address)) }
        world.run(for: .seconds(4))
        let later = try world.attach(1, "later", to: networks[1])
        #expect(!since.contains(later.address))
    }

    /// A machine's snapshot brings back containers that had ended and whose addresses others have by now. They are cut off.
    @Test func aContainerOfASnapshotWhoseAddressIsSomebodyElsesIsCutOff() throws {
        let (world, networks) = try Self.world()
        let kept = try world.attach(1, "kept", to: networks[1])
        let ended = try world.attach(1, "ended", to: networks[1])
        _ = try world.attach(2, "witness", to: networks[2])
        world.run(for: .seconds(1))
        let (copy, kernel) = (world.nodes[1].rows, world.nodes[1].kernel)
        world.detach(1, ended)
        let heir = try world.attach(0, "heir", to: networks[0], address: ended.address)
        world.run(for: .seconds(2))
        world.crash(1)
        world.rollBack(1, to: copy)
        world.nodes[1].kernel = kernel
        try world.restart(1)
        world.run(for: .seconds(3))
        #expect(!world.nodes[1].core.isRolledBack)
        #expect(world.nodes[1].core.localRecords.map(\.endpoint) == [kept.endpoint])
        #expect(world.kernel(1)?.ports.count == 1)
        for host in [1, 2] { #expect(world.kernel(host)?.neighbours[heir.address] == heir.mac) }
        #expect(world.kernel(0)?.neighbours[kept.address] == kept.mac)
        #expect(world.difference() == nil)
        // The engine's release does not change who has the address.
        world.detach(1, ended)
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.neighbours[heir.address] == heir.mac)
        #expect(world.difference() == nil)
    }

    /// A node that leaves the cluster stops waiting for peers to echo its state.
    @Test func aNodeThatLeavesRightAfterItsStartComesToRest() throws {
        let (world, _) = try Self.world()
        world.run(for: .seconds(1))
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)) else {
            Issue.record("no token")
            return
        }
        world.network.split([0, 2], [1])
        world.crash(1)
        try world.restart(1)
        world.run(for: .milliseconds(10))
        world.handle(1, .membership(.status(World.id(0), PeerStatus(state: .unreachable, since: world.now))))
        _ = world.control(1, .leave(force: true))
        world.network.heal()
        _ = world.control(1, .join(token: report.token, host: "\(World.address(0))", port: 7947))
        world.run(for: .seconds(3))
        #expect(world.violations == [])
        #expect(world.nodes[1].core.catalogue.cluster != nil)
    }

    /// Other nodes hear of the new epoch only when the disk has it. Otherwise old rows would count as the new membership's.
    @Test func aNodeIsNotAdmittedAnewBeforeItHasForgotten() throws {
        let (world, _) = try Self.world()
        world.run(for: .seconds(2))
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)) else {
            Issue.record("no token")
            return
        }
        world.nodes[1].storeTime = .milliseconds(500)
        _ = world.beginControl(1, .leave(force: true))
        world.run(for: .milliseconds(5))
        #expect(world.nodes[1].core.catalogue.cluster == nil)
        let join = ControlRequest.join(token: report.token, host: "\(World.address(0))", port: 7947)
        _ = world.beginControl(1, join)
        world.run(for: .milliseconds(50))
        #expect(world.nodes[0].core.catalogue.members[World.id(1)] == nil)
        world.crash(1, keeping: 0)
        world.nodes[1].storeTime = .microseconds(100)
        try world.restart(1)
        world.run(for: .seconds(2))
        #expect(world.nodes[0].core.catalogue.members[World.id(1)] == nil)
    }

    /// Addresses in quarantine stay there over restarts, and do not go back to the cluster as idle ones do.
    @Test func whatIsSetAsideStaysSo() throws {
        let (world, networks) = try Self.world()
        world.run(for: .seconds(1))
        let copy = world.nodes[1].rows
        let lost = try world.attach(1, "lost", to: networks[1])
        world.run(for: .seconds(2))
        try Self.restore(world, 1, copy)
        world.run(for: .seconds(3))
        #expect(!world.nodes[1].rows[.quarantine, default: [:]].isEmpty)
        world.crash(1)
        try world.restart(1)
        world.run(for: .seconds(30 * 60))
        let subnet = try #require(world.nodes[1].core.catalogue.networks.values.first?.subnets.first)
        #expect(subnet.block(holding: lost.address)?.owner == world.nodes[1].core.identity.id)
        for number in 0..<30 {
            let host = number % 3
            #expect(try world.attach(host, "new \(number)", to: networks[host]).address != lost.address)
        }
        #expect(throws: DriverError.self) { try world.attach(0, "want", to: networks[0], address: lost.address) }
    }

    /// Without the writer there is no new epoch. Running containers and releases go on, and the recovery survives a restart.
    @Test func withoutTheWriterItWaits() throws {
        let (world, networks) = try Self.world()
        let kept = try world.attach(2, "kept", to: networks[2])
        let witness = try world.attach(1, "witness", to: networks[1])
        world.run(for: .seconds(1))
        let copy = world.nodes[2].rows
        let lost = try world.attach(2, "lost", to: networks[2])
        world.run(for: .seconds(2))
        world.split(1)
        world.run(for: .seconds(10))
        try Self.restore(world, 2, copy)
        world.run(for: .seconds(5))
        #expect(world.nodes[2].core.isRolledBack)
        #expect(Self.problems(world, 2).contains { $0.contains("old copy") })
        #expect(throws: DriverError.self) { try world.attach(2, "now", to: networks[2]) }
        #expect(world.kernel(2)?.neighbours[witness.address] == witness.mac)
        #expect(world.kernel(1)?.neighbours[kept.address] == kept.mac)
        world.crash(2)
        try world.restart(2)
        // The node is alone with its stored state.
        #expect(world.nodes[2].core.isRolledBack)
        world.run(for: .milliseconds(1))
        world.detach(2, kept)
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.neighbours[kept.address] == nil)
        world.heal()
        world.run(for: .seconds(5))
        #expect(!world.nodes[2].core.isRolledBack)
        for number in 0..<20 { #expect(try world.attach(2, "new \(number)", to: networks[2]).address != lost.address) }
        world.run(for: .seconds(1))
        #expect(world.difference() == nil)
    }

    /// A start from a good state waits for an echo of its peers, and not for long where there is none.
    @Test func aGoodStateIsNotTakenForAnOldOne() throws {
        let (world, networks) = try Self.world()
        for number in 0..<5 { _ = try world.attach(1, "c\(number)", to: networks[1]) }
        world.crash(1)
        try world.restart(1)
        let start = world.now
        world.run(for: .milliseconds(1))
        _ = try world.attach(1, "again", to: networks[1])
        #expect(world.now - start < .milliseconds(50))
        for other in [0, 2] { world.crash(other) }
        world.crash(1)
        try world.restart(1)
        let alone = world.now
        world.run(for: .milliseconds(1))
        _ = try world.attach(1, "alone", to: networks[1])
        #expect(world.now - alone < .milliseconds(1100))
        #expect(!world.nodes[1].core.isRolledBack && world.nodes[1].core.member.epoch == 2)
        #expect(world.nodes[1].rows[.quarantine, default: [:]].isEmpty)
    }

    /// A lie of a member costs a new epoch at most, and an implausible one is not believed.
    @Test func whatNobodyCanHaveSeenIsNotBelieved() throws {
        let (world, networks) = try Self.world()
        let own = world.nodes[1].core.identity
        for mark in [
            StateMark(life: 1 << 40 - 1, run: 0, writes: 0),
            StateMark(life: UInt64(own.epoch) << 24 | 0xFF_FFFF, run: 0, writes: 0),
            StateMark(life: 0, run: 0, writes: Limits.counter - 1),
        ] {
            world.handle(1, .membership(.echo(World.id(0), mark, isAhead: true)))
            #expect(!world.nodes[1].core.isRolledBack)
        }
        world.handle(1, .membership(.echo(World.id(0), StateMark(life: 0, run: 0, writes: 1 << 30), isAhead: true)))
        #expect(world.nodes[1].core.isRolledBack)
        world.run(for: .seconds(2))
        #expect(!world.nodes[1].core.isRolledBack)
        _ = try world.attach(1, "after", to: networks[1])
    }

    // MARK: Lost state

    /// A host without its state is another node. The old node keeps its name and tunnel address until it is removed; after that its
    /// containers reach no other host.
    @Test func aHostThatLostItsStateJoinsAnew() throws {
        let (world, networks) = try Self.world()
        let witness = try world.attach(0, "witness", to: networks[0])
        let orphan = try world.attach(1, "orphan", to: networks[1])
        world.run(for: .seconds(1))
        #expect(world.kernel(1)?.ports.count == 1)
        world.crash(1)
        world.loseState(1)
        try world.restart(1)
        world.run(for: .seconds(1))
        // Devices of an unknown cluster go with the first observation of the kernel.
        #expect(world.nodes[1].kernel.state.networks.isEmpty)
        guard case .token(let token) = world.control(0, .joinToken(newSecret: nil)),
            case .refused(let reason) = world.control(1, .join(token: token.token, host: "192.0.2.1", port: 7947))
        else {
            Issue.record("joined beside what it was")
            return
        }
        #expect(reason.contains("node rm --force --now host2"), "\(reason)")
        guard case .done = world.control(0, .removeNode("host2", force: true, now: true)),
            case .done = world.control(1, .join(token: token.token, host: "192.0.2.1", port: 7947))
        else {
            Issue.record("not removed, or not joined")
            return
        }
        world.run(for: .seconds(2))
        #expect(world.nodes[1].kernel.state.networks.isEmpty)
        #expect(world.kernel(0)?.neighbours == [witness.address: witness.mac])
        // The address is free, and no kernel has a row of it.
        let again = try world.createNetwork(1, "net", subnet: networks[0].prefix)
        let second = try world.attach(1, "new", to: again, address: orphan.address)
        world.run(for: .seconds(1))
        #expect(world.kernel(0)?.neighbours[orphan.address] == second.mac)
        #expect(world.kernel(1)?.ports.count == 1)
        #expect(world.difference() == nil)
    }
}
