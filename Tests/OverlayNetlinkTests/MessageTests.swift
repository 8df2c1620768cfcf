import Glibc
import OverlayDatapath
import OverlayModel
import Testing

@testable import OverlayNetlink

/// Bytes of requests, and the parsing of bytes that are no answer. Needs no privilege.
@Suite("messages")
struct MessageTests {
    private func hex(_ message: borrowing Message) -> String { hexadecimal(message.bytes()) }

    @Test func `a forwarding row for both tables`() throws {
        let message = try Requests.forwarding(try mac("02:00:00:00:00:09"), to: try ip("192.0.2.11"), on: 5, [.bridge, .device])
        #expect(
            hex(message)
                == [
                    "30000000", "1c00", "0105", "00000000", "00000000",  // 48 bytes, RTM_NEWNEIGH, REQUEST | REPLACE | CREATE
                    "07", "00", "0000", "05000000", "4200", "06", "00",  // AF_BRIDGE, ifindex 5, NOARP | REACHABLE, SELF | MASTER
                    "0a00", "0200", "020000000009", "0000",  // NDA_LLADDR
                    "0800", "0100", "c000020b",  // NDA_DST
                ].joined())
    }

    @Test func `a VXLAN device`() throws {
        let base = NetworkState.Base(vni: try vni(), local: try ip("192.0.2.1"), port: 4789, mtu: 1450)
        let text = hex(try Requests.vxlan(base, name: "vxlan0", namespace: 9))
        #expect(
            text
                == [
                    "70000000", "1000", "0106", "00000000", "00000000",  // 112 bytes, RTM_NEWLINK, REQUEST | EXCL | CREATE
                    "00", "00", "0000", "00000000", "00000000", "00000000",  // any index, no flags
                    "0b00", "0300", "76786c616e3000", "00",  // IFLA_IFNAME vxlan0
                    "0800", "0400", "aa050000",  // IFLA_MTU 1450
                    "0800", "1c00", "09000000",  // IFLA_NET_NS_FD
                    "3400", "1280",  // IFLA_LINKINFO
                    "0a00", "0100", "76786c616e00", "0000",  // IFLA_INFO_KIND vxlan
                    "2400", "0280",  // IFLA_INFO_DATA
                    "0800", "0100", "00001000",  // IFLA_VXLAN_ID 1048576
                    "0800", "0400", "c0000201",  // IFLA_VXLAN_LOCAL
                    "0600", "0f00", "12b5", "0000",  // IFLA_VXLAN_PORT 4789
                    "0500", "0700", "00", "000000",  // IFLA_VXLAN_LEARNING off
                ].joined(), "\(text)")
    }

    @Test func `port flags`() throws {
        let message = try RouteSocket.portRequest(3, .tunnel)
        #expect(
            hex(message)
                == [
                    "94000000", "1300", "0100", "00000000", "00000000",  // 148 bytes, RTM_SETLINK, REQUEST
                    "07", "00", "0000", "03000000", "00000000", "00000000",  // AF_BRIDGE, ifindex 3
                    "7400", "0c80",  // IFLA_PROTINFO
                    "0500", "0400", "00", "000000",  // IFLA_BRPORT_MODE off
                    "0500", "0500", "00", "000000",  // IFLA_BRPORT_GUARD off
                    "0500", "0600", "00", "000000",  // IFLA_BRPORT_PROTECT off
                    "0500", "0800", "00", "000000",  // IFLA_BRPORT_LEARNING off
                    "0500", "0900", "01", "000000",  // IFLA_BRPORT_UNICAST_FLOOD on
                    "0500", "0a00", "00", "000000",  // IFLA_BRPORT_PROXYARP off
                    "0500", "0c00", "00", "000000",  // IFLA_BRPORT_PROXYARP_WIFI off
                    "0500", "1b00", "01", "000000",  // IFLA_BRPORT_MCAST_FLOOD on
                    "0500", "1c00", "00", "000000",  // IFLA_BRPORT_MCAST_TO_UCAST off
                    "0500", "1e00", "01", "000000",  // IFLA_BRPORT_BCAST_FLOOD on
                    "0500", "1d00", "00", "000000",  // IFLA_BRPORT_VLAN_TUNNEL off
                    "0500", "2000", "01", "000000",  // IFLA_BRPORT_NEIGH_SUPPRESS on
                    "0500", "2100", "00", "000000",  // IFLA_BRPORT_ISOLATED off
                    "0500", "2700", "00", "000000",  // IFLA_BRPORT_LOCKED off
                ].joined())
    }

    @Test func `cut and crooked answers are read without a trap`() throws {
        let whole = try Requests.vxlan(
            NetworkState.Base(vni: try vni(), local: try ip("192.0.2.1"), port: 4789, mtu: 1450), name: "vxlan0", namespace: 9
        ).bytes().dropFirst(16)
        func parse(_ bytes: [UInt8]) -> Link? { bytes.withUnsafeBytes { Link(Received(bytes: $0)) } }
        let link = try #require(parse(Array(whole)))
        #expect(link.name == "vxlan0" && link.vxlan.id == 1_048_576 && link.vxlan.port == 4789 && link.mtu == 1450)
        for length in 0..<whole.count {
            #expect((parse(Array(whole.prefix(length))) == nil) == (length < 16))
        }
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<20_000 {
            var bytes = Array(whole)
            for _ in 0..<4 {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            _ = parse(bytes)
        }
    }

    @Test(arguments: [
        (EPERM, "CAP_NET_ADMIN"), (EEXIST, "VNI 1048576 on UDP port 4789 is held by another VXLAN device of this host"),
        (EOPNOTSUPP, "modprobe vxlan"), (EADDRINUSE, "ss -ulnp sport = :4789"), (EXFULL, "1023 ports"),
        (EADDRNOTAVAIL, "--data-path-addr"),
    ]) func `a failure says what to do`(code: Int32, words: String) throws {
        let base = NetworkState.Base(vni: try vni(), local: try ip("192.0.2.1"), port: 4789, mtu: 1450)
        let failure = KernelFailure("link add vxlan0", NetlinkError(code: code, message: "the kernel's words"), about: .vxlan(base))
        #expect(failure.errno == code)
        #expect(failure.reason.contains(words) && failure.reason.contains("the kernel's words"), "\(failure)")
        #expect(failure.description.hasPrefix("link add vxlan0: "))
    }
}
