import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Refusals and messages of a node that the catalogue's writer does not answer.
@Suite struct WriterAwayTests {
    enum Cut: CaseIterable {
        case toWriter, fromWriter, both

        func make(_ world: World, _ host: Int) {
            if self != .fromWriter { world.cutOneWay(host, 0) }
            if self != .toWriter { world.cutOneWay(0, host) }
        }
    }

    private static func problems(_ world: World, _ host: Int) throws -> [String] {
        guard case .status(let report) = world.control(host, .status) else { throw World.Failed("no status") }
        return report.problems
    }

    private static func problem(_ world: World, _ host: Int) throws -> String? {
        try problems(world, host).first { $0.hasPrefix("catalogue writer") }
    }

    private static func open(_ world: World, _ host: Int, _ name: String) -> DriverRequest {
        .requestPool(
            RequestPool(addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: name, family: .v4))
    }

    // MARK: A path that is cut

    /// Others reach the writer, and this node does not.
    @Test(arguments: [3, 4, 10], Cut.allCases)
    func aWriterThatAnswersOthersAloneIsAway(count: Int, cut: Cut) throws {
        let world = try World(count: count)
        try #require(world.makeCluster())
        cut.make(world, 1)
        world.run(for: .seconds(9))
        let text = try #require(try Self.problem(world, 1))
        #expect(text.hasPrefix("catalogue writer host1 unreachable since "), "\(text)")
        #expect(text.contains("(answers other nodes, but not this one); running containers, names and starts"), "\(text)")
        #expect(text.contains("see to the way to 192.0.2.1:7947, UDP and TCP"), "\(text)")
        for other in 2..<count { #expect(try Self.problem(world, other) == nil) }
        // Later calls are refused at once, with the same text.
        let before = world.now
        let error = try #require(throws: DriverError.self) { try world.createNetwork(1, "net") }
        #expect(error.message == text && world.now - before < .milliseconds(10))
        guard case .refused(let reason) = world.control(1, .promote(force: true)) else { throw World.Failed("promoted") }
        #expect(reason.contains("writes the catalogue and answers other nodes, but not this one"), "\(reason)")
        _ = try world.createNetwork(2, "net")
        world.heal()
        world.run(for: .seconds(3))
        #expect(try Self.problems(world, 1) == [])
        _ = try world.createNetwork(1, "net")
        world.run(for: .seconds(2))
        #expect(world.nodes[1].core.catalogue == world.nodes[0].core.catalogue)
    }

    /// Lost packets, or blocked UDP alone, do not make a node refuse calls.
    @Test(arguments: 1...3 as ClosedRange<UInt64>, [true, false])
    func lossIsNoAbsence(seed: UInt64, isBlocked: Bool) throws {
        let world = try World(count: 5, seed: seed)
        try #require(world.makeCluster())
        if isBlocked {
            world.network.datagramCuts = [.init(0, 1), .init(1, 0)]
        } else {
            world.network.loss = 0.2
        }
        for _ in 0..<600 {
            world.run(for: .milliseconds(100))
            for host in 1..<5 { #expect(try Self.problem(world, host) == nil) }
        }
        _ = try world.createNetwork(1, "net")
    }

    // MARK: Calls that are open

    @Test(arguments: [true, false])
    func anOpenCallIsRefusedWhenTheWriterIsFoundAway(others: Bool) throws {
        let world = try World(count: 4)
        try #require(world.makeCluster())
        // Other nodes reach the writer, or no node does.
        if others { world.split([0], [1]) } else { world.split([0], [1, 2, 3]) }
        var answers: [(after: Interval, DriverResponse)] = []
        let start = world.now
        for number in 0..<3 {
            world.begin(1, Self.open(world, 1, "net\(number)")) { answers.append((world.now - start, $0)) }
        }
        while answers.isEmpty, world.now - start < .seconds(10) { world.run(for: .milliseconds(10)) }
        #expect(answers.count == 3)
        for (after, answer) in answers {
            #expect(after < .seconds(5), "after \(after.nanoseconds / 1_000_000) ms")
            guard case .failed(let error) = answer else { throw World.Failed("\(answer)") }
            #expect(error.message.hasPrefix("catalogue writer host1 unreachable since "), "\(error.message)")
        }
        #expect(try Self.problem(world, 1) != nil, "said as soon as calls are refused")
        // Their proposals have been given up by then.
        world.run(for: .seconds(8))
        world.heal()
        world.run(for: .seconds(5))
        #expect(try Self.problem(world, 1) == nil)
        _ = try world.createNetwork(1, "net0")
        #expect(world.violations == [])
    }

    /// A network was removed, and is created again before the writer knows of the removal.
    @Test(arguments: [true, false])
    func aSubnetThatIsBeingGivenUpIsNotWaitedFor(isFoundLater: Bool) throws {
        let world = try World(count: 3)
        try #require(world.makeCluster())
        let network = try world.createNetwork(1, "net")
        world.run(for: .seconds(1))
        world.split([0], [1, 2])
        if !isFoundLater { world.run(for: .seconds(8)) }
        world.removeNetwork(1, network)
        let start = world.now
        let error = try #require(throws: DriverError.self) { try world.createNetwork(1, "net") }
        #expect(error.message.hasPrefix("catalogue writer host1 unreachable since "), "\(error.message)")
        #expect(world.now - start < (isFoundLater ? .seconds(5) : .milliseconds(10)))
        world.heal()
        world.run(for: .seconds(8))
        _ = try world.createNetwork(1, "net")
    }

    // MARK: A writer that is reachable and decides nothing

    @Test func aWriterThatDidNotAnswerIsAProblemToo() throws {
        let world = try World(count: 3)
        try #require(world.makeCluster())
        world.nodes[0].storeTime = .seconds(20)
        let error = try #require(throws: DriverError.self) { try world.createNetwork(1, "net") }
        #expect(error.message.hasPrefix("catalogue writer host1 did not answer in time; "), "\(error.message)")
        #expect(try Self.problem(world, 1) == error.message)
        #expect(try Self.problem(world, 2) == nil)
        world.nodes[0].storeTime = nil
        world.run(for: .seconds(30))
        #expect(try Self.problem(world, 1) == error.message, "nobody knows better yet")
        _ = try world.createNetwork(1, "net")
        #expect(try Self.problems(world, 1) == [])
    }

    // MARK: Addresses

    @Test func thatAddressesAreUsedUpIsSaidFirst() throws {
        let world = try World(count: 3)
        try #require(world.makeCluster())
        let subnet = try #require(IPPrefix("10.9.0.0/24"))
        let networks = try (0..<3).map { try world.createNetwork($0, "net", subnet: subnet) }
        _ = try world.attach(1, "first", to: networks[1])
        world.run(for: .seconds(1))
        let owned = try #require(world.nodes[1].core.catalogue.subnet(networks[1].pool)).blocks(of: World.id(1))
        let count = owned.reduce(0) { $0 + Int(clamping: $1.count) }
        world.split([0], [1, 2])
        world.run(for: .seconds(8))
        for number in 1..<count { _ = try world.attach(1, "c\(number)", to: networks[1]) }
        let away = try #require(try Self.problem(world, 1)).prefix { $0 != ";" }
        let error = try #require(throws: DriverError.self) { try world.attach(1, "more", to: networks[1]) }
        #expect(
            error.message.hasPrefix(
                "the addresses of network net that node host2 owns, \(count), are used up, and only the catalogue gives it more: \(away); "
                    + "running containers, names and starts where this node owns free addresses are unaffected"), "\(error.message)"
        )
        let free = try #require(IPAddress("10.9.0.200"))
        let named = try #require(throws: DriverError.self) { try world.attach(1, "named", to: networks[1], address: free) }
        #expect(
            named.message.hasPrefix(
                "address 10.9.0.200 of network net is none of those that node host2 owns: catalogue writer host1"),
            "\(named.message)")
    }

