import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Networks of one name, of one subnet, and of other options: which of them are one, and which let no endpoint on.
@Suite struct AdmissionTests {
    private func world(_ count: Int = 3, seed: UInt64 = 1, engines: [Int]? = nil) throws -> World {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        for index in engines ?? Array(0..<count) { world.startEngine(index) }
        world.run(for: .milliseconds(100))
        return world
    }

    private static func network(_ name: String, subnet: String? = "10.9.0.0/24", isInternal: Bool = false, mtu: String? = nil)
        -> EngineNetwork
    {
        EngineNetwork(
            name: name, options: mtu.map { [OptionName.mtu: $0] } ?? [:],
            subnets: subnet.flatMap { IPPrefix($0) }.map { [.init(subnet: $0)] } ?? [], isInternal: isInternal)
    }

    /// Result of `docker network create`; nil if it was refused.
    private func create(_ world: World, _ index: Int, _ network: EngineNetwork) -> EngineNetworkID? {
        var made: EngineNetworkID?
        var isDone = false
        world.dockerCreate(index, network) {
            made = $0
            isDone = true
        }
        world.run(atMost: .seconds(10)) { isDone }
        return made
    }

    private func remove(_ world: World, _ index: Int, _ name: String) {
        guard let id = id(world, index, name) else { return }
        var isDone = false
        world.dockerRemove(index, id) { _ in isDone = true }
        world.run(atMost: .seconds(10)) { isDone }
    }

