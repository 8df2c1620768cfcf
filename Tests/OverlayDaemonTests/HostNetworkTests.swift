import OverlayModel
import OverlayNetlink
import OverlayNode
import Testing

@testable import OverlayDaemon

@Suite struct HostNetworkTests {
    private func address(_ prefix: String, on link: String, _ index: Int32, isUp: Bool = true, isLoopback: Bool = false) throws
        -> HostAddress
    {
        HostAddress(
            link: link, index: index, mtu: 1500, isUp: isUp, isLoopback: isLoopback, prefix: try #require(IPPrefix(prefix)))
    }

    private func route(_ destination: String = "0.0.0.0/0", link: Int32?, source: String? = nil) throws -> HostRoute {
        HostRoute(
            destination: try #require(IPPrefix(destination)), gateway: nil, link: link,
            preferredSource: source.flatMap { IPAddress($0) })
    }

    private func advertised(_ given: String? = nil, _ addresses: [HostAddress], _ routes: [HostRoute] = []) throws -> String {
        "\(try HostNetwork.advertised(given, addresses, routes))"
    }

    private func failure(_ given: String? = nil, _ addresses: [HostAddress], _ routes: [HostRoute] = []) -> String? {
        #expect(throws: StartError.self) { try HostNetwork.advertised(given, addresses, routes) }?.description
    }

    @Test func `The default route decides between several links`() throws {
        let addresses = [
            try address("127.0.0.1/8", on: "lo", 1, isLoopback: true), try address("192.0.2.1/24", on: "eth0", 2),
            try address("198.51.100.1/24", on: "eth1", 3),
        ]
        #expect(try advertised(nil, addresses, [try route(link: 3)]) == "198.51.100.1")
        #expect(try advertised(nil, addresses, [try route("203.0.113.0/24", link: 2), try route(link: 3)]) == "198.51.100.1")
        // The kernel's own choice of source counts before the link's first address.
        #expect(try advertised(nil, addresses, [try route(link: 3, source: "192.0.2.1")]) == "192.0.2.1")
    }

    @Test func `The only link's address needs no route, IPv4 before IPv6`() throws {
        let addresses = [
            try address("fe80::1/64", on: "eth0", 2), try address("2001:db8::1/64", on: "eth0", 2),
            try address("192.0.2.1/24", on: "eth0", 2), try address("169.254.7.7/16", on: "eth0", 2),
        ]
        #expect(try advertised(nil, addresses) == "192.0.2.1")
        #expect(try advertised(nil, Array(addresses.prefix(2))) == "2001:db8::1")
    }

    @Test func `What the node sees has all addresses, and the one that would be chosen where that is asked`() throws {
        let addresses = [
            try address("127.0.0.1/8", on: "lo", 1, isLoopback: true), try address("192.0.2.1/24", on: "eth0", 2),
            try address("198.51.100.1/24", on: "eth1", 3),
        ]
        let all = Set(addresses.map(\.prefix.address))
        let view = HostNetwork.view(addresses, choosingBy: nil)
        #expect(Set(view.mtus.keys) == all && Set(view.mtus.values) == [1500] && view.choice == nil)
        #expect(HostNetwork.view(addresses, choosingBy: []).choice == nil)
        #expect(HostNetwork.view(addresses, choosingBy: [try route(link: 3)]).choice == IPAddress("198.51.100.1"))
        // A route that prefers the address that is gone.
        #expect(HostNetwork.view(addresses, choosingBy: [try route(link: 3, source: "203.0.113.7")]).choice == nil)
    }

    @Test(arguments: ["docker0", "docker_gwbridge", "br-0123456789ab", "veth1a2b"])
    func `A link of the engine is never chosen`(link: String) throws {
        let addresses = [try address("172.17.0.1/16", on: link, 2), try address("192.0.2.1/24", on: "eth0", 3)]
        #expect(try advertised(nil, addresses) == "192.0.2.1")
        #expect(failure(nil, [addresses[0]])?.contains("no address that others could reach") == true)
    }

    @Test func `Links that are down, loopback and link-local addresses are never chosen`() throws {
        let addresses = [
            try address("192.0.2.1/24", on: "eth0", 2, isUp: false), try address("127.0.0.1/8", on: "lo", 1, isLoopback: true),
            try address("169.254.7.7/16", on: "eth1", 3), try address("fe80::1/64", on: "eth1", 3),
        ]
        #expect(
            failure(nil, addresses)
                == "this host has no address that others could reach; give one to a link, and name it with --advertise-addr")
    }

    @Test func `Several links without a default route are a question to the user`() throws {
        let addresses = [try address("192.0.2.1/24", on: "eth0", 2), try address("198.51.100.1/24", on: "eth1", 3)]
        #expect(
            failure(nil, addresses, [try route("10.0.0.0/8", link: 2)])
                == "this host has several addresses, 192.0.2.1 (eth0), 198.51.100.1 (eth1), and no default route: say with --advertise-addr which one others reach"
        )
    }

    @Test func `A given address must be this host's`() throws {
        let addresses = [
            try address("127.0.0.1/8", on: "lo", 1, isLoopback: true), try address("192.0.2.1/24", on: "eth0", 2),
            try address("198.51.100.1/24", on: "eth1", 3),
        ]
        #expect(try advertised("198.51.100.1", addresses, [try route(link: 2)]) == "198.51.100.1")
        #expect(failure("eth0", addresses) == "--advertise-addr eth0 is not an IP address")
        #expect(
            failure("192.0.2.9", addresses)
                == "--advertise-addr 192.0.2.9 is not an address of this host, which has 192.0.2.1, 198.51.100.1")
        let error = #expect(throws: StartError.self) { try HostNetwork.local("192.0.2.9", flag: "--data-path-addr", []) }
        #expect(error?.description == "--data-path-addr 192.0.2.9 is not an address of this host, which has none")
    }
}