    @Test func thatThereNeverWereAddressesIsSaidFirst() throws {
        let world = try World(count: 3)
        try #require(world.makeCluster())
        let subnet = try #require(IPPrefix("10.9.0.0/29"))
        let networks = try (0..<3).map { try world.createNetwork($0, "net", subnet: subnet) }
        for number in 0..<5 { _ = try world.attach(1, "c\(number)", to: networks[1]) }
        world.split([0], [1, 2])
        world.run(for: .seconds(8))
        let error = try #require(throws: DriverError.self) { try world.attach(2, "none", to: networks[2]) }
        #expect(
            error.message.hasPrefix(
                "node host3 owns no addresses of network net yet, and only the catalogue gives it more: catalogue writer host1 unreachable"
            ),
            "\(error.message)")
    }

    // MARK: node rm

    private static func refusal(_ world: World, _ name: String) throws -> String {
        guard case .refused(let reason) = world.control(1, .removeNode(name, force: false)) else { throw World.Failed("removed") }
        return reason
    }

    /// The command that a refusal names works.
    @Test func whyANodeIsNotRemovedSaysWhatToRun() throws {
        let world = try World(count: 4)
        try #require(world.makeCluster())
        world.run(for: .seconds(2))
        let alive = try Self.refusal(world, "host3")
        #expect(
            alive == "node host3 is alive: run `swift-overlay leave` on that host, with --force while it has containers on overlay "
                + "networks; or, to cut it off as it is, `swift-overlay node rm --force host3` here")
        let writer = try Self.refusal(world, "host1")
        #expect(
            writer
                == "node host1 writes the catalogue and is alive: stop the daemon there, run `swift-overlay promote --force` here, and "
                + "then `swift-overlay node rm --force host1`")
        world.crash(2, hostToo: true)
        world.run(for: .seconds(20))
        let away = try Self.refusal(world, String(World.id(2).description))
        #expect(away.hasPrefix("node host3 has been unreachable for 1"), "\(away)")
        #expect(
            away.hasSuffix(" s, not for 60: wait, or run `swift-overlay node rm --force host3` if it never comes back"), "\(away)")
        world.run(for: .seconds(50))
        guard case .done = world.control(1, .removeNode("host3", force: false)) else {
            throw World.Failed("not removed after 60 s")
        }
        world.crash(0)
        world.run(for: .seconds(5))
        let gone = try Self.refusal(world, "host1")
        #expect(gone.hasPrefix("node host1 writes the catalogue, and has been daemon-down for "), "\(gone)")
        guard case .done = world.control(1, .promote(force: true)),
            case .done = world.control(1, .removeNode("host1", force: true))
        else { throw World.Failed("the way out is none") }
    }

    // MARK: The log

    /// Retries fail alike, so only the first failure and the recovery are logged.
    @Test func whatTheDiskRefusesIsLoggedOnce() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        let network = try world.createNetwork(1, "net")
        func count(_ text: String) -> Int { world.logs.count { $0.contains("host2") && $0.contains(text) } }
        for round in 1...2 {
            world.nodes[1].failsStores = true
            for number in 0..<3 {
                #expect(throws: DriverError.self) { try world.attach(1, "c\(number)", to: network) }
            }
            world.run(for: .seconds(5))
            #expect(count("error: state could not be written") == round)
            #expect(try Self.problems(world, 1).contains { $0.hasPrefix("state could not be written") })
            world.nodes[1].failsStores = false
            world.run(for: .seconds(3))
            #expect(count("info: state is written again") == round)
            #expect(try Self.problems(world, 1) == [])
        }
    }
}
