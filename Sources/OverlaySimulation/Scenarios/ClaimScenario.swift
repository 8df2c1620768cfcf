import OverlayDatapath
import OverlayModel
import OverlayNode

extension Scenario {
    static let claims: [Scenario] = [
        Scenario(
            "claims", "addresses and MACs that containers take by using them: moves, fights and too many, among the storm's faults"
        ) {
            var scenario = try ClaimScenario(seed: $0)
            return try scenario.run()
        }
    ]
}

/// Virtual addresses and MACs that move between containers.
private struct ClaimScenario {
    private static let network = "net"
    /// Addresses of virtual routers, each with a virtual MAC (VRRP, RFC 9568 §7.3) that some containers use.
    private static let virtual: [(address: IPAddress, mac: MACAddress)] = (0..<4).map {
        (IPAddress(v4: 10, 9, 0, UInt8(240 + $0)), MACAddress(bits: 0x0000_5E00_0100 + UInt64($0)))
    }

    private let workload: Workload
    /// Containers that claim as much as they may.
    private var full: Set<EndpointID> = []
    private var random: SeededGenerator

    init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed ^ 0xC1A1)
        workload = try Workload(nodes: 2 + random.below(6), seed: seed)
        let subnet = IPPrefix(IPAddress(v4: 10, 9, 0, 0), length: 24)
        workload.subnets = [Self.network: subnet]
        try workload.open(Self.network, on: workload.world.nodes.indices, subnet: subnet)
        for host in workload.world.nodes.indices where random.chance(0.5) { try workload.attach(host, Self.network) }
        workload.world.run(for: .seconds(1))
    }

    mutating func run() throws -> Workload {
        for _ in 0..<40 {
            act()
            guard workload.world.violations.isEmpty else { return workload }
        }
        workload.heal()
        workload.settle()
        expectTheLastOnes()
        return workload
    }

    private typealias Container = (host: Int, network: String, attached: World.Attached)

    private mutating func container() -> Container? { random.pick(workload.endpoints) }

    private mutating func act() {
        let world = workload.world
        switch random.below(100) {
        case 0..<35:
            guard let one = container() else { return }
            announce(Self.virtual[random.below(4)], at: one, isVirtual: random.chance(0.5))
        case 35..<45: fight()
        case 45..<52:
            // A container that changes its own MAC, or goes back to it.
            guard let one = container() else { return }
            let mac = random.chance(0.3) ? one.attached.mac : MACAddress(bits: 0x02AA_0000_0000 + UInt64(random.below(1 << 20)))
            workload.use(one.host, one.attached, one.attached.address, from: mac)
        case 52..<57: flood()
        case 57..<62:
            // Somebody else's address, or MAC.
            guard let one = container(), let other = container() else { return }
            workload.use(one.host, one.attached, other.attached.address)
            workload.use(one.host, one.attached, nil, from: other.attached.mac)
        case 62..<70: workload.attachSomewhere()
        case 70..<77: workload.detachSomewhere()
        case 77..<88: Storm.fault(workload, &random)
        default: world.run(for: .milliseconds(Int64(10 + random.below(1500))))
        }
        if random.chance(0.7) { world.run(for: .milliseconds(Int64(random.below(50)))) }
    }

    /// A container becomes the master of a virtual router, as keepalived does with `use_vmac` and without.
    private func announce(_ router: (address: IPAddress, mac: MACAddress), at one: Container, isVirtual: Bool) {
        workload.use(one.host, one.attached, router.address, from: isVirtual ? router.mac : nil)
    }

    /// Two masters, each of which announces again and again.
    private mutating func fight() {
        guard let one = container(), let other = container() else { return }
        let router = Self.virtual[random.below(4)]
        let isVirtual = random.chance(0.5)
        for _ in 0..<20 {
            announce(router, at: one, isVirtual: isVirtual)
            workload.world.run(for: .milliseconds(Int64(random.below(60))))
            announce(router, at: other, isVirtual: isVirtual)
            workload.world.run(for: .milliseconds(Int64(random.below(60))))
        }
    }

    /// A container that uses more than it may claim.
    private mutating func flood() {
        guard let one = container() else { return }
        full.insert(one.attached.endpoint)
        for number in 0..<40 {
            let mac = MACAddress(bits: 0x02BB_0000_0000 + UInt64(random.below(1 << 20)))
            workload.use(one.host, one.attached, nil, from: mac)
            let address = IPAddress(v4: 10, 9, 0, UInt8(180 + number))
            workload.use(one.host, one.attached, address)
        }
    }

    /// After quiet each virtual router's master announces once, and all hosts have it there within a second.
    private mutating func expectTheLastOnes() {
        let world = workload.world
        // Whatever moved too fast before has had its time.
        world.run(for: .seconds(10))
        let able = workload.endpoints.filter { !full.contains($0.attached.endpoint) }
        let masters = Self.virtual.compactMap { router in random.pick(able).map { (router, $0, random.chance(0.5)) } }
        for (router, one, isVirtual) in masters {
            // Two masters, the last of which counts.
            if let other = random.pick(able) { announce(router, at: other, isVirtual: isVirtual) }
            world.run(for: .milliseconds(100))
            announce(router, at: one, isVirtual: isVirtual)
        }
        world.run(for: .seconds(1))
        for (router, one, isVirtual) in masters {
            let mac = isVirtual ? router.mac : one.attached.mac
            for host in world.nodes.indices {
                for state in world.nodes[host].kernel.state.networks.values where state.base.vni == vni(of: one) {
                    let place =
                        host == one.host
                        ? Destination.port(KernelName.port(one.attached.endpoint)) : .vtep(world.nodes[one.host].vtep)
                    if state.neighbours[router.address] != mac || state.forwarding[mac] != place {
                        world.violate(
                            "C",
                            "host\(host + 1) has \(router.address) at \(state.neighbours[router.address].map { "\($0)" } ?? "-"), "
                                + "which is at \(mac) of host\(one.host + 1)")
                    }
                }
            }
        }
        world.expectConvergence(within: .seconds(1), letter: "C", "claims")
    }

    private func vni(of one: Container) -> VNI? {
        workload.world.nodes[one.host].core.localRecords.first { $0.endpoint == one.attached.endpoint }?.vni
    }
}
