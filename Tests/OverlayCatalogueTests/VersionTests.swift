import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// Versions of the protocol: what members tell, what is used, and what is not sent before all speak it.
@Suite struct VersionTests {
    private static func versions(_ oldest: UInt16, _ newest: UInt16) -> ProtocolVersions {
        ProtocolVersions(oldest: oldest, newest: newest)!
    }

    private static func member(_ index: Int, _ versions: ProtocolVersions) -> Member {
        Fixture.member(index).telling(versions)
    }

    // MARK: What a member tells

    @Test func aMemberTellsItsVersionsInARoute() throws {
        let told = Self.member(1, Self.versions(2, 3))
        #expect(told.routes == [IPPrefix("100::2:3/128")!] && told.versions == Self.versions(2, 3))
        #expect(try Member(wire: told.wireBytes) == told)
        #expect(Self.member(1, .silent) == Fixture.member(1) && Fixture.member(1).versions == .silent)
        // It is one of the routes that are kept, whatever the host has.
        var many = Fixture.member(1)
        many.routes = (0..<100).map { IPPrefix(IPAddress(v4: 10, 32, UInt8($0), 0), length: 24)! } + [IPPrefix("100::9:9/128")!]
        let kept = many.telling(Self.versions(2, 3)).limited(to: IPPrefix("10.32.0.0/12")!)
        #expect(kept.routes.count == Limits.routesPerMember && kept.versions == Self.versions(2, 3))
        #expect(kept.limited(to: IPPrefix("10.32.0.0/12")!) == kept)
    }

    @Test(arguments: [
        ["100::3:2/128"], ["100::0:3/128"], ["100::1:2:3/128"], ["100::/64"], ["100::2:3/127"], ["100:0:0:1::2:3/128"],
        ["100::2:3/128", "100::2:4/128"],
    ])
    func whatMakesNoSenseIsTheFirstVersion(routes: [String]) {
        var member = Fixture.member(1)
        member.routes = routes.map { IPPrefix($0)! }
        #expect(member.versions == .silent)
    }

    // MARK: What is used

    @Test func aVersionIsUsedOnlyIfAllSpeakIt() {
        var fixture = Fixture(members: 2)
        #expect(fixture.propose(.admit(Self.member(0, .present)), by: 0) == .accepted)
        #expect(fixture.propose(.raise(to: 3), by: 0).message == "node host-1 does not speak protocol 3")
        #expect(fixture.catalogue.versionInUse == 2 && fixture.catalogue.wireBytes.first == 4)
        #expect(fixture.propose(.admit(Self.member(1, .present)), by: 1) == .accepted)
        #expect(VersionRules.ofAll(fixture.catalogue) == 3)
        #expect(fixture.propose(.raise(to: 4), by: 0).refusal == .conflict)
        #expect(fixture.propose(.raise(to: 3), by: 1) == .accepted && fixture.catalogue.versionInUse == 3)
        // It never falls.
        #expect(fixture.propose(.raise(to: 2), by: 0) == .accepted && fixture.catalogue.versionInUse == 3)
    }

    /// Members of the first version have no such rule: all replicas must come to the same state.
    @Test func whileTheFirstVersionIsInUseNobodyIsRefused() {
        var fixture = Fixture()
        #expect(fixture.propose(.admit(Self.member(0, .present)), by: 0) == .accepted)
        #expect(fixture.propose(.admit(Self.member(1, Self.versions(7, 9))), by: 0) == .accepted)
        #expect(fixture.propose(.admit(Fixture.member(2)), by: 0) == .accepted)
    }

    @Test func whoCannotSpeakWithAllIsRefused() throws {
        var fixture = Fixture(members: 1)
        fixture.propose(.admit(Self.member(0, .present)), by: 0)
        #expect(fixture.propose(.raise(to: 3), by: 0) == .accepted)
        let refusals = [
            (Fixture.member(1), "node host-1 speaks protocol 2, and the cluster uses 3, as all of its members can: upgrade"),
            (Self.member(1, Self.versions(4, 5)), "node host-1 speaks protocol 4 to 5, and node host-0 only 2 to 3: upgrade"),
        ]
        for (member, text) in refusals {
            #expect(try #require(VersionRules.obstacle(to: member, in: fixture.catalogue)).hasPrefix(text))
            #expect(fixture.propose(.admit(member), by: 0).message.hasPrefix(text))
        }
        #expect(fixture.propose(.admit(Self.member(1, Self.versions(3, 9))), by: 0) == .accepted)
        #expect(fixture.propose(.admit(Self.member(2, .present)), by: 0) == .accepted)
        // A member that comes back with an earlier release is refused, too.
        #expect(fixture.propose(.admit(Fixture.member(1)), by: 1).refusal == .conflict)
    }

