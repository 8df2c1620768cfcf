import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayNetlink

/// Bytes of announcements. Needs no privilege.
@Suite("announcement frames")
struct AnnouncementFrameTests {
    @Test func `an ARP announcement`() throws {
        let frame = Announcement.frame(try ip("10.9.0.11"), at: try mac("02:aa:00:00:00:22"))
        #expect(
            hexadecimal(frame)
                == [
                    "ffffffffffff", "02aa00000022", "0806",  // to all, from the MAC
                    "0001", "0800", "06", "04", "0001",  // Ethernet, IPv4, request
                    "02aa00000022", "0a09000b",  // sender
                    "000000000000", "0a09000b",  // target: the same address
                ].joined())
    }

    @Test func `an unsolicited neighbour advertisement`() throws {
        let frame = Announcement.frame(try ip("fd00:9::11"), at: try mac("02:aa:00:00:00:22"))
        #expect(
            hexadecimal(frame)
                == [
                    "333300000001", "02aa00000022", "86dd",  // to all nodes, from the MAC
                    "60000000", "0020", "3a", "ff",  // 32 bytes of ICMPv6, hop limit 255
                    "fd000009000000000000000000000011", "ff020000000000000000000000000001",
                    "88", "00", "599e", "20000000",  // advertisement, checksum, override
                    "fd000009000000000000000000000011",  // target
                    "02", "01", "02aa00000022",  // target link-layer address
                ].joined())
    }

    /// The sum over pseudo-header and message with its checksum is all ones, also where the carry carries again.
    @Test(arguments: [
        ("fd00:9::11", "02:aa:00:00:00:22"), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe:ff:ff:ff:ff:ff"),
        ("::1", "00:00:00:00:00:01"),
        ("2001:db8:ffff:8000:1:fffe:7fff:abcd", "ba:98:76:54:32:10"),
    ]) func `checksums verify`(address: String, hardware: String) throws {
        let frame = Announcement.frame(try ip(address), at: try mac(hardware))
        #expect(frame.count == 86)
        let bytes = frame[22...] + [0, 32, 0, 58]
        var sum = 0
        for (offset, byte) in bytes.enumerated() { sum += Int(byte) << (offset.isMultiple(of: 2) ? 8 : 0) }
        #expect(sum % 0xFFFF == 0)
    }

    @Test func `a missing right is named`() throws {
        let failure = KernelFailure("announce", NetlinkError(code: EPERM), about: .announcement)
        #expect(failure.reason.contains("CAP_NET_RAW"))
    }

    @Test func `announcements stay in the run of the rows around them`() throws {
        let vni = try vni()
        let address = try ip("10.9.0.11")
        let hardware = try mac("02:aa:00:00:00:22")
        let operations: [KernelOperation] = [
            .setNeighbour(vni, address, hardware), .announce(vni, address, hardware), .setNeighbour(vni, address, hardware),
            .deletePort(vni, name: "ve1"), .announce(vni, address, hardware),
        ]
        #expect(KernelNetlink.endOfRun(operations, from: 0) == 3)
        #expect(KernelNetlink.endOfRun(operations, from: 3) == 3)
        #expect(KernelNetlink.endOfRun(operations, from: 4) == 5)
    }
}

@Suite("announcements to containers", .enabled(if: kernelIsUsable), .serialized)
struct AnnouncementTests {
    /// Creates a host with a network of both families, or of IPv4 alone, whose ports treat ARP differently.
    private func network(dualStack: Bool) async throws -> (ScratchHost, NetworkState.Base) {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1/32")
        let base = try base("192.0.2.1")
        var operations: [KernelOperation] = [
            .createNetwork(base), .addGateway(base.vni, try prefix("10.9.0.1/24")), .addFlood(base.vni, try ip("192.0.2.2")),
        ]
        if dualStack { operations.append(.addGateway(base.vni, try prefix("fd00:9::1/64"))) }
        expectApplied(await host.kernel.apply(operations))
        return (host, base)
    }

    private func rows(_ vni: VNI, _ number: Int, _ mac: MACAddress, _ addresses: [IPAddress]) -> [KernelOperation] {
        [.setForwarding(vni, mac, .port(endpoint(number).name))] + addresses.map { .setNeighbour(vni, $0, mac) }
    }

    private func start(
        _ host: ScratchHost, _ vni: VNI, _ number: Int, mac: MACAddress? = nil, _ addresses: [String]
    ) async throws -> String {
        var (name, port) = endpoint(number)
        if let mac { port.mac = mac }
        let plain = try addresses.map { try prefix($0).address }
        expectApplied(
            await host.kernel.apply([.createPort(vni, name: name, port, mtu: 1450)] + rows(vni, number, port.mac, plain)))
        return try host.startContainer(port, addresses)
    }

