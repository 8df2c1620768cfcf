import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Synchronization
import Testing

@testable import OverlayNetlink

/// The kernel tells of what others delete or alter in it, and the diff mends that.
@Suite("changes by others", .enabled(if: kernelIsUsable))
struct DriftTests {
    /// Places that were told of.
    private final class Places: Sendable {
        private let places = Mutex<[KernelPlace]>([])
        var all: [KernelPlace] { places.withLock { $0 } }
        func add(_ place: KernelPlace) { places.withLock { $0.append(place) } }
        func clear() { places.withLock { $0 = [] } }
    }

    /// A network with two containers on this host and one elsewhere, as a node keeps it.
    private final class Setting {
        let host: ScratchHost
        let vni: VNI
        let base: NetworkState.Base
        let datapath: Datapath
        /// Prefixes of commands that run in the containers.
        let containers: [String]
        let places = Places()
        let near = (endpoint(1), endpoint(2))

        init(hasIPv6: Bool = false) async throws {
            host = try ScratchHost()
            host.addLoopback("192.0.2.1/32")
            base = try OverlayNetlinkTests.base("192.0.2.1")
            vni = base.vni
            var datapath = Datapath()
            let gateways = [try prefix("10.0.0.1/24")] + (hasIPv6 ? [try prefix("fd00::1/64")] : [])
            var operations = datapath.raise(base, gateways: Set(gateways))
            operations += datapath.addPort(near.0.name, near.0.port, addresses: [try ip("10.0.0.2")], on: vni)
            operations += datapath.addPort(near.1.name, near.1.port, addresses: [try ip("10.0.0.3")], on: vni)
            operations += datapath.locate(
                try mac("02:42:0a:00:00:09"), .vtep(try ip("192.0.2.9")), addresses: [try ip("10.0.0.9")], on: vni)
            operations += datapath.setFlood(try ip("192.0.2.9"), true, on: vni)
            self.datapath = datapath
            expectApplied(await host.kernel.apply(operations))
            containers = [
                try host.startContainer(near.0.port, ["10.0.0.2/24"] + (hasIPv6 ? ["fd00::2/64"] : [])),
                try host.startContainer(near.1.port, ["10.0.0.3/24"]),
            ]
        }

        var network: String { host.network(vni) }

        func watch() async throws {
            try await host.kernel.watch { [places] in places.add($0) }
            try await quiet()
        }

        /// Looks until nothing is told of any more.
        func quiet() async throws {
            for _ in 0..<20 {
                _ = await host.kernel.look(vni)
                places.clear()
                try await Task.sleep(for: .milliseconds(300))
                if places.all.isEmpty { return }
            }
            Issue.record("the kernel goes on telling of changes")
        }

        /// True if the network is told of within two seconds.
        func isTold() async throws -> Bool {
            for _ in 0..<200 {
                if places.all.contains(.network(vni)) { return true }
                try await Task.sleep(for: .milliseconds(10))
            }
            return false
        }

        /// Mends what a look finds, as a node does.
        /// - Returns: False if nothing was found.
        func mend() async throws -> Bool {
            let seen = await host.kernel.look(vni)
            var operations = datapath.repair(vni, seen, keepingRowsTo: [])
            for (name, mtu) in seen.portMTUs[vni] ?? [:] where mtu != 1450 {
                let sandbox = String(containers[name == near.0.name ? 0 : 1].dropFirst("nsenter --net=".count))
                operations.append(.setPortMTU(vni, name: name, sandbox: sandbox, from: mtu, to: 1450))
            }
            let lost = datapath.lostPorts(seen)
            expectApplied(await host.kernel.apply(operations))
            for (_, name) in lost {
                let index = name == near.0.name ? 0 : 1
                let outcome = await host.kernel.restore(
                    LostPort(
                        vni: vni, name: name, port: index == 0 ? near.0.port : near.1.port, mtu: 1450,
                        sandbox: String(containers[index].dropFirst("nsenter --net=".count)),
                        addresses: [try prefix("10.0.0.\(index + 2)/24")],
                        routes: [try prefix("224.0.0.0/4")]))
                #expect(outcome == .restored)
                expectApplied(await host.kernel.apply(datapath.rows(to: name, on: vni)))
            }
            return !operations.isEmpty || !lost.isEmpty
        }

        /// Everything that an operator would compare.
        func text() -> String {
            sh(
                """
                \(network) ip -o link show 2>/dev/null | sed -E 's/^[0-9]+: //; s/@[^:]*:/:/; s/<[^>]*>//; s/ qdisc.*//' | sort; \
                \(network) bridge -d link show 2>/dev/null | sed -E 's/^[0-9]+: //; s/@[^:]*:/:/; s/<[^>]*>//' | sort
                """)
                + sh("\(network) bridge fdb | grep -e static -e dst | sort") + sh("\(network) ip neigh show nud permanent | sort")
                + sh("\(network) ip -o addr show br0 | sed 's/^[0-9]*: //'")
        }
    }