    private func id(_ world: World, _ index: Int, _ name: String) -> EngineNetworkID? {
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

    private func refusal(_ body: () throws -> World.Attached) -> String {
        do {
            _ = try body()
            return "granted"
        } catch {
            return "\(error)"
        }
    }

    // MARK: Subnets

    /// Two projects with one `subnet:` are made at one moment.
    @Test(arguments: 1...20) func oneSubnetIsOfOneName(seed: UInt64) throws {
        let world = try world(seed: seed)
        world.dockerCreate(0, Self.network("anna"))
        world.run(for: .microseconds(Int64(seed) * 200))
        world.dockerCreate(1, Self.network("berta"))
        world.run(for: .seconds(2))
        let names = networks(world, 2).map(\.name)
        try #require(names.count == 1, "\(names)")
        let (winner, loser) = names[0] == "anna" ? (0, 1) : (1, 0)
        let lost = winner == 0 ? "berta" : "anna"
        let web = try world.dockerRun(winner, "db-\(winner)", on: try #require(id(world, winner, names[0])))
        // Where it was refused already, there is nothing to be told of.
        if let there = id(world, loser, lost) {
            let reason = refusal { try world.dockerRun(loser, "db-\(loser)", on: there) }
            #expect(reason.contains("10.9.0.0/24") && reason.contains("network \(names[0])"), "\(reason)")
            #expect(reason.contains("docker network rm \(lost)") && reason.contains("net=\(names[0])"), "\(reason)")
            #expect(problems(world, loser).contains { $0.contains("no container is let on network \(lost)") })
            #expect(networks(world, 2)[0].endpoints.map(\.node) == ["host\(winner + 1)"])
            // The refusal outlives the daemon.
            world.crash(loser)
            try world.restart(loser)
            world.run(for: .milliseconds(100))
            #expect(refusal { try world.dockerRun(loser, "again", on: there) }.contains("network \(names[0])"))
            world.startEngine(loser)
            world.run(for: .seconds(1))
            // The cluster's network is on this engine beside it, and stays when it goes.
            #expect(id(world, loser, names[0]) != nil)
            remove(world, loser, lost)
        }
        world.run(for: .seconds(3))
        for index in 0...2 {
            #expect(world.dockerNetworks(index).map(\.name) == names)
            #expect(problems(world, index).isEmpty, "\(problems(world, index))")
        }
        let other = try world.dockerRun(loser, "late", on: try #require(id(world, loser, names[0])))
        #expect(other.address != web.address)
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    /// One Compose file comes up on three hosts at one moment, and its containers start as soon as the network is made: by the id that
    /// its engine gave.
    @Test(arguments: 1...20, ["10.9.0.0/24", nil]) func oneFileIsOneNetwork(seed: UInt64, subnet: String?) throws {
        let world = try world(seed: seed)
        var attached: [World.Attached] = []
        var all: [Int: EngineNetworkID] = [:]
        var refused: [String] = []
        for index in 0..<3 {
            world.dockerCreate(index, Self.network("shop", subnet: subnet)) { [unowned world] made in
                guard let made else { return refused.append("create on \(index)") }
                all[index] = made
                world.after(.milliseconds(1)) { world in
                    do {
                        attached.append(try world.dockerRun(index, "web\(index)", on: made))
                    } catch {
                        refused.append("\(error)")
                    }
                }
            }
            // A create that comes later finds the name taken.
            world.run(for: .microseconds(Int64(seed) * (subnet == nil ? 20 : 37)))
        }
        world.run(for: .seconds(5))
        #expect(refused.isEmpty, "\(refused)")
        #expect(Set(attached.map(\.address)).count == 3)
        for index in 0...2 {
            #expect(world.dockerNetworks(index).map(\.name) == ["shop"] && problems(world, index).isEmpty)
            #expect(networks(world, index).map(\.name) == ["shop"] && networks(world, index).first?.endpoints.count == 3)
            #expect(networks(world, index).first?.subnets.count == 1)
            #expect(id(world, index, "shop") == all[index], "an id that a user has stays")
        }
        #expect(Set(attached.map { IPPrefix($0.address, length: 24)?.network }).count == 1)
        world.expectConvergence(within: .seconds(1))
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    /// A Compose project goes down on one host after the other, and comes up on all at once. The host that removed its network last says
    /// that nobody needs it when it makes the next one, and others have their new one stand for it by then.
    @Test(arguments: 1...20) func whatComesUpAgainIsNotRemoved(seed: UInt64) throws {
        let world = try world(seed: seed)
        for round in 0..<4 {
            var attached: [World.Attached?] = [nil, nil, nil]
            var refused: [String] = []
            for index in 0..<3 {
                world.dockerCreate(index, Self.network("shop", subnet: nil)) { [unowned world] made in
                    guard let made else { return refused.append("create on \(index)") }
                    world.after(.milliseconds(1)) { world in
                        do {
                            attached[index] = try world.dockerRun(index, "web\(index)-\(round)", on: made)
                        } catch {
                            refused.append("\(error)")
                        }
                    }
                }
                world.run(for: .microseconds(Int64(seed) * 20))
            }
            world.run(for: .seconds(2))
            #expect(refused.isEmpty, "round \(round): \(refused)")
            #expect(networks(world, 0).map(\.name) == ["shop"] && networks(world, 0).first?.endpoints.count == 3, "round \(round)")
            for index in 0...2 {
                #expect(problems(world, index).isEmpty, "round \(round): \(problems(world, index))")
                if let attached = attached[index] { world.dockerStop(index, attached) }
                remove(world, index, "shop")
                world.run(for: .milliseconds(200))
            }
        }
        world.run(for: .seconds(5))
        #expect((0..<3).allSatisfy { world.dockerNetworks($0).isEmpty && networks(world, $0).isEmpty })
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    /// A network that is removed right after it was made goes from hosts, too, that mirrored it in between: a host on which a user makes
    /// networks waits with that.
    @Test(arguments: 1...25) func whatWasMirroredInBetweenIsRemoved(seed: UInt64) throws {
        let world = try world(seed: seed)
        for round in 0..<3 {
            for index in 0..<3 { #expect(create(world, index, Self.network("brief\(round)-\(index)", subnet: nil)) != nil) }
            world.run(for: .milliseconds(Int64(seed) * 4))
            for index in 0..<3 { remove(world, index, "brief\(round)-\(index)") }
            world.run(for: .seconds(8))
            #expect((0..<3).allSatisfy { world.dockerNetworks($0).isEmpty && networks(world, $0).isEmpty }, "round \(round)")
        }
    }

    /// A network that stands for that of another host outlives the daemon, ends with a user's command, and is made anew when it is idle.
    @Test(arguments: 1...8) func whatStandsForAnotherEnds(seed: UInt64) throws {
        let world = try world(seed: seed)
        var made: [EngineNetworkID?] = [nil, nil, nil]
        for index in 0..<3 {
            world.dockerCreate(index, Self.network("shop", subnet: nil)) { made[index] = $0 }
            world.run(for: .microseconds(Int64(seed) * 50))
        }
        world.run(for: .seconds(2))
        let subnets = (0..<3).map { world.dockerNetworks($0).first?.subnets.first?.subnet }
        let winner = try #require(networks(world, 0).first?.subnets.first.flatMap { IPPrefix($0.subnet) })
        let index = try #require((0..<3).first { subnets[$0] != winner }, "two made it at one moment")
        let id = try #require(made[index])
        let attached = try world.dockerRun(index, "web", on: id)
        #expect(winner.contains(attached.address))
        world.crash(index)
        try world.restart(index)
        world.startEngine(index)
        world.run(for: .seconds(2))
        let again = try world.dockerRun(index, "web2", on: id)
        #expect(winner.contains(again.address) && problems(world, index).isEmpty)
        // A container that does not run has it in its configuration.
        world.dockerStop(index, again)
        let container = ContainerID(String(repeating: "cd", count: 32))!
        EngineConfigurations(world).add(index, container, on: "shop", id)
        world.dockerStop(index, attached)
        world.run(for: .seconds(120))
        #expect(self.id(world, index, "shop") == id)
        EngineConfigurations(world).remove(index, container)
        world.run(for: .seconds(120))
        #expect(world.dockerNetworks(index).map { $0.subnets.map(\.subnet) } == [[winner]])
        #expect((0..<3).allSatisfy { problems(world, $0).isEmpty } && world.violations.isEmpty, "\(world.violations)")
        remove(world, index, "shop")
        world.run(for: .seconds(5))
        #expect((0..<3).allSatisfy { world.dockerNetworks($0).isEmpty } && networks(world, 0).isEmpty)
    }

    /// Two projects with networks of the cluster's choice at one moment are none of each other's business.
    @Test(arguments: 1...10) func otherNamesStayApart(seed: UInt64) throws {
        let world = try world(seed: seed)
        world.dockerCreate(0, Self.network("anna", subnet: nil))
        world.run(for: .microseconds(Int64(seed) * 200))
        world.dockerCreate(1, Self.network("berta", subnet: nil))
        world.run(for: .seconds(5))
        for index in 0..<3 { #expect(world.dockerNetworks(index).map(\.name) == ["anna", "berta"]) }
        #expect(Set(networks(world, 0).flatMap { $0.subnets.map(\.subnet) }).count == 2)
        #expect((0..<3).allSatisfy { problems(world, $0).isEmpty } && world.violations.isEmpty)
    }

    /// A network that is on this engine has another name, as no engine has a name twice.
    @Test func theSubnetOfANetworkOfThisHostIsRefused() throws {
        let world = try world()
        _ = try #require(create(world, 0, Self.network("anna")))
        world.run(for: .seconds(1))
        for index in 0...2 {
            let request = RequestPool(
                addressSpace: "swift-overlay", pool: IPPrefix("10.9.0.0/24"), subPool: nil, networkName: nil,
                family: .v4)
            guard case .failed(let error) = world.call(index, .requestPool(request)) else { throw World.Failed("granted") }
            #expect(error.message.contains("network anna, which is on this host already"), "\(error)")
            #expect(create(world, index, Self.network("berta")) == nil)
        }
        #expect(networks(world, 0).map(\.name) == ["anna"])
    }

    /// The network was pruned here, and a project with the same subnet comes.
    @Test func aSubnetAloneJoinsNobody() throws {
        let world = try world()
        let made = try #require(create(world, 0, Self.network("anna")))
        world.run(for: .seconds(1))
        let web = try world.dockerRun(0, "web", on: made)
        world.run(for: .milliseconds(100))
        remove(world, 1, "anna")
        world.run(for: .seconds(4))
        let berta = try #require(create(world, 1, Self.network("berta")))
        #expect(refusal { try world.dockerRun(1, "db", on: berta) }.contains("network anna on host1"))
        world.run(for: .milliseconds(100))
        #expect(networks(world, 0).map(\.nodes) == [["host1", "host3"]])
        #expect(world.dockerNetworks(1).map(\.name) == ["berta"], "it is not wanted here by that")
        remove(world, 1, "berta")
        // The same file again means the same network.
        let again = try #require(create(world, 1, Self.network("anna")))
        let db = try world.dockerRun(1, "db", on: again)
        #expect(db.address != web.address && networks(world, 0).map(\.nodes) == [["host1", "host2", "host3"]])
        #expect(problems(world, 1).isEmpty && world.violations.isEmpty)
    }

    /// Without a link to the engine nobody tells the name.
    @Test func withoutALinkANameIsToBeGiven() throws {
        let world = try world(2, engines: [0])
        _ = try #require(create(world, 0, Self.network("anna")))
        world.run(for: .seconds(1))
        let subnet = try #require(IPPrefix("10.9.0.0/24"))
        let nameless = RequestPool(addressSpace: "swift-overlay", pool: subnet, subPool: nil, networkName: nil, family: .v4)
        guard case .failed(let error) = world.call(1, .requestPool(nameless)) else { throw World.Failed("granted") }
        #expect(error.message.contains("--engine none") && error.message.contains("--ipam-opt net=anna"), "\(error)")
        let joined = try world.createNetwork(1, "anna", subnet: subnet)
        _ = try world.attach(1, "web", to: joined)
        // One that nobody else has needs no name.
        let alone = RequestPool(
            addressSpace: "swift-overlay", pool: IPPrefix("10.8.0.0/24"), subPool: nil, networkName: nil, family: .v4)
        guard case .pool(let pool, let prefix, _) = world.call(1, .requestPool(alone)) else { throw World.Failed("refused") }
        let id = World.networkID(1, "alone")
        let data = IPAMData(addressSpace: "swift-overlay", pool: prefix)
        #expect(world.call(1, .createNetwork(CreateNetwork(network: id, options: [:], v4: [data], v6: []))) == .done)
        _ = try world.attach(1, "own", to: World.Created(network: id, pool: pool, prefix: prefix))
    }

    /// The engine tells nothing for a while: an endpoint waits, and for no longer than three seconds.
    @Test func theWaitForANameIsBounded() throws {
        let world = try world()
        _ = try #require(create(world, 0, Self.network("anna")))
        world.run(for: .seconds(1))
        remove(world, 1, "anna")
        world.run(for: .seconds(4))
        world.dockerCreate(0, Self.network("anna"))
        world.run(for: .milliseconds(1))
        let made = create(world, 1, Self.network("anna"))
        guard let made else { return }
        world.setMute(1, true)
        let start = world.now
        let reason = refusal { try world.dockerRun(1, "web", on: made) }
        #expect(world.now - start < .seconds(4), "\(reason)")
    }

    // MARK: Options

    /// The network was removed here, and is made again under its name with other options.
    @Test(arguments: ["10.9.0.0/24", nil]) func otherOptionsLetNobodyOn(subnet: String?) throws {
        let world = try world()
        let made = try #require(create(world, 0, Self.network("sec", subnet: "10.9.0.0/24")))
        world.run(for: .seconds(1))
        _ = try world.dockerRun(0, "web", on: made)
        world.run(for: .milliseconds(100))
        remove(world, 1, "sec")
        world.run(for: .seconds(4))
        let strict = Self.network("sec", subnet: subnet, isInternal: true, mtu: "1300")
        let own = create(world, 1, strict)
        guard subnet == nil else {
            #expect(own == nil, "a subnet says which network is meant, so it is refused at once")
            #expect(networks(world, 0).map(\.nodes) == [["host1", "host3"]])
            return
        }
        let strictID = try #require(own)
        let reason = refusal { try world.dockerRun(1, "db", on: strictID) }
        for part in [
            "--internal is given here and not there", "mtu is not given there and 1300 here", "on host1", "docker network rm sec",
        ] {
            #expect(reason.contains(part), "\(reason)")
        }
        world.run(for: .seconds(70))
        #expect(id(world, 1, "sec") == strictID && world.dockerNetworks(1).count == 1, "nothing less strict replaces it")
        #expect(
            problems(world, 1).contains {
                $0.contains("either `docker network rm sec` here") && $0.contains("swift-overlay network create sec")
            })
        world.crash(1)
        try world.restart(1)
        world.run(for: .milliseconds(100))
        #expect(refusal { try world.dockerRun(1, "early", on: strictID) }.contains("docker network rm sec"))
        world.startEngine(1)
        world.run(for: .seconds(2))
        #expect(id(world, 1, "sec") == strictID)
        // The way out here.
        remove(world, 1, "sec")
        world.run(for: .seconds(4))
        guard case .done = world.control(1, .createNetwork(EngineNetwork(name: "sec"))) else { throw World.Failed("create") }
        #expect(world.dockerNetworks(1).first?.isInternal == false && problems(world, 1).isEmpty, "\(problems(world, 1))")
        #expect(world.violations.isEmpty)
    }

    /// The way out there: the cluster's network goes, and this one takes its place, on all hosts.
    @Test func whatWasRefusedTakesThePlaceOfTheOther() throws {
        let world = try world()
        let made = try #require(create(world, 0, Self.network("sec", subnet: nil)))
        world.run(for: .seconds(1))
        let web = try world.dockerRun(0, "web", on: made)
        world.run(for: .milliseconds(100))
        for index in 1...2 { remove(world, index, "sec") }
        world.run(for: .seconds(4))
        let strict = try #require(create(world, 1, Self.network("sec", subnet: nil, isInternal: true)))
        world.run(for: .seconds(1))
        #expect(refusal { try world.dockerRun(1, "db", on: strict) } != "granted")
        world.dockerStop(0, web)
        remove(world, 0, "sec")
        world.run(for: .seconds(5))
        #expect(problems(world, 1).isEmpty, "\(problems(world, 1))")
        _ = try world.dockerRun(1, "db", on: strict)
        for index in 0...2 { #expect(world.dockerNetworks(index).map(\.isInternal) == [true]) }
    }

    @Test func optionsThatDifferAreNamedWithTheHost() throws {
        let world = try world(2, engines: [])
        _ = try world.createNetwork(0, "sec")
        for (options, words) in [
            ([OptionName.isInternal: .bool(true)], "--internal is given here and not there"),
            ([OptionName.generic: .object([OptionName.mtu: .string("1300")])], "mtu is not given there and 1300 here"),
        ] as [(Options, String)] {
            let error = #expect(throws: DriverError.self) { try world.createNetwork(1, "sec", options: options) }
            #expect(error?.message.contains("network sec is on host1 with other options: ") == true)
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        }
        _ = try world.createNetwork(1, "sec")
    }

    /// Engines take `--ip` only on networks that were created with a subnet, so our command gives one.
    @Test func ourCommandGivesTheEngineASubnet() throws {
        let world = try world()
        guard case .done = world.control(1, .createNetwork(EngineNetwork(name: "auto"))) else { throw World.Failed("create") }
        world.run(for: .seconds(1))
        for index in 0...2 { #expect(EngineConfigurations(world).takesAddresses(index, try #require(id(world, index, "auto")))) }
        #expect(networks(world, 0).map(\.name) == ["auto"] && networks(world, 0).map(\.subnets.count) == [1])
        guard case .refused(let reason) = world.control(0, .createNetwork(EngineNetwork(name: "auto"))) else {
            throw World.Failed("twice")
        }
        #expect(reason.contains("on this host already"))
        // Where the engine makes none, nothing is left.
        world.setMute(1, true)
        guard case .refused = world.control(1, .createNetwork(EngineNetwork(name: "none"))) else { throw World.Failed("made") }
        world.run(for: .seconds(7))
        #expect(networks(world, 0).map(\.name) == ["auto"])
    }

    // MARK: Rows

    /// A row of the first schema says nothing of admission where endpoints are let on, and nothing after that where there is nothing to say.
    @Test func rowsOfTheFirstSchemaAreMigrated() throws {
        let id = World.networkID(1, "old")
        var writer = ByteWriter()
        writer.value(id)
        writer.value(NetworkID(bits: 7))
        writer.list([SubnetID(3)])
        writer.optional("old")
        #expect(throws: DecodeError.self) { try LocalNetwork(wire: writer.bytes) }
        let rest: [UInt8] = [0, 0, 0, 0, 0]
        let whole = writer.bytes + [1, 1] + rest.dropFirst()
        var rows: StoredRows = [.network: [[1]: writer.bytes, [2]: writer.bytes + [2], [3]: whole]]
        let writes = try StateSchema.present.migrate(rows, 1)
        #expect(
            Set(writes) == [
                .put(.network, key: [1], value: writer.bytes + [0] + rest),
                .put(.network, key: [2], value: writer.bytes + [2] + rest),
            ])
        rows.apply(writes)
        let network = try LocalNetwork(wire: rows[.network]?[[1]] ?? [])
        #expect(network.admission == .open && network.name == "old" && !network.isAutomatic && network.aliases.isEmpty)
        #expect(try LocalNetwork(wire: rows[.network]?[[2]] ?? []).admission == .foreign)
        #expect(try LocalNetwork(wire: whole).isAutomatic)
        #expect(try StateSchema.present.migrate(rows, 1).isEmpty && StateSchema.present.migrate(rows, 2).isEmpty)
        for length in 0..<writer.bytes.count {
            #expect(throws: DecodeError.self) {
                try StateSchema.present.migrate([.network: [[1]: Array(writer.bytes.prefix(length))]], 1)
            }
        }
        var other = network
        for admission in [Admission.undecided, .foreign, .different] {
            other.admission = admission
            #expect(try LocalNetwork(wire: other.wireBytes) == other)
            other.isAutomatic = true
            other.aliases = [PoolAlias(pool: SubnetID(7), subnet: SubnetID(8))]
            #expect(try LocalNetwork(wire: other.wireBytes) == other)
            for length in 1..<20 where (try? LocalNetwork(wire: Array(other.wireBytes.dropLast(length)))) == other {
                Issue.record("cut by \(length)")
            }
            other.isAutomatic = false
            other.aliases = []
        }
        #expect(throws: DecodeError.invalid("admission")) { try LocalNetwork(wire: writer.bytes + [9] + rest) }
        #expect(throws: DecodeError.trailingBytes) { try LocalNetwork(wire: whole + [0]) }
    }
}
