import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct BlockTests {
    /// Size of a block: a power of two, clamp(free / (2 · (users + 1)), 1, 16).
    @Test(
        arguments: [
            ("10.0.0.0/24", 1, 16), ("10.0.0.0/24", 3, 16), ("10.0.0.0/24", 15, 4), ("10.0.0.0/24", 100, 1), ("10.0.0.0/16", 1, 16),
            ("10.0.0.0/16", 100, 16), ("10.0.0.0/29", 1, 1), ("10.0.0.0/28", 1, 2), ("10.0.0.0/30", 1, 1), ("10.0.0.0/31", 1, 1),
            ("10.0.0.0/8", 3, 16),
        ] as [(String, Int, UInt128)])
    func claimsAreAFairPowerOfTwo(prefix: String, users: Int, size: UInt128) throws {
        var fixture = Fixture(members: users)
        var id = SubnetID(0)
        for index in 0..<users { id = try fixture.opened(prefix, by: index).id }
        // The second claim counts, as the network address may cut the first one short.
        for _ in 0..<2 { fixture.propose(.claimBlock(id, count: .max), by: 0) }
        let subnet = try #require(fixture.catalogue.subnet(id))
        #expect(subnet.blocks.map(\.range.count).max() == size)
        #expect(subnet.blocks.allSatisfy { $0.range.first.bits % size == 0 || $0.range.first == subnet.prefix.usable.first })
        #expect(fixture.catalogue.violations == [])
    }

    @Test(arguments: [(0, 1), (1, 1), (3, 2), (5, 4), (16, 16), (.max, 16)] as [(UInt32, UInt128)])
    func aClaimIsNoLargerThanAskedFor(count: UInt32, size: UInt128) throws {
        var fixture = Fixture()
        let id = try fixture.opened("10.0.0.0/16", range: "10.0.1.0/24").id
        #expect(fixture.propose(.claimBlock(id, count: count), by: 0) == .accepted)
        #expect(fixture.catalogue.subnet(id)?.blocks.map(\.range.count) == [size])
    }

    @Test func ipv6BlocksAreAn80PerHost() throws {
        var fixture = Fixture(members: 2)
        let id = try fixture.opened("fd00::/64").id
        fixture.open("fd00::/64", by: 1)
        for index in 0...1 { #expect(fixture.propose(.claimBlock(id, count: 1), by: index) == .accepted) }
        let blocks = try #require(fixture.catalogue.subnet(id)).blocks
        #expect(blocks[0].range == AddressRange(first: IPAddress("fd00::1")!, last: IPAddress("fd00::ffff:ffff:ffff")!))
        #expect(blocks[1].range == AddressRange(IPPrefix("fd00:0:0:0:1::/80")!))
    }

    /// Every address that a container may have is given to exactly one owner. Then the subnet is full.
    @Test(
        arguments: [
            ("10.0.0.0/24", nil), ("10.0.0.0/29", nil), ("10.0.0.0/30", nil), ("10.0.0.0/31", nil),
            ("10.0.0.0/24", "10.0.0.128/25"),
            ("10.0.0.0/24", "10.0.0.0/29"), ("10.0.0.0/24", "10.0.0.248/29"), ("10.0.0.0/24", "10.0.0.7/32"),
            ("255.255.255.0/24", nil),
            ("0.0.0.0/25", nil), ("fd00::/120", nil), ("fd00::/126", nil), ("fd00::/127", nil),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", nil), ("fd00::/64", "fd00::40/122"),
        ] as [(String, String?)])
    func aSubnetIsGivenOutToTheLastAddress(prefix: String, range: String?) throws {
        var fixture = Fixture(members: 3)
        var id = SubnetID(0)
        for index in 0..<3 { id = try fixture.opened(prefix, range: range, by: index).id }
        let usable = try #require(IPPrefix(prefix)).usable
        for offset in [5, 6, 77] as [UInt128] {
            if let address = usable.first.advanced(by: offset), usable.contains(address) {
                #expect(fixture.propose(.reserve(id, address), by: 0) == .accepted)
            }
        }
        var step = 0
        while fixture.propose(.claimBlock(id, count: UInt32(1 + step % 20)), by: step % 3) == .accepted {
            step += 1
            try #require(step < 400)
        }
        #expect(fixture.catalogue.violations == [])
        let subnet = try #require(fixture.catalogue.subnet(id))
        let dynamic = try #require(subnet.dynamic)
        var address: IPAddress? = dynamic.first
        while let current = address, current <= dynamic.last {
            if !subnet.isReserved(current) { #expect(subnet.block(holding: current) != nil, "\(current) is left over") }
            address = current.advanced(by: 1)
        }
        let refused = fixture.propose(.claimBlock(id, count: 1), by: 0)
        #expect(refused.refusal == .exhausted && refused.message.contains("owned by"))
    }

    /// `--ip-range` may be a single address, even one that no host can have.
    @Test(
        arguments: [
            ("10.0.0.0/24", "10.0.0.0/32"), ("10.0.0.0/24", "10.0.0.255/32"), ("10.0.0.0/24", "10.0.0.1/32"),
            ("fd00::/64", "fd00::/128"),
            ("10.0.0.0/30", "10.0.0.3/32"),
        ])
    func aRangeWithoutAnyAddressIsRefusedOrEmpty(prefix: String, range: String) throws {
        var fixture = Fixture()
        let opened = fixture.open(prefix, range: range)
        guard case .opened(let id) = opened else {
            #expect(opened.refusal == .invalid)
            return
        }
        #expect(fixture.propose(.claimBlock(id, count: 16), by: 0).refusal == .exhausted)
        #expect(fixture.catalogue.violations == [])
    }

    @Test func onlyUsersClaim() throws {
        var fixture = Fixture(members: 2)
        let id = try fixture.opened("10.0.0.0/24", name: "web").id
        let refused = fixture.propose(.claimBlock(id, count: 1), by: 1)
        #expect(refused.refusal == .notFound && refused.message == "node host-1 does not use network web")
        #expect(fixture.propose(.claimAddress(id, IPAddress("10.0.0.9")!), by: 1).refusal == .notFound)
        #expect(fixture.propose(.claimBlock(SubnetID(99), count: 1), by: 0).message.contains("pool-0000000000000063 is gone"))
    }

    @Test func anAddressIsClaimedOnce() throws {
        var fixture = Fixture(members: 2)
        let id = try fixture.opened("10.0.0.0/24", range: "10.0.0.128/25").id
        fixture.open("10.0.0.0/24", by: 1)
        let address = try #require(IPAddress("10.0.0.9"))
        #expect(fixture.propose(.claimAddress(id, address), by: 0) == .accepted)
        #expect(fixture.propose(.claimAddress(id, address), by: 0) == .accepted)
        let refused = fixture.propose(.claimAddress(id, address), by: 1)
        #expect(refused.refusal == .conflict && refused.message.contains("node host-0 hands out (block 10.0.0.9)"))
        #expect(fixture.catalogue.subnet(id)?.blocks.count == 1)
        #expect(fixture.propose(.claimBlock(id, count: 16), by: 1) == .accepted)
        #expect(fixture.propose(.claimAddress(id, IPAddress("10.0.0.130")!), by: 0).refusal == .conflict)
        #expect(fixture.catalogue.violations == [])
    }

    @Test(arguments: ["10.0.0.0", "10.0.0.255", "10.0.0.1", "10.0.0.77", "10.0.1.1", "fd00::1", "255.255.255.255"])
    func someAddressesNobodyClaims(address: String) throws {
        var fixture = Fixture()
        let id = try fixture.opened("10.0.0.0/24").id
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.0.77")!), by: 0) == .accepted)
        #expect(fixture.propose(.claimAddress(id, IPAddress(address)!), by: 0).refusal == .invalid)
    }

    @Test func theGatewayIsFixedOnceAddressesAreGivenOut() throws {
        var fixture = Fixture(members: 2)
        let id = try fixture.opened("10.0.0.0/24", name: "web").id
        #expect(fixture.catalogue.subnet(id)?.gateway == IPAddress("10.0.0.1"))
        for wrong in ["10.0.0.0", "10.0.0.255", "10.1.0.1", "fd00::1"] {
            #expect(fixture.propose(.setGateway(id, IPAddress(wrong)!), by: 0).refusal == .invalid, "\(wrong)")
        }
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.0.9")!), by: 0) == .accepted)
        #expect(fixture.propose(.setGateway(id, IPAddress("10.0.0.9")!), by: 0).refusal == .invalid)
        #expect(fixture.propose(.setGateway(id, IPAddress("10.0.0.254")!), by: 0) == .accepted)
        #expect(fixture.propose(.setGateway(id, IPAddress("10.0.0.254")!), by: 1) == .accepted)
        #expect(fixture.propose(.claimBlock(id, count: 1), by: 0) == .accepted)
        let late = fixture.propose(.setGateway(id, IPAddress("10.0.0.2")!), by: 0)
        #expect(late.refusal == .conflict && late.message.contains("of network web is 10.0.0.254 on every host, not 10.0.0.2"))
        #expect(fixture.propose(.setGateway(id, IPAddress("10.0.0.254")!), by: 0) == .accepted, "the same is no change")
    }

    @Test func auxiliaryAddressesComeBeforeBlocks() throws {
        var fixture = Fixture()
        let id = try fixture.opened("10.0.0.0/24").id
        for wrong in ["10.0.0.1", "10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::2"] {
            #expect(fixture.propose(.reserve(id, IPAddress(wrong)!), by: 0).refusal == .invalid, "\(wrong)")
        }
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.0.2")!), by: 0) == .accepted)
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.0.2")!), by: 0) == .accepted)
        #expect(fixture.propose(.claimBlock(id, count: 16), by: 0) == .accepted)
        let late = fixture.propose(.reserve(id, IPAddress("10.0.0.3")!), by: 0)
        #expect(late.refusal == .conflict && late.message.contains("node host-0 hands out"))
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.0.200")!), by: 0) == .accepted)
    }

    @Test func auxiliaryAddressesHaveALimit() throws {
        var fixture = Fixture()
        let id = try fixture.opened("10.0.0.0/16").id
        for offset in 0..<Limits.auxiliaryAddresses {
            #expect(fixture.propose(.reserve(id, IPAddress("10.0.1.0")!.advanced(by: UInt128(offset))!), by: 0) == .accepted)
        }
        #expect(fixture.propose(.reserve(id, IPAddress("10.0.9.1")!), by: 0).refusal == .exhausted)
        #expect(try Catalogue(wire: fixture.catalogue.wireBytes) == fixture.catalogue)
    }
}