    private static let port = endpoint(1).name
    private static let row = "02:42:0a:00:00:09"

    @Test(
        arguments: [
            "ip link set vxlan0 down", "ip link del vxlan0", "ip link set vxlan0 nomaster", "ip link set vxlan0 mtu 1300",
            "ip link set vxlan0 type vxlan learning", "bridge link set dev vxlan0 learning on",
            "bridge link set dev vxlan0 neigh_suppress off", "bridge link set dev vxlan0 isolated on",
            "bridge link set dev vxlan0 hairpin on", "bridge link set dev vxlan0 flood off",
            "ip link set br0 down", "ip link del br0", "ip link set br0 address 02:00:00:00:00:99", "ip link set br0 mtu 1300",
            "ip link set br0 type bridge stp_state 1",
            "ip link set \(port) down", "ip link set \(port) nomaster", "ip link set \(port) mtu 1300",
            "bridge link set dev \(port) learning on", "bridge link set dev \(port) isolated on",
            "bridge link set dev \(port) hairpin on", "bridge link set dev \(port) flood off",
            "bridge link set dev \(port) mcast_flood off", "bridge link set dev \(port) bcast_flood off",
            "bridge link set dev \(port) guard on", "bridge link set dev \(port) state 0",
            "ip link del \(port)",
            "sh -c 'ip link set \(port) down; ip link set \(port) name other0; ip link set other0 up'",
            "bridge fdb del \(row) dev vxlan0 self", "bridge fdb del \(row) dev vxlan0 master",
            "bridge fdb replace \(row) dev vxlan0 dst 192.0.2.77 self static",
            "bridge fdb replace \(row) dev vxlan0 dst 192.0.2.9 port 4791 self static",
            "bridge fdb replace \(row) dev \(port) master static", "bridge fdb replace \(row) dev \(port) master permanent",
            "bridge fdb add 02:66:00:00:00:01 dev vxlan0 dst 192.0.2.77 self static",
            "bridge fdb del 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.9 self",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.77 self permanent",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.77 port 4791 self permanent",
            "ip neigh del 10.0.0.9 dev br0", "ip neigh replace 10.0.0.9 lladdr 02:66:00:00:00:02 dev br0 nud permanent",
            "ip neigh replace 10.0.0.9 lladdr \(row) dev br0 nud reachable",
            "ip neigh add 10.0.0.44 lladdr 02:66:00:00:00:03 dev br0 nud permanent",
            "ip addr del 10.0.0.1/24 dev br0", "ip addr add 203.0.113.9/24 dev br0",
        ])
    func isToldOfAndMended(command: String) async throws {
        let setting = try await Setting()
        try await setting.watch()
        let before = setting.text()
        #expect(try await !setting.mend(), "nothing is wrong yet")
        sh("\(setting.network) \(command)")
        #expect(try await setting.isTold(), "\(command)")
        #expect(try await setting.mend(), "\(command)")
        // A second look may be needed for what the first one could not see.
        _ = try await setting.mend()
        #expect(try await !setting.mend(), "\(command): it is right now")
        #expect(setting.text() == before, "\(command)")
        for container in setting.containers { #expect(ping(container, "10.0.0.1"), "\(command)") }
        #expect(ping(setting.containers[0], "10.0.0.3"), "\(command)")
        // The daemon's own repair is no news for ever.
        try await setting.quiet()
    }

    @Test func `own rows are no news`() async throws {
        let setting = try await Setting()
        try await setting.watch()
        var operations: [KernelOperation] = []
        for number in 10..<40 as Range<UInt8> {
            let mac = MACAddress(bits: 0x0242_0A00_0000 + UInt64(number))
            operations += [
                .setForwarding(setting.vni, mac, .vtep(try ip("192.0.2.9"))),
                .setNeighbour(setting.vni, IPAddress(v4: 10, 0, 0, number), mac),
            ]
        }
        expectApplied(await setting.host.kernel.apply(operations))
        for operation in operations {
            switch operation {
            case .setForwarding(let vni, let mac, let place):
                expectApplied(await setting.host.kernel.apply([.deleteForwarding(vni, mac, place)]))
            case .setNeighbour(let vni, let address, _):
                expectApplied(await setting.host.kernel.apply([.deleteNeighbour(vni, address)]))
            default: break
            }
        }
        // A port as well, whose making goes in steps.
        let more = endpoint(3)
        expectApplied(await setting.host.kernel.apply([.createPort(setting.vni, name: more.name, more.port, mtu: 1450)]))
        expectApplied(await setting.host.kernel.apply([.deletePort(setting.vni, name: more.name)]))
        // Nor is what a container does to its own interface.
        sh("\(setting.containers[0]) ip link set eth0 down; \(setting.containers[0]) ip link set eth0 up")
        sh("\(setting.containers[0]) ip addr add 10.0.0.77/24 dev eth0")
        _ = ping(setting.containers[0], "10.0.0.1")
        try await Task.sleep(for: .milliseconds(400))
        #expect(setting.places.all == [])
    }

    @Test func `an endless change is told of a few times a second`() async throws {
        let setting = try await Setting()
        try await setting.watch()
        let end = MonotonicClock.now() + 2_000_000_000
        let script =
            "i=0; while [ $i -lt 4000 ]; do ip neigh add 10.0.0.44 lladdr 02:66:00:00:00:03 dev br0 nud permanent; "
            + "ip neigh del 10.0.0.44 dev br0; i=$((i+1)); done"
        shell("timeout 2 \(setting.network) sh -c '\(script)'")
        while MonotonicClock.now() < end { usleep(20_000) }
        let count = setting.places.all.count
        #expect((1...14).contains(count), "\(count) reports in 2 s")
    }

    @Test(arguments: [false, true])
    func `a container's interface comes back as it was`(hasIPv6: Bool) async throws {
        let setting = try await Setting(hasIPv6: hasIPv6)
        let container = setting.containers[0]
        _ = await setting.host.kernel.look(setting.vni)
        // The engine may give it any name.
        sh("\(container) ip link set eth0 down; \(container) ip link set eth0 name eth7; \(container) ip link set eth7 up")
        sh("\(container) ip addr flush dev eth7; \(container) ip addr add 10.0.0.2/24 brd 10.0.0.255 dev eth7")
        if hasIPv6 { sh("\(container) ip addr add fd00::2/64 dev eth7 nodad") }
        sh("\(container) ip route add 224.0.0.0/4 dev eth7")
        let kernel = try setting.host.restarted()
        _ = try await kernel.observe()
        func text() -> String {
            sh("\(container) ip -o link show eth7 | sed 's/^[0-9]*: //; s/@[^:]*:/:/; s/qdisc.*link/link/; s/ link-netns.*//'")
                + sh("\(container) ip -o addr show eth7 scope global | sed 's/^[0-9]*: //'") + sh("\(container) ip route")
                + sh("\(container) ip -6 route show dev eth7 | grep fd00 || true")
        }
        let before = text()
        sh("\(container) ip link del eth7")
        let lost = LostPort(
            vni: setting.vni, name: setting.near.0.name, port: setting.near.0.port, mtu: 1450,
            sandbox: String(container.dropFirst("nsenter --net=".count)),
            addresses: [try prefix("10.0.0.2/24")] + (hasIPv6 ? [try prefix("fd00::2/64")] : []),
            routes: [try prefix("224.0.0.0/4")])
        #expect(await kernel.restore(lost) == .restored)
        // Twice is once.
        let index = sh("\(container) ip -o link show eth7").prefix { $0 != ":" }
        #expect(await kernel.restore(lost) == .restored)
        #expect(sh("\(container) ip -o link show eth7").prefix { $0 != ":" } == index)
        expectApplied(await kernel.apply(setting.datapath.rows(to: lost.name, on: setting.vni)))
        #expect(text() == before)
        #expect(ping(container, "10.0.0.1") && ping(container, "10.0.0.3"))
        // Without a sandbox there is nothing to make.
        var gone = lost
        gone.sandbox += "-none"
        #expect(await kernel.restore(gone) == .sandboxIsGone)
        #expect(await kernel.missing([lost.sandbox, gone.sandbox]) == [gone.sandbox])
    }

    @Test func `a link of another network with the same MAC is not touched`() async throws {
        let setting = try await Setting()
        let container = setting.containers[0]
        sh("\(container) ip link add same type veth peer name same1")
        sh("\(container) ip link set same address \(setting.near.0.port.mac)")
        sh("\(setting.network) ip link del \(setting.near.0.name)")
        #expect(try await setting.mend())
        #expect(sh("\(container) ip -o link show same").contains("\(setting.near.0.port.mac)"))
        // The bridge learns of the carrier a little later.
        #expect((0..<5).contains { _ in ping(container, "10.0.0.1") })
    }

    @Test(arguments: [true, false])
    func `the file of a namespace comes back, and its containers notice nothing`(isRemoved: Bool) async throws {
        let setting = try await Setting()
        try await setting.watch()
        let file = "\(setting.host.directory)/\(KernelName.namespace(setting.vni))"
        let identity = try NetworkNamespace.identity(path: file)
        sh("umount -l \(file)")
        if isRemoved { sh("rm \(file)") }
        #expect(try await setting.isTold())
        #expect(ping(setting.containers[0], "10.0.0.1"))
        #expect(try await setting.mend())
        #expect(try NetworkNamespace.identity(path: file) == identity)
        #expect(try await !setting.mend())
        #expect(ping(setting.containers[0], "10.0.0.3"))
        try await setting.quiet()
        expectApplied(await setting.host.kernel.apply([.deleteNetwork(setting.vni)]))
        #expect(sh("ls \(setting.host.directory)").isEmpty)
    }
}
