import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

@Suite struct RuleTests {
    // MARK: Proposals

    @Test func aProposalCountsOnce() throws {
        var fixture = Fixture()
        let subnet = try fixture.opened("10.0.0.0/24")
        #expect(fixture.propose(.claimBlock(subnet.id, count: 16), by: 0, sequence: 50) == .accepted)
        let before = fixture.catalogue.networks
        #expect(fixture.propose(.claimBlock(subnet.id, count: 16), by: 0, sequence: 50) == .accepted)
        // Another command with the same number does not count either, and gets the answer of the first.
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 0, sequence: 50) == .accepted)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 0, sequence: 49).refusal == .conflict)
        #expect(fixture.catalogue.networks == before)
        #expect(fixture.catalogue.result(of: 50, from: Fixture.node(0)) == .accepted)
        #expect(fixture.catalogue.result(of: 49, from: Fixture.node(0)) == nil)
        #expect(fixture.catalogue.isApplied(49, from: Fixture.node(0)) && !fixture.catalogue.isApplied(51, from: Fixture.node(0)))
    }

    @Test func aRefusalIsRememberedToo() {
        var fixture = Fixture()
        let refused = fixture.propose(.claimBlock(SubnetID(77), count: 1), by: 0, sequence: 9)
        #expect(refused.refusal == .notFound)
        #expect(fixture.propose(.claimBlock(SubnetID(77), count: 1), by: 0, sequence: 9) == refused)
    }

    /// Rule R3 (see Rules).
    @Test func anotherLifeOfANodeIsNotHeard() {
        var fixture = Fixture(members: 2)
        for epoch in [0, 2, .max] as [UInt32] {
            #expect(fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 1, epoch: epoch).refusal == .notFound)
        }
        #expect(fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 7).refusal == .notFound)
        #expect(fixture.catalogue.cluster?.joinSecret == Fixture.secret(9))
        #expect(fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 1) == .accepted)
        #expect(fixture.catalogue.cluster?.joinSecret == Fixture.secret(1))
    }

    @Test func thereIsOneClusterAndItComesFirst() {
        var catalogue = Catalogue()
        let early = Entry(
            index: 1, termNumber: 1, proposer: Fixture.node(0), epoch: 1, sequence: 1, command: .remove(Fixture.node(0), now: true))
        #expect(catalogue.apply(early).refusal == .notFound)
        var fixture = Fixture()
        #expect(fixture.propose(.initialise(Fixture.cluster(), Fixture.member(0)), by: 0).refusal == .conflict)
    }

    @Test func joinSecretsHave16Bytes() {
        var fixture = Fixture()
        for count in [0, 15, 17] {
            #expect(fixture.propose(.setJoinSecret(Fixture.secret(1, count: count)), by: 0).refusal == .invalid)
        }
    }

    // MARK: Members

    @Test func namesAndTunnelAddressesAreUnique() {
        var fixture = Fixture(members: 2)
        let name = fixture.propose(.admit(Fixture.member(2, name: "host-1")), by: 0)
        #expect(name.refusal == .conflict && name.message.contains("the name host-1 is taken"))
        var twin = Fixture.member(3)
        twin.vtep = IPAddress(family: .v6, bits: 1)
        let family = fixture.propose(.admit(twin), by: 0)
        #expect(family.refusal == .invalid && family.message.contains("--data-path-addr"))
        twin.vtep = Fixture.member(1).vtep
        let vtep = fixture.propose(.admit(twin), by: 0)
        #expect(
            vtep.refusal == .conflict && vtep.message.contains("is that of node host-1")
                && vtep.message.contains("--data-path-addr"))
        #expect(fixture.catalogue.members.count == 2)
    }

    @Test func aMemberIsAdmittedAnewInALaterLifeOnly() {
        var fixture = Fixture(members: 2)
        var again = Fixture.member(1, epoch: 2)
        again.address = IPAddress(v4: 10, 9, 9, 9)
        #expect(fixture.propose(.admit(again), by: 0) == .accepted)
        #expect(fixture.catalogue.members[again.id] == again)
        #expect(fixture.propose(.admit(Fixture.member(1)), by: 0).refusal == .conflict)
        #expect(fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 1).refusal == .notFound)
        #expect(fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 1, epoch: 2) == .accepted)
    }

    /// A life that lost its state may have lost its boot counter, so that its sequence numbers start low again.
    @Test func aLaterLifeIsNotSilencedByTheSequencesOfTheEarlierOne() {
        var fixture = Fixture(members: 2)
        fixture.propose(.setJoinSecret(Fixture.secret(1)), by: 1, sequence: 9 << 32)
        #expect(fixture.propose(.admit(Fixture.member(1, epoch: 2)), by: 0) == .accepted)
        #expect(fixture.propose(.setJoinSecret(Fixture.secret(2)), by: 1, epoch: 2, sequence: 1 << 32) == .accepted)
    }

    @Test func aFullClusterTakesNoOneElse() {
        var fixture = Fixture(members: Limits.members)
        let refused = fixture.propose(.admit(Fixture.member(Limits.members)), by: 0)
        #expect(refused.refusal == .exhausted && refused.message.contains("4096"))
        #expect(fixture.propose(.admit(Fixture.member(5, name: "renamed")), by: 0) == .accepted)
    }

    @Test func removalFreesBlocksAndDeletesWhatNobodyElseUses() throws {
        var fixture = Fixture(members: 3)
        let shared = try fixture.opened("10.0.0.0/24", by: 0)
        fixture.open("10.0.0.0/24", by: 1)
        let own = try fixture.opened("10.0.1.0/24", by: 1)
        for index in 0...1 { #expect(fixture.propose(.claimBlock(shared.id, count: 16), by: index) == .accepted) }
        #expect(fixture.propose(.claimBlock(own.id, count: 16), by: 1) == .accepted)
        let freed = try #require(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(1)).first)

        #expect(fixture.propose(.remove(Fixture.node(1), now: true), by: 2) == .accepted)
        let left = try #require(fixture.catalogue.subnet(shared.id))
        #expect(left.users == [Fixture.node(0)] && left.blocks.map(\.owner) == [Fixture.node(0)])
        #expect(fixture.catalogue.subnet(own.id) == nil && fixture.catalogue.networks.count == 1)
        #expect(fixture.catalogue.violations == [])

        fixture.open("10.0.0.0/24", by: 2)
        #expect(fixture.propose(.claimBlock(shared.id, count: 16), by: 2) == .accepted)
        #expect(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(2)) == [freed])
        #expect(fixture.propose(.remove(Fixture.node(1), now: true), by: 2) == .accepted, "a second removal changes nothing")
        #expect(
            fixture.propose(.setJoinSecret(Fixture.secret(0, count: 0)), by: 1).refusal == .notFound,
            "the removed node is not heard")
    }

    /// Rule R5 (see Rules): containers that do not know of the removal may still use the addresses.
    @Test func theAddressesOfARemovedNodeRest() throws {
        var fixture = Fixture(members: 3)
        let shared = try fixture.opened("10.0.0.0/28", by: 0)
        fixture.open("10.0.0.0/28", by: 1)
        let own = try fixture.opened("10.0.1.0/24", by: 1)
        for subnet in [shared, own] { #expect(fixture.propose(.claimBlock(subnet.id, count: 16), by: 1) == .accepted) }
        let block = try #require(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(1)).first)
        #expect(fixture.propose(.remove(Fixture.node(1), now: false), by: 0) == .accepted)
        #expect(fixture.catalogue.departed == [Fixture.node(1): "host-1"])
        #expect(fixture.catalogue.subnet(own.id) == nil, "what nobody else uses is gone with it")
        #expect(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(1)) == [block])
        #expect(fixture.catalogue.subnet(shared.id)?.users == [Fixture.node(0)])
        #expect(fixture.catalogue.violations == [])
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)

        let refused = fixture.propose(.claimAddress(shared.id, block.first), by: 0)
        #expect(refused.refusal == .conflict && refused.message.contains("node rm --now host-1"), "\(refused.message)")
        var last = CommandResult.accepted
        while last == .accepted { last = fixture.propose(.claimBlock(shared.id, count: 16), by: 0) }
        #expect(last.message.contains("host-1 (removed; its addresses are in quarantine)"), "\(last.message)")
        #expect(fixture.propose(.remove(Fixture.node(1), now: false), by: 0) == .accepted, "it is no member")
        #expect(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(1)) == [block])

        #expect(fixture.propose(.endQuarantine([Fixture.node(0), Fixture.node(2)]), by: 0) == .accepted)
        #expect(fixture.catalogue.subnet(shared.id)?.blocks(of: Fixture.node(0)).isEmpty == false, "of members nothing is taken")
        #expect(fixture.propose(.endQuarantine([Fixture.node(1)]), by: 0) == .accepted)
        #expect(fixture.catalogue.departed.isEmpty && fixture.catalogue.violations == [])
        #expect(fixture.propose(.claimAddress(shared.id, block.first), by: 0) == .accepted)
    }

    /// A returning node took its links down before it asked to join. A node that leaves by itself has none.
    @Test func theRestEndsWithTheNodesReturn() throws {
        var fixture = Fixture(members: 3)
        let subnet = try fixture.opened("10.0.0.0/24", by: 0)
        for index in 1...2 {
            fixture.open("10.0.0.0/24", by: index)
            #expect(fixture.propose(.claimBlock(subnet.id, count: 16), by: index) == .accepted)
        }
        #expect(fixture.propose(.remove(Fixture.node(2), now: false), by: 2) == .accepted)
        #expect(fixture.catalogue.departed.isEmpty)
        #expect(fixture.propose(.remove(Fixture.node(1), now: false), by: 0) == .accepted)
        #expect(fixture.catalogue.departed.count == 1)
        #expect(fixture.propose(.admit(Fixture.member(1)), by: 0) == .accepted)
        #expect(fixture.catalogue.departed.isEmpty && fixture.catalogue.subnet(subnet.id)?.blocks == [])
        #expect(fixture.catalogue.violations == [])
        // Addresses in quarantine are forgotten with their network.
        fixture.open("10.0.0.0/24", by: 1)
        #expect(fixture.propose(.claimBlock(subnet.id, count: 16), by: 1) == .accepted)
        #expect(fixture.propose(.remove(Fixture.node(1), now: false), by: 0) == .accepted)
        #expect(fixture.propose(.closeSubnet(subnet.id), by: 0) == .accepted)
        #expect(fixture.catalogue.departed.isEmpty && fixture.catalogue.violations == [])
    }

    @Test func theWriterLeavesLast() {
        var fixture = Fixture(members: 2)
        #expect(fixture.propose(.remove(Fixture.node(0), now: true), by: 1).message.contains("host-0 is the catalogue writer"))
        #expect(fixture.propose(.remove(Fixture.node(1), now: true), by: 0) == .accepted)
        #expect(fixture.propose(.remove(Fixture.node(0), now: true), by: 0) == .accepted)
        #expect(fixture.catalogue.members.isEmpty && fixture.catalogue.violations == [])
    }

    // MARK: Settings

    @Test func settingsAreEqualOnEveryHost() throws {
        var fixture = Fixture(members: 2)
        let subnet = try fixture.opened(name: "web")
        let id = try fixture.network(of: subnet.id).id
        #expect(fixture.propose(.configure(id, adopting: [], NetworkSettings(mtu: 1400)), by: 0) == .accepted)
        #expect(fixture.propose(.configure(id, adopting: [], NetworkSettings(mtu: 1400)), by: 1) == .accepted)
        for (other, words) in [
            (NetworkSettings(), "mtu is 1400 there and not given here"),
            (NetworkSettings(mtu: 1400, isEncrypted: true), "options: -o encrypted is given here and not there;"),
            (NetworkSettings(mtu: 1400, isInternal: true), "options: --internal is given here and not there;"),
        ] {
            let refused = fixture.propose(.configure(id, adopting: [], other), by: 1)
            #expect(refused.refusal == .conflict && refused.message.contains("network web is on host-0"), "\(refused.message)")
            #expect(refused.message.contains(words), "\(refused.message)")
        }
        #expect(fixture.propose(.configure(NetworkID(bits: 1), adopting: [], NetworkSettings()), by: 0).refusal == .notFound)
    }

    @Test func aNetworkTakesInSubnetsWithoutAName() throws {
        var fixture = Fixture(members: 2)
        let first = try fixture.opened("10.0.0.0/24")
        let second = try fixture.opened("fd00:1::/64", by: 1)
        #expect(fixture.propose(.claimBlock(second.id, count: 1), by: 1) == .accepted)
        let id = try fixture.network(of: first.id).id
        let adopt = Command.configure(id, adopting: [second.id, second.id, first.id], NetworkSettings())
        #expect(fixture.propose(adopt, by: 0) == .accepted)
        #expect(fixture.catalogue.networks.keys.sorted() == [id])
        #expect(fixture.catalogue.networks[id]?.subnets.map(\.id) == [first.id, second.id])
        #expect(fixture.catalogue.subnet(second.id)?.blocks.count == 1, "its blocks come along")
        #expect(fixture.propose(adopt, by: 1) == .accepted, "the other host's engine says the same")
        #expect(fixture.catalogue.violations == [])
    }

    @Test func whatBelongsToANetworkIsNotTakenFromIt() throws {
        var fixture = Fixture()
        let named = try fixture.opened(name: "web")
        let complete = try fixture.opened("10.1.0.0/24")
        let late = try fixture.opened("10.2.0.0/24")
        let id = try fixture.network(of: complete.id).id
        #expect(fixture.propose(.configure(id, adopting: [named.id], NetworkSettings()), by: 0).refusal == .conflict)
        #expect(fixture.propose(.configure(id, adopting: [SubnetID(99)], NetworkSettings()), by: 0).refusal == .notFound)
        #expect(fixture.propose(.configure(id, adopting: [], NetworkSettings()), by: 0) == .accepted)
        #expect(fixture.propose(.configure(id, adopting: [late.id], NetworkSettings()), by: 0).refusal == .conflict)
        #expect(fixture.catalogue.networks.count == 3)
    }

    /// A catalogue with more subnets than a snapshot may have would be unreadable.
    @Test func adoptionKeepsToTheLimitOfSubnets() throws {
        var fixture = Fixture()
        var subnets: [SubnetID] = []
        for index in 0..<Limits.subnetsPerNetwork { subnets.append(try fixture.opened("10.1.\(index).0/24", name: "big").id) }
        #expect(fixture.open("10.2.0.0/24", name: "big").refusal == .exhausted)
        let extra = try fixture.opened("10.3.0.0/24")
        let id = try fixture.network(of: subnets[0]).id
        #expect(fixture.propose(.configure(id, adopting: [extra.id], NetworkSettings()), by: 0).refusal == .exhausted)
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
    }

    // MARK: One history, one state

    /// Invariant L (see Rules).
    @Test func twoReplicasOfOneLogHaveEqualBytes() throws {
        var fixture = Fixture(members: 5)
        for index in 0..<5 {
            let subnet = try fixture.opened(name: "web", by: index)
            fixture.propose(.claimBlock(subnet.id, count: 16), by: index)
            fixture.open(family: .v6, by: index)
            fixture.open("10.9.\(index).0/24", range: "10.9.\(index).128/25", by: index)
            fixture.propose(.reserve(subnet.id, subnet.gateway.advanced(by: UInt128(100 + index))!), by: index)
        }
        fixture.propose(.remove(Fixture.node(3), now: true), by: 0)
        var replica = Catalogue()
        for entry in fixture.log {
            replica.apply(try Entry(wire: entry.wireBytes))
            // Also through a snapshot after every entry.
            replica = try Catalogue(wire: replica.wireBytes)
        }
        #expect(replica == fixture.catalogue && replica.wireBytes == fixture.catalogue.wireBytes)
        #expect(replica.networkOfSubnet == fixture.catalogue.networkOfSubnet)
    }

    /// A refusal that lists the owners of a full subnet is part of the state and must stay readable.
    @Test func theLongestRefusalSurvivesASnapshot() throws {
        var fixture = Fixture()
        let count = 250
        for index in 1..<count {
            let name = "\(index)-" + String(repeating: "x", count: 250 - 4)
            #expect(fixture.propose(.admit(Fixture.member(index, name: name)), by: 0) == .accepted)
        }
        var id = SubnetID(0)
        for index in 0..<count { id = try fixture.opened("10.0.0.0/24", by: index).id }
        var refused = CommandResult.accepted
        for index in 0..<300 where refused == .accepted { refused = fixture.propose(.claimBlock(id, count: 1), by: index % count) }
        #expect(refused.refusal == .exhausted)
        #expect(decode(CommandResult.self, refused.wireBytes) == .value(refused))
        #expect(decode(Catalogue.self, fixture.catalogue.wireBytes) == .value(fixture.catalogue))
    }
}
