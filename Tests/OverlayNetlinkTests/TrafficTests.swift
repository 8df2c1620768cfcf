import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayNetlink

/// Frames through programmed networks: two hosts on one link, containers, and a count of what an idle one receives.
@Suite("traffic", .enabled(if: kernelIsUsable), .serialized)
struct TrafficTests {
    /// Creates two hosts joined by a veth pair; `v6` chooses the underlay.
    private func pair(v6: Bool = false) throws -> (ScratchHost, ScratchHost, [String]) {
        let one = try ScratchHost()
        let two = try ScratchHost()
        sh("ip link add wire mtu 1500 netns \(one.path) type veth peer name wire netns \(two.path)")
        let addresses = v6 ? ["2001:db8::1", "2001:db8::2"] : ["198.51.100.1", "198.51.100.2"]
        for (host, address) in zip([one, two], addresses) {
            sh("\(host.inside) ip addr add \(address)/\(v6 ? 64 : 24) dev wire \(v6 ? "nodad" : "")")
            sh("\(host.inside) ip link set wire up")
        }
        return (one, two, addresses)
    }

    /// Place and name of one endpoint.
    private struct Place {
        var number: Int
        var host: Int
        var addresses: [String]
    }

    /// Programs `places` on both hosts, starts the containers, and returns their names.
    private func program(
        _ hosts: [ScratchHost], _ vteps: [String], _ places: [Place], gateways: [String], mtu: UInt32 = 1450,
        neighbours: Bool = true
    ) async throws -> [String] {
        let vni = try vni()
        for (index, host) in hosts.enumerated() {
            var operations: [KernelOperation] = [.createNetwork(try base(vteps[index], mtu: mtu))]
            for gateway in gateways { operations.append(.addGateway(vni, try prefix(gateway))) }
            for (other, vtep) in vteps.enumerated() where other != index { operations.append(.addFlood(vni, try ip(vtep))) }
            for place in places {
                let (name, port) = endpoint(place.number)
                if place.host == index {
                    operations.append(.createPort(vni, name: name, port, mtu: mtu))
                    operations.append(.setForwarding(vni, port.mac, .port(name)))
                } else {
                    operations.append(.setForwarding(vni, port.mac, .vtep(try ip(vteps[place.host]))))
                }
                if neighbours {
                    for address in place.addresses {
                        operations.append(.setNeighbour(vni, try prefix(address).address, port.mac))
                    }
                }
            }
            expectApplied(await host.kernel.apply(operations))
        }
        return try places.map { place in
            try hosts[place.host].startContainer(endpoint(place.number).port, place.addresses)
        }
    }

    /// Runs `body` while everything that arrives on a device is recorded. Returns the lines that match.
    private func heard(_ container: String, device: String = "eth0", filter: String, _ body: () -> Void) -> [Substring] {
        let recording = Recording(container, device: device, filter: filter)
        body()
        return recording.stop()
    }

