import OverlayModel

/// Blocks: the addresses of a subnet that each node may hand out.
extension Catalogue {
    /// Size of the largest IPv4 block. A block starts at a multiple of its size.
    static let largestBlock: UInt128 = 16
    /// Host bits of the largest IPv6 block, which is a /80.
    static let blockBitsV6 = 48

    mutating func claimBlock(_ id: SubnetID, owner: NodeID, count: UInt32) throws(Refusal) {
        let (network, subnet) = try find(id)
        guard subnet.users.contains(owner) else {
            throw Refusal(.notFound, "node \(name(owner)) does not use network \(network.title)")
        }
        guard subnet.blocks.count < Limits.blocksPerSubnet, let range = freeBlock(of: subnet, atMost: UInt128(max(count, 1))) else {
            throw Refusal(
                .exhausted,
                "no free address is left in \(subnet.range.map { "the --ip-range \($0) of " } ?? "")subnet \(subnet.prefix) of network "
                    + "\(network.title): its blocks are owned by \(owners(of: subnet))")
        }
        insert(Block(range: range, owner: owner), into: id)
    }

    mutating func claimAddress(_ id: SubnetID, _ address: IPAddress, owner: Member) throws(Refusal) {
        let (network, subnet) = try find(id)
        guard subnet.users.contains(owner.id) else {
            throw Refusal(.notFound, "node \(owner.name) does not use network \(network.title)")
        }
        guard !subnet.isReserved(address) else {
            throw Refusal(.invalid, "\(address) is the gateway, an aux address or no host address of subnet \(subnet.prefix)")
        }
        if let block = subnet.block(holding: address) {
            guard block.owner != owner.id else { return }
            if let name = departed[block.owner] { throw Self.inQuarantine(address, of: network, name) }
            throw Refusal(
                .conflict,
                "\(address) of network \(network.title) is among the addresses that node \(name(block.owner)) hands out (block "
                    + "\(block.range)); run the container there, or take an address outside the network's --ip-range")
        }
        guard subnet.blocks.count < Limits.blocksPerSubnet else {
            throw Refusal(.exhausted, "subnet \(subnet.prefix) has \(Limits.blocksPerSubnet) blocks, the most it can have")
        }
        insert(Block(range: AddressRange(address), owner: owner.id), into: id)
    }

    /// Removes a range from the owner's blocks. Repeating it changes nothing.
    mutating func giveBack(_ id: SubnetID, _ range: AddressRange, owner: NodeID) throws(Refusal) {
        let (_, subnet) = try find(id)
        // A block may be split in two.
        guard subnet.blocks.count < Limits.blocksPerSubnet else {
            throw Refusal(.exhausted, "subnet \(subnet.prefix) has \(Limits.blocksPerSubnet) blocks, the most it can have")
        }
        modify(id) { $0.take(range, from: owner) }
    }

    mutating func move(
        _ id: SubnetID, _ address: IPAddress, from owner: Member, to node: NodeID, epoch: UInt32
    ) throws(Refusal) {
        let (network, subnet) = try find(id)
        guard subnet.block(holding: address)?.owner == owner.id, !subnet.isReserved(address) else {
            throw Refusal(.conflict, "\(address) of network \(network.title) is not node \(owner.name)'s to give")
        }
        guard members[node]?.epoch == epoch, subnet.users.contains(node) else {
            throw Refusal(.notFound, "node \(name(node)) does not use network \(network.title)")
        }
        guard subnet.blocks.count + 2 <= Limits.blocksPerSubnet else {
            throw Refusal(.exhausted, "subnet \(subnet.prefix) has \(Limits.blocksPerSubnet) blocks, the most it can have")
        }
        modify(id) { $0.take(AddressRange(address), from: owner.id) }
        insert(Block(range: AddressRange(address), owner: node), into: id)
    }

