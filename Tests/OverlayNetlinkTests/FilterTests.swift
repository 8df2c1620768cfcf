import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Synchronization
import Testing

@testable import OverlayNetlink

/// Origin of tunnel frames: what strangers, containers and local programs send reaches no network.
@Suite("tunnel filter", .enabled(if: kernelIsUsable), .serialized)
struct FilterTests {
    private static let vtep = "198.51.100.1"
    private static let member = "198.51.100.2"
    private static let stranger = "198.51.100.3"

    /// Host with a network, a container on it, and a link to a namespace that plays the other hosts.
    private struct Site {
        let host: ScratchHost
        let other: ScratchHost
        let container: String
    }

    private func site() async throws -> Site {
        let (host, other) = (try ScratchHost(), try ScratchHost())
        sh("ip link add wire mtu 1500 netns \(host.path) type veth peer name wire netns \(other.path)")
        sh("\(host.inside) ip addr add \(Self.vtep)/24 dev wire; \(host.inside) ip link set wire up")
        for address in [Self.member, Self.stranger] { sh("\(other.inside) ip addr add \(address)/24 dev wire") }
        sh("\(other.inside) ip link set wire up")
        let (name, port) = endpoint(1)
        expectApplied(
            await host.kernel.apply([
                .createNetwork(try base(Self.vtep)), .createPort(try vni(), name: name, port, mtu: 1450),
                .setForwarding(try vni(), port.mac, .port(name)), .addFlood(try vni(), try ip(Self.member)),
            ]))
        return Site(host: host, other: other, container: try host.startContainer(port, ["10.9.0.11/24"]))
    }

    /// VXLAN datagram with a broadcast frame that carries UDP to the container.
    private static func datagram(_ vni: UInt32, size: Int = 32) -> [UInt8] {
        let vxlan: [UInt8] = [8, 0, 0, 0] + [16, 8, 0].map { UInt8(truncatingIfNeeded: vni >> $0) } + [0]
        let ethernet: [UInt8] = [UInt8](repeating: 0xFF, count: 6) + [2, 0xEE, 0, 0, 0, 1, 0x08, 0x00]
        let udp: [UInt8] = [0x10, 0x00, 0x30, 0x39, UInt8((8 + size) >> 8), UInt8((8 + size) & 0xFF), 0, 0]
        let total = 20 + udp.count + size
        var ip: [UInt8] = [
            0x45, 0, UInt8(total >> 8), UInt8(total & 0xFF), 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 77, 10, 9, 0, 11,
        ]
        var sum: UInt32 = 0
        for index in stride(from: 0, to: 20, by: 2) { sum += UInt32(ip[index]) << 8 | UInt32(ip[index + 1]) }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        ip[10] = UInt8(~sum >> 8 & 0xFF)
        ip[11] = UInt8(~sum & 0xFF)
        return vxlan + ethernet + ip + udp + [UInt8](repeating: 0x58, count: size)
    }

