import OverlayIPAM
import OverlayModel
import OverlayTestSupport
import Testing

/// Calls without a time, for tests in which it does not matter.
extension AddressPool {
    fileprivate mutating func setBlocks(_ ranges: [AddressRange], reserved: Set<IPAddress>) {
        setBlocks(ranges, reserved: reserved, now: Instant(nanoseconds: 0))
    }

    fileprivate mutating func allocate(mac: MACAddress) throws(Failure) -> Lease {
        try allocate(mac: mac, now: Instant(nanoseconds: 0), early: true)
    }

    fileprivate mutating func allocate(_ address: IPAddress, mac: MACAddress) throws(Failure) -> Lease {
        try allocate(address, mac: mac, now: Instant(nanoseconds: 0))
    }

    @discardableResult
    fileprivate mutating func release(_ address: IPAddress) -> Lease? { release(address, now: Instant(nanoseconds: 0)) }
}

@Suite struct AddressPoolTests {
    private static let subnet = SubnetID(1)

    private static func range(_ first: String, _ last: String) -> AddressRange {
        AddressRange(first: IPAddress(first)!, last: IPAddress(last)!)
    }

    private static func mac(_ value: Int) -> MACAddress { MACAddress(bits: 0x0242_0000_0000 + UInt64(value)) }

    /// 10.0.0.16…31 with two reserved addresses.
    private static func pool() -> AddressPool {
        var pool = AddressPool(subnet: subnet)
        pool.setBlocks([range("10.0.0.16", "10.0.0.31")], reserved: [IPAddress("10.0.0.16")!, IPAddress("10.0.0.20")!])
        return pool
    }

    @Test(arguments: [1] as [UInt64])
    func hostileBytesAreHarmless(seed: UInt64) {
        let v4 = Lease(subnet: Self.subnet, address: IPAddress("10.0.0.1")!, mac: Self.mac(1))
        let v6 = Lease(subnet: SubnetID(.max), address: IPAddress("fd00::1")!, mac: Self.mac(2))
        expectHostileBytesAreHarmless([v4, v6], seed: seed)
        #expect(v4.storeKey != v6.storeKey)
    }

    @Test func addressesComeInOrderAndReservedOnesNever() throws {
        var pool = Self.pool()
        #expect(pool.owned == 14 && pool.free == 14)
        let given = try (0..<14).map { try pool.allocate(mac: Self.mac($0)).address.description }
        #expect(given == (16...31).filter { $0 != 16 && $0 != 20 }.map { "10.0.0.\($0)" })
        #expect(throws: AddressPool.Failure.noFreeAddress) { try pool.allocate(mac: Self.mac(99)) }
        #expect(pool.free == 0 && pool.owned == 14)
    }

    @Test func aPoolWithoutBlocksIsEmpty() {
        var pool = AddressPool(subnet: Self.subnet)
        #expect(pool.owned == 0 && pool.free == 0)
        #expect(throws: AddressPool.Failure.noFreeAddress) { try pool.allocate(mac: Self.mac(1)) }
        #expect(throws: AddressPool.Failure.notOwned) { try pool.allocate(IPAddress("10.0.0.1")!, mac: Self.mac(1)) }
        #expect(pool.release(IPAddress("10.0.0.1")!) == nil)
    }

