import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

@Suite struct DriverRulesTests {
    func world(_ count: Int = 2) throws -> World {
        let world = try World(count: count)
        try #require(world.makeCluster())
        return world
    }

    func failure(_ response: DriverResponse) -> String {
        if case .failed(let error) = response { error.message } else { "" }
    }

    @Test func outsideAClusterTheWayInIsTold() throws {
        let world = try World(count: 1)
        world.run(for: .milliseconds(5))
        let response = world.call(
            0, .requestPool(RequestPool(addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: nil, family: .v4)))
        #expect(failure(response).contains("swift-overlay init"))
    }

    @Test func poolsAskedWithoutSubnetAreNeverTheSame() throws {
        let world = try world()
        var prefixes: Set<IPPrefix> = []
        for index in 0..<40 {
            let call = RequestPool(addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: nil, family: .v4)
            guard case .pool(_, let prefix, _) = world.call(index % 2, .requestPool(call)) else {
                Issue.record("no pool")
                return
            }
            #expect(prefixes.insert(prefix).inserted)
        }
    }

    @Test func aSubnetThatIsTakenIsRefusedWithoutAName() throws {
        let world = try world()
        let subnet = IPPrefix("10.9.0.0/16")!
        _ = world.call(
            0, .requestPool(RequestPool(addressSpace: "", pool: subnet, subPool: nil, networkName: nil, family: .v4)))
        let second = world.call(
            1, .requestPool(RequestPool(addressSpace: "", pool: subnet, subPool: nil, networkName: nil, family: .v4)))
        #expect(failure(second).contains("subnet 10.9.0.0/16 is that of network") && failure(second).contains("on host1"))
        let other = world.call(
            1,
            .requestPool(RequestPool(addressSpace: "", pool: IPPrefix("10.9.7.0/24")!, subPool: nil, networkName: nil, family: .v4))
        )
        #expect(failure(other).contains("overlaps 10.9.0.0/16"))
        let bits = world.call(
            1,
            .requestPool(RequestPool(addressSpace: "", pool: IPPrefix("10.8.7.1/24")!, subPool: nil, networkName: nil, family: .v4))
        )
        #expect(failure(bits).contains("10.8.7.0/24"))
    }

    @Test func theEnginesOwnIPAMIsRefusedWithTheRightCommand() throws {
        let world = try world()
        let data = IPAMData(addressSpace: "LocalDefault", pool: IPPrefix("172.18.0.0/16"), gateway: nil)
        let response = world.call(
            0, .createNetwork(CreateNetwork(network: World.networkID(0, "x"), options: [:], v4: [data], v6: [])))
        #expect(failure(response).contains("--ipam-driver swift-overlay"))
    }

