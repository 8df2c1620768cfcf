import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayNetlink

@Suite("networks in the kernel", .enabled(if: kernelIsUsable))
struct NetworkTests {
    @Test func `preflight passes and leaves nothing`() async throws {
        let host = try ScratchHost()
        try await host.kernel.preflight()
        #expect(sh("ls \(host.directory)").isEmpty)
    }

    @Test func `create, adopt, observe, delete`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        let network = host.network(base.vni)
        let vxlan = sh("\(network) ip -d link show vxlan0")
        #expect(vxlan.contains("vxlan id 1048576 local 192.0.2.1"), "\(vxlan)")
        #expect(vxlan.contains("dstport 4789"), "\(vxlan)")
        #expect(vxlan.contains("nolearning"), "\(vxlan)")
        #expect(vxlan.contains("link-netns"), "\(vxlan)")
        #expect(vxlan.contains("neigh_suppress on"), "\(vxlan)")
        #expect(vxlan.contains("learning off"), "\(vxlan)")
        #expect(vxlan.contains("master br0"), "\(vxlan)")
        #expect(vxlan.contains("mtu 1450"), "\(vxlan)")
        #expect(!vxlan.contains("noudpcsum"), "\(vxlan)")
        #expect(sh("\(host.inside) ss -uln").contains(":4789"), "the socket is in the host's namespace")
        #expect(!sh("\(network) ss -uln").contains(":4789"))
        let bridge = sh("\(network) ip -d link show br0")
        #expect(bridge.contains(KernelName.gatewayMAC(base.vni).description), "\(bridge)")
        #expect(bridge.contains("stp_state 0"), "\(bridge)")
        #expect(!sh("\(network) ip addr").contains("fe80"))

