import OverlayCatalogue
import OverlayDatapath
public import OverlayModel
import OverlayNode

/// Changes of hosts under running daemons.
public enum HostChange {
    /// Gives a host another address, which is its tunnel address, too.
    public static func address(_ world: World, _ index: Int, _ address: IPAddress) {
        world.log("host\(index + 1) has the address \(address) from now on")
        world.nodes[index].address = address
        world.nodes[index].vtep = address
        world.trouble(index, until: world.now)
        world.handle(index, .changed(.host))
    }

    /// Sets the MTU of a host's link.
    public static func mtu(_ world: World, _ index: Int, _ mtu: UInt32) {
        world.log("host\(index + 1) has an MTU of \(mtu) from now on")
        world.nodes[index].underlayMTU = mtu
        world.handle(index, .changed(.host))
    }
}

extension Scenario {
    static let hosts: [Scenario] = [
        Scenario(
            "host-changes", "hosts get other addresses and MTUs under running daemons, the writer's too, with work and restarts"
        ) {
            try hostChanges(seed: $0)
        }
    ]

    /// True if all nodes know each other's addresses.
    private static func areKnown(_ world: World) -> Bool {
        world.nodes.allSatisfy { node in
            world.nodes.indices.allSatisfy { node.core.catalogue.members[World.id($0)]?.address == world.nodes[$0].address }
        }
    }

    private static func hostChanges(seed: UInt64) throws -> Workload {
        var random = SeededGenerator(seed: seed ^ 0xADD)
        let workload = try Workload(nodes: 2 + random.below(5), seed: seed)
        let world = workload.world
        for name in ["net", "other"] { try workload.open(name, on: Array(world.nodes.indices)) }
        var serial: UInt32 = 0
        for _ in 0..<20 {
            let host = random.below(world.nodes.count)
            switch random.below(8) {
            // Two that move at once find each other by those that stay only.
            case 0,
                1 where areKnown(world):
                serial += 1
                HostChange.address(world, host, IPAddress(family: .v4, bits: UInt128(0xC613_0000 + serial)))
            case 2, 3, 4: HostChange.mtu(world, host, [1400, 1450, 1500, 9000][random.below(4)])
            case 5: workload.crashDaemon(host, for: .milliseconds(Int64(100 + random.below(3000))))
            case 6: workload.detachSomewhere()
            default: workload.attachSomewhere()
            }
            world.run(for: .milliseconds(Int64(random.below(4000))))
        }
        // Each is told of the others' addresses by those that it reaches.
        world.run(for: .seconds(15))
        workload.settle()
        for (index, host) in world.nodes.enumerated() where host.isUp {
            let mtu = host.underlayMTU - 50
            for (vni, state) in host.kernel.state.networks where state.base.mtu != mtu || state.base.local != host.vtep {
                world.violate("C", "host\(index + 1), VNI \(vni): \(state.base), not MTU \(mtu) at \(host.vtep)")
            }
            for (vni, ports) in host.kernel.state.portMTUs {
                for (name, port) in ports where port != mtu || host.kernel.containerMTUs[name] != mtu {
                    world.violate("C", "host\(index + 1), VNI \(vni): port \(name) has an MTU of \(port), not \(mtu)")
                }
            }
        }
        return workload
    }
}