    @Test func encryptionIsNeverSilentlyLeftOut() throws {
        let world = try world()
        for value in [OptionValue.string(""), .string("false"), .bool(true)] {
            let error = #expect(throws: DriverError.self) {
                try world.createNetwork(0, "secret", options: [OptionName.generic: .object(["encrypted": value])])
            }
            #expect(error?.message.contains("encrypted") == true)
        }
        world.run(for: .seconds(1))
        #expect(world.nodes[0].core.catalogue.networks.isEmpty)
    }

    @Test func optionsMustAgree() throws {
        let world = try world()
        let mtu: Options = [OptionName.generic: .object([OptionName.mtu: .string("1400")])]
        let network = try world.createNetwork(0, "net", options: mtu)
        let error = #expect(throws: DriverError.self) { try world.createNetwork(1, "net") }
        #expect(error?.message.contains("mtu is 1400 there") == true)
        _ = try world.createNetwork(1, "net", options: mtu)
        _ = try world.attach(0, "c", to: network)
        #expect(world.kernel(0)?.base.mtu == 1400)
        let large: Options = [OptionName.generic: .object([OptionName.mtu: .string("9000")])]
        let tooLarge = #expect(throws: DriverError.self) { try world.createNetwork(0, "big", options: large) }
        #expect(tooLarge?.message.contains("1450") == true)
    }

    @Test func subnetOptionsAreHonoured() throws {
        let world = try world()
        let subnet = IPPrefix("10.5.0.0/24")!
        let gateway = IPAddress("10.5.0.254")!
        let network = try world.createNetwork(
            0, "net", subnet: subnet, range: IPPrefix("10.5.0.128/26")!, gateway: gateway,
            auxiliary: [IPAddress("10.5.0.130")!, IPAddress("10.5.0.7")!])
        let second = try world.createNetwork(1, "net", subnet: subnet, range: IPPrefix("10.5.0.128/26")!, gateway: gateway)
        let a = try world.attach(0, "a", to: network)
        #expect(IPPrefix("10.5.0.128/26")!.contains(a.address))
        #expect(world.kernel(0)?.gateways == [IPPrefix("10.5.0.254/24")!])
        var seen: Set<IPAddress> = [a.address]
        for index in 0..<20 {
            let attached = try world.attach(index % 2, "r\(index)", to: index % 2 == 0 ? network : second)
            #expect(attached.address != IPAddress("10.5.0.130")!)
            #expect(seen.insert(attached.address).inserted)
        }
        // Either host gets a static address outside the range; the refusal of one in use names its holder.
        let wanted = IPAddress("10.5.0.20")!
        let b = try world.attach(1, "b", to: second, address: wanted)
        #expect(b.address == wanted)
        world.run(for: .milliseconds(50))
        let taken = #expect(throws: DriverError.self) { try world.attach(0, "c", to: network, address: wanted) }
        #expect(taken?.message.contains("in use by endpoint \(b.endpoint.short) on node host2") == true)
        let local = #expect(throws: DriverError.self) { try world.attach(1, "d", to: second, address: wanted) }
        #expect(local?.message.contains("in use by endpoint \(b.endpoint.short) on node host2") == true)
        #expect(world.kernel(1)?.ports.count == 11)
        for reserved in ["10.5.0.254", "10.5.0.7", "10.5.0.255", "10.5.0.0", "10.6.0.1"] {
            #expect(throws: DriverError.self) { try world.attach(0, "e\(reserved)", to: network, address: IPAddress(reserved)!) }
        }
        let other = #expect(throws: DriverError.self) {
            try world.createNetwork(1, "net", subnet: subnet, gateway: IPAddress("10.5.0.1")!)
        }
        #expect(other?.message.contains("10.5.0.254") == true)
    }

    @Test func aWholeSubnetIsHandedOutOnce() throws {
        let world = try world(3)
        var networks: [World.Created] = []
        for index in 0..<3 { networks.append(try world.createNetwork(index, "net", subnet: IPPrefix("10.7.0.0/26")!)) }
        var seen: Set<IPAddress> = []
        var full = 0
        for index in 0..<80 {
            do {
                let attached = try world.attach(index % 3, "c\(index)", to: networks[index % 3])
                #expect(seen.insert(attached.address).inserted)
            } catch let error as DriverError {
                #expect(error.message.contains("no free address"))
                full += 1
            }
        }
        // 62 host addresses less the gateway; other hosts may own a part of their last block.
        #expect(seen.count >= 58 && full > 0)
        #expect(!seen.contains(IPAddress("10.7.0.1")!))
    }

    @Test func everyCallCanBeRepeated() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        let mac = World.mac("c")
        let address = RequestAddress(pool: network.pool, address: nil, purpose: .endpoint(mac))
        let first = world.call(0, .requestAddress(address))
        #expect(world.call(0, .requestAddress(address)) == first)
        guard case .address(let prefix) = first else {
            Issue.record("no address")
            return
        }
        let endpoint = World.endpointID("c")
        let create = DriverRequest.createEndpoint(
            CreateEndpoint(network: network.network, endpoint: endpoint, v4: prefix, v6: nil, mac: mac, options: [:]))
        #expect(world.call(0, create) == .endpoint(mac: nil))
        #expect(world.call(0, create) == .endpoint(mac: nil))
        let join = DriverRequest.join(Join(network: network.network, endpoint: endpoint, sandboxKey: ""))
        let joined = world.call(0, join)
        #expect(world.call(0, join) == joined)
        for _ in 0..<2 { #expect(world.call(0, .leave(network: network.network, endpoint: endpoint)) == .done) }
        for _ in 0..<2 { #expect(world.call(0, .deleteEndpoint(network: network.network, endpoint: endpoint)) == .done) }
        for _ in 0..<2 { #expect(world.call(0, .releaseAddress(network.pool, prefix.address)) == .done) }
        for _ in 0..<2 { #expect(world.call(0, .releasePool(network.pool)) == .done) }
        for _ in 0..<2 { #expect(world.call(0, .deleteNetwork(network.network)) == .done) }
        world.run(for: .seconds(1))
        #expect(world.nodes[0].kernel.state.networks.isEmpty)
        #expect(world.nodes[0].core.catalogue.networks.isEmpty)
    }

    @Test func theEndOfAnEndpointIsAnsweredBeforeItsLinkEnds() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        let attached = try (0..<4).map { try world.attach(0, "c\($0)", to: network) }
        var reaped = 0
        world.onApply = { _, operations in
            for case .reapPorts in operations { reaped += 1 }
        }
        let began = world.now
        for one in attached.prefix(2) { world.detach(0, one) }
        #expect(world.now - began < .milliseconds(50) && reaped == 0)
        #expect(world.nodes[0].kernel.state.unreaped.count == 1)
        #expect(world.nodes[0].kernel.state.networks.values.first?.ports.count == 2)
        world.run(for: .milliseconds(100))
        #expect(reaped == 1 && world.nodes[0].kernel.state.unreaped.isEmpty)
        // A daemon that dies before leaves it to the next one.
        world.detach(0, attached[2])
        world.crash(0)
        world.run(for: .milliseconds(200))
        #expect(world.nodes[0].kernel.state.unreaped.count == 1)
        try world.restart(0)
        world.run(for: .seconds(1))
        #expect(world.nodes[0].kernel.state.unreaped.isEmpty)
        #expect(world.nodes[0].kernel.state.networks.values.first?.ports.count == 1)
    }

    @Test func aFailedJoinIsTakenBack() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        world.nodes[0].kernel.failure = KernelFailure(operation: "link add", errno: 23, reason: "the bridge is full")
        let error = #expect(throws: DriverError.self) { try world.attach(0, "c", to: network) }
        #expect(error?.message.contains("the bridge is full") == true)
        world.nodes[0].kernel.failure = nil
        world.run(for: .seconds(1))
        #expect(world.nodes[0].kernel.state.networks.isEmpty)
        #expect(world.nodes[0].rows[.lease, default: [:]].isEmpty)
        #expect(world.nodes[0].rows[.endpoint, default: [:]].isEmpty)
        _ = try world.attach(0, "d", to: network)
    }

    @Test func withoutADiskNothingIsHandedOut() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        // The block that was asked for in advance has come.
        world.run(for: .milliseconds(10))
        world.nodes[0].failsStores = true
        let error = #expect(throws: DriverError.self) { try world.attach(0, "c", to: network) }
        #expect(error?.message.contains("disk full") == true)
        world.nodes[0].failsStores = false
        let attached = try world.attach(0, "c", to: network)
        #expect(world.nodes[0].rows[.lease]?.count == 1)
        world.detach(0, attached)
    }

    @Test func aMACInUseIsRefused() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        let a = try world.attach(0, "a", to: network)
        let again = world.call(0, .requestAddress(RequestAddress(pool: network.pool, address: nil, purpose: .endpoint(a.mac))))
        #expect(failure(again).contains("MAC \(a.mac)"))
        // The refusal must not have cost the first one its address.
        #expect(world.nodes[0].rows[.lease]?.count == 1)
    }

    @Test(arguments: ["10.5.0.0/32", "10.5.0.255/32", "10.6.0.0/26"])
    func aRangeWithoutAHostAddressIsRefused(range: String) throws {
        let world = try world()
        let error = #expect(throws: DriverError.self) {
            try world.createNetwork(0, "net", subnet: IPPrefix("10.5.0.0/24")!, range: IPPrefix(range)!)
        }
        #expect(error?.message.contains("--ip-range \(range)") == true)
        _ = try world.createNetwork(0, "net", subnet: IPPrefix("10.5.0.0/24")!, range: IPPrefix("10.5.0.7/32")!)
    }

    @Test func aWriterWhoseDiskIsFullRefusesAndGoesOn() throws {
        let world = try world()
        let one = try world.createNetwork(0, "one")
        world.nodes[0].failsStores = true
        // Several proposals of its own and of others, none of which is written.
        let calls = (0..<4).map { index in
            world.begin(
                index % 2,
                .requestPool(
                    RequestPool(
                        addressSpace: "", pool: IPPrefix("10.\(100 + index).0.0/24")!, subPool: nil, networkName: nil, family: .v4))
            )
        }
        world.run(for: .seconds(10))
        for call in calls { #expect(failure(world.responses[call] ?? .done).contains("cannot write")) }
        world.nodes[0].failsStores = false
        let two = try world.createNetwork(1, "two")
        world.run(for: .seconds(3))
        #expect(world.nodes[0].core.catalogue.networks.count == 2)
        #expect(world.nodes[0].core.catalogue == world.nodes[1].core.catalogue)
        world.crash(0)
        try world.restart(0)
        #expect(world.nodes[0].core.catalogue == world.nodes[1].core.catalogue)
        world.removeNetwork(0, one)
        world.removeNetwork(1, two)
    }

    @Test func ipv6OnASmallUnderlayIsRefusedInWords() throws {
        let world = try World(count: 1, underlayMTU: 1280)
        let isReady = world.makeCluster()
        try #require(isReady)
        let request = RequestPool(addressSpace: "", pool: nil, subPool: nil, networkName: "six", family: .v6)
        guard case .pool(_, let prefix, _) = world.call(0, .requestPool(request)) else {
            Issue.record("no pool")
            return
        }
        let data = IPAMData(addressSpace: "swift-overlay", pool: prefix)
        for options in [[:], [OptionName.generic: .object([OptionName.mtu: .string("1200")])]] as [Options] {
            let response = world.call(
                0, .createNetwork(CreateNetwork(network: World.networkID(0, "six"), options: options, v4: [], v6: [data])))
            #expect(failure(response).contains("IPv6 needs 1280"))
        }
    }

    @Test func parallelCreatesOfOneSubnetDoNotCloseOneAnothersPool() throws {
        let world = try world()
        let request = RequestPool(addressSpace: "", pool: nil, subPool: nil, networkName: "net", family: .v4)
        guard case .pool(let pool, let prefix, _) = world.call(0, .requestPool(request)),
            case .pool(pool, prefix, _) = world.call(0, .requestPool(request))
        else {
            Issue.record("no pool")
            return
        }
        // The second create fails before the first is done.
        _ = world.call(0, .releasePool(pool))
        let data = IPAMData(addressSpace: "swift-overlay", pool: prefix)
        let response = world.call(
            0, .createNetwork(CreateNetwork(network: World.networkID(0, "a"), options: [:], v4: [data], v6: [])))
        #expect(response == .done)
    }

    @Test func aPoolThatNoNetworkCameForIsGivenUp() throws {
        let world = try world()
        let request = RequestPool(addressSpace: "", pool: nil, subPool: nil, networkName: nil, family: .v4)
        _ = world.call(1, .requestPool(request))
        world.run(for: .seconds(300))
        #expect(world.nodes[0].core.catalogue.networks.count == 1)
        world.run(for: .seconds(500))
        #expect(world.nodes[0].core.catalogue.networks.isEmpty)
    }

    @Test func aPoolGivenUpCanBeHadAgainAtOnce() throws {
        let world = try world()
        for _ in 0..<5 {
            let network = try world.createNetwork(1, "net", subnet: IPPrefix("10.3.0.0/24")!)
            let attached = try world.attach(1, "c", to: network)
            world.detach(1, attached)
            _ = world.call(1, .releasePool(network.pool))
            let deleted = world.begin(1, .deleteNetwork(network.network))
            _ = deleted
        }
        world.run(for: .seconds(2))
        #expect(world.nodes[0].core.catalogue.networks.isEmpty)
        #expect(world.nodes[1].rows[.closing, default: [:]].isEmpty)
    }

    @Test func aCreateThatFailsLeavesTheFirstNetworkAlone() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        // A second Docker network on one engine that means the same cluster network: refused, and the engine releases its pool.
        let request = RequestPool(addressSpace: "swift-overlay", pool: nil, subPool: nil, networkName: "net", family: .v4)
        guard case .pool(let pool, let prefix, _) = world.call(0, .requestPool(request)) else {
            Issue.record("no pool")
            return
        }
        let data = IPAMData(addressSpace: "swift-overlay", pool: prefix)
        let response = world.call(
            0, .createNetwork(CreateNetwork(network: World.networkID(0, "b"), options: [:], v4: [data], v6: [])))
        #expect(failure(response).contains("on this engine already"))
        _ = world.call(0, .releasePool(pool))
        _ = try world.attach(0, "c", to: network)
    }
}