    // MARK: Forms

    @Test func aStateHasTheFormOfTheVersionInUse() throws {
        let first = try HostileWireTests.populated().catalogue
        #expect(first.wireBytes.first == 4)
        var second = first
        second.versionInUse = 3
        #expect(second.wireBytes == [5, 0, 3] + first.wireBytes.dropFirst())
        #expect(try Catalogue(wire: second.wireBytes) == second && Catalogue(wire: first.wireBytes) == first)
        expectHostileBytesAreHarmless([second], seed: 1)
        for version in [0, 1, 2] as [UInt8] {
            #expect(throws: DecodeError.invalid("version in use")) {
                try Catalogue(wire: [5, 0, version] + first.wireBytes.dropFirst())
            }
        }
        #expect(throws: DecodeError.invalid("catalogue version")) { try Catalogue(wire: [6] + second.wireBytes.dropFirst()) }
    }

    @Test(arguments: [ProtocolVersions.silent, .present])
    func whatALaterVersionSendsChangesNothing(versions: ProtocolVersions) throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        var node = network.nodes[1]
        node = try CatalogueNode(node: node.node, epoch: 1, boot: 2, rows: network.rows[1], versions: versions)
        var later = network.nodes[0].catalogue
        later.versionInUse = versions.newest + 1
        let entry = Entry(
            index: later.index + 1, termNumber: 1, proposer: Fixture.node(0), epoch: 1, sequence: 99,
            command: .raise(to: versions.newest + 1))
        var unknown = CatalogueMessage.entries(after: Fixture.term, [entry]).wireBytes
        unknown[unknown.count - 3] = 200
        let before = node.catalogue
        let messages = [
            CatalogueMessage.snapshot(later).wireBytes, CatalogueMessage.entries(after: Fixture.term, [entry]).wireBytes,
            CatalogueMessage.propose(epoch: 1, sequence: 9, entry.command).wireBytes, unknown, [200],
        ]
        for message in messages {
            var effects: [CatalogueNode.Effect] = []
            #expect(throws: DecodeError.self) {
                try node.receive(message, from: Fixture.node(0), now: network.now, into: &effects)
            }
            #expect(effects.isEmpty && node.catalogue == before)
        }
        network.run(for: .milliseconds(1))
    }

    // MARK: Proposals

    @Test func nothingIsProposedThatAMemberDoesNotSpeak() throws {
        var network = try NodeNetwork(count: 2, seed: 1)
        for index in 0...1 {
            let id = network.propose(.raise(to: 3), by: index)
            network.run(for: .seconds(1))
            guard case .decided(.refused(let refusal))? = network.outcomes[index][id]?.first else {
                Issue.record("not refused")
                continue
            }
            #expect(refusal.message.hasPrefix("not every member speaks protocol 3"))
        }
        #expect(network.nodes.allSatisfy { $0.catalogue.versionInUse == 2 })
        for index in 0...1 {
            network.propose(.admit(Self.member(index, .present)), by: index)
            network.run(for: .seconds(1))
        }
        network.propose(.raise(to: 3), by: 1)
        network.run(for: .seconds(1))
        #expect(network.nodes.allSatisfy { $0.catalogue.versionInUse == 3 } && network.areEqual)
        for index in 0...1 { #expect(try network.isDurable(index)) }
    }

    /// An earlier release is let in, or comes back, at the moment in which a later version is to be used.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func whoIsOnTheWayToBeAMemberCounts(seed: UInt64) throws {
        var network = try NodeNetwork(count: 3, seed: seed)
        for index in 0...2 {
            network.propose(.admit(Self.member(index, .present)), by: index)
            network.run(for: .seconds(1))
        }
        // In one write, in this order or the other.
        let newcomer = seed % 2 == 0 ? Fixture.member(1) : Fixture.member(7)
        network.propose(.admit(newcomer), by: seed < 4 ? 0 : 2)
        if seed < 3 { network.run(for: .microseconds(300)) }
        network.propose(.raise(to: 3), by: seed < 4 ? 2 : 0)
        network.run(for: .seconds(25))
        let catalogue = network.nodes[0].catalogue
        #expect(network.areEqual && catalogue.members.values.allSatisfy { $0.versions.newest >= catalogue.versionInUse })
    }
}
