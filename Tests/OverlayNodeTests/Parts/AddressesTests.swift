import OverlayIPAM
import OverlayModel
import Testing

@testable import OverlayCatalogue
@testable import OverlayNode

@Suite struct AddressesTests {
    private static let subnet = Subnet(
        id: Part.subnet, prefix: IPPrefix(Part.address(0), length: 24)!, range: nil, gateway: Part.address(1),
        auxiliary: [Part.address(2)], users: [], blocks: [])

    /// Addresses with one pool, of which a block is this node's.
    private static func addresses(_ blocks: AddressRange..., handovers: [AddressRange] = []) -> Addresses {
        var addresses = Addresses()
        addresses.follow(Self.subnet, blocks: blocks, handovers: handovers, now: .zero)
        return addresses
    }

    private static func deletion(_ first: UInt8, _ last: UInt8) -> StoreWrite {
        .delete(.quarantine, key: Handover(subnet: Part.subnet, range: Part.range(first, last)).storeKey)
    }

    private static func row(_ first: UInt8, _ last: UInt8) -> StoreWrite {
        let addresses = Handover(subnet: Part.subnet, range: Part.range(first, last))
        return .put(.quarantine, key: addresses.storeKey, value: addresses.wireBytes)
    }

    private static func lease(_ last: UInt8) -> Lease {
        Lease(subnet: Part.subnet, address: Part.address(last), mac: Part.mac(UInt64(last)))
    }

    private static func rows(leases: [UInt8] = [], quarantined: [AddressRange] = []) -> StoredRows {
        var rows: StoredRows = [:]
        rows.apply(leases.map(lease).map { .put(.lease, key: $0.storeKey, value: $0.wireBytes) })
        rows.apply(
            quarantined.map { Handover(subnet: Part.subnet, range: $0) }.map {
                .put(.quarantine, key: $0.storeKey, value: $0.wireBytes)
            })
        return rows
    }

    private static func allocate(_ addresses: inout Addresses, _ mac: UInt64, wanted: IPAddress? = nil, now: Instant = .zero) throws
        -> IPAddress?
    {
        try addresses.allocate(wanted, mac: Part.mac(mac), in: Part.subnet, now: now, early: false)?.address
    }

    // MARK: Leases

    @Test func whereThereIsNoPoolThereIsNothing() throws {
        var addresses = Addresses()
        #expect(addresses.lease(of: Part.mac(1), in: Part.subnet) == nil && addresses[Part.subnet] == nil)
        #expect(try Self.allocate(&addresses, 1) == nil)
        #expect(try Self.allocate(&addresses, 1, wanted: Part.address(9)) == nil)
        #expect(addresses.release(Part.address(9), of: Part.subnet, now: .zero) == nil)
    }

    @Test func reservedAddressesAreNotHandedOut() throws {
        var addresses = Self.addresses(Part.range(0, 3))
        // The network's own address, the gateway and an auxiliary one.
        #expect(try Self.allocate(&addresses, 1) == Part.address(3))
        #expect(throws: AddressPool.Failure.noFreeAddress) { try Self.allocate(&addresses, 2) }
        #expect(throws: AddressPool.Failure.notOwned) { try Self.allocate(&addresses, 2, wanted: Part.address(2)) }
    }

    @Test func aLeaseIsOwnWhileItsBlockIsThisHosts() throws {
        var addresses = Self.addresses(Part.range(8, 15))
        guard case .nothing = addresses.lease(of: Part.mac(1), in: Part.subnet) else {
            Issue.record("a MAC without a lease has one")
            return
        }
        let address = try #require(try Self.allocate(&addresses, 1))
        #expect(addresses.isLeased(address, of: Part.subnet) && addresses.leaseCount == 1)
        guard case .own(let lease) = addresses.lease(of: Part.mac(1), in: Part.subnet) else {
            Issue.record("the lease is not this host's own")
            return
        }
        #expect(lease.address == address)
        addresses.follow(Self.subnet, blocks: [Part.range(16, 31)], handovers: [], now: .zero)
        guard case .foreign(lease) = addresses.lease(of: Part.mac(1), in: Part.subnet) else {
            Issue.record("the lease is this host's own without the block")
            return
        }
        #expect(addresses.release(address, of: Part.subnet, now: .zero) == .delete(.lease, key: lease.storeKey))
        #expect(!addresses.isLeased(address, of: Part.subnet))
    }

    @Test func leasesComeBackWithTheirRowsButForThoseThatAreGivenUp() throws {
        let addresses = try Addresses(rows: Self.rows(leases: [8, 9])) { $0.address == Part.address(9) }
        #expect(addresses.subnets == [Part.subnet] && addresses.leaseCount == 1)
        #expect(addresses.isLeased(Part.address(8), of: Part.subnet) && !addresses.isLeased(Part.address(9), of: Part.subnet))
    }

