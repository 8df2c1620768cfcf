import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Synchronization
import Testing

@testable import OverlayNetlink

/// Listening at the port of a container.
@Suite("hearing", .enabled(if: kernelIsUsable), .serialized)
struct HearingTests {
    /// Reports of all ports, in order.
    private final class Reports: Sendable {
        private let all = Mutex([(EndpointID, KernelNetlink.Hearsay)]())

        func add(_ endpoint: EndpointID, _ report: KernelNetlink.Hearsay) { all.withLock { $0.append((endpoint, report)) } }
        private var reports: [KernelNetlink.Hearsay] { all.withLock { all in all.map(\.1) } }
        var heard: [Heard] {
            var result: [Heard] = []
            for case .heard(let all) in reports { result += all }
            return result
        }
        var count: Int { reports.count }
        var isDeaf: Bool {
            for case .deaf in reports { return true }
            return false
        }
        func clear() { all.withLock { $0 = [] } }

        func wait(for condition: (Reports) -> Bool) -> Bool {
            for _ in 0..<200 {
                if condition(self) { return true }
                usleep(10_000)
            }
            return false
        }
    }

    private let vip = IPAddress(v4: 10, 0, 0, 200)

    /// Where the thread cannot wait any more, all ports are told of: those that it had, and those that come later.
    @Test func aThreadThatEndsLeavesNobodyListenedAtInSilence() throws {
        let reports = Reports()
        let fails = Atomic(false)
        let ears = try Ears(
            wait: { set, milliseconds throws(SystemError) in
                let all = try set.wait(milliseconds: milliseconds)
                if fails.load(ordering: .relaxed) { throw SystemError(operation: "epoll_wait", errno: EBADF) }
                return all
            }, { reports.add($0, $1) })
        let host = try NetworkNamespace.open(path: "/proc/self/ns/net")
        ears.add(try #require(EndpointID("0123456789a1")), try HearingSocket(in: host))
        usleep(50_000)
        #expect(!ears.hasEnded && !reports.isDeaf)
        fails.store(true, ordering: .relaxed)
        ears.add(try #require(EndpointID("0123456789a2")), try HearingSocket(in: host))
        #expect(reports.wait { $0.count == 2 } && ears.hasEnded)
        ears.add(try #require(EndpointID("0123456789a3")), try HearingSocket(in: host))
        #expect(reports.wait { $0.count == 3 } && reports.isDeaf)
    }
    private let own = IPAddress(v4: 10, 0, 0, 5)

    @Test func announcementsAndNewMACsAreHeard() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1")
        let (name, port) = endpoint(1)
        let (otherName, otherPort) = endpoint(2)
        let id = try #require(EndpointID(String(name.dropFirst(2))))
        let vni = try vni()
        expectApplied(
            await host.kernel.apply([
                .createNetwork(try base("192.0.2.1")), .createPort(vni, name: name, port, mtu: 1450),
                .createPort(vni, name: otherName, otherPort, mtu: 1450),
            ]))
        let one = try host.startContainer(port, ["10.0.0.5/24"])
        let other = try host.startContainer(otherPort, ["10.0.0.6/24"])
        let reports = Reports()
        var hearing = Hearing(macs: [port.mac], known: [.init(own, at: port.mac)], isFull: false)
        try await host.kernel.listen(id, on: vni, for: hearing) { reports.add($0, $1) }
        // Frames in its own name, and those to it, are not heard.
        _ = ping(one, "10.0.0.6")
        _ = ping(other, "10.0.0.5")
        usleep(100_000)
        #expect(reports.heard.isEmpty)
        // An announcement, as many as they may be.
        sh("\(one) ip addr add 10.0.0.200/24 dev eth0")
        sh("\(one) busybox arping -U -c 1 -I eth0 10.0.0.200 || true")
        let claim = Heard(source: port.mac, claim: .init(vip, at: port.mac))
        #expect(reports.wait { $0.heard.contains(claim) })
        hearing.known.insert(.init(vip, at: port.mac))
        try await host.kernel.listen(id, on: vni, for: hearing) { reports.add($0, $1) }
        reports.clear()
        sh("\(one) busybox arping -U -c 1 -I eth0 10.0.0.200 || true")
        usleep(100_000)
        #expect(reports.heard.isEmpty)
        // Another MAC.
        let new = try mac("02:cc:00:00:00:07")
        sh("\(one) ip link set eth0 address \(new)")
        _ = ping(one, "10.0.0.6")
        #expect(reports.wait { $0.heard.contains { $0.source == new } })
        // Nothing more after the end, and an error where there is no port.
        try await host.kernel.listen(id, on: vni, for: nil) { reports.add($0, $1) }
        usleep(100_000)
        reports.clear()
        _ = ping(one, "10.0.0.6")
        usleep(100_000)
        #expect(reports.heard.isEmpty)
        let nobody = try #require(EndpointID("ffffffffffff"))
        await #expect(throws: KernelFailure.self) {
            try await host.kernel.listen(nobody, on: vni, for: hearing) { reports.add($0, $1) }
        }
    }

    @Test func thePortThatGoesIsReported() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1")
        let (name, port) = endpoint(3)
        let id = try #require(EndpointID(String(name.dropFirst(2))))
        let vni = try vni()
        expectApplied(
            await host.kernel.apply([.createNetwork(try base("192.0.2.1")), .createPort(vni, name: name, port, mtu: 1450)]))
        let reports = Reports()
        let hearing = Hearing(macs: [port.mac], known: [], isFull: false)
        try await host.kernel.listen(id, on: vni, for: hearing) { reports.add($0, $1) }
        sh("\(host.network(vni)) ip link del \(name)")
        #expect(reports.wait { $0.isDeaf })
    }

    /// A container that sends from ever new MACs takes a bounded share of the thread.
    @Test func aFloodIsBounded() async throws {
        let host = try ScratchHost()
        host.addLoopback("192.0.2.1")
        let (name, port) = endpoint(4)
        let id = try #require(EndpointID(String(name.dropFirst(2))))
        let vni = try vni()
        expectApplied(
            await host.kernel.apply([.createNetwork(try base("192.0.2.1")), .createPort(vni, name: name, port, mtu: 1450)]))
        let one = try host.startContainer(port, ["10.0.0.5/24"])
        let reports = Reports()
        try await host.kernel.listen(id, on: vni, for: Hearing(macs: [port.mac], known: [], isFull: false)) { reports.add($0, $1) }
        sh(
            """
            \(one) python3 -c 'import socket, struct, time
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0)); end = time.time() + 1; n = 0
            while time.time() < end:
                n += 1
                s.send(b"\\xff" * 6 + b"\\x02\\xee" + struct.pack("!I", n) + b"\\x08\\x00" + bytes(60))
            '
            """)
        let count = reports.heard.count
        #expect(count > 0 && count < 3000, "\(count) frames")
    }
}
