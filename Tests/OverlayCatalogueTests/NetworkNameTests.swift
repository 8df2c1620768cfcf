import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// Names of networks on engines, and the removal of a network everywhere.
@Suite struct NetworkNameTests {
    static func description(_ name: String, labels: [String: String] = ["a": "b"]) -> NetworkDescription {
        NetworkDescription(
            name: name, labels: labels, options: ["mtu": "1400"], ipamOptions: [:], auxiliary: ["printer": "10.0.0.9"],
            isIPv6: false, isAttachable: true)!
    }

    @Test func theFirstWordCounts() throws {
        var fixture = Fixture(members: 2)
        let subnet = try fixture.opened()
        let network = try fixture.network(of: subnet.id)
        #expect(network.name == nil && network.zone == "")
        #expect(fixture.propose(.describe(network.id, Self.description("web")), by: 0) == .accepted)
        let other = fixture.propose(.describe(network.id, Self.description("other")), by: 1)
        #expect(other.refusal == .conflict && other.message.contains("its subnet is that of network web"), "\(other)")
        #expect(fixture.propose(.describe(network.id, Self.description("web")), by: 1) == .accepted)
        let known = try #require(fixture.catalogue.network(named: "web"))
        #expect(
            known.id == network.id && known.title == "web" && known.zone == "web" && known.description == Self.description("web"))
        #expect(fixture.catalogue.network(named: "other") == nil)
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
    }

    /// A name belongs to one network, whichever kind of name it is.
    @Test func aNameIsOfOneNetwork() throws {
        var fixture = Fixture(members: 2)
        let (first, second) = (try fixture.opened(name: "prod"), try fixture.opened(by: 1))
        let (one, other) = (try fixture.network(of: first.id), try fixture.network(of: second.id))
        #expect(fixture.propose(.describe(one.id, Self.description("front")), by: 0) == .accepted)
        #expect(fixture.catalogue.networks[one.id]?.name == "prod" && fixture.catalogue.networks[one.id]?.zone == "front")
        for name in ["prod", "front"] {
            let result = fixture.propose(.describe(other.id, Self.description(name)), by: 1)
            #expect(result.refusal == .conflict && result.message.contains("another network \(name), 10.32.0.0/24"))
        }
        // `--ipam-opt net=` finds it by either name.
        #expect(try fixture.opened(name: "front", by: 1).prefix == IPPrefix("10.32.0.0/24"))
        var forged = fixture.catalogue
        forged.networks[other.id]?.name = "front"
        #expect(throws: DecodeError.invalid("network")) { try Catalogue(wire: forged.wireBytes) }
    }

    @Test func whatIsRemovedStaysRemovedAndIsInNobodysWay() throws {
        var fixture = Fixture(members: 3)
        let subnet = try fixture.opened(by: 0)
        let network = try fixture.network(of: subnet.id)
        _ = try fixture.opened("10.32.0.0/24", by: 1)
        #expect(fixture.propose(.describe(network.id, Self.description("web")), by: 0) == .accepted)
        #expect(fixture.propose(.closeSubnet(subnet.id, removing: true), by: 0) == .accepted)
        let removed = try #require(fixture.catalogue.networks[network.id])
        #expect(removed.isRemoved && removed.names.isEmpty && removed.users == [Fixture.node(1)])
        #expect(fixture.propose(.describe(network.id, Self.description("web")), by: 1).refusal == .notFound)
        // Its name is free at once, and so are its addresses.
        #expect(try fixture.opened(name: "web", by: 2).prefix == IPPrefix("10.32.1.0/24"))
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
        // A node that creates it because another host has it comes too late; one that names the subnet gets another network.
        let late = OpenSubnet(
            networkName: nil, family: .v4, prefix: subnet.prefix, range: nil, only: network.id)
        #expect(fixture.propose(.openSubnet(late), by: 2).refusal == .notFound)
        let again = try fixture.opened("10.32.0.0/24", by: 2)
        let other = try fixture.network(of: again.id)
        #expect(again.id != subnet.id && other.id != network.id && other.vni != network.vni && !other.isRemoved)
        #expect(try fixture.opened("10.32.0.0/24", by: 0).id == again.id)
        #expect(fixture.propose(.closeSubnet(again.id), by: 0) == .accepted)
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
        // Repeated removals of either have no effect any more.
        for id in [subnet.id, again.id] { #expect(fixture.propose(.closeSubnet(id, removing: true), by: 0) == .accepted) }
        #expect(fixture.catalogue.networks[other.id] == other)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 1) == .accepted)
        #expect(fixture.catalogue.networks[network.id] == nil)
        #expect(fixture.propose(.openSubnet(late), by: 2).refusal == .notFound)
    }

    /// A pool of one cluster means nothing in another.
    @Test func noTwoClustersHaveOnePool() throws {
        var ids: Set<SubnetID> = []
        for number in 1...100 as ClosedRange<UInt128> {
            var catalogue = Catalogue()
            var cluster = Fixture.cluster()
            cluster.id = ClusterID(bits: number << 64 | number)
            var entry = Entry(
                index: 1, termNumber: 1, proposer: Fixture.node(0), epoch: 1, sequence: 1,
                command: .initialise(cluster, Fixture.member(0)))
            catalogue.apply(entry)
            entry.index = 2
            entry.sequence = 2
            entry.command = .openSubnet(OpenSubnet(networkName: nil, family: .v4, prefix: nil, range: nil))
            guard case .opened(let subnet) = catalogue.apply(entry) else { throw DecodeError.invalid("subnet") }
            ids.insert(subnet)
        }
        #expect(ids.count == 100)
    }

    @Test func descriptionsHaveBounds() {
        func make(_ labels: [String: String], name: String = "x") -> NetworkDescription? {
            NetworkDescription(
                name: name, labels: labels, options: [:], ipamOptions: [:], auxiliary: [:], isIPv6: false, isAttachable: false)
        }
        #expect(make([:], name: "") == nil && make([:], name: String(repeating: "x", count: 254)) == nil)
        #expect(make(["a": String(repeating: "x", count: Limits.descriptionBytes - 1)]) != nil)
        #expect(make(["a": String(repeating: "x", count: Limits.descriptionBytes)]) == nil)
        let many = (0...Limits.descriptionPairs).map { ("\($0)", "") }
        #expect(make(Dictionary(uniqueKeysWithValues: many)) == nil)
        #expect(make(Dictionary(uniqueKeysWithValues: many.dropLast())) != nil)
    }

    @Test func hostileBytesAreHarmless() {
        expectHostileBytesAreHarmless([Self.description("web"), Self.description("w", labels: [:])], seed: 11)
        expectHostileBytesAreHarmless(
            [
                Command.describe(NetworkID(bits: 7), Self.description("web")),
                .closeSubnet(SubnetID(3), removing: true),
                .openSubnet(OpenSubnet(networkName: "a", family: .v4, prefix: nil, range: nil, only: NetworkID(bits: 1))),
            ], seed: 12)
    }
}