    private func neighbour(_ container: String, _ address: String) -> String {
        sh("\(container) ip neigh show \(address) dev eth0")
    }

    @Test(arguments: [("10.9.0.11/24", false), ("10.9.0.11/24", true), ("fd00:9::11/64", true)])
    func `an endpoint comes back with another MAC`(text: String, dualStack: Bool) async throws {
        let wanted = try prefix(text)
        let (host, base) = try await network(dualStack: dualStack)
        let vni = base.vni
        let address = wanted.address
        let isV4 = address.family == .v4
        let asking = try await start(host, vni, 2, [isV4 ? "10.9.0.12/24" : "fd00:9::12/64"])
        let idle = try await start(host, vni, 3, [isV4 ? "10.9.0.13/24" : "fd00:9::13/64"])
        let old = endpoint(1)
        _ = try await start(host, vni, 1, [text])
        // Resolved entries stay reachable for a while, so that nothing but an announcement changes them.
        for container in [asking, idle] {
            #expect(ping(container, "\(address)"))
            #expect(neighbour(container, "\(address)").contains(old.port.mac.description))
        }

        let new = try mac("02:bb:00:00:00:01")
        expectApplied(
            await host.kernel.apply([
                .deleteForwarding(vni, old.port.mac, .port(old.name)), .deleteNeighbour(vni, address),
                .deletePort(vni, name: old.name),
            ]))
        let again = try await start(host, vni, 1, mac: new, [text])
        // The autoconfiguration of the new container (DAD, MLD) is over by then.
        if !isV4 { sleep(3) }
        #expect(neighbour(asking, "\(address)").contains(old.port.mac.description), "the test proves nothing")
        #expect(!ping(asking, "\(address)"), "the test proves nothing")

        let filter = isV4 ? "arp" : "icmp6 and ip6[40] == 136"
        // Without the router solicitations that the containers' kernels send by themselves.
        let onTunnel = Recording(
            host.network(vni), device: KernelName.vxlan, direction: "inout",
            filter: isV4 ? "arp" : "icmp6 and (ip6[40] == 135 or ip6[40] == 136)")
        let onBridge = Recording(host.network(vni), device: KernelName.bridge, direction: "inout", filter: filter)
        let atOwn = Recording(again, filter: filter)
        let atIdle = Recording(idle, filter: filter)
        expectApplied(await host.kernel.apply([.setNeighbour(vni, address, new), .announce(vni, address, new)]))
        for container in [asking, idle] {
            // At once, as a veth hands frames over in a softirq.
            usleep(20_000)
            #expect(neighbour(container, "\(address)").contains(new.description))
        }
        let told = atIdle.stop()
        let own = atOwn.stop()
        let bridge = onBridge.stop()
        // The tunnel does carry a request for an address that nobody has; otherwise silence would prove nothing.
        _ = ping(asking, isV4 ? "10.9.0.77" : "fd00:9::77")
        let tunnel = onTunnel.stop()
        let words = isV4 ? "who-has \(address) tell \(address)" : "neighbor advertisement, tgt is \(address)"
        let announced = told.filter { $0.contains(words) }
        #expect(announced.count == 1 && announced.allSatisfy { $0.contains(new.description) }, "\(told)")
        #expect(own.isEmpty, "\(own)")
        #expect(bridge.isEmpty, "\(bridge)")
        #expect(
            tunnel.contains { $0.contains(isV4 ? "10.9.0.77" : "fd00:9::77") }, "the capture of the tunnel hears nothing: \(tunnel)"
        )
        #expect(!tunnel.contains { $0.contains(new.description) }, "\(tunnel)")
        #expect(ping(asking, "\(address)"))
        #expect(ping(idle, "\(address)"))
    }

    /// Remote endpoints too: the MAC is behind no port, so all ports get it.
    @Test(arguments: ["10.9.0.50", "fd00:9::50"]) func `a remote endpoint comes back with another MAC`(text: String) async throws {
        let (host, base) = try await network(dualStack: true)
        let vni = base.vni
        let address = try ip(text)
        let vtep = Destination.vtep(try ip("192.0.2.2"))
        let (old, new) = (try mac("02:cc:00:00:00:01"), try mac("02:cc:00:00:00:02"))
        let asking = try await start(host, vni, 2, ["10.9.0.12/24", "fd00:9::12/64"])
        expectApplied(await host.kernel.apply([.setForwarding(vni, old, vtep), .setNeighbour(vni, address, old)]))
        // Nobody answers the echo, but the bridge answers for the address.
        _ = ping(asking, text)
        #expect(neighbour(asking, text).contains(old.description))
        expectApplied(
            await host.kernel.apply([
                .setForwarding(vni, new, vtep), .setNeighbour(vni, address, new), .announce(vni, address, new),
                .deleteForwarding(vni, old, vtep),
            ]))
        usleep(20_000)
        #expect(neighbour(asking, text).contains(new.description))
    }

    /// A container must not take the announcement for a duplicate of its address.
    @Test func `the announced endpoint's own duplicate detection passes`() async throws {
        let (host, base) = try await network(dualStack: true)
        let vni = base.vni
        let own = endpoint(1)
        let container = try await start(host, vni, 1, ["10.9.0.11/24"])
        sh("\(container) ip addr add fd00:9::11/64 dev eth0")
        #expect(sh("\(container) ip addr show dev eth0").contains("tentative"), "the test proves nothing")
        expectApplied(await host.kernel.apply([.announce(vni, try ip("fd00:9::11"), own.port.mac)]))
        usleep(100_000)
        #expect(!sh("\(container) ip addr show dev eth0").contains("dadfailed"))
    }

    @Test func `nobody to tell is no error`() async throws {
        let (host, base) = try await network(dualStack: true)
        let id = base.vni
        let hardware = try mac("02:cc:00:00:00:01")
        let tell: [KernelOperation] = [
            .announce(id, try ip("10.9.0.50"), hardware), .announce(id, try ip("fd00:9::50"), hardware),
        ]
        expectApplied(await host.kernel.apply(tell))
        // Ports that are down on either side, and one that was removed by somebody else.
        let (one, two, three) = (endpoint(1), endpoint(2), endpoint(3))
        for each in [one, two, three] {
            expectApplied(await host.kernel.apply([.createPort(id, name: each.name, each.port, mtu: 1450)]))
        }
        sh("\(host.network(id)) ip link set \(two.name) down")
        sh("\(host.network(id)) ip link del \(three.name)")
        expectApplied(await host.kernel.apply(tell))
        // The same for the bridge, for the network, and for a network that never was.
        sh("\(host.network(id)) ip link del \(KernelName.bridge)")
        expectApplied(await host.kernel.apply(tell))
        expectApplied(await host.kernel.apply([.deleteNetwork(id)]))
        expectApplied(await host.kernel.apply(tell))
        expectApplied(await host.kernel.apply([.announce(try vni(9), try ip("10.9.0.50"), hardware)]))
    }

    @Test func `announcements before a row that fails are made, those after it are not`() async throws {
        let (host, base) = try await network(dualStack: false)
        let vni = base.vni
        let (first, second) = (try ip("10.9.0.50"), try ip("10.9.0.51"))
        let hardware = try mac("02:cc:00:00:00:01")
        let asking = try await start(host, vni, 2, ["10.9.0.12/24"])
        for address in [first, second] { sh("\(asking) ip neigh add \(address) lladdr 02:cc:00:00:00:09 dev eth0 nud reachable") }
        let outcome = await host.kernel.apply([
            .announce(vni, first, hardware), .setForwarding(vni, hardware, .port("venone")), .announce(vni, second, hardware),
        ])
        guard case .failed(let index, let failure) = outcome else {
            Issue.record("applied")
            return
        }
        #expect(index == 1 && failure.errno == ENODEV)
        usleep(20_000)
        #expect(neighbour(asking, "\(first)").contains(hardware.description))
        #expect(!neighbour(asking, "\(second)").contains(hardware.description))
    }

    /// The packet socket is closed with the network's handle, as it would keep the namespace alive.
    @Test func `one socket per network, closed with it`() async throws {
        let (host, base) = try await network(dualStack: false)
        let vni = base.vni
        _ = try await start(host, vni, 2, ["10.9.0.12/24"])
        let hardware = try mac("02:cc:00:00:00:01")
        let count = "sh -c 'tail -n +2 /proc/net/packet | wc -l'"
        let sockets = "\(host.network(vni)) \(count)"
        #expect(sh(sockets) == "0\n")
        for _ in 0..<3 { expectApplied(await host.kernel.apply([.announce(vni, try ip("10.9.0.50"), hardware)])) }
        #expect(sh(sockets) == "1\n")
        let watch = try NetworkNamespace.open(path: "\(host.directory)/\(KernelName.namespace(vni))")
        expectApplied(await host.kernel.apply([.deleteNetwork(vni)]))
        #expect(sh("nsenter --net=/proc/\(getpid())/fd/\(watch.number) \(count)") == "0\n")
    }
}