    private static func inQuarantine(_ address: IPAddress, of network: Network, _ name: String) -> Refusal {
        Refusal(.conflict, "address \(address) of network \(network.title) \(quarantineText(of: name))")
    }

    /// Text that says why an address of a removed node is not available, and what would make it so.
    public static func quarantineText(of name: String) -> String {
        "was handed out by node \(name), which was removed from the cluster: it is in quarantine for ten minutes, as a container may have "
            + "it still; wait, take another one, or run `swift-overlay node rm --now \(name)` if that host is gone for good"
    }

    private func owners(of subnet: Subnet) -> String {
        let names = Set(subnet.blocks.map(\.owner)).map { departed[$0].map { "\($0) (removed; its addresses are in quarantine)" } ?? name($0) }
            .sorted()
        guard names.count > 8 else { return names.isEmpty ? "nobody" : names.joined(separator: ", ") }
        return names.prefix(8).joined(separator: ", ") + " and \(names.count - 8) more"
    }

    private mutating func insert(_ block: Block, into id: SubnetID) {
        modify(id) { subnet in
            let position = subnet.blocks.firstIndex { $0.range.first > block.range.first } ?? subnet.blocks.count
            subnet.blocks.insert(block, at: position)
        }
    }

    /// Lowest aligned free range of the largest fitting size that has an address an endpoint may have.
    private func freeBlock(of subnet: Subnet, atMost limit: UInt128) -> AddressRange? {
        guard let dynamic = subnet.dynamic else { return nil }
        var size = Self.size(for: subnet, dynamic, atMost: limit)
        while size >= 1 {
            if let range = freeRange(of: subnet, dynamic, size: size) { return range }
            size /= 2
        }
        return nil
    }

    /// Size of a block: clamp(free / (2 · (users + 1)), 1, 16), rounded down to a power of two; for IPv6 at most a /80.
    private static func size(for subnet: Subnet, _ dynamic: AddressRange, atMost limit: UInt128) -> UInt128 {
        let owned = subnet.blocks.filter { $0.range.overlaps(dynamic) }.reduce(UInt128(0)) { $0 + $1.range.count }
        let free = dynamic.count > owned ? dynamic.count - owned : 0
        let most = subnet.prefix.family == .v6 ? UInt128(1) << UInt128(blockBitsV6) : min(largestBlock, limit)
        let share = min(max(free / UInt128(2 * (subnet.users.count + 1)), 1), most)
        return UInt128(1) << UInt128(127 - share.leadingZeroBitCount)
    }

    private func freeRange(of subnet: Subnet, _ dynamic: AddressRange, size: UInt128) -> AddressRange? {
        let mask = ~(size - 1)
        var start = IPAddress(family: dynamic.first.family, bits: dynamic.first.bits & mask)
        var position = 0
        let blocks = subnet.blocks
        while start <= dynamic.last {
            guard let end = start.advanced(by: size - 1) else { return nil }
            let clipped = AddressRange(first: max(start, dynamic.first), last: min(end, dynamic.last))
            while position < blocks.count, blocks[position].range.last < clipped.first { position += 1 }
            if position < blocks.count, blocks[position].range.overlaps(clipped) {
                // Past the block, rounded up to a multiple of the size; 0 if that is past the end of the family.
                let after = (blocks[position].range.last.bits &+ size) & mask
                let next = IPAddress(family: start.family, bits: max(end.bits &+ 1, after))
                guard next > start else { return nil }
                start = next
                continue
            }
            if holdsUsable(clipped, of: subnet) { return clipped }
            guard let next = end.advanced(by: 1) else { return nil }
            start = next
        }
        return nil
    }

    private func holdsUsable(_ range: AddressRange, of subnet: Subnet) -> Bool {
        if range.count > UInt128(subnet.auxiliary.count + 3) { return true }
        var address = range.first
        while address <= range.last {
            if !subnet.isReserved(address) { return true }
            guard let next = address.advanced(by: 1) else { return false }
            address = next
        }
        return false
    }
}