    @Test func whatHasBeenFreeForLongestIsUsedFirst() throws {
        var pool = Self.pool()
        let leases = try (0..<14).map { try pool.allocate(mac: Self.mac($0)) }
        for index in [5, 2, 9] { #expect(pool.release(leases[index].address) == leases[index]) }
        #expect(pool.release(leases[5].address) == nil, "a second release is none")
        #expect(try (20..<23).map { try pool.allocate(mac: Self.mac($0)).address } == [5, 2, 9].map { leases[$0].address })
    }

    @Test func whatWasNeverUsedComesBeforeWhatWas() throws {
        var pool = Self.pool()
        let first = try pool.allocate(mac: Self.mac(1)).address
        pool.release(first)
        for index in 2..<15 { #expect(try pool.allocate(mac: Self.mac(index)).address != first) }
        #expect(try pool.allocate(mac: Self.mac(15)).address == first)
    }

    /// An address that was taken by `--ip` and freed again counts as free only since then.
    @Test func takingAFreedAddressByNameMakesItTheLatest() throws {
        var pool = Self.pool()
        let leases = try (0..<14).map { try pool.allocate(mac: Self.mac($0)) }
        pool.release(leases[0].address)
        pool.release(leases[1].address)
        _ = try pool.allocate(leases[0].address, mac: Self.mac(50))
        pool.release(leases[0].address)
        #expect(try pool.allocate(mac: Self.mac(51)).address == leases[1].address)
        #expect(try pool.allocate(mac: Self.mac(52)).address == leases[0].address)
        #expect(throws: AddressPool.Failure.noFreeAddress) { try pool.allocate(mac: Self.mac(53)) }
    }

    @Test func theSameMACIsTheSameRequest() throws {
        var pool = Self.pool()
        let lease = try pool.allocate(mac: Self.mac(1))
        #expect(try pool.allocate(mac: Self.mac(1)) == lease)
        #expect(pool.lease(of: Self.mac(1)) == lease && pool.lease(at: lease.address) == lease && pool.leases.count == 1)
        let named = try pool.allocate(IPAddress("10.0.0.30")!, mac: Self.mac(2))
        #expect(try pool.allocate(IPAddress("10.0.0.30")!, mac: Self.mac(2)) == named)
        #expect(throws: AddressPool.Failure.inUse(named)) { try pool.allocate(IPAddress("10.0.0.30")!, mac: Self.mac(3)) }
        pool.release(lease.address)
        #expect(pool.lease(of: Self.mac(1)) == nil)
    }

    @Test(arguments: ["10.0.0.16", "10.0.0.20", "10.0.0.15", "10.0.0.32", "fd00::1"])
    func onlyOwnedAddressesAreGivenByName(address: String) throws {
        var pool = Self.pool()
        #expect(throws: AddressPool.Failure.notOwned) { try pool.allocate(IPAddress(address)!, mac: Self.mac(1)) }
        #expect(pool.leases.isEmpty)
    }

    @Test func whatIsGivenByNameIsNotGivenAgain() throws {
        var pool = Self.pool()
        _ = try pool.allocate(IPAddress("10.0.0.18")!, mac: Self.mac(1))
        let rest = try (2..<15).map { try pool.allocate(mac: Self.mac($0)).address }
        #expect(Set(rest).count == 13 && !rest.contains(IPAddress("10.0.0.18")!))
    }

    @Test func leasesOutliveBlocks() throws {
        var pool = Self.pool()
        let lease = try pool.allocate(mac: Self.mac(1))
        pool.setBlocks([], reserved: [])
        #expect(pool.owned == 0 && pool.free == 0 && pool.lease(at: lease.address) == lease)
        #expect(try pool.allocate(mac: Self.mac(1)) == lease, "a repeated request is answered as before")
        pool.setBlocks([Self.range("10.0.0.16", "10.0.0.31")], reserved: [])
        #expect(pool.free == 15)
        let others = try (2..<17).map { try pool.allocate(mac: Self.mac($0)).address }
        #expect(!others.contains(lease.address) && Set(others).count == 15)
    }

    @Test func whatIsFreedOutsideTheBlocksDoesNotComeBack() throws {
        var pool = Self.pool()
        let lease = try pool.allocate(mac: Self.mac(1))
        pool.setBlocks([Self.range("10.0.1.0", "10.0.1.0")], reserved: [])
        #expect(pool.release(lease.address) == lease)
        #expect(try pool.allocate(mac: Self.mac(2)).address == IPAddress("10.0.1.0"))
        #expect(throws: AddressPool.Failure.noFreeAddress) { try pool.allocate(mac: Self.mac(3)) }
    }

    @Test func aSecondBlockIsUsedAfterTheFirst() throws {
        var pool = Self.pool()
        let first = try (0..<14).map { try pool.allocate(mac: Self.mac($0)) }
        pool.setBlocks(
            [Self.range("10.0.0.16", "10.0.0.31"), Self.range("10.0.0.64", "10.0.0.65")],
            reserved: [IPAddress("10.0.0.16")!, IPAddress("10.0.0.20")!])
        #expect(pool.owned == 16 && pool.free == 2)
        pool.release(first[3].address)
        #expect(
            try (20..<23).map { try pool.allocate(mac: Self.mac($0)).address.description } == [
                "10.0.0.64", "10.0.0.65", "10.0.0.21",
            ])
    }

    @Test func aRestartKnowsItsLeases() throws {
        var before = Self.pool()
        for index in 0..<10 { _ = try before.allocate(mac: Self.mac(index)) }
        before.release(IPAddress("10.0.0.19")!)
        var after = AddressPool(subnet: Self.subnet, leases: before.leases.values)
        after.setBlocks([Self.range("10.0.0.16", "10.0.0.31")], reserved: [IPAddress("10.0.0.16")!, IPAddress("10.0.0.20")!])
        #expect(after.leases == before.leases && after.free == before.free)
        #expect(try after.allocate(mac: Self.mac(0)) == before.lease(of: Self.mac(0)))
        let rest = try (50..<55).map { try after.allocate(mac: Self.mac($0)).address }
        #expect(Set(rest).isDisjoint(with: before.leases.keys) && Set(rest).count == 5)
        #expect(throws: AddressPool.Failure.noFreeAddress) { try after.allocate(mac: Self.mac(99)) }
    }

    /// 2⁴⁸ addresses cost no more than 16, up to the very last one of IPv6.
    @Test(arguments: ["fd00::/80", "::/1", "8000::/1"])
    func hugeBlocksAreCheap(prefix: String) throws {
        let block = AddressRange(IPPrefix(prefix)!)
        var pool = AddressPool(subnet: Self.subnet)
        pool.setBlocks([block], reserved: [block.first])
        #expect(pool.owned == block.count - 1 && pool.free == block.count - 1)
        for index in 0..<3000 {
            #expect(try pool.allocate(mac: Self.mac(index)).address.bits == block.first.bits + UInt128(index) + 1)
        }
        _ = try pool.allocate(block.last, mac: Self.mac(9999))
        pool.setBlocks([block], reserved: [block.first])
        #expect(try pool.allocate(mac: Self.mac(5000)).address.bits == block.first.bits + 3001)
        #expect(pool.free == block.count - 3003)
    }

    /// Invariant U (see Rules).
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func noAddressIsEverLeasedTwice(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let all = [("10.0.0.0", "10.0.0.15"), ("10.0.0.16", "10.0.0.31"), ("10.0.0.40", "10.0.0.40"), ("10.0.0.64", "10.0.0.71")]
            .map { Self.range($0, $1) }
        var pool = AddressPool(subnet: Self.subnet)
        var blocks: [AddressRange] = []
        var reserved: Set<IPAddress> = []
        // Model: owners by address.
        var model: [IPAddress: MACAddress] = [:]
        func free() -> Int {
            let addresses = blocks.flatMap { block in (0..<Int(block.count)).map { block.first.advanced(by: UInt128($0))! } }
            return addresses.count { model[$0] == nil && !reserved.contains($0) }
        }
        for step in 0..<25_000 {
            let mac = Self.mac(Int.random(in: 0..<60, using: &generator))
            let named = IPAddress(family: .v4, bits: 0x0A00_0000 + UInt128(Int.random(in: 0..<80, using: &generator)))
            switch Int.random(in: 0..<100, using: &generator) {
            case ..<40:
                let known = model.values.contains(mac)
                let expected = free()
                if let lease = try? pool.allocate(mac: mac) {
                    if !known {
                        try #require(model[lease.address] == nil, "seed \(seed), step \(step): \(lease.address) twice")
                        try #require(blocks.contains { $0.contains(lease.address) } && !reserved.contains(lease.address))
                    }
                    model[lease.address] = mac
                } else {
                    try #require(expected == 0, "seed \(seed), step \(step): \(expected) addresses are free")
                }
            case ..<60:
                // A MAC has one address per pool. Callers deal with a MAC that asks for a second one.
                guard !model.contains(where: { $0.value == mac && $0.key != named }) else { continue }
                let mayHave =
                    model[named] == mac
                    || (model[named] == nil && blocks.contains { $0.contains(named) } && !reserved.contains(named))
                let lease = try? pool.allocate(named, mac: mac)
                try #require((lease != nil) == mayHave, "seed \(seed), step \(step): \(named)")
                if lease != nil { model[named] = mac }
            case ..<97:
                let address = Bool.random(using: &generator) ? named : model.keys.sorted().randomElement(using: &generator) ?? named
                try #require(pool.release(address)?.mac == model.removeValue(forKey: address), "seed \(seed), step \(step)")
            case ..<99:
                blocks = all.filter { _ in Int.random(in: 0..<4, using: &generator) > 0 }
                // Reserved addresses only grow in number, and only where there is no lease.
                if reserved.count < 10, model[named] == nil { reserved.insert(named) }
                pool.setBlocks(blocks, reserved: reserved)
            default:
                pool = AddressPool(subnet: Self.subnet, leases: pool.leases.values)
                pool.setBlocks(blocks, reserved: reserved)
            }
            if step % 50 == 0 {
                try #require(pool.leases.mapValues(\.mac) == model, "seed \(seed), step \(step)")
                try #require(pool.free == UInt128(free()), "seed \(seed), step \(step)")
            }
        }
    }

    /// Whatever happens to blocks, the counts equal those of the addresses one by one.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func countsStayTrueWhateverBecomesOfBlocks(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let base = try #require(IPAddress("10.0.0.0"))
        func address(_ place: Int) -> IPAddress { base.advanced(by: UInt128(place)) ?? base }
        var pool = AddressPool(subnet: SubnetID(1))
        var held = Set<Int>()
        var reserved: Set<IPAddress> = [address(1)]
        for round in 0..<300 {
            let now = Instant(nanoseconds: Int64(round) * 7_000_000_000)
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                let start = Int.random(in: 0..<16, using: &random) * 16
                for place in start..<start + (1 << Int.random(in: 0..<5, using: &random)) { held.insert(place) }
            case 1:
                let start = Int.random(in: 0..<256, using: &random)
                for place in start..<start + 1 + Int.random(in: 0..<8, using: &random) where pool.lease(at: address(place)) == nil {
                    held.remove(place)
                }
            case 2: reserved = Set((0..<3).map { _ in address(Int.random(in: 0..<256, using: &random)) })
            case 3:
                if let lease = pool.leases.values.min(by: { $0.address < $1.address }) { pool.release(lease.address, now: now) }
            default:
                let mac = MACAddress.random(using: &random)
                if let lease = try? pool.allocate(mac: mac, now: now) {
                    #expect(held.contains(Int(lease.address.bits - base.bits)) && !reserved.contains(lease.address))
                }
            }
            // The fewest ranges, sometimes cut in two.
            var ranges: [AddressRange] = []
            for place in held.sorted() {
                if let last = ranges.last, last.last.advanced(by: 1) == address(place), place % 16 != 0, place % 5 != 0 {
                    ranges[ranges.count - 1] = AddressRange(first: last.first, last: address(place))
                } else {
                    ranges.append(AddressRange(address(place)))
                }
            }
            pool.setBlocks(ranges, reserved: reserved, now: now)
            let usable = held.map(address).filter { !reserved.contains($0) }
            #expect(pool.owned == UInt128(usable.count))
            #expect(pool.free == UInt128(usable.count { pool.lease(at: $0) == nil }))
            #expect((0..<300).allSatisfy { pool.owns(address($0)) == held.contains($0) })
        }
    }
}