        // Adoption: nothing is created anew.
        let index = sh("\(network) ip -o link show vxlan0").prefix { $0 != ":" }
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        let other = try host.restarted()
        expectApplied(await other.apply([.createNetwork(base)]))
        #expect(sh("\(network) ip -o link show vxlan0").prefix { $0 != ":" } == index)
        #expect(try await host.kernel.observe() == ObservedState(networks: [base.vni: NetworkState(base: base)]))
        let settings = "/proc/sys/net/ipv6/conf"
        #expect(sh("\(network) cat \(settings)/br0/disable_ipv6 \(settings)/vxlan0/disable_ipv6") == "1\n1\n")
        // With IPv6 it is no router and accepts none. Adoption leaves IPv6 on.
        let gateway = KernelOperation.addGateway(base.vni, try prefix("fd00::1/64"))
        expectApplied(await host.kernel.apply([gateway, .createNetwork(base)]))
        #expect(
            sh("\(network) cat \(settings)/br0/disable_ipv6 \(settings)/br0/accept_ra \(settings)/br0/forwarding") == "0\n0\n0\n")
        #expect(sh("\(network) cat \(settings)/vxlan0/disable_ipv6 /proc/sys/net/ipv4/ip_forward") == "1\n0\n")
        #expect(!sh("\(network) ip addr").contains("fe80"))
        #expect(try await host.kernel.observe().networks[base.vni]?.gateways == [try prefix("fd00::1/64")])
        expectApplied(await host.kernel.apply([.deleteGateway(base.vni, try prefix("fd00::1/64"))]))

        // Another VTEP: created anew.
        host.addLoopback("192.0.2.2/32")
        var moved = base
        moved.local = try ip("192.0.2.2")
        moved.mtu = 1400
        moved.port = 4790
        expectApplied(await host.kernel.apply([.createNetwork(moved)]))
        #expect(try await host.kernel.observe().networks[base.vni]?.base == moved)
        // A new life of the daemon makes the filter anew, as it cannot know that nobody changed it.
        moved.isFiltered = false
        #expect(try await other.observe().networks[base.vni]?.base == moved)

        expectApplied(await host.kernel.apply([.deleteNetwork(base.vni), .deleteNetwork(base.vni)]))
        #expect(sh("ls \(host.directory)").isEmpty)
        // The VNI is free at once, many times over.
        for _ in 0..<10 {
            expectApplied(await host.kernel.apply([.createNetwork(base), .deleteNetwork(base.vni)]))
        }
        #expect(try await host.kernel.observe() == ObservedState())
    }

    @Test func `a failure midway, then repetition`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        // Another device has the VNI: namespace and bridge are created, the tunnel is not.
        sh("\(host.inside) ip link add other type vxlan id 1048576 dstport 4789 local 192.0.2.1")
        let failure = try #require(await host.kernel.apply([.createNetwork(base)]).failure)
        #expect(failure.errno == EEXIST)
        #expect(failure.operation == "link add vxlan0 type vxlan id 1048576")
        #expect(failure.reason.contains("VNI 1048576 on UDP port 4789 is held by another VXLAN device of this host"))
        #expect(failure.reason.contains("ip -d link show type vxlan"))
        #expect(try await host.kernel.observe() == ObservedState(broken: [base.vni]))
        sh("\(host.inside) ip link del other")
        expectApplied(await host.kernel.apply([.createNetwork(base)]))
        #expect(try await host.kernel.observe().networks[base.vni] == NetworkState(base: base))

        // Each device missing or wrong, in turn.
        for damage in [
            "link del br0", "link del vxlan0", "link set vxlan0 nomaster", "link set vxlan0 down", "link set br0 down",
        ] {
            sh("\(host.network(base.vni)) ip \(damage)")
            let seen = try await host.kernel.observe()
            #expect(seen.broken == [base.vni] || seen.altered[base.vni]?.hasDevices == true, "\(damage)")
            expectApplied(await host.kernel.apply([.createNetwork(base)]))
            #expect(try await host.kernel.observe() == ObservedState(networks: [base.vni: NetworkState(base: base)]), "\(damage)")
            #expect(sh("\(host.network(base.vni)) ip -d link show vxlan0").contains("neigh_suppress on"), "\(damage)")
        }

        // The pin is lost, with a plain file in its place.
        sh("umount -l \(host.directory)/swov-1048576")
        #expect(try await host.kernel.observe().broken == [base.vni])
        // The namespace and its tunnel exist while our sockets do, and get their file back.
        var outcome = await host.kernel.apply([.createNetwork(base)])
        for _ in 0..<50 where outcome.failure != nil {
            usleep(100_000)
            outcome = await host.kernel.apply([.createNetwork(base)])
        }
        expectApplied(outcome)
        expectApplied(await host.kernel.apply([.deleteNetwork(base.vni)]))
        #expect(sh("ls \(host.directory)").isEmpty)
        #expect(!sh("\(host.inside) ss -uln").contains(":4789"))
    }

    @Test func `an underlay of IPv6, and addresses that are not there`() async throws {
        let host = try ScratchHost()
        host.addLoopback("2001:db8::1/128")
        let base = try base("2001:db8::1", mtu: 1430)
        expectApplied(
            await host.kernel.apply([
                .createNetwork(base), .addFlood(base.vni, try ip("2001:db8::2")),
                .setForwarding(base.vni, try mac("02:00:00:00:00:09"), .vtep(try ip("2001:db8::2"))),
            ]))
        var wanted = NetworkState(base: base)
        wanted.flood = [try ip("2001:db8::2")]
        wanted.admitted = wanted.flood
        wanted.forwarding = [try mac("02:00:00:00:00:09"): .vtep(try ip("2001:db8::2"))]
        #expect(try await host.kernel.observe().networks[base.vni] == wanted)
    }

    @Test func `rows for a network that is not there`() async throws {
        let host = try ScratchHost()
        let vni = try vni(7)
        let address = try ip("10.0.0.1")
        let mac = try mac("02:00:00:00:00:01")
        expectApplied(
            await host.kernel.apply([
                .deleteForwarding(vni, mac, .vtep(address)), .deleteForwarding(vni, mac, .port("ve0")),
                .deleteNeighbour(vni, address),
                .deleteFlood(vni, address), .deleteGateway(vni, try prefix("10.0.0.1/24")), .deletePort(vni, name: "ve0"),
                .deleteNetwork(vni),
            ]))
        let outcome = await host.kernel.apply([
            .deleteNetwork(vni), .deletePort(vni, name: "ve0"), .setNeighbour(vni, address, mac),
        ])
        guard case .failed(2, let failure) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(failure.errno == ENOENT)
        #expect(failure.reason.contains("is gone"))
    }

    @Test func `addresses and routes of the host`() async throws {
        let host = try ScratchHost()
        sh("\(host.inside) ip link add eth7 mtu 1400 type veth peer name far; \(host.inside) ip link set far up")
        sh("\(host.inside) ip link set eth7 up; \(host.inside) ip addr add 203.0.113.5/24 dev eth7")
        sh(
            "\(host.inside) ip addr add 2001:db8::5/64 dev eth7 nodad; \(host.inside) ip route add default via 203.0.113.1 src 203.0.113.5"
        )
        sh("\(host.inside) ip route add blackhole 10.99.0.0/16; \(host.inside) ip route add 10.98.0.0/16 dev eth7 table 77")
        let addresses = try await host.kernel.hostAddresses()
        let one = try #require(addresses.first { $0.link == "eth7" })
        #expect(one.prefix == (try prefix("203.0.113.5/24")) && one.mtu == 1400 && one.isUp && !one.isLoopback)
        #expect(addresses.contains { $0.isLoopback && $0.prefix.description == "127.0.0.1/8" })
        #expect(addresses.contains { $0.prefix.description == "2001:db8::5/64" })
        #expect(try await host.kernel.mtu(ofLinkWith: try ip("203.0.113.5")) == 1400)
        #expect(try await host.kernel.mtu(ofLinkWith: try ip("203.0.113.6")) == nil)
        let routes = try await host.kernel.hostRoutes()
        let v4 = routes.filter { $0.destination.family == .v4 }
        #expect(
            v4 == [
                HostRoute(
                    destination: try prefix("0.0.0.0/0"), gateway: try ip("203.0.113.1"), link: one.index,
                    preferredSource: try ip("203.0.113.5")),
                HostRoute(
                    destination: try prefix("203.0.113.0/24"), gateway: nil, link: one.index,
                    preferredSource: try ip("203.0.113.5")),
            ])
        #expect(routes.contains { $0.destination.description == "2001:db8::/64" && $0.link == one.index })
    }

    @Test func `a full bridge says so`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        // The tunnel is one of the 1023 ports.
        let creations = (1...1023).map {
            KernelOperation.createPort(base.vni, name: endpoint($0).name, endpoint($0).port, mtu: 1450)
        }
        let clock = ContinuousClock()
        var outcome = KernelOutcome.applied
        let time = await clock.measure { outcome = await host.kernel.apply([.createNetwork(base)] + creations) }
        guard case .failed(1023, let failure) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(failure.errno == EXFULL)
        #expect(failure.reason.contains("1023 ports"))
        #expect(try await host.kernel.observe().networks[base.vni]?.ports.count == 1022)
        #expect(
            !sh("\(host.inside) ip -o link").contains(endpoint(1023).port.containerLink), "nothing is left of the port that failed")
        let deletion = await clock.measure { expectApplied(await host.kernel.apply([.deleteNetwork(base.vni)])) }
        print("1022 ports: made in \(time), network deleted in \(deletion)")
        #expect(!sh("\(host.inside) ip -o link").contains("veth"))
    }

    @Test func `a deletion frees the VNI while a container lives on`() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        let one = endpoint(1)
        let create: [KernelOperation] = [.createNetwork(base), .createPort(base.vni, name: one.name, one.port, mtu: 1450)]
        expectApplied(await host.kernel.apply(create))
        _ = try host.startContainer(one.port, ["10.9.0.5/24"])
        // Another process holds the namespace open, so only the deletion of the tunnel can free the VNI.
        let held = try NetworkNamespace.open(path: "\(host.directory)/swov-1048576")
        expectApplied(await host.kernel.apply([.deleteNetwork(base.vni)] + create))
        #expect(try await host.kernel.observe().networks[base.vni]?.ports == [one.name: one.port])
        #expect(held.number >= 0)
    }
}
