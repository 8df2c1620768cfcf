import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct OpenSubnetTests {
    @Test func thePoolGivesTheLowestFreeSubnet() throws {
        var fixture = Fixture(members: 2, pool: "10.0.0.0/22")
        #expect(try fixture.opened().prefix == IPPrefix("10.0.0.0/24"))
        let second = try fixture.opened(by: 1)
        #expect(second.prefix == IPPrefix("10.0.1.0/24"), "without a name they are different networks")
        #expect(try fixture.opened("10.0.2.64/26").prefix == IPPrefix("10.0.2.64/26"))
        #expect(try fixture.opened().prefix == IPPrefix("10.0.3.0/24"), "one that is used in part is not free")
        let full = fixture.open()
        #expect(full.refusal == .exhausted && full.message.contains("10.0.0.0/22 has no free /24 left; give a --subnet"))
        #expect(fixture.propose(.closeSubnet(second.id), by: 1) == .accepted)
        #expect(try fixture.opened().prefix == IPPrefix("10.0.1.0/24"))
        #expect(fixture.catalogue.violations == [])
    }

    @Test(
        arguments: [
            (["10.0.0.0/24"], "10.0.1.0/24"), (["10.0.0.200/32"], "10.0.1.0/24"), (["10.0.0.0/23", "10.0.2.0/25"], "10.0.3.0/24"),
            (["192.168.0.0/16", "fd00::/8"], "10.0.0.0/24"), (["10.0.3.255/32"], "10.0.0.0/24"),
            // A host's routes may have host bits and may be repeated.
            (["10.0.0.5/25", "10.0.0.5/25", "10.0.1.9/32"], "10.0.2.0/24"),
        ] as [([String], String)])
    func routesOfAllHostsAreAvoided(routes: [String], chosen: String) throws {
        for host in 0...1 {
            var fixture = Fixture(members: 2, pool: "10.0.0.0/22")
            fixture.route(routes, by: host)
            #expect(try fixture.opened().prefix == IPPrefix(chosen), "routes of host-\(host)")
            fixture.route([], by: host)
            if chosen != "10.0.0.0/24" { #expect(try fixture.opened().prefix == IPPrefix("10.0.0.0/24"), "and no longer") }
        }
    }

    @Test(arguments: ["10.0.0.0/8", "0.0.0.0/0", "10.0.0.0/22"])
    func aRouteOverThePoolLeavesNothing(route: String) {
        var fixture = Fixture(members: 2, pool: "10.0.0.0/22")
        fixture.route([route, "10.0.2.0/24"], by: 1)
        let refused = fixture.open()
        #expect(
            refused.refusal == .exhausted && refused.message.contains("as node host-1 has a route for \(route);"),
            "\(refused.message)")
        #expect(fixture.open("10.0.1.0/24").refusal == nil, "who names a subnet means it")
    }

    /// A member's record holds as many relevant routes as there is room for.
    @Test func routesHaveABound() throws {
        var fixture = Fixture(pool: "10.0.0.0/8")
        fixture.route((0..<200).flatMap { ["10.\($0).0.0/16", "172.16.\($0).0/24"] }, by: 0)
        #expect(fixture.catalogue.members[Fixture.node(0)]?.routes.count == Limits.routesPerMember)
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
        #expect(try fixture.opened().prefix == IPPrefix("10.64.0.0/24"))
    }

    /// Routes outside the pool, which only a subnet that a user names can overlap, are kept as long as there is room.
    @Test func routesOutsideThePoolComeLast() throws {
        var fixture = Fixture(pool: "10.0.0.0/8")
        fixture.route(["172.16.0.0/16", "10.1.0.0/16", "fd00::/64", "9.0.0.0/8"], by: 0)
        #expect(
            fixture.catalogue.members[Fixture.node(0)]?.routes.map(\.description)
                == ["10.1.0.0/16", "9.0.0.0/8", "172.16.0.0/16", "fd00::/64"])
        fixture.route((0..<64).map { "10.\($0).0.0/16" } + ["9.0.0.0/8"], by: 0)
        #expect(fixture.catalogue.members[Fixture.node(0)]?.routes.contains(IPPrefix("9.0.0.0/8")!) == false)
    }

    @Test func ipv6SubnetsComeFromTheClustersOwnPrefix() throws {
        var fixture = Fixture()
        let first = try fixture.opened(family: .v6).prefix
        let second = try fixture.opened(family: .v6).prefix
        let ula = try #require(IPPrefix("fdc1::/48"))
        #expect(first.length == 64 && ula.contains(first) && ula.contains(second) && !first.overlaps(second))
    }

    @Test func aNameIsOneNetwork() throws {
        var fixture = Fixture(members: 3)
        let first = try fixture.opened(name: "web", by: 0)
        #expect(try fixture.opened(name: "web", by: 1).id == first.id)
        #expect(try fixture.opened("\(first.prefix)", name: "web", by: 2).id == first.id)
        #expect(try fixture.opened("\(first.prefix)", by: 2).id == first.id, "an equal subnet without a name joins")
        #expect(fixture.catalogue.subnet(first.id)?.users == [Fixture.node(0), Fixture.node(1), Fixture.node(2)])
        #expect(fixture.catalogue.network(named: "web")?.users.count == 3)
        // A second address family is a second subnet of the same network.
        let v6 = try fixture.opened(name: "web", family: .v6)
        #expect(try fixture.network(of: v6.id).id == fixture.network(of: first.id).id)
        #expect(fixture.catalogue.networks.count == 1 && fixture.catalogue.violations == [])
    }

    @Test func aConfiguredNetworkIsComplete() throws {
        var fixture = Fixture(members: 2)
        let subnet = try fixture.opened("10.5.0.0/24", name: "web")
        #expect(
            fixture.propose(.configure(try fixture.network(of: subnet.id).id, adopting: [], NetworkSettings()), by: 0) == .accepted)
        let refused = fixture.open("10.6.0.0/24", name: "web", by: 1)
        #expect(refused.refusal == .conflict && refused.message.contains("has the subnets 10.5.0.0/24, not 10.6.0.0/24"))
        #expect(fixture.open(name: "web", family: .v6, by: 1).refusal == .conflict)
        #expect(try fixture.opened(name: "web", by: 1).id == subnet.id)
    }

    @Test func overlapsAreRefusedByName() {
        var fixture = Fixture()
        fixture.open("10.5.0.0/24", name: "web")
        let overlap = fixture.open("10.5.0.0/16")
        #expect(overlap.refusal == .conflict && overlap.message.contains("overlaps 10.5.0.0/24 of network web"))
        #expect(fixture.open("10.5.0.128/25", name: "other").refusal == .conflict)
        #expect(fixture.open("10.5.0.0/24", name: "other").message.contains("--ipam-opt net=web to join"))
    }

    @Test func theRangeIsThatOfTheFirst() throws {
        var fixture = Fixture(members: 2)
        let subnet = try fixture.opened("10.5.0.0/24", name: "web", range: "10.5.0.128/25")
        #expect(subnet.range == IPPrefix("10.5.0.128/25"))
        #expect(try fixture.opened("10.5.0.0/24", name: "web", by: 1).id == subnet.id)
        #expect(
            fixture.open("10.5.0.0/24", range: "10.5.0.0/25", by: 1).message.contains(
                "has the --ip-range 10.5.0.128/25, not 10.5.0.0/25"))
        fixture.open("10.6.0.0/24", name: "plain")
        #expect(fixture.open(name: "plain", range: "10.6.0.0/25", by: 1).message.contains("no --ip-range"))
    }

    @Test(
        arguments: [
            ("10.0.0.1/24", nil, IPAddress.Family.v4, "would be 10.0.0.0/24"), ("0.0.0.0/0", nil, .v4, "no address"),
            ("::/0", nil, .v6, "no address"), ("10.0.0.0/32", nil, .v4, "no address"), ("fd00::/128", nil, .v6, "no address"),
            ("10.0.0.0/24", nil, .v6, "not an IPv6 subnet"), ("fd00::/64", nil, .v4, "not an IPv4 subnet"),
            ("10.0.0.0/24", "10.0.1.0/25", .v4, "--ip-range"), ("10.0.0.0/24", "10.0.0.0/16", .v4, "--ip-range"),
            ("10.0.0.0/24", "fd00::/64", .v4, "--ip-range"), (nil, "192.168.0.0/24", .v4, "--ip-range"),
            (nil, "fd00::/64", .v4, "--ip-range"),
        ] as [(String?, String?, IPAddress.Family, String)])
    func whatIsNoSubnetIsRefused(prefix: String?, range: String?, family: IPAddress.Family, message: String) {
        var fixture = Fixture()
        let refused = fixture.open(prefix, range: range, family: family)
        #expect(refused.refusal == .invalid && refused.message.contains(message), "\(refused)")
        #expect(fixture.catalogue.networks.isEmpty)
    }

    @Test func networkNamesHaveABound() {
        var fixture = Fixture()
        #expect(fixture.open(name: "").refusal == .invalid)
        #expect(fixture.open(name: String(repeating: "x", count: 254)).refusal == .invalid)
        #expect(fixture.open(name: String(repeating: "é", count: 127)).refusal == .invalid, "bytes count, not characters")
        #expect(fixture.open(name: String(repeating: "x", count: 253)).refusal == nil)
    }

    @Test func theLastUserDeletesASubnetAndItsIdIsNeverUsedAgain() throws {
        var fixture = Fixture(members: 2)
        let subnet = try fixture.opened("10.5.0.0/24", name: "web")
        let vni = try fixture.network(of: subnet.id).vni
        fixture.open(name: "web", by: 1)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 0) == .accepted)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 0) == .accepted, "twice is once")
        #expect(fixture.catalogue.subnet(subnet.id)?.users == [Fixture.node(1)])
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 1) == .accepted)
        #expect(fixture.catalogue.networks.isEmpty && fixture.catalogue.networkOfSubnet.isEmpty)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 1) == .accepted)
        let next = try fixture.opened("10.5.0.0/24", name: "web")
        #expect(next.id != subnet.id)
        #expect(try fixture.network(of: next.id).vni != vni, "a VNI is given again as late as can be")
    }

    @Test func vnisStartAnewAfterTheLast() throws {
        var fixture = Fixture()
        fixture.catalogue.nextVNI = VNI.all.upperBound
        let last = try fixture.opened()
        let first = try fixture.opened()
        #expect(try fixture.network(of: last.id).vni.value == VNI.all.upperBound)
        #expect(try fixture.network(of: first.id).vni.value == VNI.all.lowerBound)
        fixture.catalogue.nextVNI = VNI.all.upperBound
        let skipped = try fixture.opened()
        #expect(try fixture.network(of: skipped.id).vni.value == VNI.all.lowerBound + 1, "what is in use is skipped")
    }
}