    /// Sends a datagram ten times from a namespace.
    private func send(_ datagram: [UInt8], in path: String, from source: String?, to target: String) throws {
        let socket = try NetworkNamespace.openSocket(
            in: NetworkNamespace.open(path: path), domain: AF_INET, type: Int32(SOCK_DGRAM.rawValue), protocol: 0)
        func address(_ text: String, _ port: UInt16) -> sockaddr_in {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            inet_pton(AF_INET, text, &address.sin_addr)
            return address
        }
        func with(_ value: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int) -> Int {
            var value = value
            return withUnsafePointer(to: &value) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        }
        if let source { #expect(with(address(source, 0)) { Int(bind(socket.number, $0, $1)) } == 0) }
        for _ in 0..<10 {
            // The output hook refuses with EPERM.
            _ = with(address(target, 4789)) { sendto(socket.number, datagram, datagram.count, 0, $0, $1) }
        }
    }

    /// Number of frames that reach the container while `body` runs.
    private func delivered(_ site: Site, _ body: () throws -> Void) rethrows -> Int {
        let recording = Recording(site.container, filter: "udp port 12345")
        try body()
        return recording.stop().count
    }

    private func open(_ site: Site) { sh("\(site.host.inside) nft delete table inet \(TunnelFilter.table)") }

    @Test func `frames of a member are let in, and nobody else's`() async throws {
        let site = try await site()
        let frame = Self.datagram(try vni().value)
        func count(from source: String) throws -> Int {
            try delivered(site) { try send(frame, in: site.other.path, from: source, to: Self.vtep) }
        }
        #expect(try count(from: Self.member) == 10)
        #expect(try count(from: Self.stranger) == 0)
        // A member that does not have the network is a stranger to it.
        expectApplied(
            await site.host.kernel.apply([.createNetwork(try base(Self.vtep, 1)), .addFlood(try vni(1), try ip(Self.stranger))]))
        #expect(try count(from: Self.stranger) == 0)
        // Each path works without the table.
        open(site)
        #expect(try count(from: Self.stranger) == 10)
    }

    @Test(arguments: ["127.0.0.1", "198.51.100.1"]) func `a local program reaches no network`(target: String) async throws {
        let site = try await site()
        let frame = Self.datagram(try vni().value)
        func count() throws -> Int { try delivered(site) { try send(frame, in: site.host.path, from: nil, to: target) } }
        #expect(try count() == 0)
        open(site)
        #expect(try count() == 10)
    }

    @Test func `fragments hide nothing`() async throws {
        let site = try await site()
        // The link cuts the datagram, and the second fragment has no header.
        sh("\(site.other.inside) ip link set wire mtu 600; \(site.other.inside) ip route flush cache")
        let frame = Self.datagram(try vni().value, size: 1000)
        func count() throws -> Int {
            try delivered(site) { try send(frame, in: site.other.path, from: Self.stranger, to: Self.vtep) }
        }
        #expect(try count() == 0)
        open(site)
        #expect(try count() == 10)
    }

    @Test func `a container that forges a member's address is not believed, and nothing is forwarded`() async throws {
        let site = try await site()
        // A container of another network: the host routes for it.
        let neighbour = try ScratchHost()
        sh("ip link add docker netns \(site.host.path) type veth peer name eth0 netns \(neighbour.path)")
        sh("\(site.host.inside) ip addr add 172.17.0.1/16 dev docker; \(site.host.inside) ip link set docker up")
        sh("\(site.host.inside) sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter'")
        sh("\(site.host.inside) sh -c 'echo 0 > /proc/sys/net/ipv4/conf/docker/rp_filter'")
        sh("\(neighbour.inside) ip addr add 172.17.0.2/16 dev eth0; \(neighbour.inside) ip link set eth0 up")
        sh("\(neighbour.inside) ip route add default via 172.17.0.1")
        sh("\(site.other.inside) ip route add 172.17.0.0/16 via \(Self.vtep)")
        let frame = Self.datagram(try vni().value)
        func count(from source: String, to target: String) throws -> Int {
            try delivered(site) { try send(frame, in: neighbour.path, from: source, to: target) }
        }
        func forwarded() throws -> Int {
            let recording = Recording(site.other.inside, device: "wire", filter: "udp port 4789 and src 172.17.0.2")
            try send(frame, in: neighbour.path, from: "172.17.0.2", to: Self.member)
            // The frame inside has a line of its own.
            return recording.stop().count { $0.contains("VXLAN") }
        }
        #expect(try forwarded() == 0)
        #expect(try count(from: "172.17.0.2", to: Self.vtep) == 0)
        open(site)
        #expect(try forwarded() == 10)
        #expect(try count(from: "172.17.0.2", to: Self.vtep) == 10)
        _ = try await site.host.kernel.observe()
        expectApplied(
            await site.host.kernel.apply([.createNetwork(try base(Self.vtep)), .addFlood(try vni(), try ip(Self.member))]))
        sh("\(neighbour.inside) ip addr add \(Self.member)/32 dev lo")
        #expect(try count(from: Self.member, to: Self.vtep) == 0)
    }

    @Test func `VNIs of another overlay are left alone`() async throws {
        let site = try await site()
        sh("\(site.host.inside) ip link add swarm type vxlan id 4097 dstport 4789 local \(Self.vtep) nolearning")
        sh("\(site.host.inside) ip link set swarm up")
        let recording = Recording(site.host.inside, device: "swarm", filter: "udp port 12345")
        try send(Self.datagram(4097), in: site.other.path, from: Self.stranger, to: Self.vtep)
        #expect(recording.stop().count == 10)
    }

    // MARK: The table

    private func isFiltered(_ kernel: KernelNetlink) async throws -> Bool? {
        try await kernel.observe().networks[try vni()]?.base.isFiltered
    }

    @Test(arguments: [
        "delete table inet swift_overlay", "flush ruleset", "insert rule inet swift_overlay tunnel accept",
        "flush chain inet swift_overlay tunnel",
        "add table inet swift_overlay { flags dormant; }", "chain inet swift_overlay input { policy drop; }",
    ])
    func `what others do to the table is seen and mended`(change: String) async throws {
        let site = try await site()
        #expect(try await isFiltered(site.host.kernel) == true)
        sh("\(site.host.inside) nft '\(change)'")
        #expect(try await isFiltered(site.host.kernel) == false)
        expectApplied(await site.host.kernel.apply([.createNetwork(try base(Self.vtep))]))
        let state = try await site.host.kernel.observe().networks[try vni()]
        #expect(state?.base.isFiltered == true)
        // The tunnels go on meanwhile.
        #expect(state?.admitted == [try ip(Self.member)])
        #expect(
            try delivered(site) {
                try send(Self.datagram(try vni().value), in: site.other.path, from: Self.stranger, to: Self.vtep)
            } == 0)
    }

