import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode
@testable import OverlaySimulation

/// Changes of the host under a running daemon.
@Suite struct HostTests {
    private func world(_ count: Int = 2) throws -> World {
        let world = try World(count: count)
        #expect(world.makeCluster())
        return world
    }

    private func problems(_ world: World, _ index: Int) -> [String] {
        guard case .status(let report) = world.control(index, .status) else { return ["no status"] }
        return report.problems
    }

    private func mtus(_ world: World, _ index: Int) -> Set<UInt32> {
        let kernel = world.nodes[index].kernel
        return Set(kernel.state.portMTUs.values.flatMap(\.values) + kernel.containerMTUs.values)
    }

    // MARK: MTU

    @Test func containersFollowTheMTUOfTheHost() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        let attached = try world.attach(0, "a", to: network, sandbox: "/a")
        _ = try world.attach(0, "b", to: network, sandbox: "/b")
        world.run(for: .seconds(1))
        #expect(mtus(world, 0) == [1450])
        HostChange.mtu(world, 0, 1400)
        world.run(for: .seconds(1))
        #expect(mtus(world, 0) == [1350] && world.kernel(0)?.base.mtu == 1350 && problems(world, 0).isEmpty)
        #expect(world.kernel(0)?.ports.count == 2)
        // One has a smaller one by its container's choice, and keeps it.
        let port = KernelName.port(attached.endpoint)
        world.nodes[0].kernel.containerMTUs[port] = 1300
        HostChange.mtu(world, 0, 1500)
        world.run(for: .seconds(1))
        #expect(world.nodes[0].kernel.containerMTUs[port] == 1300 && mtus(world, 0) == [1300, 1450])
        HostChange.mtu(world, 0, 1300)
        world.run(for: .seconds(1))
        #expect(mtus(world, 0) == [1250])
    }

    @Test func whatCannotFollowIsTold() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        _ = try world.attach(0, "a", to: network, sandbox: "/a")
        _ = try world.attach(0, "b", to: network, sandbox: "/b")
        world.run(for: .seconds(1))
        world.nodes[0].kernel.missingSandboxes = ["/a"]
        HostChange.mtu(world, 0, 1400)
        world.run(for: .seconds(1))
        #expect(mtus(world, 0) == [1350, 1450])
        #expect(
            problems(world, 0).contains { $0.contains("has an MTU of 1450 and not 1350") && $0.contains("restart its container") })
        world.nodes[0].kernel.missingSandboxes = []
        world.run(for: .seconds(90))
        #expect(mtus(world, 0) == [1350] && problems(world, 0).isEmpty)
    }

    /// Restarts of the daemon find the host as it is by then.
    @Test func containersFollowWhatChangedWhileTheDaemonWasAway() throws {
        let world = try world()
        let network = try world.createNetwork(0, "net")
        _ = try world.attach(0, "a", to: network, sandbox: "/a")
        world.run(for: .seconds(1))
        world.crash(0)
        HostChange.mtu(world, 0, 1400)
        try world.restart(0)
        world.run(for: .seconds(2))
        #expect(mtus(world, 0) == [1350] && world.kernel(0)?.base.mtu == 1350)
    }

    @Test func aNetworkThatWasMadeWithAnMTUIsNotCut() throws {
        let world = try world()
        let options: Options = [OptionName.generic: .object([OptionName.mtu: .string("1450")])]
        let network = try world.createNetwork(0, "fixed", options: options)
        _ = try world.attach(0, "a", to: network, sandbox: "/a")
        HostChange.mtu(world, 0, 1400)
        world.run(for: .seconds(1))
        #expect(mtus(world, 0) == [1450] && world.kernel(0)?.base.mtu == 1450)
        #expect(
            problems(world, 0).contains {
                $0.contains("network fixed was made with an MTU of 1450") && $0.contains("leaves 1350 to containers")
            })
        HostChange.mtu(world, 0, 1500)
        world.run(for: .seconds(1))
        #expect(problems(world, 0).isEmpty)
    }

    // MARK: Addresses

    /// The writer is host 1.
    @Test(arguments: [0, 1, 2])
    func aHostWithANewAddressIsFollowed(_ index: Int) throws {
        let world = try world(3)
        var attached: [World.Attached] = []
        for host in 0..<3 { attached.append(try world.attach(host, "c\(host)", to: try world.createNetwork(host, "net"))) }
        world.run(for: .seconds(1))
        let address = IPAddress(v4: 192, 0, 2, 77)
        HostChange.address(world, index, address)
        world.run(for: .seconds(5))
        for host in 0..<3 {
            let member = world.nodes[host].core.catalogue.members[World.id(index)]
            #expect(member?.address == address && member?.vtep == address, "host\(host + 1)")
            if host != index { #expect(world.kernel(host)?.forwarding[attached[index].mac] == .vtep(address), "host\(host + 1)") }
        }
        #expect(world.kernel(index)?.base.local == address && world.kernel(index)?.ports.count == 1)
        #expect(world.difference() == nil && problems(world, index).isEmpty)
        // Calls that need the writer go on.
        world.run(for: .seconds(5))
        _ = try world.createNetwork(index, "next")
    }

    /// A lease that is renewed takes the address away for a moment.
    @Test func anAddressThatComesBackIsKept() throws {
        let world = try world()
        let old = world.nodes[1].address
        HostChange.address(world, 1, IPAddress(v4: 192, 0, 2, 77))
        world.run(for: .milliseconds(500))
        HostChange.address(world, 1, old)
        world.run(for: .seconds(5))
        #expect(world.nodes[1].core.identity.address == old && world.nodes[0].core.catalogue.members[World.id(1)]?.address == old)
    }

    @Test func anAddressThatTheUserGaveIsMissed() throws {
        let world = try world()
        _ = try world.attach(1, "a", to: try world.createNetwork(1, "net"))
        world.nodes[1].core.identity.choosesAddress = false
        world.nodes[1].core.identity.choosesVTEP = false
        let old = world.nodes[1].address
        HostChange.address(world, 1, IPAddress(v4: 192, 0, 2, 77))
        world.run(for: .seconds(2))
        let told = problems(world, 1).filter { $0.hasPrefix("my address is gone") }
        #expect(told.count == 2 && told[0].contains("--advertise-addr") && told[1].contains("--data-path-addr"))
        #expect(world.nodes[1].core.identity.address == old && world.kernel(1)?.base.local == old)
        HostChange.address(world, 1, old)
        world.run(for: .seconds(5))
        #expect(!problems(world, 1).contains { $0.hasPrefix("my address is gone") })
    }

    // MARK: Names

    @Test func twoMembersOfOneNameAreToldOfOnBoth() throws {
        let world = try world()
        world.crash(1)
        try world.restart(1)
        world.nodes[1].core.identity.name = "host1"
        world.run(for: .seconds(5))
        #expect(problems(world, 1).contains { $0.contains("the name host1 is taken by node") && $0.contains("another hostname") })
        #expect(problems(world, 0).contains { $0.contains("is called host1, like this one") })
        // All else that changes is taken all the same.
        let address = IPAddress(v4: 192, 0, 2, 77)
        HostChange.address(world, 1, address)
        world.run(for: .seconds(5))
        let member = world.nodes[0].core.catalogue.members[World.id(1)]
        #expect(member?.address == address && member?.name == "host2")
        // It goes when the name does.
        world.nodes[1].core.identity.name = "host2"
        world.run(for: .seconds(160))
        #expect(problems(world, 0).isEmpty && problems(world, 1).isEmpty)
    }
}
