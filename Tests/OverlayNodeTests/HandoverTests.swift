import OverlayCatalogue
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Handover of addresses from host to host.
@Suite struct HandoverTests {
    private static func subnet(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    /// Hosts with one network of a subnet, nothing attached.
    private static func world(_ count: Int, _ prefix: String, seed: UInt64 = 1) throws -> (World, [World.Created]) {
        let world = try World(count: count, seed: seed)
        try #require(world.makeCluster())
        let subnet = try subnet(prefix)
        return (world, try (0..<count).map { try world.createNetwork($0, "net", subnet: subnet) })
    }

    private static func blocks(_ world: World, of host: Int) -> [AddressRange] {
        let subnet = world.nodes[host].core.catalogue.networks.values.first?.subnets.first
        return subnet?.blocks(of: world.nodes[host].core.identity.id) ?? []
    }

    // MARK: --ip

    @Test func anAddressThatAnotherHostHandsOutMovesHere() throws {
        let (world, networks) = try Self.world(3, "10.9.0.0/24")
        _ = try world.attach(1, "first", to: networks[1])
        let block = try #require(Self.blocks(world, of: 1).first)
        let wanted = block.last
        let attached = try world.attach(2, "static", to: networks[2], address: wanted)
        #expect(attached.address == wanted)
        #expect(Self.blocks(world, of: 2).contains(AddressRange(wanted)))
        #expect(!Self.blocks(world, of: 1).contains { $0.contains(wanted) })
        world.run(for: .seconds(1))
        #expect(world.nodes[1].rows[.handover, default: [:]].isEmpty)
        #expect(Set(world.nodes.map(\.core.catalogue)).count == 1)

        // The address comes back once it is free.
        world.detach(2, attached)
        #expect(try world.attach(1, "back", to: networks[1], address: wanted).address == wanted)
    }

    @Test func anAddressInUseIsRefusedNamingTheHolder() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/24")
        let first = try world.attach(1, "first", to: networks[1])
        let error = try #require(throws: DriverError.self) {
            try world.attach(0, "second", to: networks[0], address: first.address)
        }
        #expect(error.message.contains("\(first.address)") && error.message.contains("on node host2"), "\(error.message)")
    }

    /// An address that was handed out, but has no endpoint yet, is known to its own host only.
    @Test func anAddressThatIsBeingHandedOutIsRefusedToo() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/24")
        let mac = World.mac("first")
        guard
            case .address(let prefix) = world.call(
                1, .requestAddress(RequestAddress(pool: networks[1].pool, address: nil, purpose: .endpoint(mac))))
        else { Issue.record("no address"); return }
        let error = try #require(throws: DriverError.self) {
            try world.attach(0, "second", to: networks[0], address: prefix.address)
        }
        #expect(error.message.contains("in use by a container that is being started on node host2"), "\(error.message)")
    }

    @Test func anAddressOfAHostThatIsAwayIsRefusedNamingTheHost() throws {
        let (world, networks) = try Self.world(3, "10.9.0.0/24")
        _ = try world.attach(2, "first", to: networks[2])
        let wanted = try #require(Self.blocks(world, of: 2).first).last
        world.crash(2, hostToo: true)
        world.run(for: .seconds(10))
        let start = world.now
        let error = try #require(throws: DriverError.self) {
            try world.attach(1, "static", to: networks[1], address: wanted)
        }
        #expect(error.message.contains("node host3") && error.message.contains("unreachable since"), "\(error.message)")
        #expect(world.now - start < .seconds(1), "at once")
    }

    // MARK: Scarcity

    @Test(arguments: [("10.9.0.0/28", 5), ("10.9.0.0/29", 3), ("10.9.0.0/30", 2), ("10.9.0.0/26", 20)])
    func everyAddressIsHandedOutAndThenThereIsNone(prefix: String, hosts: Int) throws {
        let (world, networks) = try Self.world(hosts, prefix)
        // All hosts have had containers before, and keep the blocks that they got for them.
        for host in 0..<hosts where hosts < 10 {
            if let attached = try? world.attach(host, "early \(host)", to: networks[host]) { world.detach(host, attached) }
        }
        let size = Int(clamping: try Self.subnet(prefix).usable.count) - 1
        var seen: Set<IPAddress> = []
        for number in 0..<size {
            let attached = try world.attach(number % hosts, "c\(number)", to: networks[number % hosts])
            #expect(seen.insert(attached.address).inserted, "\(attached.address) is given twice")
        }
        #expect(seen.count == size)
        let start = world.now
        let error = try #require(throws: DriverError.self) { try world.attach(1, "more", to: networks[1]) }
        #expect(error.message.contains("no free address is left in subnet \(prefix)"), "\(error.message)")
        #expect(world.now - start <= .seconds(1))
    }

    /// One host owns all addresses and needs none.
    @Test func whoHasFreeAddressesGivesThemToWhoWaits() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/28")
        var all: [World.Attached] = []
        for number in 0..<13 { all.append(try world.attach(1, "c\(number)", to: networks[1])) }
        #expect(throws: DriverError.self) { try world.attach(0, "none", to: networks[0]) }
        for attached in all { world.detach(1, attached) }
        for number in 0..<13 { _ = try world.attach(0, "d\(number)", to: networks[0]) }
        #expect(throws: DriverError.self) { try world.attach(1, "none", to: networks[1]) }
    }

    /// A host that is away gives nothing up, and nothing of it is taken.
    @Test func whatAHostThatIsAwayHasStaysItsOwn() throws {
        let (world, networks) = try Self.world(3, "10.9.0.0/28")
        let kept = try world.attach(2, "kept", to: networks[2])
        world.crash(2)
        world.run(for: .seconds(5))
        var seen: Set<IPAddress> = [kept.address]
        while let attached = try? world.attach(1, "c\(seen.count)", to: networks[1]) {
            try #require(seen.insert(attached.address).inserted)
        }
        #expect(seen.count < 13)
        try world.restart(2)
        world.run(for: .seconds(2))
        #expect(try world.attach(1, "more", to: networks[1]).address != kept.address)
    }

    /// Starts from owned blocks go on without the writer, also with addresses in cool-down.
    @Test func withoutTheWriterWhatRestsIsGivenOut() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/24")
        let attached = try world.attach(1, "first", to: networks[1])
        world.run(for: .seconds(1))
        let owned = Self.blocks(world, of: 1).reduce(0) { $0 + Int(clamping: $1.count) }
        world.detach(1, attached)
        world.split(1)
        world.run(for: .seconds(10))
        var given: [IPAddress] = []
        while given.count <= owned, let next = try? world.attach(1, "c\(given.count)", to: networks[1]) {
            given.append(next.address)
        }
        // The gateway may be in the block.
        #expect(given.contains(attached.address) && given.count >= owned - 1)
    }

    // MARK: Giving back

    @Test func idleBlocksGoBackButOne() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/24")
        var all: [World.Attached] = []
        for number in 0..<60 { all.append(try world.attach(1, "c\(number)", to: networks[1])) }
        #expect(Self.blocks(world, of: 1).count >= 4)
        for attached in all.dropFirst() { world.detach(1, attached) }
        world.run(for: .seconds(13 * 60))
        let blocks = Self.blocks(world, of: 1)
        #expect(blocks.count <= 2 && blocks.contains { $0.contains(all[0].address) }, "\(blocks)")
        #expect(world.nodes[1].rows[.handover, default: [:]].isEmpty)
        #expect(Set(world.nodes.map(\.core.catalogue)).count == 1)
    }

    /// A daemon that dies between its own write and the catalogue's decision, or right after it, still gives the addresses back,
    /// and hands out none of them meanwhile.
    @Test(arguments: [0, 50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500] as [Int64])
    func aCrashWhileGivingUpLosesAndDoublesNothing(after microseconds: Int64) throws {
        let (world, networks) = try Self.world(3, "10.9.0.0/29")
        let first = try world.attach(1, "first", to: networks[1])
        let wanted = try #require(
            world.nodes[1].core.catalogue.networks.values.first?.subnets.first?.prefix.usable.last)
        let early = try world.attach(1, "early", to: networks[1], address: wanted)
        world.detach(1, early)
        world.run(for: .seconds(1))
        var answer: DriverResponse?
        world.begin(2, .requestAddress(RequestAddress(pool: networks[2].pool, address: wanted, purpose: .endpoint(World.mac("x")))))
        {
            answer = $0
        }
        world.run(for: .microseconds(microseconds))
        world.crash(1)
        world.run(for: .seconds(5))
        #expect(answer != nil)
        try world.restart(1)
        world.run(for: .seconds(15))
        #expect(world.nodes[1].rows[.handover, default: [:]].isEmpty)
        var seen: Set<IPAddress> = [first.address]
        if case .address(let prefix) = answer { #expect(seen.insert(prefix.address).inserted) }
        for number in 0..<8 {
            if let next = try? world.attach(number % 3, "n\(number)", to: networks[number % 3]) {
                #expect(seen.insert(next.address).inserted, "\(next.address) is given twice")
            }
        }
        #expect(seen.count == 5, "all but the gateway")
    }

    /// A disk that was full for a while still has the row of a released lease whose address was given up since.
    @Test func anOldLeaseGivesNobodyAnAddressThatWasGivenUp() throws {
        let (world, networks) = try Self.world(2, "10.9.0.0/24")
        _ = try world.attach(1, "first", to: networks[1])
        let old = try world.attach(1, "old", to: networks[1])
        let lease = world.nodes[1].rows[.lease, default: [:]].first { $0.key.suffix(4) == old.address.networkBytes[...] }
        world.detach(1, old)
        world.run(for: .seconds(1))
        // The other host takes it.
        let taken = try world.attach(0, "taken", to: networks[0], address: old.address)
        world.crash(1)
        world.nodes[1].rows[.lease, default: [:]][try #require(lease).key] = try #require(lease).value
        try world.restart(1)
        world.run(for: .seconds(1))
        let again = try world.attach(1, "old", to: networks[1])
        #expect(again.address != taken.address)
    }
}