    @Test func `the kernel tells of changes by others, and not of own ones`() async throws {
        let site = try await site()
        let places = Mutex<[KernelPlace]>([])
        try await site.host.kernel.watch { place in places.withLock { $0.append(place) } }
        sleep(1)
        places.withLock { $0 = [] }
        expectApplied(await site.host.kernel.apply([.addFlood(try vni(), try ip("192.0.2.77"))]))
        sh("\(site.host.inside) nft add table inet of_another")
        usleep(600_000)
        #expect(!places.withLock { $0.contains(.filter) })
        sh("\(site.host.inside) nft flush ruleset")
        usleep(600_000)
        #expect(places.withLock { $0.contains(.filter) })
        await site.host.kernel.stopWatching()
    }

    @Test func `elements that others delete are seen, and those of nobody are deleted`() async throws {
        let site = try await site()
        let kernel = site.host.kernel
        sh("\(site.host.inside) nft flush set inet swift_overlay peers4")
        #expect(try await kernel.observe().networks[try vni()]?.admitted == [])
        expectApplied(await kernel.apply([.addFlood(try vni(), try ip(Self.member))]))
        #expect(try await kernel.observe().networks[try vni()]?.admitted == [try ip(Self.member)])
        sh("\(site.host.inside) nft flush set inet swift_overlay peers4")
        expectApplied(await kernel.apply([.deleteFlood(try vni(), try ip(Self.member))]))
        #expect(try await kernel.observe().networks[try vni()]?.flood == [])
        // An element of a network that is not there any more.
        sh("\(site.host.inside) nft 'add element inet swift_overlay peers4 { 192.0.2.9 . 1048999 }'")
        let stale = try vni(1_048_999 - VNI.all.lowerBound)
        #expect(try await kernel.observe().broken == [stale])
        expectApplied(await kernel.apply([.deleteNetwork(stale)]))
        #expect(try await kernel.observe().broken == [])
    }

    @Test func `the table outlives the daemon, and goes with the last network`() async throws {
        let site = try await site()
        let again = try site.host.restarted()
        let found = try await again.observe().networks[try vni()]
        #expect(found?.admitted == [try ip(Self.member)])
        // A new life cannot know whether the rules are as they were made.
        #expect(found?.base.isFiltered == false)
        expectApplied(await again.apply([.createNetwork(try base(Self.vtep))]))
        #expect(try await again.observe().networks[try vni()]?.admitted == [try ip(Self.member)])
        expectApplied(await again.apply([.deleteNetwork(try vni())]))
        #expect(sh("\(site.host.inside) nft list tables").isEmpty)
    }

    @Test func `many peers fit`() async throws {
        let site = try await site()
        let vteps = (0..<3000).map { IPAddress(family: .v4, bits: 0x0A10_0000 + UInt128($0)) }
        expectApplied(await site.host.kernel.apply(try vteps.map { .addFlood(try vni(), $0) }))
        #expect(try await site.host.kernel.observe().networks[try vni()]?.admitted.count == 3001)
        sh("\(site.host.inside) nft 'insert rule inet swift_overlay tunnel accept'")
        _ = try await site.host.kernel.observe()
        expectApplied(await site.host.kernel.apply([.createNetwork(try base(Self.vtep))]))
        #expect(try await site.host.kernel.observe().networks[try vni()]?.admitted.count == 3001)
        expectApplied(await site.host.kernel.apply(try vteps.map { .deleteFlood(try vni(), $0) }))
        #expect(try await site.host.kernel.observe().networks[try vni()]?.admitted.count == 1)
    }
}