    @Test func addressesThatAreHandedOverAreNotHandedOut() throws {
        var addresses = Self.addresses(Part.range(8, 9), handovers: [Part.range(8, 8)])
        #expect(try Self.allocate(&addresses, 1) == Part.address(9))
        #expect(throws: AddressPool.Failure.noFreeAddress) { try Self.allocate(&addresses, 2) }
        let handover = Handover(subnet: Part.subnet, range: Part.range(8, 8))
        addresses.endHandover(handover)
        #expect(try Self.allocate(&addresses, 2) == Part.address(8))
        _ = addresses.release(Part.address(8), of: Part.subnet, now: .zero)
        addresses.handOver(handover)
        #expect(throws: AddressPool.Failure.notOwned) { try Self.allocate(&addresses, 3, wanted: Part.address(8)) }
    }

    // MARK: Dropping

    @Test func whatIsDroppedTakesAllOfItsRowsAlong() throws {
        var addresses = try Addresses(rows: Self.rows(leases: [8, 9], quarantined: [Part.range(10, 11), Part.range(14, 15)])) { _ in
            false
        }
        let deletions = addresses.drop(Part.subnet)
        #expect(Set(deletions.leases) == Set([8, 9].map { .delete(.lease, key: Self.lease($0).storeKey) }))
        #expect(Set(deletions.quarantine) == [Self.deletion(10, 11), Self.deletion(14, 15)])
        #expect(addresses.subnets.isEmpty && addresses.quarantined.isEmpty)
        #expect(addresses.drop(Part.subnet).leases.isEmpty && addresses.drop(Part.subnet).quarantine.isEmpty)
    }

    @Test func poolsThatAreNotUsedAreDropped() {
        var addresses = Self.addresses(Part.range(8, 15))
        addresses.keepOnly { $0 == Part.subnet }
        #expect(addresses.subnets == [Part.subnet])
        addresses.keepOnly { _ in false }
        #expect(addresses.subnets.isEmpty)
    }

    // MARK: RequestPool

    @Test func aSubnetIsReleasedWithTheLastOfItsRequests() {
        var addresses = Addresses()
        addresses.requested(Part.subnet, isNamed: true, now: Instant(nanoseconds: 0))
        addresses.requested(Part.subnet, isNamed: true, now: Instant(nanoseconds: 0))
        #expect(addresses.released(Part.subnet) == false)
        #expect(addresses.released(Part.subnet) == true)
        // More releases than requests, as after a restart.
        #expect(addresses.released(Part.subnet) == true)
    }

    @Test func aNetworkTakesOneRequestAndNoneIsLeftOfTheLast() {
        var addresses = Addresses()
        for _ in 0..<3 { addresses.requested(Part.subnet, isNamed: true, now: Instant(nanoseconds: 0)) }
        addresses.bound(Part.subnet)
        #expect(!addresses.released(Part.subnet) && addresses.released(Part.subnet))
        addresses.requested(Part.subnet, isNamed: true, now: Instant(nanoseconds: 0))
        addresses.bound(Part.subnet)
        addresses.requested(Part.subnet, isNamed: true, now: Instant(nanoseconds: 0))
        #expect(addresses.released(Part.subnet) == true)
    }

    @Test func aSubnetWithoutANetworkIsAnOrphanAfterItsAge() {
        var addresses = Addresses()
        #expect(addresses.orphans([SubnetID(2), SubnetID(1)], at: .seconds(1)).isEmpty)
        let due = Instant.seconds(1) + Addresses.orphanAge
        #expect(addresses.orphans([SubnetID(1), SubnetID(2)], at: due - .milliseconds(1)).isEmpty)
        #expect(addresses.orphans([SubnetID(1), SubnetID(2)], at: due) == [SubnetID(1), SubnetID(2)])
        // One that had a network in between begins anew.
        #expect(addresses.orphans([SubnetID(2)], at: due) == [SubnetID(2)])
        #expect(addresses.orphans([SubnetID(1), SubnetID(2)], at: due) == [SubnetID(2)])
    }

    @Test func aSubnetWithAddressesInQuarantineIsNoOrphan() throws {
        var addresses = try Addresses(rows: Self.rows(quarantined: [Part.range(8, 9)])) { _ in false }
        #expect(addresses.orphans([Part.subnet], at: .zero).isEmpty)
        #expect(addresses.orphans([Part.subnet], at: .zero + Addresses.orphanAge).isEmpty)
        addresses.forgetQuarantine()
        #expect(addresses.orphans([Part.subnet], at: .seconds(1000)).isEmpty)
        #expect(addresses.orphans([Part.subnet], at: .seconds(1000) + Addresses.orphanAge) == [Part.subnet])
    }

    // MARK: Blocks

