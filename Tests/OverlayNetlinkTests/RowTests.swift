import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayNetlink

@Suite("rows and ports in the kernel", .enabled(if: kernelIsUsable))
struct RowTests {
    /// Creates a network with two ports.
    private func network(_ host: ScratchHost) async throws -> NetworkState.Base {
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        let one = endpoint(1)
        let two = endpoint(2)
        expectApplied(
            await host.kernel.apply([
                .createNetwork(base), .createPort(base.vni, name: one.name, one.port, mtu: 1450),
                .createPort(base.vni, name: two.name, two.port, mtu: 1450),
            ]))
        return base
    }

    @Test func `routes of a sandbox are found and added behind others`() async throws {
        let host = try ScratchHost()
        _ = try await network(host)
        let container = try host.startContainer(endpoint(1).port, ["10.1.0.1/24"])
        sh("\(host.inside) ip link set \(endpoint(2).port.containerLink) netns \(container.split(separator: "=")[1])")
        sh(
            "\(container) ip link set \(endpoint(2).port.containerLink) name eth1 up && \(container) ip addr add 10.2.0.1/24 dev eth1"
        )
        let path = String(container.split(separator: "=")[1])
        let all = [try prefix("224.0.0.0/4"), try prefix("255.255.255.255/32")]
        #expect(await host.kernel.hasRoute(to: all, in: path) == false)
        #expect(await host.kernel.hasRoute(to: all, in: path + "-none") == nil)
        #expect(await !host.kernel.moveRoutes(all, through: endpoint(2).port.mac, in: path))
        // Routes of the kernel's own count, too.
        #expect(await host.kernel.hasRoute(to: [try prefix("10.1.0.0/24")], in: path) == true)
        sh("\(container) ip route add blackhole 224.0.0.0/4 metric 5")
        #expect(await host.kernel.hasRoute(to: all, in: path) == true)
        sh("\(container) ip route del blackhole 224.0.0.0/4 metric 5 && \(container) ip route add 224.0.0.0/4 dev eth0")
        // Moved, and back. One that is not there is not added.
        #expect(await host.kernel.moveRoutes([all[0]], through: endpoint(2).port.mac, in: path))
        #expect(sh("\(container) ip route get 239.1.2.3").contains("dev eth1"))
        #expect(await !host.kernel.moveRoutes([all[1]], through: endpoint(2).port.mac, in: path))
        #expect(await host.kernel.moveRoutes([all[0]], through: endpoint(1).port.mac, in: path))
        for _ in 0..<2 { try await host.kernel.addRoutes(all, through: endpoint(2).port.mac, in: path) }
        #expect(sh("\(container) ip route get 239.1.2.3").contains("dev eth0"))
        sh("\(container) ip link del eth0")
        #expect(sh("\(container) ip route get 239.1.2.3").contains("dev eth1"))
        #expect(sh("\(container) ip route show").split(separator: "\n").count { $0.contains("224.0.0.0/4") } == 1)
        await #expect(throws: KernelFailure.self) {
            try await host.kernel.addRoutes(all, through: mac("02:00:00:00:00:99"), in: path)
        }
    }

    private func rows(_ host: ScratchHost, _ base: NetworkState.Base, _ mac: MACAddress) -> [String] {
        sh("\(host.network(base.vni)) bridge fdb show").split(separator: "\n").filter { $0.hasPrefix("\(mac) ") }
            .map { $0.dropFirst(18).trimmed }.sorted()
    }

    @Test func `ports are made, adopted, remade and deleted`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let one = endpoint(1)
        var wanted = NetworkState(base: base)
        wanted.ports = [one.name: one.port, endpoint(2).name: endpoint(2).port]
        #expect(try await host.kernel.observe().networks[base.vni] == wanted)
        let link = sh("\(host.inside) ip link show \(one.port.containerLink)")
        #expect(link.contains("mtu 1450") && link.contains(one.port.mac.description), "\(link)")
        let port = sh("\(host.network(base.vni)) ip -d link show \(one.name)")
        #expect(
            port.contains("learning off") && port.contains("proxy_arp_wifi on") && port.contains("neigh_suppress off"), "\(port)")

        // A repetition adopts.
        let create = KernelOperation.createPort(base.vni, name: one.name, one.port, mtu: 1450)
        let index = sh("\(host.inside) ip -o link show \(one.port.containerLink)").prefix { $0 != ":" }
        expectApplied(await host.kernel.apply([create]))
        #expect(sh("\(host.inside) ip -o link show \(one.port.containerLink)").prefix { $0 != ":" } == index)

        // In a sandbox it is left alone, and identified by its port's name and row.
        expectApplied(await host.kernel.apply([.setForwarding(base.vni, one.port.mac, .port(one.name))]))
        _ = try host.startContainer(one.port, ["10.1.0.1/24"])
        expectApplied(await host.kernel.apply([create]))
        #expect(try await host.kernel.observe().networks[base.vni]?.ports == wanted.ports)

        // Another MAC: created anew. A foreign link of that name: removed.
        let two = endpoint(2)
        var changed = two.port
        changed.mac = try mac("02:00:00:00:00:77")
        expectApplied(await host.kernel.apply([.createPort(base.vni, name: two.name, changed, mtu: 1450)]))
        #expect(try await host.kernel.observe().networks[base.vni]?.ports[two.name] == changed)
        let three = endpoint(3)
        sh("\(host.inside) ip link add \(three.port.containerLink) type veth peer name foreign")
        expectApplied(await host.kernel.apply([.createPort(base.vni, name: three.name, three.port, mtu: 1450)]))
        #expect(!sh("\(host.inside) ip -o link").contains("foreign"))

        expectApplied(
            await host.kernel.apply([.deletePort(base.vni, name: two.name), .deletePort(base.vni, name: two.name)]))
        #expect(try await host.kernel.observe().networks[base.vni]?.ports.count == 2)
        expectApplied(await host.kernel.apply([.reapPorts(base.vni), .reapPorts(base.vni)]))
        #expect(!sh("\(host.inside) ip -o link").contains(two.port.containerLink))
        expectApplied(await host.kernel.apply([.deleteNetwork(base.vni)]))
        #expect(!sh("\(host.inside) ip -o link").contains(KernelName.containerPrefix + "0"))
    }

    @Test func `a port that is deleted is out of use at once, and its link ends with others`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let vni = base.vni
        var containers: [String] = []
        for number in 1...4 {
            let (name, port) = endpoint(number)
            expectApplied(await host.kernel.apply([.createPort(vni, name: name, port, mtu: 1450)]))
            // The first two are in sandboxes.
            if number <= 2 { containers.append(try host.startContainer(port, ["10.1.0.\(number)/24"])) }
        }
        // Another program's link in the host's namespace, of the group that the links to be deleted have in the network's.
        sh("\(host.inside) ip link add foreign group \(Requests.deletedGroup) type veth peer name another")
        let (one, two, three, four) = (endpoint(1), endpoint(2), endpoint(3), endpoint(4))
        let deleted = [one.name, three.name, four.name]
        expectApplied(await host.kernel.apply(deleted.map { .deletePort(vni, name: $0) }))
        for name in deleted {
            let link = sh("\(host.network(vni)) ip -o link show \(name)")
            #expect(!link.contains("master") && !link.contains(",UP") && link.contains("group \(Requests.deletedGroup)"), "\(link)")
        }
        #expect(sh("\(containers[0]) ip -o link show eth0").contains("NO-CARRIER"))
        var observed = try await host.kernel.observe()
        #expect(observed.networks[vni]?.ports.keys.sorted() == [two.name] && observed.unreaped == [vni])

        // One comes back under its name, and a daemon that starts anew reaps the rest.
        let other = try host.restarted()
        expectApplied(await other.apply([.createPort(vni, name: three.name, three.port, mtu: 1450)]))
        let container = try host.startContainer(three.port, ["10.1.0.3/24"])
        expectApplied(await other.apply([.reapPorts(vni)]))
        observed = try await other.observe()
        #expect(observed.networks[vni]?.ports.keys.sorted() == [two.name, three.name] && observed.unreaped.isEmpty)
        #expect(ping(container, "10.1.0.2"))
        #expect(sh("\(containers[0]) ip -o link").split(separator: "\n").count == 1, "its other end goes with it")
        #expect(
            sh("\(host.inside) ip -o link").contains("foreign")
                && !sh("\(host.inside) ip -o link").contains(four.port.containerLink))

        // A network goes with those that are not reaped yet.
        expectApplied(await other.apply([.deletePort(vni, name: two.name), .deleteNetwork(vni)]))
        #expect(sh("\(containers[1]) ip -o link").split(separator: "\n").count == 1)
        #expect(sh("\(host.inside) ip -o link").contains("foreign") && sh("ls \(host.directory)").isEmpty)
    }

    @Test func `a MAC that moves has exactly one place`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let vni = base.vni
        let mac = try mac("02:00:00:00:00:0a")
        let one = try ip("192.0.2.11")
        let two = try ip("192.0.2.12")
        let port = endpoint(1).name
        func check(_ destination: Destination?, _ wanted: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws
        {
            #expect(rows(host, base, mac) == wanted, sourceLocation: sourceLocation)
            #expect(try await host.kernel.observe().networks[vni]?.forwarding[mac] == destination, sourceLocation: sourceLocation)
        }
        func towards(_ vtep: IPAddress) -> [String] {
            ["dev vxlan0 dst \(vtep) link-netnsid 0 self static", "dev vxlan0 master br0 static"]
        }

        expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
        try await check(.vtep(one), towards(one))
        expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(two))]))
        try await check(.vtep(two), towards(two))
        // The removal of the old place comes late, and the new one stays.
        expectApplied(await host.kernel.apply([.deleteForwarding(vni, mac, .vtep(one))]))
        try await check(.vtep(two), towards(two))
        expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .port(port))]))
        try await check(.port(port), ["dev \(port) master br0 static"])
        expectApplied(await host.kernel.apply([.deleteForwarding(vni, mac, .vtep(two))]))
        try await check(.port(port), ["dev \(port) master br0 static"])
        expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
        try await check(.vtep(one), towards(one))
        expectApplied(await host.kernel.apply([.deleteForwarding(vni, mac, .port(port))]))
        try await check(.vtep(one), towards(one))

        // Half rows are reported, repaired by a set, and removed by deleting what was reported.
        let nowhere = Destination.vtep(IPAddress(v4: 0, 0, 0, 0))
        for damage in ["fdb del \(mac) dev vxlan0 self", "fdb del \(mac) dev vxlan0 master"] {
            sh("\(host.network(vni)) bridge \(damage)")
            #expect(try await host.kernel.observe().networks[vni]?.forwarding[mac] == nowhere, "\(damage)")
            expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
            try await check(.vtep(one), towards(one))
            sh("\(host.network(vni)) bridge \(damage)")
            expectApplied(await host.kernel.apply([.deleteForwarding(vni, mac, nowhere)]))
            try await check(nil, [])
            expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
            sh("\(host.network(vni)) bridge \(damage)")
            expectApplied(await host.kernel.apply([.deleteForwarding(vni, mac, .vtep(one))]))
            try await check(nil, [])
            expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
        }
        expectApplied(
            await host.kernel.apply([.deleteForwarding(vni, mac, .vtep(one)), .deleteForwarding(vni, mac, .vtep(one))]))
        try await check(nil, [])

        // A learned row, as another tool may leave it, is no obstacle (moby#53663).
        sh("\(host.network(vni)) bridge fdb add \(mac) dev vxlan0 dst 192.0.2.99 self dynamic")
        sh("\(host.network(vni)) bridge fdb add \(mac) dev \(endpoint(2).name) master static")
        expectApplied(await host.kernel.apply([.setForwarding(vni, mac, .vtep(one))]))
        try await check(.vtep(one), towards(one))
    }

    @Test func `flood list, gateways and neighbours`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let vni = base.vni
        let vteps = try (1...5).map { try ip("192.0.2.\($0 + 10)") }
        expectApplied(await host.kernel.apply(vteps.map { .addFlood(vni, $0) } + vteps.map { .addFlood(vni, $0) }))
        #expect(rows(host, base, .zero).count == 5)
        expectApplied(await host.kernel.apply([.deleteFlood(vni, vteps[0]), .deleteFlood(vni, vteps[0])]))
        var wanted = try #require(try await host.kernel.observe().networks[vni])
        #expect(wanted.flood == Set(vteps.dropFirst()))
        let gateways = try [prefix("10.9.0.1/24"), prefix("10.10.0.1/16"), prefix("fd00:9::1/64")]
        expectApplied(await host.kernel.apply((gateways + gateways).map { .addGateway(vni, $0) }))
        expectApplied(
            await host.kernel.apply([
                .setNeighbour(vni, try ip("10.9.0.5"), try mac("02:00:00:00:00:05")),
                .setNeighbour(vni, try ip("10.9.0.5"), try mac("02:00:00:00:00:06")),
                .setNeighbour(vni, try ip("fd00:9::5"), try mac("02:00:00:00:00:06")),
                .setNeighbour(vni, try ip("10.9.0.7"), try mac("02:00:00:00:00:07")),
                .deleteNeighbour(vni, try ip("10.9.0.7")), .deleteNeighbour(vni, try ip("10.9.0.7")),
            ]))
        wanted.gateways = Set(gateways)
        wanted.neighbours = [try ip("10.9.0.5"): try mac("02:00:00:00:00:06"), try ip("fd00:9::5"): try mac("02:00:00:00:00:06")]
        #expect(try await host.kernel.observe().networks[vni] == wanted)
        #expect(!sh("\(host.network(vni)) ip addr").contains("tentative"))
        #expect(!sh("\(host.network(vni)) ip addr").contains("fe80"))
        // With IPv6 on the network, ports no longer drop solicitations: existing ones, new ones, and those of a later life of the
        // daemon.
        let later = try host.restarted()
        expectApplied(await later.apply([.createPort(vni, name: endpoint(3).name, endpoint(3).port, mtu: 1450)]))
        for number in 1...3 {
            #expect(sh("\(host.network(vni)) ip -d link show \(endpoint(number).name)").contains("proxy_arp_wifi off"))
        }
        expectApplied(await host.kernel.apply((gateways + gateways).map { .deleteGateway(vni, $0) }))
        #expect(try await host.kernel.observe().networks[vni]?.gateways == [])
    }

    @Test func `ten thousand rows, what was applied is observed`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let vni = base.vni
        let count = getenv("SWIFT_OVERLAY_ROWS").flatMap { Int(String(cString: $0)) } ?? 10_000
        var wanted = try #require(try await host.kernel.observe().networks[vni])
        var operations: [KernelOperation] = []
        for number in 0..<count {
            let mac = MACAddress(bits: 0x0200_0000_0000 | UInt64(number))
            let vtep = IPAddress(family: .v4, bits: 0xC000_0200 + UInt128(number % 200))
            let address = IPAddress(family: .v4, bits: 0x0A00_0000 + UInt128(number))
            operations.append(.setForwarding(vni, mac, .vtep(vtep)))
            operations.append(.setNeighbour(vni, address, mac))
            wanted.forwarding[mac] = .vtep(vtep)
            wanted.neighbours[address] = mac
        }
        let clock = ContinuousClock()
        let rows = operations
        let setTime = await clock.measure { expectApplied(await host.kernel.apply(rows)) }
        var observed: NetworkState?
        let observeTime = try await clock.measure { observed = try await host.kernel.observe().networks[vni] }
        #expect(observed == wanted)
        let again = await clock.measure { expectApplied(await host.kernel.apply(rows)) }
        let removals = wanted.forwarding.map { KernelOperation.deleteForwarding(vni, $0.key, $0.value) }
        let removeTime = await clock.measure { expectApplied(await host.kernel.apply(removals)) }
        #expect(try await host.kernel.observe().networks[vni]?.forwarding == [:])
        print("\(operations.count) rows: set \(setTime), again \(again), observe \(observeTime), \(count) removed \(removeTime)")
    }

    @Test func `the failing row is named`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        var operations: [KernelOperation] = (0..<600).map {
            .setNeighbour(base.vni, IPAddress(family: .v4, bits: 0x0A00_0000 + UInt128($0)), MACAddress(bits: 0x0200_0000_0000))
        }
        // An IPv6 VTEP on an IPv4 tunnel.
        operations[300] = .addFlood(base.vni, try ip("2001:db8::1"))
        let outcome = await host.kernel.apply(operations)
        guard case .failed(300, let failure) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(failure.operation == "fdb append 00:00:00:00:00:00 dev vxlan0 dst 2001:db8::1")
        guard
            case .failed(1, let missing) = await host.kernel.apply([
                operations[0], .setForwarding(base.vni, .zero, .port("veabsent")),
            ])
        else {
            Issue.record("a row for a port that is not there")
            return
        }
        #expect(missing.errno == ENODEV)
    }

    @Test func `devices remade behind our back are found`() async throws {
        let host = try ScratchHost()
        let base = try await network(host)
        let other = try host.restarted()
        let row = KernelOperation.setForwarding(base.vni, try mac("02:00:00:00:00:01"), .vtep(try ip("192.0.2.7")))
        expectApplied(await host.kernel.apply([row]))
        sh("\(host.network(base.vni)) ip link del vxlan0")
        expectApplied(await other.apply([.createNetwork(base)]))
        expectApplied(await host.kernel.apply([row]))
        #expect(try await other.observe().networks[base.vni]?.forwarding.count == 1)
        expectApplied(await other.apply([.deleteNetwork(base.vni), .createNetwork(base)]))
        expectApplied(await host.kernel.apply([row]))
        #expect(try await other.observe().networks[base.vni]?.forwarding.count == 1)
    }
}

extension Substring {
    var trimmed: String {
        var text = self
        while text.last == " " { text.removeLast() }
        while text.first == " " { text.removeFirst() }
        return String(text)
    }
}