    @Test(arguments: [false, true]) func `two hosts, the first packet arrives`(v6Underlay: Bool) async throws {
        let (one, two, vteps) = try pair(v6: v6Underlay)
        let mtu: UInt32 = v6Underlay ? 1430 : 1450
        let names = try await program(
            [one, two], vteps,
            [
                Place(number: 1, host: 0, addresses: ["10.9.0.11/24", "fd00:9::11/64"]),
                Place(number: 2, host: 1, addresses: ["10.9.0.12/24", "fd00:9::12/64"]),
                Place(number: 3, host: 0, addresses: ["10.9.0.13/24", "fd00:9::13/64"]),
            ], gateways: ["10.9.0.1/24", "fd00:9::1/64"], mtu: mtu)
        for (from, to) in [
            (0, "10.9.0.12"), (1, "10.9.0.11"), (0, "10.9.0.13"), (0, "fd00:9::12"), (1, "fd00:9::13"), (2, "fd00:9::11"),
        ] {
            #expect(ping(names[from], to), "\(from) → \(to)")
        }
        // Each host's bridge is the gateway.
        for name in names { for gateway in ["10.9.0.1", "fd00:9::1"] { #expect(ping(name, gateway), "\(name) → \(gateway)") } }
        #expect(sh("\(names[0]) ip neigh show 10.9.0.1").contains(KernelName.gatewayMAC(try vni()).description))
        #expect(sh("\(names[0]) ip link show eth0").contains("mtu \(mtu)"))
        // The largest packet passes without fragments.
        #expect(shell("\(names[0]) ping -c1 -W1 -Mdo -s\(mtu - 28) 10.9.0.12").status == 0)
        #expect(shell("\(names[0]) ping -c1 -W1 -Mdo -s\(mtu - 27) 10.9.0.12").status != 0)
    }

    @Test func `IPv4: requests are answered at the edge and heard by nobody`() async throws {
        let (one, two, vteps) = try pair()
        let names = try await program(
            [one, two], vteps,
            [
                Place(number: 1, host: 0, addresses: ["10.9.0.11/24"]), Place(number: 2, host: 1, addresses: ["10.9.0.12/24"]),
                Place(number: 3, host: 0, addresses: ["10.9.0.13/24"]), Place(number: 4, host: 0, addresses: ["10.9.0.14/24"]),
                Place(number: 5, host: 1, addresses: ["10.9.0.15/24"]),
            ], gateways: ["10.9.0.1/24"])
        let everyone: () -> Void = {
            for to in ["10.9.0.12", "10.9.0.13", "10.9.0.1"] { #expect(ping(names[0], to), "\(to)") }
        }
        // An idle container beside the asker, and one on the other host, receive neither ARP nor unicast of others.
        for idle in [3, 4] {
            sh("\(names[0]) ip neigh flush dev eth0")
            let lines = heard(names[idle], filter: "arp or icmp", everyone)
            #expect(lines.isEmpty, "container \(idle): \(lines)")
        }
        // The tunnel carries no ARP either.
        sh("\(names[0]) ip neigh flush dev eth0")
        let tunnel = heard(two.inside, device: "wire", filter: "udp port 4789", everyone)
        #expect(!tunnel.isEmpty)
        #expect(!tunnel.contains { $0.contains("ARP") }, "\(tunnel)")
        // Requests for unknown addresses are flooded, so addresses that a container gave itself still work.
        sh("\(names[1]) ip addr add 10.9.0.99/24 dev eth0")
        #expect(ping(names[0], "10.9.0.99"))
    }

    @Test func `IPv6: solicitations for remote endpoints are answered at the edge`() async throws {
        let (one, two, vteps) = try pair()
        let names = try await program(
            [one, two], vteps,
            [
                Place(number: 1, host: 0, addresses: ["fd00:9::11/64"]), Place(number: 2, host: 1, addresses: ["fd00:9::12/64"]),
                Place(number: 3, host: 0, addresses: ["fd00:9::13/64"]), Place(number: 4, host: 0, addresses: ["fd00:9::14/64"]),
            ], gateways: ["fd00:9::1/64"])
        let solicitations = "icmp6 and ip6[40] == 135"
        let everyone: () -> Void = {
            for to in ["fd00:9::12", "fd00:9::13", "fd00:9::1"] { #expect(ping(names[0], to), "\(to)") }
        }
        // The containers' own autoconfiguration (DAD of fe80::) is over by then.
        sleep(3)
        sh("\(names[0]) ip neigh flush dev eth0")
        let tunnel = heard(two.inside, device: "wire", filter: "udp port 4789", everyone)
        #expect(!tunnel.isEmpty)
        #expect(!tunnel.contains { $0.contains("neighbor solicitation, who has fd00") && $0.contains("33:33") }, "\(tunnel)")
        sh("\(names[0]) ip neigh flush dev eth0")
        let lines = heard(names[3], filter: solicitations, everyone)
        // For local targets and the gateway, the local ports get it: see PortFlags.
        #expect(!lines.contains { $0.contains("fd00:9::12") && $0.contains("tgt") }, "\(lines)")
        print("solicitations that an idle local container hears: \(lines.count)")
    }

    @Test func `broadcast and unknown destinations reach the other host`() async throws {
        let (one, two, vteps) = try pair()
        let names = try await program(
            [one, two], vteps,
            [Place(number: 1, host: 0, addresses: ["10.9.0.11/24"]), Place(number: 2, host: 1, addresses: ["10.9.0.12/24"])],
            gateways: [], neighbours: false)
        #expect(ping(names[0], "10.9.0.12"), "ARP over the flood list")
        let lines = heard(names[1], filter: "icmp") {
            shell("\(names[0]) ping -b -c1 -W1 10.9.0.255")
            shell("\(names[0]) ping -c1 -W1 224.0.0.251")
        }
        #expect(lines.contains { $0.contains("> 10.9.0.255") }, "\(lines)")
    }

    @Test func `an endpoint moves to the other host`() async throws {
        let (one, two, vteps) = try pair()
        let vni = try vni()
        let names = try await program(
            [one, two], vteps,
            [Place(number: 1, host: 0, addresses: ["10.9.0.11/24"]), Place(number: 2, host: 0, addresses: ["10.9.0.12/24"])],
            gateways: [])
        #expect(ping(names[0], "10.9.0.12"))
        let moved = endpoint(2)
        expectApplied(
            await one.kernel.apply([
                .deletePort(vni, name: moved.name), .setForwarding(vni, moved.port.mac, .vtep(try ip(vteps[1]))),
            ]))
        expectApplied(
            await two.kernel.apply([
                .createPort(vni, name: moved.name, moved.port, mtu: 1450),
                .setForwarding(vni, moved.port.mac, .port(moved.name)),
            ]))
        _ = try two.startContainer(moved.port, ["10.9.0.12/24"])
        #expect(ping(names[0], "10.9.0.12"))
    }
}