    @Test func aBlockIsAskedForInAdvanceWhenAQuarterIsLeft() throws {
        var addresses = Self.addresses(Part.range(8, 15))
        for mac in 1...6 as ClosedRange<UInt64> { _ = try Self.allocate(&addresses, mac) }
        // Two of eight are a quarter.
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == false)
        _ = try Self.allocate(&addresses, 7)
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == true)
        // It is being asked for.
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == false)
        addresses.endPrefetch(of: Part.subnet, isRefused: false, now: .zero)
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == true)
    }

    @Test func addressesThatWereJustFreedAreNoneToHandOut() throws {
        var addresses = Self.addresses(Part.range(8, 15))
        for mac in 1...8 as ClosedRange<UInt64> { _ = try Self.allocate(&addresses, mac) }
        for last in 8...15 as ClosedRange<UInt8> { addresses.release(Part.address(last), of: Part.subnet, now: .seconds(1)) }
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .seconds(1)) == true)
        addresses.endPrefetch(of: Part.subnet, isRefused: false, now: .seconds(1))
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .seconds(1) + AddressPool.coolDown) == false)
    }

    @Test func aHostWithoutBlocksAsksAtOnceAndPausesWhenItIsRefused() {
        var addresses = Self.addresses()
        #expect(addresses.beginPrefetch(of: SubnetID(2), now: .zero) == false)
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == true)
        addresses.endPrefetch(of: Part.subnet, isRefused: true, now: .seconds(1))
        let end = Instant.seconds(1) + Addresses.prefetchPause
        #expect(addresses.beginPrefetch(of: Part.subnet, now: end - .milliseconds(1)) == false)
        #expect(addresses.beginPrefetch(of: Part.subnet, now: end) == true)
    }

    @Test func aSubnetThatWasDroppedDoesNotPause() {
        var addresses = Self.addresses()
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == true)
        addresses.endPrefetch(of: Part.subnet, isRefused: true, now: .zero)
        _ = addresses.drop(Part.subnet)
        addresses.follow(Self.subnet, blocks: [], handovers: [], now: .zero)
        #expect(addresses.beginPrefetch(of: Part.subnet, now: .zero) == true)
    }

    @Test func aBlockIsIdleWhenNobodyHasUsedItForLong() {
        let addresses = Self.addresses(Part.range(8, 15), Part.range(16, 31))
        #expect(addresses.idleBlocks(at: .zero + Addresses.idleAge - .milliseconds(1)).isEmpty)
        // One stays for the next container.
        #expect(addresses.idleBlocks(at: .zero + Addresses.idleAge) == [Handover(subnet: Part.subnet, range: Part.range(16, 31))])
    }

    // MARK: Quarantine

    @Test func afterARollbackWhatNoContainerHasIsNobodysToHandOut() throws {
        var addresses = Self.addresses(Part.range(8, 15))
        for mac in 1...3 as ClosedRange<UInt64> { _ = try Self.allocate(&addresses, mac) }
        let rows = addresses.quarantine(Part.subnet, except: [Part.address(9)], of: [Part.range(8, 15)], now: .zero)
        let lease = Lease(subnet: Part.subnet, address: Part.address(9), mac: Part.mac(2))
        #expect(Set(rows) == [.put(.lease, key: lease.storeKey, value: lease.wireBytes), Self.row(8, 8), Self.row(10, 15)])
        #expect(addresses.quarantined == [Part.subnet: [Part.range(8, 8), Part.range(10, 15)]] && addresses.leaseCount == 1)
        #expect(
            addresses.isQuarantined(Part.address(12), of: Part.subnet) && !addresses.isQuarantined(Part.address(9), of: Part.subnet)
        )
        #expect(throws: AddressPool.Failure.noFreeAddress) { try Self.allocate(&addresses, 5) }
        // The pool is brought in line with the catalogue at every turn.
        addresses.follow(Self.subnet, blocks: [Part.range(8, 15)], handovers: [], now: .zero)
        #expect(throws: AddressPool.Failure.notOwned) { try Self.allocate(&addresses, 5, wanted: Part.address(12)) }
    }

    @Test func anAddressLeavesQuarantineAndTheRestStays() throws {
        var addresses = Self.addresses(Part.range(8, 15))
        _ = addresses.quarantine(Part.subnet, except: [], of: [Part.range(8, 15)], now: .zero)
        let rows = addresses.endQuarantine(of: Part.address(12), in: Part.subnet)
        #expect(rows.first == Self.deletion(8, 15) && Set(rows.dropFirst()) == [Self.row(8, 11), Self.row(13, 15)])
        #expect(addresses.endQuarantine(of: Part.address(12), in: Part.subnet).isEmpty)
        #expect(try Self.allocate(&addresses, 1) == Part.address(12))
        #expect(throws: AddressPool.Failure.noFreeAddress) { try Self.allocate(&addresses, 2) }
        #expect(addresses.isQuarantined(Part.address(13), of: Part.subnet))
    }

    @Test func theLastAddressTakesTheQuarantineAlong() {
        var addresses = Self.addresses(Part.range(8, 8))
        _ = addresses.quarantine(Part.subnet, except: [], of: [Part.range(8, 8)], now: .zero)
        #expect(addresses.endQuarantine(of: Part.address(8), in: Part.subnet) == [Self.deletion(8, 8)])
        #expect(addresses.quarantined.isEmpty)
    }

    @Test func quarantineComesBackWithItsRows() throws {
        var addresses = try Addresses(rows: Self.rows(quarantined: [Part.range(8, 11)])) { _ in false }
        #expect(addresses.quarantined == [Part.subnet: [Part.range(8, 11)]])
        addresses.follow(Self.subnet, blocks: [Part.range(8, 12)], handovers: [], now: .zero)
        #expect(try Self.allocate(&addresses, 1) == Part.address(12))
    }
}
