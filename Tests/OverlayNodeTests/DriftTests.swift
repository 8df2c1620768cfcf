import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Changes by others in the kernel of a host, while its containers run.
@Suite struct DriftTests {
    private static func world() throws -> (World, World.Attached, VNI) {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        let first = try world.createNetwork(0, "net")
        let second = try world.createNetwork(1, "net")
        let attached = try world.attach(0, "a", to: first)
        _ = try world.attach(1, "b", to: second)
        world.run(for: .seconds(1))
        return (world, attached, try #require(world.kernel(0)?.base.vni))
    }

    private static func problems(_ world: World) -> [String] {
        guard case .status(let report) = world.control(0, .status) else { return ["no report"] }
        return report.problems
    }

    @Test func everythingIsMendedWithinASecond() throws {
        let (world, attached, vni) = try Self.world()
        let before = try #require(world.kernel(0))
        let name = KernelName.port(attached.endpoint)
        let vtep = try #require(before.flood.first)
        let gateway = try #require(before.gateways.first)
        let all: [Drift] = [
            .tunnelIsGone, .bridgeIsGone, .namespaceIsGone, .devicesAreAltered, .portIsAltered(name), .portIsGone(name),
            .row(attached.mac, nil), .row(attached.mac, .vtep(vtep)), .row(attached.mac, .nowhere),
            .row(MACAddress(bits: 0x0266), .vtep(vtep)), .neighbour(attached.address, nil),
            .neighbour(attached.address, MACAddress(bits: 0x0266)), .neighbour(IPAddress(v4: 203, 0, 113, 9), attached.mac),
            .flood(vtep, false), .flood(IPAddress(v4: 203, 0, 113, 9), true), .gateway(gateway, false),
        ]
        for drift in all {
            Drift.happen(drift, in: world, on: 0, vni)
            world.run(for: .seconds(1))
            #expect(world.kernel(0) == before, "\(drift)")
            #expect(world.nodes[0].kernel.state.altered.isEmpty && world.nodes[0].kernel.state.broken.isEmpty, "\(drift)")
            #expect(world.nodes[0].core.inventory.endpoint(attached.endpoint) != nil, "\(drift)")
            // The port is made again less and less often.
            world.run(for: .seconds(60))
        }
        #expect(Self.problems(world) == [])
    }

    /// A port may be gone because its container is.
    @Test func anEndpointIsGivenUpWithTheNamespaceOfItsContainer() throws {
        let (world, attached, vni) = try Self.world()
        world.endPair(0, of: attached.endpoint)
        world.handle(0, .changed(.network(vni)))
        world.run(for: .seconds(1))
        #expect(world.nodes[0].core.inventory.endpoint(attached.endpoint) == nil)
        #expect(world.kernel(1)?.forwarding[attached.mac] == nil)
    }

    @Test func aPortThatCannotBeMadeAgainIsAProblemUntilItCan() throws {
        let (world, attached, vni) = try Self.world()
        world.nodes[0].kernel.failure = KernelFailure(operation: "link add", errno: 12, reason: "no memory")
        Drift.happen(.portIsGone(KernelName.port(attached.endpoint)), in: world, on: 0, vni)
        world.run(for: .seconds(5))
        #expect(world.nodes[0].core.inventory.endpoint(attached.endpoint) != nil)
        let problem = try #require(Self.problems(world).first { $0.contains("lost its interface") })
        #expect(problem.contains("no memory") && problem.contains("docker restart "), "\(problem)")
        world.nodes[0].kernel.failure = nil
        world.run(for: .seconds(120))
        #expect(Self.problems(world) == [])
        #expect(world.kernel(0)?.ports.count == 1)
    }

    /// A container with NET_ADMIN deletes its own interface again and again.
    @Test func aContainerDoesNotKeepTheNodeBusy() throws {
        let (world, attached, vni) = try Self.world()
        let name = KernelName.port(attached.endpoint)
        var restorations = 0
        for _ in 0..<6000 {
            if world.kernel(0)?.ports[name] != nil {
                restorations += 1
                Drift.happen(.portIsGone(name), in: world, on: 0, vni)
            }
            world.run(for: .milliseconds(10))
        }
        #expect((8...20).contains(restorations), "\(restorations) in a minute")
        #expect(world.nodes[0].core.inventory.endpoint(attached.endpoint) != nil)
    }

    /// Notifications without end cost five looks in a second at first, and fewer when they lead to nothing.
    @Test func notificationsWithoutEndLeadToFewLooks() throws {
        let (world, _, vni) = try Self.world()
        let began = world.nodes[0].kernel.looks
        for _ in 0..<10_000 {
            world.handle(0, .changed(.network(vni)))
            world.run(for: .milliseconds(1))
        }
        let looks = world.nodes[0].kernel.looks - began
        #expect((3...15).contains(looks), "\(looks) looks in 10 s")
    }

    @Test func whatIsNotOursIsNotTouched() throws {
        let (world, _, _) = try Self.world()
        let stranger = try #require(VNI(1_048_999))
        world.handle(0, .changed(.network(stranger)))
        world.handle(0, .changed(.host))
        let batches = world.nodes[0].kernel.batches
        world.run(for: .seconds(1))
        #expect(world.nodes[0].kernel.batches == batches)
    }

    /// A daemon that starts makes what was lost meanwhile again, and gives up only what is over.
    @Test func aStartMakesLostPortsAgain() throws {
        let (world, attached, vni) = try Self.world()
        let before = try #require(world.kernel(0))
        world.crash(0)
        Drift.happen(.namespaceIsGone, in: world, on: 0, vni)
        try world.restart(0)
        world.run(for: .seconds(3))
        #expect(world.kernel(0) == before)
        world.crash(0, hostToo: true)
        world.nodes[0].kernel = VirtualKernel()
        try world.restart(0)
        world.run(for: .milliseconds(1))
        // At once, as the engine gives the address to the next container.
        #expect(world.nodes[0].core.inventory.endpoint(attached.endpoint) == nil)
    }
}
